from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

MakeModel = Callable[..., Path]
MakePair = Callable[..., tuple[Path, Path]]


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Write a small ONNX file like those of `adln export`: a patchwork of mean colours.

    The feature of a crop is a fixed random mixture of the mean colours of its 32 x 32 px patches,
    so it changes when the crop is mirrored.
    """
    import numpy as np

    from adln.manifest import METADATA_KEY, Manifest

    def make(
        name: str = "tiny.onnx",
        *,
        depths: tuple[int, ...] = (2,),
        height_px: int = 256,
        width_px: int = 128,
        batch: int | str = "batch",
        dim: int = 16,
        manifest: str | None = "",
        says: dict[str, Any] | None = None,
    ) -> Path:
        helper, kinds = onnx.helper, onnx.TensorProto
        facts = {
            "depths": depths,
            "precision": "fp32",
            "dim": dim,
            "height_px": height_px,
            "width_px": width_px,
            "source_sha256": "5" * 64,
            "adln_version": "0.1.0",
            "created_utc": "2026-01-01T00:00:00Z",
        }
        about = Manifest(**{**facts, **(says or {})})
        patches = 3 * (height_px // 32) * (width_px // 32)
        rng = np.random.default_rng(7)
        nodes = [
            helper.make_node("Cast", ["crops"], ["pixels"], to=kinds.FLOAT),
            helper.make_node("Sub", ["pixels", "grey"], ["centred"]),
            helper.make_node("Transpose", ["centred"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node(
                "AveragePool", ["planes"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32]
            ),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
        ]
        constants = [helper.make_tensor("grey", kinds.FLOAT, [], [110.0])]
        outputs = []
        for depth in depths:
            ending = "" if len(depths) == 1 else f"_{depth}"
            mixture = rng.standard_normal((patches, dim)).astype(np.float32)
            constants.append(onnx.numpy_helper.from_array(mixture, f"mixture{depth}"))
            feature, norm, embedding = f"feature{depth}", f"norm{ending}", f"embedding{ending}"
            nodes += [
                helper.make_node("MatMul", ["flat", f"mixture{depth}"], [feature]),
                helper.make_node("ReduceL2", [feature], [norm], axes=[1], keepdims=1),
                helper.make_node("Div", [feature, norm], [embedding]),
            ]
            outputs += [
                helper.make_tensor_value_info(embedding, kinds.FLOAT, [batch, dim]),
                helper.make_tensor_value_info(norm, kinds.FLOAT, [batch, 1]),
            ]
        crops = helper.make_tensor_value_info("crops", kinds.UINT8, [batch, height_px, width_px, 3])
        graph = helper.make_graph(nodes, "tiny", [crops], outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if manifest is not None:
            helper.set_model_props(model, {METADATA_KEY: manifest or about.to_json()})
        path = tmp_path / name
        onnx.save(model, path)
        return path

    return make


@pytest.fixture
def make_pair(make_model: MakeModel) -> MakePair:
    """Split a network of depths 1 and 2 at its pooled colours, here called the map of stage 1."""

    def make(**deep_says: object) -> tuple[Path, Path]:
        whole = onnx.load(make_model("whole.onnx", depths=(1, 2)))
        kinds, helper = onnx.TensorProto, onnx.helper
        paths = []
        for name, depth, says in (
            ("shallow.onnx", 1, {"maps": (1,)}),
            ("deep.onnx", 2, {"starts_after": 1, **deep_says}),
        ):
            path = make_model(name, depths=(depth,), says=says)
            model = onnx.load(path)
            del model.graph.node[:]
            del model.graph.initializer[:]
            model.graph.initializer.extend(whole.graph.initializer)
            map_1 = helper.make_tensor_value_info("map_1", kinds.FLOAT, ["batch", 3, 8, 4])
            for node in whole.graph.node:
                is_shared = node.op_type in ("Cast", "Sub", "Transpose", "AveragePool")
                if not (is_shared and depth == 2):
                    model.graph.node.append(node)
            new_names = {
                "pooled": "map_1",
                f"embedding_{depth}": "embedding",
                f"norm_{depth}": "norm",
            }
            for node in model.graph.node:
                for names in (node.input, node.output):
                    names[:] = [new_names.get(value, value) for value in names]
            if depth == 1:
                model.graph.output.append(map_1)
            else:
                model.graph.input[0].CopyFrom(map_1)
            onnx.save(model, path)
            paths.append(path)
        return paths[0], paths[1]

    return make


def say_bgr(openvino_file: Path) -> None:
    """State in an .xml file of OpenVINO, as its converter does, that the network wants BGR."""
    said = '<rt_info><conversion_parameters><reverse_input_channels value="True" />'
    end = "</conversion_parameters></rt_info></net>"
    text = openvino_file.read_text("utf-8").replace("</net>", said + end)
    openvino_file.write_text(text, "utf-8")
