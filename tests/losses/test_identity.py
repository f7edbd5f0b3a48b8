import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from adln.losses.identity import identity_loss, margin_identity_loss

GOLDEN = Path(__file__).parents[1] / "golden" / "label_smooth_ce.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def oracle(logits: Tensor, labels: Tensor, smoothing: float) -> float:
    num_classes = logits.shape[1]
    total = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(logit) for logit in row))
        for k, logit in enumerate(row):
            target = smoothing / num_classes + (1 - smoothing if k == label else 0.0)
            total -= target * (logit - log_sum)
    return total / len(labels)


def batch(num_crops: int = 6, num_classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(num_crops, num_classes, dtype=torch.float64, generator=generator)
    return 3 * logits, torch.randint(num_classes, (num_crops,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_agrees_with_eq_7_in_loops(smoothing: float) -> None:
    logits, labels = batch()
    loss = identity_loss(logits, labels, label_smoothing=smoothing)
    assert_close(loss.item(), oracle(logits, labels, smoothing), rtol=1e-12, atol=0)


@pytest.mark.parametrize("code", ["bot", "apnet", "agw", "torchreid", "torch_builtin"])
def test_agrees_with_the_public_codes(golden: dict[str, Tensor], code: str) -> None:
    loss = identity_loss(golden["logits"], golden["y"], label_smoothing=golden["epsilon"].item())
    assert_close(loss, golden[f"loss_{code}"], rtol=1e-9, atol=0)


def test_smooths_by_a_tenth_unless_told() -> None:
    logits, labels = batch()
    assert_close(identity_loss(logits, labels), identity_loss(logits, labels, label_smoothing=0.1))


def test_without_smoothing_is_plain_cross_entropy(golden: dict[str, Tensor]) -> None:
    loss = identity_loss(golden["logits"], golden["y"], label_smoothing=0.0)
    assert_close(loss, golden["loss_plain_ce"], rtol=1e-9, atol=0)


def test_fast_reid_form_is_a_slightly_larger_smoothing(golden: dict[str, Tensor]) -> None:
    num_classes = golden["logits"].shape[1]
    smoothing = golden["epsilon"].item() * num_classes / (num_classes - 1)
    loss = identity_loss(golden["logits"], golden["y"], label_smoothing=smoothing)
    assert_close(loss, golden["loss_fastreid_variant"], rtol=1e-9, atol=0)


def test_gradient_agrees_with_the_public_code(golden: dict[str, Tensor]) -> None:
    logits = golden["logits"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(identity_loss(logits, golden["y"]), logits)
    assert_close(gradient, golden["grad_bot"], rtol=1e-9, atol=1e-15)


def test_gradient_is_that_of_the_definition() -> None:
    logits, labels = batch()
    assert torch.autograd.gradcheck(lambda x: identity_loss(x, labels), (logits.requires_grad_(),))


def test_is_least_where_the_probabilities_are_the_smoothed_labels() -> None:
    _, labels = batch()
    targets = torch.full((6, 5), 0.1 / 5, dtype=torch.float64)
    targets[torch.arange(6), labels] += 0.9
    logits = targets.log().requires_grad_()
    (gradient,) = torch.autograd.grad(identity_loss(logits, labels), logits)
    assert_close(gradient, torch.zeros_like(logits), rtol=0, atol=1e-15)


def test_does_not_change_when_all_logits_of_a_crop_shift() -> None:
    logits, labels = batch()
    shift = torch.linspace(-50, 50, 6, dtype=torch.float64).unsqueeze(1)
    assert_close(identity_loss(logits + shift, labels), identity_loss(logits, labels))


def test_is_finite_for_the_most_confident_mistake() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = identity_loss(logits, torch.tensor([1]))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_full_precision(dtype: torch.dtype) -> None:
    logits, labels = batch()
    half = logits.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        loss = identity_loss(half, labels)
    assert_close(loss, identity_loss(half.float(), labels), rtol=0, atol=0)


def test_a_margin_lowers_the_own_cosine_before_the_scale() -> None:
    cosines = torch.tensor([[0.8, 0.3, -0.2], [0.1, 0.5, 0.4]])
    labels = torch.tensor([0, 2])
    total = 0.0
    for row, label in zip(cosines.tolist(), labels.tolist(), strict=True):
        scores = [10.0 * (c - 0.25 * (k == label)) for k, c in enumerate(row)]
        total += math.log(sum(math.exp(score) for score in scores)) - scores[label]
    loss = margin_identity_loss(cosines, labels, margin=0.25, scale=10.0)
    assert_close(loss, torch.tensor(total / 2))


def test_without_a_margin_it_is_the_cross_entropy_of_scaled_cosines() -> None:
    cosines = torch.rand(4, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = torch.tensor([0, 3, 5, 1])
    loss = margin_identity_loss(cosines, labels, margin=0.0, scale=7.0)
    assert_close(loss, identity_loss(7.0 * cosines, labels, label_smoothing=0.0))
