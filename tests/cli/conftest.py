from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from adln.manifest import METADATA_KEY, Manifest

MakeModel = Callable[..., Path]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write an ONNX file like those of `adln export`, whose feature is the crop's mean colour."""
    helper, kinds = onnx.helper, onnx.TensorProto

    def make(
        name: str = "tiny.onnx",
        *,
        depths: tuple[int, ...] = (2,),
        starts_after: int = 0,
        maps: tuple[int, ...] = (),
        **facts: object,
    ) -> Path:
        axes = onnx.numpy_helper.from_array(np.array([1, 2]), "axes")
        start = helper.make_tensor_value_info("crops", kinds.UINT8, ["batch", 256, 128, 3])
        nodes = [
            helper.make_node("Cast", ["crops"], ["pixels"], to=kinds.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["feature"], keepdims=0),
        ]
        if starts_after:
            # The map of a file is its feature.
            source = f"map_{starts_after}"
            start = helper.make_tensor_value_info(source, kinds.FLOAT, ["batch", 3])
            nodes = [helper.make_node("Identity", [source], ["feature"])]
        nodes += [helper.make_node("Identity", ["feature"], [f"map_{stage}"]) for stage in maps]
        outputs = [
            helper.make_tensor_value_info(f"map_{stage}", kinds.FLOAT, ["batch", 3])
            for stage in maps
        ]
        for depth in depths:
            ending = "" if len(depths) == 1 else f"_{depth}"
            nodes += [
                helper.make_node("ReduceL2", ["feature", "axis_1"], [f"norm{ending}"], keepdims=1),
                helper.make_node("Div", ["feature", f"norm{ending}"], [f"embedding{ending}"]),
            ]
            outputs += [
                helper.make_tensor_value_info(f"embedding{ending}", kinds.FLOAT, ["batch", 3]),
                helper.make_tensor_value_info(f"norm{ending}", kinds.FLOAT, ["batch", 1]),
            ]
        axis_1 = onnx.numpy_helper.from_array(np.array([1]), "axis_1")
        constants = [axis_1] if starts_after else [axes, axis_1]
        graph = helper.make_graph(nodes, "tiny", [start], outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        manifest = Manifest(
            depths=depths,
            precision="fp32",
            dim=3,
            height_px=256,
            width_px=128,
            source_sha256="5" * 64,
            adln_version="0.1.0",
            created_utc="2026-01-01T00:00:00Z",
            starts_after=starts_after,
            maps=maps,
            **facts,  # type: ignore[arg-type]
        )
        helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return make


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Twelve pictures of coloured bands, as `--unlabelled` takes them."""
    folder = tmp_path / "people"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        bands = rng.integers(0, 256, (8, 1, 3), dtype=np.uint8)
        picture = Image.fromarray(bands).resize((16, 32), Image.Resampling.NEAREST)
        picture.save(folder / f"{number}.png")
    return folder
