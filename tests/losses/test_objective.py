from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from adln.errors import SettingsError, TrainingError
from adln.losses.attention_transfer import attention_transfer_loss
from adln.losses.objective import ObjectiveWeights, objective
from adln.model.exits import ExitOutput

GOLDEN = Path(__file__).parents[1] / "golden" / "total_loss.npz"
DEPTHS = (1, 2, 3, 4)
WARM_EPOCH = 20
NOTHING = ObjectiveWeights(
    identity=0.0, triplet=0.0, center=0.0, attention_transfer=0.0, distillation=0.0
)
PARTS_OF = {
    "identity": [f"identity/{depth}" for depth in DEPTHS],
    "triplet": [f"triplet/{depth}" for depth in DEPTHS],
    "center": [f"center/{depth}" for depth in DEPTHS],
    "attention_transfer": ["attention_transfer"],
    "distillation": [f"distillation/{depth}" for depth in DEPTHS[:-1]],
}
Batch = tuple[dict[int, ExitOutput], Tensor, dict[int, Tensor]]


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def leaf(tensor: Tensor) -> Tensor:
    return tensor.double().clone().requires_grad_()


@pytest.fixture
def batch(golden: dict[str, Tensor]) -> Batch:
    exits, centers = {}, {}
    for depth in DEPTHS:
        feature = leaf(golden[f"feat{depth}"])
        exits[depth] = ExitOutput(
            feature_map=leaf(golden[f"map{depth}"]),
            feature=feature,
            embedding=feature,
            logits=leaf(golden[f"logits{depth}"]),
        )
        centers[depth] = leaf(golden[f"centers{depth}"])
    return exits, golden["y"], centers


