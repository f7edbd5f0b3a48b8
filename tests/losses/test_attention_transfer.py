import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from adln.losses.attention_transfer import attention_map, attention_transfer_loss

GOLDEN = Path(__file__).parents[1] / "golden" / "at_loss.npz"
HEIGHT, WIDTH = 16, 8


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def golden_maps(golden: dict[str, Tensor]) -> list[Tensor]:
    return [golden[f"f{depth}"].clone().requires_grad_() for depth in (1, 2, 3, 4)]


def official_loss(shallow: Tensor, deep: Tensor) -> Tensor:
    """What the public attention transfer code computes, from this project's attention maps."""
    student, teacher = F.normalize(attention_map(shallow)), F.normalize(attention_map(deep))
    return (student - teacher.detach()).square().mean()


def oracle(feature_maps: list[Tensor]) -> float:
    def unit_attention(channels: list[list[list[float]]]) -> list[float]:
        height, width = len(channels[0]), len(channels[0][0])
        attention = [
            sum(abs(channel[y][x]) ** 2 for channel in channels)
            for y in range(height)
            for x in range(width)
        ]
        length = math.hypot(*attention)
        return [value / length for value in attention]

    total = 0.0
    for shallow, deep in pairwise(feature_maps):
        for student, teacher in zip(shallow.tolist(), deep.tolist(), strict=True):
            total += math.dist(unit_attention(student), unit_attention(teacher)) / len(shallow)
    return total


def batch() -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    shapes = [(2, 3, 4, 2), (2, 5, 4, 2), (2, 4, 4, 2)]
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]


def test_agrees_with_eq_4_in_loops() -> None:
    maps = batch()
    assert_close(attention_transfer_loss(maps).item(), oracle(maps), rtol=1e-12, atol=0)


def test_unit_attention_maps_agree_with_the_public_code(golden: dict[str, Tensor]) -> None:
    for depth in (1, 2, 3, 4):
        unit_map = F.normalize(attention_map(golden[f"f{depth}"]))
        assert_close(unit_map, golden[f"at_map{depth}_official"], rtol=1e-9, atol=0)


def test_agrees_with_eq_4_for_each_pair_and_crop(golden: dict[str, Tensor]) -> None:
    for pair, (shallow, deep) in enumerate(pairwise(golden_maps(golden))):
        for i in range(len(shallow)):
            norm = attention_transfer_loss([shallow[i : i + 1], deep[i : i + 1]])
            assert_close(norm, golden["eq4_norm_per_pair_sample"][pair, i], rtol=1e-9, atol=0)
            assert_close(
                norm.square(), golden["sqnorm_per_pair_sample"][pair, i], rtol=1e-9, atol=0
            )


def test_is_the_batch_mean_summed_over_the_pairs(golden: dict[str, Tensor]) -> None:
    maps = golden_maps(golden)
    loss = attention_transfer_loss(maps)
    assert_close(loss, golden["eq4_batchmean_sum"], rtol=1e-9, atol=0)
    assert_close(len(maps[0]) * loss, golden["eq4_batchsum_sum"], rtol=1e-9, atol=0)


def test_mean_square_of_the_norms_is_the_public_code(golden: dict[str, Tensor]) -> None:
    official = []
    for shallow, deep in pairwise(golden_maps(golden)):
        norms = torch.stack(
            [
                attention_transfer_loss([shallow[i : i + 1], deep[i : i + 1]])
                for i in range(len(shallow))
            ]
        )
        official.append(norms.square().mean() / (HEIGHT * WIDTH))
    assert_close(torch.stack(official), golden["at_pair_official"], rtol=1e-9, atol=0)
    assert_close(torch.stack(official), golden["at_pair_mdistiller"], rtol=1e-9, atol=0)
    assert_close(sum(official), golden["at_sum_official"], rtol=1e-9, atol=0)


