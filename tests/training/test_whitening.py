"""What everybody has in common weighs less, and the network that says so costs what it did."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from torch.testing import assert_close

from adln.datasets.split import Split
from adln.errors import TrainingError
from adln.model.network import ADLN, Architecture, build_network
from adln.training.data import evenly
from adln.training.whitening import (
    CROPS,
    WhiteningStrength,
    fit_whitening,
    require_whitenable,
    whiten,
)

DIM = 8


def draw_people(*, persons: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two embeddings of each person, (N, D): a large light of the day beside their small looks."""
    rng = torch.Generator().manual_seed(seed)
    looks = 0.3 * torch.randn(persons, DIM, generator=rng)
    looks[:, 0] = 0

    def seen() -> torch.Tensor:
        light = torch.zeros(persons, DIM)
        light[:, 0] = 1 + torch.randn(persons, generator=rng)
        return F.normalize(looks + light + 0.02 * torch.randn(persons, DIM, generator=rng))

    return seen(), seen()


def found(first: torch.Tensor, second: torch.Tensor) -> float:
    """Share of persons whose own embedding is the nearest."""
    own = torch.arange(len(first))
    return float(((first @ second.T).argmax(dim=1) == own).double().mean())


ALONE = WhiteningStrength(power_within=0)


def test_what_many_share_weighs_less() -> None:
    first, second = draw_people()
    others = torch.cat(draw_people(seed=1))
    whitening = fit_whitening([(others, None)], ALONE)
    assert found(whitening.apply(first), whitening.apply(second)) > found(first, second) + 0.03
    moved = whitening.apply(others)
    assert moved.mean(dim=0).norm() < 0.8 * others.mean(dim=0).norm()


def test_where_a_person_varies_weighs_less() -> None:
    first, second = draw_people()
    others, persons = torch.cat(draw_people(seed=1)), torch.arange(300).repeat(2)
    whitening = fit_whitening([(others, persons)], WhiteningStrength(power=0, centred=0))
    assert found(whitening.apply(first), whitening.apply(second)) > found(first, second) + 0.03
    with pytest.raises(TrainingError, match="at least two of one person"):
        fit_whitening([(others, None)])
    with pytest.raises(TrainingError, match="at least two of one person"):
        fit_whitening([(others, torch.arange(600))])


def test_a_small_data_set_counts_as_much_as_a_large_one() -> None:
    small, large = draw_people()[0][:100], torch.cat(draw_people(seed=1))
    whole = fit_whitening([(small, None), (large, None)], ALONE)
    again = fit_whitening([(small.repeat(6, 1), None), (large, None)], ALONE)
    assert_close(whole.map, again.map)
    assert_close(whole.offset, again.offset)


def test_without_power_and_centre_nothing_moves() -> None:
    first, _ = draw_people()
    nothing = WhiteningStrength(power=0, power_within=0, centred=0)
    assert_close(fit_whitening([(first, None)], nothing).apply(first), first)


