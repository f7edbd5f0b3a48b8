"""A teacher that sees each crop, and training in its space without a label."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file
from tests.small_networks import say_bgr

import adln
from adln.embedders.foreign import sidecar
from adln.errors import SettingsError, TrainingError
from adln.export.spaces import name_space
from adln.losses.objective import ObjectiveWeights
from adln.model.checkpoint import load_network
from adln.model.network import ADLN, IMAGENET_MEAN, IMAGENET_STD
from adln.training.augmentation import Augmentation
from adln.training.data import UNLABELLED, TrainingData
from adln.training.loop import NETWORK_FILE, build_fabric, train
from adln.training.recipe import Batch, NetworkSettings, Recipe
from adln.training.schedule import Schedule
from adln.training.teacher import Teacher, TeacherNetwork

HEIGHT, WIDTH = 64, 32


@pytest.fixture(scope="module")
def teacher_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network whose embedding is the mean of each channel, and of the upper half."""
    nodes = [
        helper.make_node("Slice", ["crops", "zero", "half", "axis"], ["upper"]),
        helper.make_node("GlobalAveragePool", ["crops"], ["whole"]),
        helper.make_node("GlobalAveragePool", ["upper"], ["head"]),
        helper.make_node("Concat", ["whole", "head"], ["both"], axis=1),
        helper.make_node("Flatten", ["both"], ["embeddings"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([value], np.int64), name)
        for name, value in (("zero", 0), ("half", HEIGHT // 2), ("axis", 2))
    ]
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 3, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", 6])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("teacher") / "means.onnx"
    onnx.save(model, path)
    return path


def crops(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, 3, HEIGHT, WIDTH)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("count", [1, 8, 11])
def test_it_embeds_any_number_of_crops_in_its_order_of_channels(
    teacher_path: Path, count: int
) -> None:
    pixels = crops(count)
    expected = torch.cat(
        (pixels.float().mean((2, 3)), pixels[:, :, : HEIGHT // 2].float().mean((2, 3))), 1
    )
    for colours in ("rgb", "bgr"):
        chosen = TeacherNetwork(path=str(teacher_path), colours=colours)
        teacher = Teacher(chosen, bf16=False)
        assert (teacher.dim, teacher.crop_size) == (6, (HEIGHT, WIDTH))
        order = [0, 1, 2, 3, 4, 5] if colours == "rgb" else [2, 1, 0, 5, 4, 3]
        wanted = torch.nn.functional.normalize(expected[:, order])
        torch.testing.assert_close(teacher(pixels), wanted, atol=1e-5, rtol=1e-5)


def test_its_space_is_that_of_the_same_network_once_described(
    teacher_path: Path, tmp_path: Path
) -> None:
    """A network that learned from a teacher can be compared with it."""
    openvino = pytest.importorskip("openvino")
    converted = tmp_path / "converted.xml"
    openvino.save_model(openvino.Core().read_model(teacher_path), converted)
    say_bgr(converted)
    scaled = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    reversed_ = {"mean": IMAGENET_MEAN[::-1], "std": IMAGENET_STD[::-1]}
    known: list[tuple[Path, str, dict[str, tuple[float, float, float]]]] = [
        (converted, "bgr", {}),
        (teacher_path, "bgr", {}),
        (teacher_path, "rgb", {}),
        (teacher_path, "rgb", scaled),
        (teacher_path, "bgr", reversed_),
    ]
    pixels = crops(8)
    spaces: list[str] = []
    for path, colours, statistics in known:
        sidecar(path).unlink(missing_ok=True)
        described = adln.describe_network(path, colours=colours, **statistics)
        chosen = TeacherNetwork(
            path=str(path), colours=colours, imagenet_statistics=bool(statistics)
        )
        teacher = Teacher(chosen, bf16=False)
        assert (teacher.space,) == described.spaces
        spaces += described.spaces
        found = adln.load(path).embed(list(pixels.permute(0, 2, 3, 1).numpy()))
        np.testing.assert_allclose(teacher(pixels), found, atol=1e-5)
    assert len(set(spaces)) == 5


def test_a_converted_network_has_the_space_that_networks_were_trained_in(
    teacher_path: Path, tmp_path: Path
) -> None:
    """Digest of its files, since before formats were told apart."""
    openvino = pytest.importorskip("openvino")
    path = tmp_path / "converted.xml"
    openvino.save_model(openvino.Core().read_model(teacher_path), path)
    content = path.read_bytes() + path.with_suffix(".bin").read_bytes()
    described = adln.describe_network(path, colours="rgb")
    assert described.spaces == (hashlib.sha256(content).hexdigest()[:16],)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="missing: "):
        Teacher(TeacherNetwork(path=str(tmp_path / "nothing.xml")), bf16=False)
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"nothing")
    with pytest.raises(TrainingError, match="is not a network"):
        Teacher(TeacherNetwork(path=str(broken)), bf16=False)


def recipe(path: Path, **changes: object) -> Recipe:
    chosen = Recipe(
        network=NetworkSettings(exits=(1, 2), imagenet="", teacher_space=True),
        batch=Batch(
            persons=0,
            crops=0,
            unlabelled=8,
            height_px=32,
            width_px=16,
            stored_height_px=HEIGHT,
            stored_width_px=WIDTH,
        ),
        augmentation=Augmentation(padding_px=2, hue=0.5, compose_probability=0.5),
        schedule=Schedule(epochs=8, warmup_epochs=0, base_lr=2e-3),
        objective=ObjectiveWeights(
            identity=0.0,
            triplet=0.0,
            center=0.0,
            attention_transfer=0.0,
            distillation=0.0,
            imitation=5.0,
            relation=5.0,
        ),
        teacher_network=TeacherNetwork(path=str(path), colours="rgb"),
        optimiser="adamw",
        average_decay=0.5,
    )
    return replace(chosen, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def data() -> TrainingData:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 200, (24, 2, 1, 3)).repeat(HEIGHT // 2, axis=1)
    pixels = colours + rng.integers(0, 56, (24, HEIGHT, WIDTH, 3))
    return TrainingData(pixels.astype(np.uint8), np.full(24, UNLABELLED), 1, "drawn")


def test_exits_learn_its_space_from_crops_that_nobody_named(
    teacher_path: Path, data: TrainingData, tmp_path: Path
) -> None:
    losses: list[float] = []
    chosen = recipe(teacher_path)
    outcome = train(
        chosen,
        data,
        tmp_path,
        fabric=build_fabric(chosen, device="cpu"),
        on_progress=lambda at: losses.append(at.losses["imitation/2"]),
    )
    assert outcome.finished
    assert losses[-1] < 0.7 * losses[0]
    network = load_network(outcome.network_path)
    assert network.architecture.embedding_dim == 6
    space = Teacher(chosen.teacher_network, bf16=False).digest[:16]
    assert {name_space(network, depth) for depth in (1, 2)} == {space}, "the teacher's own"


def test_a_deeper_exit_learns_what_the_one_before_it_misses(
    teacher_path: Path, data: TrainingData, tmp_path: Path
) -> None:
    apart = recipe(teacher_path, schedule=Schedule(epochs=1, warmup_epochs=0, base_lr=5e-3))
    begun = train(apart, data, tmp_path / "apart", fabric=build_fabric(apart, device="cpu"))
    network = replace(
        apart.network, start_from=str(begun.network_path), frozen_depth=1, summed_exits=(1, 2)
    )
    chosen = replace(apart, network=network, schedule=replace(apart.schedule, epochs=16))
    losses: list[Mapping[str, float]] = []
    outcome = train(
        chosen,
        data,
        tmp_path / "summed",
        fabric=build_fabric(chosen, device="cpu"),
        on_progress=lambda at: losses.append(at.losses),
    )
    assert losses[-1]["imitation/2"] < 0.8 * losses[0]["imitation/2"]
    trained = load_network(outcome.network_path).eval()
    assert trained.architecture.summed_exits == (1, 2)
    pixels = crops(4)
    with torch.no_grad():
        summed = trained(pixels).exits[2].embedding
        own = trained.exits["2"](trained.stages["2"](_first_stage(trained, pixels))).embedding
        first = trained(pixels).exits[1].embedding
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(summed), unit(unit(first) + unit(own)))
    with pytest.raises(SettingsError, match="exits of one space"):
        replace(chosen, network=replace(network, teacher_space=False))


def _first_stage(network: ADLN, pixels: torch.Tensor) -> torch.Tensor:
    maps: torch.Tensor = network.stages["1"](network.stem((pixels - network.mean) / network.std))
    return maps


def test_an_interruption_leaves_no_trace(
    teacher_path: Path, data: TrainingData, tmp_path: Path
) -> None:
    chosen = recipe(teacher_path, schedule=Schedule(epochs=2, warmup_epochs=0))
    fabric = build_fabric(chosen, device="cpu")
    assert train(chosen, data, tmp_path / "whole", fabric=fabric).finished
    for _ in range(20):
        if train(chosen, data, tmp_path / "legs", fabric=fabric, should_stop=lambda: "x").finished:
            break
    whole, legs = (load_file(tmp_path / name / NETWORK_FILE) for name in ("whole", "legs"))
    assert all(torch.equal(tensor, legs[name]) for name, tensor in whole.items())


def test_a_margin_and_labels_stand_beside_the_imitation(
    teacher_path: Path, data: TrainingData, tmp_path: Path
) -> None:
    named = replace(data, labels=np.repeat(np.arange(4), 6), num_classes=4)
    chosen = recipe(
        teacher_path,
        batch=Batch(persons=2, crops=2, unlabelled=4, height_px=32, width_px=16),
        objective=ObjectiveWeights(imitation=1.0, margin_identity=1.0, identity=0.0),
        schedule=Schedule(epochs=1, warmup_epochs=0),
    )
    seen: dict[str, float] = {}
    outcome = train(
        chosen,
        named,
        tmp_path,
        fabric=build_fabric(chosen, device="cpu"),
        on_progress=lambda at: seen.update(at.losses),
    )
    assert outcome.finished
    assert {"margin_identity/1", "triplet/2", "imitation/1", "distillation/1"} <= seen.keys()


def test_settings_that_contradict_each_other_are_refused(teacher_path: Path) -> None:
    with pytest.raises(SettingsError, match="and vice versa"):
        recipe(teacher_path, teacher="features.npz")
    with pytest.raises(SettingsError, match="no labelled crops, which"):
        recipe(teacher_path, objective=ObjectiveWeights(imitation=1.0))
    with pytest.raises(SettingsError, match="need a teacher"):
        Recipe(batch=Batch(unlabelled=4))
    with pytest.raises(SettingsError, match="stored_height_px"):
        Batch(stored_height_px=64)
