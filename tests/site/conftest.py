"""People drawn as coloured bands, and networks that look at the colours of bands."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from adln.export.exporting import export_network
from adln.manifest import METADATA_KEY, Manifest
from adln.model.checkpoint import load_network, save_network
from adln.model.network import Architecture, build_network
from adln.site.training import SiteRequest

HEIGHT, WIDTH = 32, 16
BANDS = 4
DIM = 3 * BANDS
SPACE = "ab" * 8
MakeBands = Callable[..., Path]
MakeRequest = Callable[..., SiteRequest]


def draw_person(rng: np.random.Generator) -> NDArray[np.float64]:
    """Colours of the bands: (BANDS, 3), 0..255."""
    return rng.uniform(20, 235, (BANDS, 3))


def draw_crop(person: NDArray[np.float64], rng: np.random.Generator) -> Image.Image:
    """A person under some light, (H, W)."""
    rows = np.repeat(person, HEIGHT // BANDS, axis=0)[:, np.newaxis]
    picture = rows * rng.uniform(0.9, 1.1) + rng.normal(0, 12, (HEIGHT, WIDTH, 3))
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))


def draw_folder(
    folder: Path,
    *,
    tracks: int = 90,
    cameras: int = 2,
    persons: int | None = None,
    switch: bool = False,
    passing: bool = False,
    seed: int = 0,
) -> Path:
    """Crops as `adln adapt` takes them: each camera has people of its own, or they pass all."""
    rng = np.random.default_rng(seed)
    people: list[NDArray[np.float64]] = []
    for camera in range(cameras):
        if not people or not passing:
            people = [draw_person(rng) for _ in range(persons or tracks)]
        for track in range(tracks):
            place = folder / f"camera {camera}" / str(track)
            place.mkdir(parents=True)
            for crop in range(4):
                # A fourth of the tracks goes on with somebody else.
                step = 37 if switch and crop >= 2 and track % 4 == 0 else 0
                who = people[(track + step) % len(people)]
                # Each track is there together with the next one.
                draw_crop(who, rng).save(place / f"{10 * track + 4 * crop}.000s.png")
    return folder


@pytest.fixture(scope="session")
def make_bands(tmp_path_factory: pytest.TempPathFactory) -> MakeBands:
    """Write a network like those of `adln export`: the mean colour of each band, weighed."""
    helper, kinds = onnx.helper, onnx.TensorProto
    folder = tmp_path_factory.mktemp("networks")

    def make(name: str, weights: NDArray[np.float64] | None = None, **facts: object) -> Path:
        weights = np.ones((BANDS, 3)) if weights is None else weights
        constants = {
            "shape": np.array([-1, BANDS, HEIGHT // BANDS, WIDTH, 3], np.int64),
            "axes": np.array([2, 3], np.int64),
            "axis_1": np.array([1], np.int64),
            "flat": np.array([-1, DIM], np.int64),
            "middle": np.float32(128),
            "weights": weights.reshape(1, DIM).astype(np.float32),
        }
        nodes = [
            helper.make_node("Cast", ["crops"], ["pixels"], to=kinds.FLOAT),
            helper.make_node("Sub", ["pixels", "middle"], ["centred"]),
            helper.make_node("Reshape", ["centred", "shape"], ["bands"]),
            helper.make_node("ReduceMean", ["bands", "axes"], ["colours"], keepdims=0),
            helper.make_node("Reshape", ["colours", "flat"], ["plain"]),
            helper.make_node("Mul", ["plain", "weights"], ["feature"]),
            helper.make_node("ReduceL2", ["feature", "axis_1"], ["norm"], keepdims=1),
            helper.make_node("Div", ["feature", "norm"], ["embedding"]),
        ]
        graph = helper.make_graph(
            nodes,
            "bands",
            [helper.make_tensor_value_info("crops", kinds.UINT8, ["batch", HEIGHT, WIDTH, 3])],
            [
                helper.make_tensor_value_info("embedding", kinds.FLOAT, ["batch", DIM]),
                helper.make_tensor_value_info("norm", kinds.FLOAT, ["batch", 1]),
            ],
            [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        values: dict[str, object] = {
            "depths": (1,),
            "precision": "fp32",
            "dim": DIM,
            "height_px": HEIGHT,
            "width_px": WIDTH,
            "source_sha256": "5" * 64,
            "adln_version": "0.1.0",
            "created_utc": "2026-01-01T00:00:00Z",
            "spaces": (SPACE,),
            "licence": "CC0",
            "training_data": "bands",
        }
        manifest = Manifest(**{**values, **facts})  # type: ignore[arg-type]
        helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
        path = folder / name
        onnx.save(model, path)
        return path

    return make


@pytest.fixture(scope="session")
def bands(make_bands: MakeBands) -> Path:
    """Sees all bands, and tells people apart without having learned anything."""
    return make_bands("bands.onnx")


@pytest.fixture(scope="session")
def learned(make_bands: MakeBands) -> tuple[Path, Path]:
    """A network to which two bands count for little, and one that has learned to see them."""
    weights = np.repeat([[1.0], [1.0], [0.3], [0.3]], 3, axis=1)
    return make_bands("faint.onnx", weights), make_bands("learned.onnx")


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with random parameters, whose batch norms have seen crops."""
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    architecture = Architecture(
        num_classes=1,
        exits=(1,),
        embedding_dim=DIM,
        height_px=HEIGHT,
        width_px=WIDTH,
        space=SPACE,
    )
    network = build_network(architecture, seed=0)
    rng = np.random.default_rng(1)
    network.train()
    with torch.no_grad():
        for _ in range(20):
            crops = [np.asarray(draw_crop(draw_person(rng), rng)) for _ in range(40)]
            network(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2))
    save_network(path, network, provenance={"data": "nothing"})
    return path


@pytest.fixture(scope="session")
def teacher(start: Path) -> Path:
    """What the network to start from says before it learns."""
    return _export(start, start.with_name("teacher.onnx"))


@pytest.fixture(scope="session")
def in_use(start: Path) -> Path:
    """The teacher with six numbers of its twelve, in a space of its own."""
    whole = load_network(start)
    poor = build_network(replace(whole.architecture, space="cd" * 8), seed=0)
    poor.load_state_dict(whole.state_dict())
    with torch.no_grad():
        poor.get_parameter("exits.1.projection.weight")[6:] = 0
    path = start.with_name("poor.safetensors")
    save_network(path, poor)
    return _export(path, start.with_name("in-use.onnx"))


def _export(path: Path, out: Path) -> Path:
    (file,) = export_network(path, out, depths=(1,), licence="CC0")
    return file.path


@pytest.fixture(scope="module")
def make_request(start: Path, teacher: Path, in_use: Path) -> MakeRequest:
    def make(folder: Path, **changes: object) -> SiteRequest:
        request = SiteRequest(
            start=start,
            teacher=str(teacher),
            network=str(in_use),
            out=folder / "mine.onnx",
            work=folder / "work",
            depth=1,
            epochs=2,
            new_space=True,
        )
        return replace(request, **changes)  # type: ignore[arg-type]

    return make
