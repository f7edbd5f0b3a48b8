"""Averages of weights, of one training and of several."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from adln.errors import TrainingError
from adln.model.network import ADLN, Architecture, build_network
from adln.training.averaging import average_networks, averaged_copy, estimate_statistics


def test_each_step_keeps_its_share_of_weights_and_statistics() -> None:
    network = build_network(Architecture(num_classes=3, exits=(1,)), seed=0)
    average = averaged_copy(network, 0.75)
    names = [name for name, value in network.state_dict().items() if value.is_floating_point()]
    expected: dict[str, torch.Tensor] = {}
    for step in range(3):
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if name in names:
                    value.add_(step + 1.0)
                    old = expected.get(name)
                    expected[name] = value.clone() if old is None else 0.75 * old + 0.25 * value
        average.update_parameters(network)
    got = average.module.state_dict()
    for name in names:
        torch.testing.assert_close(got[name], expected[name])


def test_the_average_is_not_trained() -> None:
    network = build_network(Architecture(num_classes=3, exits=(1,)), seed=0)
    average = averaged_copy(network, 0.9)
    assert not any(parameter.requires_grad for parameter in average.parameters())
    assert any(parameter.requires_grad for parameter in network.parameters())


def small_network(seed: int, **changes: Any) -> ADLN:
    form = Architecture(num_classes=3, exits=(1,), height_px=32, width_px=16)
    return build_network(replace(form, **changes), seed=seed)


def test_an_average_has_the_mean_of_all_weights_and_leaves_the_networks_alone() -> None:
    networks = [small_network(seed, num_classes=3 + seed) for seed in range(3)]
    before = [deepcopy(network.state_dict()) for network in networks]
    averaged = average_networks(networks).state_dict()
    for name, value in averaged.items():
        pairs = list(zip(networks, before, strict=True))
        stored = [state[name] for state in before]
        is_mean = value.is_floating_point() and "classifier" not in name  # of other persons
        torch.testing.assert_close(value, sum(stored) / 3 if is_mean else stored[-1])
        assert all(torch.equal(n.state_dict()[name], s[name]) for n, s in pairs)
    assert average_networks(networks[:1]).state_dict().keys() == averaged.keys()


def test_networks_of_two_architectures_have_no_average() -> None:
    with pytest.raises(TrainingError, match=r"embedding_dim: 2048 and 64; space: '' and 'ab'"):
        average_networks([small_network(0), small_network(0, embedding_dim=64, space="ab")])


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(130)]
    for path in paths:
        pixels = rng.integers(0, 256, (1, 1, 3)) + rng.integers(-9, 10, (32, 16, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return paths


def test_statistics_are_those_of_the_pictures(pictures: list[Path]) -> None:
    network = small_network(0).train()
    norm = network.stem.bn1
    assert isinstance(norm, torch.nn.BatchNorm2d)
    seen: list[torch.Tensor] = []
    network.stem.conv1.register_forward_hook(lambda _, __, maps: seen.append(maps.detach()))
    told: list[int] = []
    estimate_statistics(network, pictures, on_progress=told.append)
    assert not network.training
    assert norm.momentum == 0.1
    assert (told, len(seen)) == ([64, 64, 2], 2)  # two crops are no batch
    means = torch.stack([maps.mean(dim=(0, 2, 3)) for maps in seen])
    torch.testing.assert_close(norm.running_mean, means.mean(dim=0))
    again = small_network(0)
    estimate_statistics(again, pictures)
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_one_picture_has_no_statistics(pictures: list[Path]) -> None:
    network = small_network(0)
    before = deepcopy(network.state_dict())
    with pytest.raises(TrainingError, match="at least 2 pictures, got 1"):
        estimate_statistics(network, pictures[:1])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_few_pictures_are_one_batch(pictures: list[Path]) -> None:
    network = small_network(0)
    estimate_statistics(network, pictures[:5])
    assert int(network.stem.bn1.num_batches_tracked) == 1