def gradient_of(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def test_total_agrees_with_the_public_codes_put_together(
    batch: Batch, golden: dict[str, Tensor]
) -> None:
    result = objective(*batch, weights=ObjectiveWeights(), epoch=WARM_EPOCH)
    assert_close(result.total, golden["total_recommended_dkd184"], rtol=1e-9, atol=0)


def test_total_is_the_printed_eq_10_once_the_center_loss_is_summed_and_halved(
    batch: Batch, golden: dict[str, Tensor]
) -> None:
    printed = ObjectiveWeights(center=len(golden["y"]) / 2)
    result = objective(*batch, weights=printed, epoch=WARM_EPOCH)
    assert_close(result.total, golden["total_literal_eq10_dkd184"], rtol=1e-9, atol=0)


def test_parts_of_each_exit_agree(batch: Batch, golden: dict[str, Tensor]) -> None:
    parts = objective(*batch, weights=ObjectiveWeights(), epoch=1).parts
    for index, depth in enumerate(DEPTHS):
        for name, array in (
            ("identity", "term_ce"),
            ("triplet", "term_wrt_exact"),
            ("center", "term_center_mean"),
        ):
            assert_close(parts[f"{name}/{depth}"], golden[array][index], rtol=1e-9, atol=0)
        half_sum = len(golden["y"]) / 2 * parts[f"center/{depth}"]
        assert_close(half_sum, golden["term_center_eq9"][index], rtol=1e-9, atol=0)
        # AGW's softmax is not quite exact, see the tests of the triplet loss.
        agw = golden["term_wrt_agw"][index]
        assert_close(parts[f"triplet/{depth}"], agw, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("array", "beta", "temperature"),
    [("a1.0_b8.0_T4.0", 8.0, 4.0), ("a1.0_b2.0_T1.0", 2.0, 1.0), ("a1.0_b1.0_T1.0", 1.0, 1.0)],
)
def test_distillation_of_each_student_agrees(
    batch: Batch, golden: dict[str, Tensor], array: str, beta: float, temperature: float
) -> None:
    weights = replace(
        NOTHING,
        distillation=1.0,
        distillation_beta=beta,
        distillation_temperature=temperature,
    )
    parts = objective(*batch, weights=weights, epoch=WARM_EPOCH).parts
    for depth, expected in zip((1, 2, 3), golden[f"term_dkd_students123_{array}"], strict=True):
        assert_close(parts[f"distillation/{depth}"], expected, rtol=1e-9, atol=0)


def test_attention_transfer_of_each_pair_agrees(batch: Batch, golden: dict[str, Tensor]) -> None:
    exits, labels, centers = batch
    weights = replace(NOTHING, attention_transfer=1.0)
    for index, pair in enumerate(pairwise(DEPTHS)):
        two = {depth: exits[depth] for depth in pair}
        loss = objective(two, labels, centers, weights=weights, epoch=1).total
        assert_close(loss, golden["term_at_eq4_pairs"][index], rtol=1e-9, atol=0)
        shallow, deep = (exits[depth].feature_map for depth in pair)
        norms = torch.stack(
            [
                attention_transfer_loss([shallow[i : i + 1], deep[i : i + 1]])
                for i in range(len(labels))
            ]
        )
        official = norms.square().mean() / shallow[0, 0].numel()
        assert_close(official, golden["term_at_official_pairs"][index], rtol=1e-9, atol=0)
    everything = objective(*batch, weights=weights, epoch=1).total
    assert_close(everything, golden["term_at_eq4_pairs"].sum(), rtol=1e-9, atol=0)


def test_total_is_the_weighted_sum_of_the_parts_with_warm_up(batch: Batch) -> None:
    weights = ObjectiveWeights(
        identity=2.0, triplet=3.0, center=0.25, attention_transfer=5.0, distillation=7.0
    )
    result = objective(*batch, weights=weights, epoch=5)
    expected = 0.0
    for name, value in result.parts.items():
        part = name.split("/")[0]
        warm_up = 5 / 20 if part == "distillation" else 1.0
        expected += warm_up * getattr(weights, part) * value.item()
    assert_close(result.total.item(), expected)


@pytest.mark.parametrize("part", PARTS_OF)
def test_each_part_can_be_left_out_alone(batch: Batch, part: str) -> None:
    complete = objective(*batch, weights=ObjectiveWeights(), epoch=1).parts
    without = ObjectiveWeights(**{part: 0.0})  # type: ignore[arg-type]
    parts = objective(*batch, weights=without, epoch=1).parts
    assert set(complete) - set(parts) == set(PARTS_OF[part])
    for name, value in parts.items():
        assert_close(value, complete[name], rtol=0, atol=0)


def test_without_center_loss_no_centers_are_needed(batch: Batch) -> None:
    exits, labels, _ = batch
    result = objective(exits, labels, {}, weights=ObjectiveWeights(center=0.0), epoch=1)
    assert torch.isfinite(result.total)


def test_fewer_exits_learn_from_the_deepest_of_them(batch: Batch) -> None:
    exits, labels, centers = batch
    two = {2: exits[2], 1: exits[1]}  # in any order
    result = objective(two, labels, centers, weights=ObjectiveWeights(), epoch=WARM_EPOCH)
    assert set(result.parts) == {
        *("identity/1", "identity/2", "triplet/1", "triplet/2", "center/1", "center/2"),
        *("attention_transfer", "distillation/1"),
    }
    torch.autograd.backward(result.total)
    assert gradient_of(exits[2].feature_map).abs().sum() == 0
    assert gradient_of(exits[1].feature_map).abs().sum() > 0


def test_exits_that_are_not_neighbours_pair_up_when_those_between_are_absent(
    batch: Batch,
) -> None:
    exits, labels, centers = batch
    some = {1: exits[1], 4: exits[4]}
    parts = objective(some, labels, centers, weights=ObjectiveWeights(), epoch=1).parts
    expected = attention_transfer_loss([exits[1].feature_map, exits[4].feature_map])
    assert_close(parts["attention_transfer"], expected)


def test_a_single_exit_has_no_teacher(batch: Batch) -> None:
    exits, labels, centers = batch
    result = objective({3: exits[3]}, labels, centers, weights=ObjectiveWeights(), epoch=1)
    assert set(result.parts) == {"identity/3", "triplet/3", "center/3"}


def test_teacher_learns_nothing_from_its_students(batch: Batch) -> None:
    exits, _, _ = batch
    weights = replace(NOTHING, attention_transfer=1.0, distillation=1.0)
    torch.autograd.backward(objective(*batch, weights=weights, epoch=1).total)
    assert exits[4].logits.grad is None
    assert exits[4].feature_map.grad is None
    for depth in (1, 2, 3):
        assert gradient_of(exits[depth].logits).abs().sum() > 0
        assert gradient_of(exits[depth].feature_map).abs().sum() > 0


def test_metric_losses_act_before_the_bnneck_and_the_others_after(batch: Batch) -> None:
    exits, _, centers = batch
    weights = replace(NOTHING, triplet=1.0, center=1.0)
    torch.autograd.backward(objective(*batch, weights=weights, epoch=1).total)
    for depth in DEPTHS:
        assert gradient_of(exits[depth].feature).abs().sum() > 0
        assert gradient_of(centers[depth]).abs().sum() > 0
        assert exits[depth].logits.grad is None


def test_parts_carry_no_gradient(batch: Batch) -> None:
    result = objective(*batch, weights=ObjectiveWeights(), epoch=1)
    assert result.total.requires_grad
    assert not any(part.requires_grad for part in result.parts.values())


def test_nothing_is_read_back_from_the_device() -> None:
    # Tensors of the meta device have no values, so any look at one fails.
    exits, centers = {}, {}
    for depth in DEPTHS:
        feature = torch.empty(8, 16, device="meta", requires_grad=True)
        feature_map = torch.empty(8, 16, 4, 2, device="meta", requires_grad=True)
        logits = torch.empty(8, 5, device="meta", requires_grad=True)
        exits[depth] = ExitOutput(feature_map, feature, feature, logits)
        centers[depth] = torch.empty(5, 16, device="meta", requires_grad=True)
    labels = torch.empty(8, dtype=torch.int64, device="meta")
    result = objective(exits, labels, centers, weights=ObjectiveWeights(), epoch=1)
    torch.autograd.backward(result.total)
    assert result.total.device.type == "meta"


def test_mixed_precision_outputs_give_a_full_precision_total(batch: Batch) -> None:
    exits, labels, centers = batch
    half = {
        depth: ExitOutput(
            feature_map=answer.feature_map.to(torch.bfloat16),
            feature=answer.feature.float(),
            embedding=answer.embedding.float(),
            logits=answer.logits.to(torch.bfloat16),
        )
        for depth, answer in exits.items()
    }
    tables = {depth: table.float() for depth, table in centers.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total = objective(half, labels, tables, weights=ObjectiveWeights(), epoch=20).total
    assert total.dtype == torch.float32
    exact = objective(*batch, weights=ObjectiveWeights(), epoch=20).total
    assert_close(total.item(), exact.item(), rtol=0.01, atol=0)


def test_nothing_left_is_an_error_that_says_what_to_do(batch: Batch) -> None:
    exits, labels, centers = batch
    only_distillation = replace(NOTHING, distillation=1.0)
    with pytest.raises(TrainingError, match=r"exits \[3\].*weight above 0"):
        objective({3: exits[3]}, labels, centers, weights=only_distillation, epoch=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("identity", -1.0),
        ("center", float("nan")),
        ("distillation", float("inf")),
        ("label_smoothing", 1.0),
        ("distillation_temperature", 0.0),
        ("distillation_warmup_epochs", -1),
    ],
)
def test_weights_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=name):
        ObjectiveWeights(**{name: value})  # type: ignore[arg-type]