def test_full_power_makes_all_directions_alike() -> None:
    rows = torch.cat(draw_people(persons=4000))
    full = WhiteningStrength(power=0.5, power_within=0, centred=1, shrinkage=1e-9)
    whitening = fit_whitening([(rows, None)], full)
    spread = torch.cov(((rows.double() - whitening.offset) @ whitening.map).T)
    assert_close(spread, spread[0, 0] * torch.eye(DIM, dtype=torch.float64), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        ({"power": 0.6}, r"powers from 0 to 0\.5"),
        ({"power_within": -0.1}, r"powers from 0 to 0\.5"),
        ({"centred": -0.1}, "a share of the mean from 0 to 1"),
        ({"shrinkage": 0.0}, "shrinkage of a whitening must be above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, float], problem: str) -> None:
    with pytest.raises(TrainingError, match=problem):
        WhiteningStrength(**numbers)


def test_fewer_crops_than_dimensions_are_refused() -> None:
    with pytest.raises(TrainingError, match="needs at least 8 crops, got 7"):
        fit_whitening([(torch.eye(DIM)[:7], None)])


def test_of_many_crops_so_many_are_looked_at_from_first_to_last() -> None:
    assert evenly(3, CROPS).tolist() == [0, 1, 2]
    chosen = evenly(10 * CROPS, CROPS)
    assert len(set(chosen.tolist())) == CROPS
    assert (chosen[0], chosen[-1]) == (0, 10 * CROPS - 1)
    assert evenly(0, CROPS).tolist() == []


@pytest.fixture
def network() -> ADLN:
    architecture = Architecture(
        num_classes=3, exits=(1, 2), embedding_dim=DIM, height_px=32, width_px=16
    )
    return build_network(architecture, seed=0).eval()


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    for path in paths:
        bands = rng.integers(0, 256, (8, 1, 3), dtype=np.uint8)
        Image.fromarray(bands).resize((16, 32), Image.Resampling.NEAREST).save(path)
    return paths


def test_the_network_itself_answers_whitened(network: ADLN, pictures: list[Path]) -> None:
    crops = np.stack([np.asarray(Image.open(path)) for path in pictures])
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2)
    with torch.inference_mode():
        before = {depth: answer.embedding for depth, answer in network(pixels).exits.items()}
    counts: list[int] = []
    persons = np.arange(30) // 2
    split = Split("train", tuple(pictures[:30]), persons, np.zeros(30, np.int64))
    assert whiten(network, [split], pictures[30:], on_progress=counts.append) == 40
    assert sum(counts) == 40
    rows = F.normalize(before[2])
    whitening = fit_whitening([(rows[:30], torch.from_numpy(persons)), (rows[30:], None)])
    with torch.inference_mode():
        answers = network(pixels).exits
    for depth, rows in before.items():
        offset = rows.norm(dim=1).mean() * whitening.offset
        expected = (rows.double() - offset) @ whitening.map
        assert_close(answers[depth].embedding.double(), expected, rtol=1e-3, atol=1e-4)


def test_of_exits_that_answer_together_each_is_whitened_and_one_can_be_left_as_it_is(
    pictures: list[Path],
) -> None:
    form = Architecture(
        num_classes=3,
        exits=(1, 2, 3),
        summed_exits=(2, 3),
        embedding_dim=DIM,
        height_px=32,
        width_px=16,
    )
    network = build_network(form, seed=0).eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in pictures]))
    pixels = pixels.permute(0, 3, 1, 2)

    def answers() -> dict[int, torch.Tensor]:
        with torch.inference_mode():
            return {depth: out.embedding for depth, out in network(pixels).exits.items()}

    together = answers()
    network.architecture = replace(form, summed_exits=())
    alone = answers()
    network.architecture = form
    whiten(network, [], pictures, ALONE, exits=(2, 3))
    whitening = fit_whitening([(F.normalize(together[3]), None)], ALONE)
    moved = {
        depth: (rows.double() - rows.norm(dim=1).mean() * whitening.offset) @ whitening.map
        for depth, rows in alone.items()
    }
    after = answers()
    expected = F.normalize(F.normalize(moved[2]) + F.normalize(moved[3]))
    assert_close(F.normalize(after[3]).double(), expected, rtol=1e-3, atol=1e-3)
    assert_close(after[1], together[1], rtol=0, atol=0)
    changed = {
        name for name, tensor in network.state_dict().items() if not tensor.equal(before[name])
    }
    assert {name.split(".")[1] for name in changed} == {"2", "3"}
    with pytest.raises(TrainingError, match="with a teacher in its space"):
        require_whitenable(network.cut(3))


def test_classifiers_go_along_but_for_a_constant(network: ADLN, pictures: list[Path]) -> None:
    torch.nn.init.normal_(network.get_parameter("exits.2.classifier.weight"))
    pixels = torch.randint(0, 256, (6, 3, 32, 16), dtype=torch.uint8)
    with torch.inference_mode():
        before = network(pixels).exits[2].logits
    whiten(network, [], pictures, ALONE)
    with torch.inference_mode():
        moved = network(pixels).exits[2].logits - before
    assert_close(moved, moved[:1].expand_as(moved), rtol=1e-3, atol=1e-3)


def test_a_network_without_a_last_layer_of_its_own_is_refused() -> None:
    form = Architecture(num_classes=3, exits=(1,), height_px=32, width_px=16)
    whole = build_network(form, seed=0)
    with pytest.raises(TrainingError, match="with a teacher in its space"):
        require_whitenable(whole)
