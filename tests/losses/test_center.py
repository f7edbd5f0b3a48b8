from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from adln.errors import SettingsError
from adln.losses.center import ClassCenters, build_center_optimiser, center_loss

GOLDEN = Path(__file__).parents[1] / "golden" / "center_loss.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def oracle(features: Tensor, labels: Tensor, centers: Tensor) -> float:
    total = 0.0
    for feature, label in zip(features.tolist(), labels.tolist(), strict=True):
        for value, center_value in zip(feature, centers[label].tolist(), strict=True):
            total += (value - center_value) ** 2
    return total / len(labels)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    centers = torch.randn(5, 4, dtype=torch.float64, generator=generator)
    return features, torch.tensor([0, 0, 2, 3, 3, 3]), centers


def class_centers(table: Tensor) -> ClassCenters:
    holder = ClassCenters([1], *table.shape, generator=torch.Generator()).to(table.dtype)
    with torch.no_grad():
        holder.tables["1"].copy_(table)
    return holder


def test_agrees_with_loops() -> None:
    features, labels, centers = batch()
    loss = center_loss(features, labels, centers)
    assert_close(loss.item(), oracle(features, labels, centers), rtol=1e-12, atol=0)


def test_agrees_with_the_public_code(golden: dict[str, Tensor]) -> None:
    loss = center_loss(golden["x"], golden["y"], golden["centers"])
    assert_close(loss, golden["loss_official"], rtol=1e-9, atol=0)
    mean_square = golden["sqdist_per_sample"].mean()
    assert_close(loss / mean_square, golden["official_over_meansq"], rtol=1e-9, atol=0)


def test_each_crop_counts_by_its_squared_distance(golden: dict[str, Tensor]) -> None:
    for i, expected in enumerate(golden["sqdist_per_sample"]):
        loss = center_loss(golden["x"][i : i + 1], golden["y"][i : i + 1], golden["centers"])
        assert_close(loss, expected, rtol=1e-9, atol=0)


def test_is_two_over_b_times_eq_9(golden: dict[str, Tensor]) -> None:
    loss = center_loss(golden["x"], golden["y"], golden["centers"])
    assert_close(len(golden["y"]) / 2 * loss, golden["loss_eq9"], rtol=1e-9, atol=0)


def test_gradients_agree_with_the_public_code(golden: dict[str, Tensor]) -> None:
    features = golden["x"].clone().requires_grad_()
    centers = golden["centers"].clone().requires_grad_()
    loss = center_loss(features, golden["y"], centers)
    of_features, of_centers = torch.autograd.grad(loss, (features, centers))
    assert_close(of_features, golden["grad_x_official"], rtol=1e-9, atol=1e-15)
    assert_close(of_centers, golden["grad_centers_official"], rtol=1e-9, atol=1e-15)


def test_gradients_are_those_of_the_definition() -> None:
    features, labels, centers = batch()
    assert torch.autograd.gradcheck(
        lambda x, c: center_loss(x, labels, c),
        (features.requires_grad_(), centers.requires_grad_()),
    )


def test_is_zero_on_the_centers_and_moves_along_with_them() -> None:
    features, labels, centers = batch()
    assert center_loss(centers[labels], labels, centers).item() == 0
    shifted = center_loss(features + 3, labels, centers + 3)
    assert_close(shifted, center_loss(features, labels, centers))


def test_is_finite_for_long_features() -> None:
    features = torch.full((2, 2048), 1e10, requires_grad=True)
    loss = center_loss(features, torch.tensor([0, 1]), torch.zeros(2, 2048))
    (gradient,) = torch.autograd.grad(loss, features)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_full_precision(dtype: torch.dtype) -> None:
    features, labels, centers = batch()
    half, table = features.to(dtype), centers.float()
    with torch.autocast("cpu", dtype=dtype):
        loss = center_loss(half, labels, table)
    assert_close(loss, center_loss(half.float(), labels, table), rtol=0, atol=0)


@pytest.mark.parametrize("weight", [5e-4, 1.0])
def test_step_agrees_with_the_public_code_at_every_weight(
    golden: dict[str, Tensor], weight: float
) -> None:
    holder = class_centers(golden["centers"])
    optimiser = build_center_optimiser(holder, weight=weight, learning_rate=0.5)
    torch.autograd.backward(weight * center_loss(golden["x"], golden["y"], holder()[1]))
    optimiser.step()
    expected = golden["centers_after_step_w5e-4_lr0.5"]
    assert_close(holder()[1].detach(), expected, rtol=1e-9, atol=1e-15)


def test_step_moves_a_center_by_the_sum_of_differences_over_b() -> None:
    features, labels, centers = batch()
    expected = centers.clone()
    for feature, label in zip(features, labels, strict=True):
        expected[label] -= (centers[label] - feature) / len(labels)
    holder = class_centers(centers)
    optimiser = build_center_optimiser(holder)
    torch.autograd.backward(5e-4 * center_loss(features, labels, holder()[1]))
    optimiser.step()
    assert_close(holder()[1].detach(), expected)
    assert_close(holder()[1].detach()[[1, 4]], centers[[1, 4]], rtol=0, atol=0)


def test_steps_bring_the_centers_to_the_means_of_their_identities() -> None:
    features, labels, centers = batch()
    holder = class_centers(centers)
    optimiser = build_center_optimiser(holder)
    for _ in range(200):
        optimiser.zero_grad()
        torch.autograd.backward(5e-4 * center_loss(features, labels, holder()[1]))
        optimiser.step()
    assert_close(holder()[1].detach()[3], features[labels == 3].mean(dim=0))


def test_training_goes_on_from_the_saved_tables_alone() -> None:
    features, labels, centers = batch()
    holder = class_centers(centers)
    resumed = class_centers(torch.zeros_like(centers))
    for step in range(4):
        if step == 2:
            resumed.load_state_dict(holder.state_dict())
        for candidate in (holder, resumed):
            optimiser = build_center_optimiser(candidate)
            torch.autograd.backward(5e-4 * center_loss(features, labels, candidate()[1]))
            optimiser.step()
            optimiser.zero_grad()
    assert_close(resumed()[1], holder()[1], rtol=0, atol=0)


def test_holder_has_a_table_for_each_exit_that_depends_on_the_generator_alone() -> None:
    first = ClassCenters([1, 3], 5, 4, generator=torch.Generator().manual_seed(6))
    torch.rand(7)
    second = ClassCenters([1, 3], 5, 4, generator=torch.Generator().manual_seed(6))
    assert list(first()) == [1, 3]
    for depth, table in first().items():
        assert table.shape == (5, 4)
        assert table.requires_grad
        assert_close(table, second()[depth], rtol=0, atol=0)
    assert not torch.equal(first()[1], first()[3])


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_optimiser_refuses_a_weight_that_gives_no_gradient(weight: float) -> None:
    holder = ClassCenters([1], 5, 4, generator=torch.Generator())
    with pytest.raises(SettingsError, match="more than 0"):
        build_center_optimiser(holder, weight=weight)
