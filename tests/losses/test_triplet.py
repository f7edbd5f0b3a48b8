import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from adln.losses.triplet import (
    pair_weights,
    pairwise_distances,
    weighted_regularised_triplet_loss,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "wrt_loss.npz"
BATCHES = ["a", "small", "large", "uneven"]
# Where AGW's unshifted softmax and its 1e-6 do no harm: how near its numbers are to exact ones.
AGW_TOLERANCE = {
    "a_norm": 1e-6,
    "small_raw": 1e-6,
    "small_norm": 1e-6,
    "large_norm": 1e-6,
    "uneven_norm": 2e-6,
    "uneven_raw": 1e-3,
}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def golden_features(golden: dict[str, Tensor], batch: str, scale: str) -> Tensor:
    features = golden[f"{batch}_feat"]
    return (F.normalize(features) if scale == "norm" else features).clone()


def oracle(
    features: Tensor, labels: Tensor, *, with_self: bool = True, negative_sign: float = -1.0
) -> float:
    points, people = features.tolist(), labels.tolist()

    def weighted_sum(distances: list[float], sign: float) -> float:
        if not distances:
            return 0.0
        shift = max(sign * d for d in distances)
        weights = [math.exp(sign * d - shift) for d in distances]
        return sum(w * d for w, d in zip(weights, distances, strict=True)) / sum(weights)

    total = 0.0
    for i, anchor in enumerate(points):
        positives, negatives = [], []
        for j, other in enumerate(points):
            distance = math.dist(anchor, other)
            if people[i] != people[j]:
                negatives.append(distance)
            elif with_self or i != j:
                positives.append(distance)
        difference = weighted_sum(positives, 1.0) - weighted_sum(negatives, negative_sign)
        total += max(difference, 0.0) + math.log1p(math.exp(-abs(difference)))
    return total / len(points)


def batch(dim: int = 7, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    features = torch.randn(10, dim, dtype=torch.float64, generator=generator)
    return scale * features, torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_agrees_with_eq_8_in_loops(scale: float) -> None:
    features, labels = batch(scale=scale)
    loss = weighted_regularised_triplet_loss(features, labels)
    # torch's softplus is the identity beyond 20, which leaves out at most 2.1e-9.
    assert_close(loss.item(), oracle(features, labels), rtol=1e-12, atol=2.1e-9)


@pytest.mark.parametrize("scale", ["raw", "norm"])
@pytest.mark.parametrize("name", BATCHES)
def test_agrees_with_the_exact_form(golden: dict[str, Tensor], name: str, scale: str) -> None:
    features = golden_features(golden, name, scale)
    loss = weighted_regularised_triplet_loss(features, golden[f"{name}_pid"])
    assert_close(loss, golden[f"{name}_{scale}_loss_exact_self"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", ["raw", "norm"])
@pytest.mark.parametrize("name", BATCHES)
def test_distances_agree(golden: dict[str, Tensor], name: str, scale: str) -> None:
    distances = pairwise_distances(golden_features(golden, name, scale))
    assert_close(distances, golden[f"{name}_{scale}_dist"], rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", ["raw", "norm"])
@pytest.mark.parametrize("name", BATCHES)
def test_gradient_agrees_with_the_exact_form(
    golden: dict[str, Tensor], name: str, scale: str
) -> None:
    raw = golden[f"{name}_feat"].clone().requires_grad_()
    features = F.normalize(raw) if scale == "norm" else raw
    loss = weighted_regularised_triplet_loss(features, golden[f"{name}_pid"])
    (gradient,) = torch.autograd.grad(loss, raw)
    expected = golden[f"{name}_{scale}_grad_exact_self"]
    assert_close(gradient, expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("scale", ["raw", "norm"])
@pytest.mark.parametrize("name", BATCHES)
def test_oracle_also_gives_the_forms_that_were_not_chosen(
    golden: dict[str, Tensor], name: str, scale: str
) -> None:
    features, labels = golden_features(golden, name, scale), golden[f"{name}_pid"]
    without_self = oracle(features, labels, with_self=False)
    as_printed = oracle(features, labels, negative_sign=1.0)
    prefix = f"{name}_{scale}_loss"
    assert_close(without_self, golden[f"{prefix}_exact_noself"].item(), rtol=1e-9, atol=0)
    assert_close(as_printed, golden[f"{prefix}_eq8_printed_posexp"].item(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", ["raw", "norm"])
@pytest.mark.parametrize("name", BATCHES)
def test_positive_sums_agree_with_agw_at_all_distances(
    golden: dict[str, Tensor], name: str, scale: str
) -> None:
    distances = pairwise_distances(golden_features(golden, name, scale))
    weights, _ = pair_weights(distances, golden[f"{name}_pid"])
    positive = (weights * distances).sum(dim=1)
    # AGW has 1e-6 for the distance of a crop to itself, and adds 1e-6 to its denominator.
    assert_close(positive, golden[f"{name}_{scale}_pos_agw"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("case", "tolerance"), AGW_TOLERANCE.items())
def test_agrees_with_agw_at_short_distances(
    golden: dict[str, Tensor], case: str, tolerance: float
) -> None:
    name, scale = case.split("_")
    raw, labels = golden[f"{name}_feat"].clone().requires_grad_(), golden[f"{name}_pid"]
    features = F.normalize(raw) if scale == "norm" else raw
    distances = pairwise_distances(features)
    _, negative_weights = pair_weights(distances, labels)
    negative = (negative_weights * distances).sum(dim=1)
    loss = weighted_regularised_triplet_loss(features, labels)
    (gradient,) = torch.autograd.grad(loss, raw)
    assert_close(negative, golden[f"{case}_neg_agw"], rtol=tolerance, atol=0)
    assert_close(loss, golden[f"{case}_loss_agw"], rtol=tolerance, atol=0)
    if scale == "raw":
        assert_close(loss, golden[f"{name}_raw_loss_fastreid"], rtol=tolerance, atol=0)
    expected = golden[f"{case}_grad_agw"]
    assert_close(gradient, expected, rtol=0, atol=tolerance * expected.abs().max().item())


@pytest.mark.parametrize("name", ["a", "large"])
def test_negatives_keep_their_weight_at_distances_at_which_agw_loses_them(
    golden: dict[str, Tensor], name: str
) -> None:
    distances, labels = golden[f"{name}_raw_dist"], golden[f"{name}_pid"]
    _, weights = pair_weights(distances, labels)
    negative = (weights * distances).sum(dim=1)
    nearest = distances.masked_fill(labels.unsqueeze(0) == labels.unsqueeze(1), torch.inf)
    assert (negative >= nearest.amin(dim=1)).all()
    assert (golden[f"{name}_raw_neg_agw"] < negative).all()


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
def test_weights_sum_to_one_and_keep_to_their_pairs(scale: float) -> None:
    features, labels = batch(scale=scale)
    positive, negative = pair_weights(pairwise_distances(features), labels)
    same_person = labels.unsqueeze(0) == labels.unsqueeze(1)
    ones = torch.ones(len(labels), dtype=torch.float64)
    assert_close(positive.sum(dim=1), ones)
    assert_close(negative.sum(dim=1), ones)
    assert (positive[~same_person] == 0).all()
    assert (negative[same_person] == 0).all()


def test_positive_weights_rise_with_distance() -> None:
    features, labels = batch()
    distances = pairwise_distances(features)
    weights, _ = pair_weights(distances, labels)
    for row, weight, person in zip(distances, weights, labels, strict=True):
        order = row[labels == person].argsort()
        assert (weight[labels == person][order].diff() > 0).all()


def test_negative_weights_fall_with_distance() -> None:
    features, labels = batch()
    distances = pairwise_distances(features)
    _, weights = pair_weights(distances, labels)
    for row, weight, person in zip(distances, weights, labels, strict=True):
        order = row[labels != person].argsort()
        assert (weight[labels != person][order].diff() < 0).all()


@pytest.mark.parametrize("distance", [1.0, 10.0, 14.0, 16.0, 18.0, 20.0, 100.0])
def test_negatives_are_pushed_away_at_every_distance(distance: float) -> None:
    labels = torch.arange(77)  # 76 negatives at the same distance from each anchor
    distances = distance * (1 - torch.eye(77, dtype=torch.float64))
    distances.requires_grad_()
    _, weights = pair_weights(distances, labels)
    negative = (weights * distances).sum(dim=1)
    (gradient,) = torch.autograd.grad(negative.sum(), distances)
    off_diagonal = ~torch.eye(77, dtype=torch.bool)
    assert_close(gradient[off_diagonal], torch.full((77 * 76,), 1 / 76, dtype=torch.float64))


def test_a_step_brings_same_people_nearer_and_others_apart() -> None:
    features = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 1.0]], requires_grad=True)
    loss = weighted_regularised_triplet_loss(features, torch.tensor([0, 0, 1]))
    (gradient,) = torch.autograd.grad(loss, features)
    stepped = pairwise_distances(features.detach() - 0.1 * gradient)
    before = pairwise_distances(features.detach())
    assert stepped[0, 1] < before[0, 1]
    assert stepped[0, 2] > before[0, 2]


def rotate(features: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(features.shape[1], features.shape[1], generator=generator).double()
    rotation: Tensor = torch.linalg.qr(noise)[0]
    return features.matmul(rotation)


@pytest.mark.parametrize("move", [rotate, lambda x: x + 5.0], ids=["rotation", "shift"])
def test_depends_on_nothing_but_distances(move: Callable[[Tensor], Tensor]) -> None:
    features, labels = batch()
    loss = weighted_regularised_triplet_loss(features, labels)
    assert_close(weighted_regularised_triplet_loss(move(features), labels), loss)


def test_order_of_the_batch_and_names_of_people_do_not_matter() -> None:
    features, labels = batch()
    order = torch.randperm(10, generator=torch.Generator().manual_seed(4))
    loss = weighted_regularised_triplet_loss(features[order], 100 - 7 * labels[order])
    assert_close(loss, weighted_regularised_triplet_loss(features, labels))


def test_gradient_is_that_of_the_definition() -> None:
    features, labels = batch()
    assert torch.autograd.gradcheck(
        lambda x: weighted_regularised_triplet_loss(x, labels), (features.requires_grad_(),)
    )


def test_equal_features_give_log_two_and_no_gradient() -> None:
    features = torch.ones(4, 3, requires_grad=True)
    loss = weighted_regularised_triplet_loss(features, torch.tensor([0, 0, 1, 1]))
    (gradient,) = torch.autograd.grad(loss, features)
    assert_close(loss.item(), math.log(2))
    assert_close(gradient, torch.zeros(4, 3), rtol=0, atol=0)


@pytest.mark.parametrize("size", [1e-20, 1e-6, 1e4, 1e15])
def test_is_finite_at_every_scale(size: float) -> None:
    features, labels = batch()
    leaf = (size * features).float().requires_grad_()
    loss = weighted_regularised_triplet_loss(leaf, labels)
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [5]])
def test_is_finite_without_negatives_or_positives(labels: list[int]) -> None:
    features = torch.eye(len(labels), requires_grad=True)
    loss = weighted_regularised_triplet_loss(features, torch.tensor(labels))
    (gradient,) = torch.autograd.grad(loss, features)
    assert torch.isfinite(gradient).all()
    assert_close(loss.item(), oracle(features, torch.tensor(labels)))


def test_short_distances_between_long_vectors_keep_their_digits() -> None:
    features = torch.full((2, 2048), 100.0)
    features[1, 0] += 0.125
    assert_close(pairwise_distances(features)[0, 1].item(), 0.125, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_full_precision(dtype: torch.dtype) -> None:
    features, labels = batch()
    half = features.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        loss = weighted_regularised_triplet_loss(half, labels)
    assert_close(loss, weighted_regularised_triplet_loss(half.float(), labels), rtol=0, atol=0)
