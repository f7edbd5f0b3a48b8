"""Exits that know the same persons in different directions come to lie in one space."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from adln.errors import TrainingError
from adln.model.exits import FEATURE_DIM
from adln.model.network import ADLN, Architecture, build_network
from adln.training.common_space import (
    CommonSpace,
    fit_common_space,
    join_exits,
    with_common_space,
)

PERSONS, CROPS_EACH, HIDDEN = 30, 8, 40


@pytest.fixture(scope="module")
def exits() -> tuple[dict[int, Tensor], Tensor]:
    """Two exits that see the same crops, each turned its own way and with its own noise."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    labels = torch.arange(PERSONS).repeat_interleave(CROPS_EACH)
    looks = normal(PERSONS, HIDDEN)[labels]
    embeddings = {}
    for depth, noise in ((2, 0.6), (4, 0.2)):
        seen = looks + noise * normal(len(labels), HIDDEN)
        embeddings[depth] = F.normalize(seen @ normal(HIDDEN, FEATURE_DIM))
    return embeddings, labels


def share_found(queries: Tensor, gallery: Tensor, labels: Tensor) -> float:
    """How often the nearest of the other crops shows the same person."""
    scores = F.normalize(queries) @ F.normalize(gallery).T
    scores.fill_diagonal_(-2)
    return (labels[scores.argmax(dim=1)] == labels).float().mean().item()


def test_a_shallow_query_finds_a_deep_gallery(exits: tuple[dict[int, Tensor], Tensor]) -> None:
    embeddings, labels = exits
    assert share_found(embeddings[2], embeddings[4], labels) < 0.2
    seen = torch.arange(len(labels)) % 2 == 0  # every other crop is kept out of the fit
    space = fit_common_space(
        {depth: values[seen] for depth, values in embeddings.items()}, labels[seen], dim=20
    )
    new = {depth: values[~seen] @ space.maps[depth].T for depth, values in embeddings.items()}
    assert new[2].shape == (PERSONS * CROPS_EACH // 2, 20)
    assert share_found(new[2], new[4], labels[~seen]) > 0.9
    assert share_found(new[4], new[4], labels[~seen]) > 0.9


def test_persons_lie_where_the_deepest_exit_sees_them(
    exits: tuple[dict[int, Tensor], Tensor],
) -> None:
    embeddings, labels = exits
    space = fit_common_space(embeddings, labels, dim=PERSONS, ridge=1e-6)
    assert space.centers.shape == (PERSONS, PERSONS)
    own = F.normalize(embeddings[4] @ space.maps[4].T)
    assert (own @ space.centers.T).argmax(dim=1).equal(labels)


def test_an_exit_that_is_added_later_comes_into_the_space_in_use(
    exits: tuple[dict[int, Tensor], Tensor],
) -> None:
    embeddings, labels = exits
    before = fit_common_space({2: embeddings[2]}, labels, dim=20)
    after = fit_common_space(embeddings, labels, dim=20, goal_depth=2)
    assert torch.equal(before.maps[2], after.maps[2])
    assert torch.equal(before.centers, after.centers)
    old, new = embeddings[2] @ before.maps[2].T, embeddings[4] @ after.maps[4].T
    assert share_found(new, old, labels) > 0.9
    with pytest.raises(TrainingError, match=r"exit 3 cannot be the goal.* of \[2, 4\]"):
        fit_common_space(embeddings, labels, dim=20, goal_depth=3)


@pytest.fixture(scope="module")
def network() -> ADLN:
    return build_network(Architecture(num_classes=6, exits=(1, 2)), seed=0).eval()


def test_projections_stand_behind_the_bnneck_and_the_rest_stays(network: ADLN) -> None:
    generator = torch.Generator().manual_seed(1)
    maps = {depth: torch.randn(4, FEATURE_DIM, generator=generator) for depth in (1, 2)}
    centers = torch.eye(6, 4)
    aligned = with_common_space(network, CommonSpace(maps, centers))
    crops = torch.randint(0, 256, (2, 3, 64, 32), generator=generator, dtype=torch.uint8)
    with torch.inference_mode():
        before, after = network(crops), aligned(crops)
        cut = aligned.cut(1)(crops)
    for depth in (1, 2):
        assert torch.equal(before.exits[depth].feature, after.exits[depth].feature)
        expected = before.exits[depth].embedding @ maps[depth].T
        torch.testing.assert_close(after.exits[depth].embedding, expected)
        assert after.exits[depth].logits.shape == (2, 6)
    assert torch.equal(cut.exits[1].embedding, after.exits[1].embedding)
    with pytest.raises(TrainingError, match="already has a common space"):
        with_common_space(aligned, CommonSpace(maps, centers))
    with pytest.raises(TrainingError, match=r"space has exits \[1\]"):
        with_common_space(network, CommonSpace({1: maps[1]}, centers))


@pytest.mark.parametrize(("together", "summed"), [(True, (2, 3)), (False, ())])
def test_from_the_second_on_exits_answer_together(together: bool, summed: tuple[int, ...]) -> None:
    whole = build_network(Architecture(num_classes=6, exits=(1, 2, 3)), seed=0)
    maps = {depth: torch.zeros(4, FEATURE_DIM) for depth in (1, 2, 3)}
    aligned = with_common_space(whole, CommonSpace(maps, torch.eye(6, 4)), together=together)
    assert aligned.architecture.summed_exits == summed


@pytest.mark.parametrize(
    ("labels", "dim", "ridge", "message"),
    [
        ([0, 0, 1, 1], 3, 1.0, "of 2 persons has 1 to 2 dimensions, got 3"),
        ([0, 0, 1, 1], 0, 1.0, "dimensions, got 0"),
        ([0, 0, 0, 0], 1, 1.0, "at least 2 persons"),
        ([0, 0, 1, 1], 2, 0.0, "ridge must be more than 0"),
        ([0, 0, 2, 2], 2, 1.0, "person 1 has no crop"),
    ],
)
def test_what_cannot_be_fitted_is_said(
    labels: list[int], dim: int, ridge: float, message: str
) -> None:
    embeddings = {1: torch.eye(4, FEATURE_DIM)}
    with pytest.raises(TrainingError, match=message):
        fit_common_space(embeddings, torch.tensor(labels), dim=dim, ridge=ridge)


def test_networks_that_grew_from_one_another_are_joined(network: ADLN) -> None:
    grown = build_network(Architecture(num_classes=6, exits=(2, 3)), seed=5).eval()
    state, lower = grown.state_dict(), network.state_dict()
    grown.load_state_dict({name: lower.get(name, tensor) for name, tensor in state.items()})
    whole = join_exits(grown, network)
    crops = torch.randint(0, 256, (2, 3, 64, 32), dtype=torch.uint8)
    with torch.inference_mode():
        answers, first, second = whole(crops), network(crops), grown(crops)
    assert list(answers.exits) == [1, 2, 3]
    assert torch.equal(answers.exits[1].embedding, first.exits[1].embedding)
    assert torch.equal(answers.exits[3].embedding, second.exits[3].embedding)
    with pytest.raises(TrainingError, match=r"differ in architecture"):
        join_exits(network, grown)
    foreign = build_network(Architecture(num_classes=6, exits=(1, 2)), seed=9)
    with pytest.raises(TrainingError, match=r"differ in stem.*grown from one another"):
        join_exits(grown, foreign)
