"""Imitation: the exits come to say what another network says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from adln.datasets.split import Split
from adln.errors import DatasetError, SettingsError, TrainingError
from adln.features import Features, FeatureSource, write_features
from adln.losses.objective import ObjectiveWeights
from adln.model.exits import FEATURE_DIM, ExitOutput
from adln.training.data import TrainingData
from adln.training.imitation import Imitators, load_teacher_embeddings
from adln.training.loop import NETWORK_FILE, build_fabric, train
from adln.training.recipe import Batch, NetworkSettings, Recipe
from adln.training.schedule import Schedule

SOURCE = FeatureSource(0, True, "ab", "ab", "fp32", "0")
PATHS = ("train/7/1_a.jpg", "train/8/1_a.jpg", "train/8/2_b.jpg")


def split(*paths: str) -> Split:
    ids = np.zeros(len(paths), np.int64)
    return Split("train", tuple(Path(path) for path in paths), ids, ids)


def feature_file(folder: Path, paths: tuple[str, ...] = PATHS) -> Path:
    path = folder / "teacher.npz"
    embeddings = np.diag(np.arange(1, 1 + len(paths))).astype(np.float32)
    write_features(Features(paths, embeddings, SOURCE), path)
    return path


def test_teacher_embeddings_follow_the_order_of_the_split_wherever_it_lies(tmp_path: Path) -> None:
    wanted = split("/x/8/2_b.jpg", "/x/7/1_a.jpg")
    embeddings, space = load_teacher_embeddings(feature_file(tmp_path), wanted)
    assert embeddings.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert space == ""


def test_a_picture_without_a_teacher_embedding_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"9/1_a\.jpg"):
        load_teacher_embeddings(feature_file(tmp_path), split("/x/9/1_a.jpg"))


def test_pictures_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    path = feature_file(tmp_path, ("a/train/1.jpg", "b/train/1.jpg"))
    with pytest.raises(DatasetError, match="same name"):
        load_teacher_embeddings(path, split("b/train/1.jpg"))


def test_each_exit_predicts_by_a_map_of_its_own_that_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    one = Imitators((1, 2), 6, seed=3)
    torch.manual_seed(6)
    again, other = Imitators((1, 2), 6, seed=3), Imitators((1, 2), 6, seed=4)
    empty = torch.empty(0)
    exits = {depth: ExitOutput(empty, empty, torch.ones(5, FEATURE_DIM), empty) for depth in (1, 2)}
    guesses = one(exits)
    assert {depth: guess.shape for depth, guess in guesses.items()} == {1: (5, 6), 2: (5, 6)}
    assert not torch.equal(guesses[1], guesses[2])
    assert_close(guesses, again(exits))
    assert not torch.equal(guesses[1], other(exits)[1])


def recipe(weight: float = 5.0, epochs: int = 6) -> Recipe:
    return Recipe(
        network=NetworkSettings(exits=(1, 2), imagenet=""),
        batch=Batch(persons=2, crops=2, height_px=64, width_px=32),
        schedule=Schedule(epochs=epochs, warmup_epochs=1, base_lr=1e-3),
        objective=ObjectiveWeights(imitation=weight),
        teacher="teacher.npz",
    )


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """Plain colours with noise; the teacher tells their place on a circle."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 6)
    colours = rng.integers(0, 200, (4, 1, 1, 3))
    crops = (colours[labels] + rng.integers(0, 56, (24, 64, 32, 3))).astype(np.uint8)
    angles = labels * np.pi / 2
    lessons = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    return TrainingData(crops, labels, 4, "drawn", lessons)


def test_the_exits_learn_what_the_teacher_says(data: TrainingData, tmp_path: Path) -> None:
    losses: list[tuple[float, float]] = []
    chosen = recipe()
    outcome = train(
        chosen,
        data,
        tmp_path,
        fabric=build_fabric(chosen, device="cpu"),
        on_progress=lambda at: losses.append((at.losses["imitation/1"], at.losses["imitation/2"])),
    )
    assert outcome.finished
    assert losses[-1][0] < 0.5 * losses[0][0]
    assert losses[-1][1] < 0.5 * losses[0][1]
    names = load_file(tmp_path / NETWORK_FILE).keys()
    assert not [name for name in names if "imitator" in name], "the maps are left behind"


def test_an_interruption_leaves_no_trace(data: TrainingData, tmp_path: Path) -> None:
    chosen = recipe(epochs=2)
    fabric = build_fabric(chosen, device="cpu")
    assert train(chosen, data, tmp_path / "whole", fabric=fabric).finished
    for _ in range(20):
        if train(chosen, data, tmp_path / "legs", fabric=fabric, should_stop=lambda: "x").finished:
            break
    whole, legs = (load_file(tmp_path / name / NETWORK_FILE) for name in ("whole", "legs"))
    assert all(torch.equal(tensor, legs[name]) for name, tensor in whole.items())


def test_data_without_teacher_embeddings_are_an_error(data: TrainingData, tmp_path: Path) -> None:
    chosen = recipe()
    bare = replace(data, teacher_embeddings=None)
    with pytest.raises(TrainingError, match="no teacher embeddings"):
        train(chosen, bare, tmp_path, fabric=build_fabric(chosen, device="cpu"))


def test_a_teacher_and_its_weight_belong_together() -> None:
    with pytest.raises(SettingsError, match="and vice versa"):
        Recipe(teacher="teacher.npz")
    with pytest.raises(SettingsError, match="and vice versa"):
        Recipe(objective=ObjectiveWeights(imitation=1.0))