def test_gradients_agree_with_eq_4(golden: dict[str, Tensor]) -> None:
    maps = golden_maps(golden)
    gradients = torch.autograd.grad(attention_transfer_loss(maps), maps, allow_unused=True)
    for depth, gradient in enumerate(gradients[:3], start=1):
        assert_close(gradient, golden[f"g_f{depth}_eq4_detached"], rtol=1e-9, atol=1e-15)
    assert gradients[3] is None


def test_gradients_of_attention_maps_agree_with_the_public_code(
    golden: dict[str, Tensor],
) -> None:
    maps = golden_maps(golden)
    loss = torch.stack([official_loss(shallow, deep) for shallow, deep in pairwise(maps)]).sum()
    for depth, gradient in enumerate(torch.autograd.grad(loss, maps[:3]), start=1):
        expected = golden[f"g_f{depth}_official_detached"]
        assert_close(gradient, expected, rtol=1e-9, atol=1e-17)


def test_maps_of_two_sizes_agree_once_pooled(golden: dict[str, Tensor]) -> None:
    pooled = F.adaptive_avg_pool2d(golden["pool_a"], (HEIGHT, WIDTH))
    assert_close(official_loss(pooled, golden["pool_b"]), golden["at_pool_hw"], rtol=1e-9, atol=0)


def test_attention_map_goes_row_by_row() -> None:
    feature_map = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, -2.0]]]])
    assert_close(attention_map(feature_map), torch.tensor([[1.0, 5.0, 9.0, 20.0]]))


def test_gradient_is_that_of_the_definition() -> None:
    shallow, deep, _ = batch()
    assert torch.autograd.gradcheck(
        lambda x: attention_transfer_loss([x, deep]), (shallow.requires_grad_(),)
    )


def test_scale_of_a_map_and_order_of_its_channels_do_not_matter() -> None:
    first, second, third = batch()
    loss = attention_transfer_loss([first, 100 * second.flip(1), -0.01 * third])
    assert_close(loss, attention_transfer_loss([first, second, third]))


def test_lies_between_zero_and_the_root_of_two() -> None:
    here, there = torch.zeros(2, 1, 3, 4, 2, dtype=torch.float64)
    here[:, :, 0, 0] = 1
    there[:, :, 3, 1] = 1
    assert attention_transfer_loss([here, 2 * here]).item() == 0
    assert_close(attention_transfer_loss([here, there]).item(), math.sqrt(2))


def test_equal_attention_gives_no_gradient() -> None:
    shallow = batch()[0].requires_grad_()
    loss = attention_transfer_loss([shallow, shallow.detach().clone()])
    (gradient,) = torch.autograd.grad(loss, shallow)
    assert loss.item() == 0
    assert_close(gradient, torch.zeros_like(shallow), rtol=0, atol=0)


@pytest.mark.parametrize("factor", [0.0, 1e-25, 1e-12, 1e8])
def test_is_finite_for_maps_of_every_size(factor: float) -> None:
    shallow, deep, _ = batch()
    for first, second in ((factor, 1.0), (1.0, factor), (factor, factor)):
        student = (first * shallow).float().requires_grad_()
        loss = attention_transfer_loss([student, (second * deep).float()])
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_a_step_brings_the_student_to_the_attention_of_the_teacher() -> None:
    student, teacher, _ = batch()
    student.requires_grad_()
    before = attention_transfer_loss([student, teacher])
    (gradient,) = torch.autograd.grad(before, student)
    after = attention_transfer_loss([student - 0.1 * gradient, teacher])
    assert after < before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_full_precision(dtype: torch.dtype) -> None:
    half = [(1000 * feature_map).to(dtype) for feature_map in batch()]
    with torch.autocast("cpu", dtype=dtype):
        loss = attention_transfer_loss(half)
    full = attention_transfer_loss([feature_map.float() for feature_map in half])
    assert torch.isfinite(loss)
    assert_close(loss, full, rtol=0, atol=0)
