"""Labelled crops are contrasted with what each camera saw of each person."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from adln.datasets.split import Split
from adln.errors import SettingsError, TrainingError
from adln.losses.cluster_contrast import cluster_contrast_loss
from adln.losses.objective import ObjectiveWeights
from adln.training.data import UNLABELLED, TrainingData, load_training_data
from adln.training.lesson import PersonLesson
from adln.training.loop import NETWORK_FILE, build_fabric, train
from adln.training.recipe import Batch, NetworkSettings, Recipe
from adln.training.schedule import Schedule

PERSONS = np.repeat(np.arange(4), 6)
CAMERAS = np.tile(np.repeat(np.arange(2), 3), 4)


def looks(seed: int = 0) -> torch.Tensor:
    """(24, 8) embeddings: a direction for each person, and some noise."""
    noise = torch.randn(24, 8, generator=torch.Generator().manual_seed(seed)) * 0.05
    return F.normalize(torch.eye(8)[torch.from_numpy(PERSONS)] + noise)


def begun() -> PersonLesson:
    lesson = PersonLesson(PERSONS, CAMERAS, dim=8, weight=1.0)
    lesson.begin(looks())
    return lesson


def test_there_is_a_proxy_for_each_camera_of_each_person() -> None:
    lesson = begun()
    assert lesson.proxies.shape == (8, 8)
    means = F.normalize(looks().reshape(4, 2, 3, 8).mean(2).reshape(8, 8))
    torch.testing.assert_close(lesson.proxies[lesson.proxy_of[::3]], means)


def test_the_loss_is_the_cluster_contrast_of_the_persons_and_falls_near_them() -> None:
    lesson, other, crops = begun(), begun(), torch.arange(24)
    near = lesson({2: looks(1)}, crops)
    proxies, order = other.proxies, other.proxy_of[::3]
    persons, cameras = torch.arange(4).repeat_interleave(2), torch.arange(2).repeat(4)
    expected = cluster_contrast_loss(
        looks(1), torch.from_numpy(PERSONS), proxies[order], persons, cameras
    )
    torch.testing.assert_close(near, expected)
    assert near < 0.1 < other({2: looks(1).roll(6, 0)}, crops)


def test_each_exit_is_drawn_to_the_proxies_which_follow_the_deepest() -> None:
    lesson, alone, crops = begun(), begun(), torch.arange(24)
    shallow = looks(2).roll(6, 0).requires_grad_()
    both = lesson({1: shallow, 2: looks(1)}, crops)
    assert both > alone({2: looks(1)}, crops)
    both.backward()
    assert shallow.grad is not None
    assert shallow.grad.abs().sum() > 0
    assert torch.equal(lesson.proxies, alone.proxies)
    assert not torch.equal(lesson.proxies, begun().proxies)


def recipe(**objective: float) -> Recipe:
    weights: dict[str, Any] = {
        "identity": 0,
        "triplet": 0,
        "center": 0,
        "distillation": 0,
        "imitation": 5,
    }
    return Recipe(
        network=NetworkSettings(exits=(1, 2), imagenet="", teacher_space=True),
        batch=Batch(persons=2, crops=2, unlabelled=4, height_px=64, width_px=32),
        schedule=Schedule(epochs=3, warmup_epochs=1, base_lr=1e-3),
        objective=ObjectiveWeights(**{**weights, "attention_transfer": 0, **objective}),
        teacher="teacher.npz",
    )


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """24 labelled crops in plain colours, 6 unlabelled; a teacher that knows nothing of either."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 200, (5, 1, 1, 3))
    labels = np.concatenate((PERSONS, np.full(6, UNLABELLED)))
    crops = (colours[labels] + rng.integers(0, 56, (30, 64, 32, 3))).astype(np.uint8)
    taught = np.tile(np.eye(8, dtype=np.float32)[:1], (30, 1))
    cameras = np.concatenate((CAMERAS, np.full(6, UNLABELLED)))
    return TrainingData(crops, labels, 4, "drawn", taught, cameras=cameras)


def test_a_network_learns_persons_beside_a_teacher_and_may_stop_at_any_step(
    data: TrainingData, tmp_path: Path
) -> None:
    chosen = recipe(camera_contrast=1)
    fabric = build_fabric(chosen, device="cpu")
    losses: list[float] = []
    whole = train(
        chosen,
        data,
        tmp_path / "whole",
        fabric=fabric,
        on_progress=lambda at: losses.append(at.losses["lesson"]),
    )
    assert whole.finished
    assert losses[-1] < losses[0]
    for _ in range(30):
        if train(
            chosen, data, tmp_path / "legs", fabric=fabric, should_stop=lambda: "again"
        ).finished:
            break
    expected, got = (load_file(tmp_path / name / NETWORK_FILE) for name in ("whole", "legs"))
    assert all(torch.equal(tensor, got[name]) for name, tensor in expected.items())


def test_data_without_cameras_are_refused(data: TrainingData, tmp_path: Path) -> None:
    chosen = recipe(camera_contrast=1)
    blind = replace(data, cameras=None)
    with pytest.raises(TrainingError, match="no cameras"):
        train(chosen, blind, tmp_path, fabric=build_fabric(chosen, device="cpu"))


def test_exits_without_a_common_space_are_refused() -> None:
    with pytest.raises(SettingsError, match="one space"):
        Recipe(objective=ObjectiveWeights(camera_contrast=1))
    alone = NetworkSettings(exits=(2,))
    assert Recipe(network=alone, objective=ObjectiveWeights(camera_contrast=1)).network is alone


def test_loaded_data_know_the_cameras(tmp_path: Path) -> None:

    paths = tuple(tmp_path / f"{number}.png" for number in range(4))
    for path in paths:
        Image.new("RGB", (8, 16)).save(path)
    split = Split("train", paths[:3], np.array([5, 5, 9]), np.array([1, 2, 1]))
    loaded = load_training_data(split, height_px=16, width_px=8, unlabelled=paths[3:])
    assert loaded.cameras is not None
    assert loaded.cameras.tolist() == [1, 2, 1, UNLABELLED]
    assert loaded.labelled == 3
