import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from adln.losses.decoupled_distillation import (
    decoupled_distillation_loss,
    decoupled_divergences,
    log_split,
    warmup_factor,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "dkd_loss.npz"
GRID_SIZE = 27
NUM_STABILITY_CASES = 4


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def golden_logits(golden: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    return golden["logits_s"], golden["logits_t"], golden["target"]


def loss_at_grid_point(
    golden: dict[str, Tensor], index: int, student: Tensor, teacher: Tensor
) -> Tensor:
    alpha, beta, temperature = golden["grid_alpha_beta_T"][index].tolist()
    return decoupled_distillation_loss(
        student, teacher, golden["target"], alpha=alpha, beta=beta, temperature=temperature
    )


def oracle(
    student: Tensor, teacher: Tensor, labels: Tensor, alpha: float, beta: float, temperature: float
) -> float:
    def probabilities(logits: list[float]) -> list[float]:
        exponentials = [math.exp(logit / temperature) for logit in logits]
        return [value / sum(exponentials) for value in exponentials]

    def kl(first: list[float], second: list[float]) -> float:
        return sum(p * math.log(p / q) for p, q in zip(first, second, strict=True))

    def split(p: list[float], target: int) -> tuple[list[float], list[float]]:
        others = [value for k, value in enumerate(p) if k != target]
        return [p[target], sum(others)], [value / sum(others) for value in others]

    total = 0.0
    for s, t, label in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        student_b, student_p = split(probabilities(s), label)
        teacher_b, teacher_p = split(probabilities(t), label)
        total += alpha * kl(teacher_b, student_b) + beta * kl(teacher_p, student_p)
    return temperature**2 * total / len(labels)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    student = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    teacher = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    return 2 * student, 3 * teacher, torch.tensor([0, 3, 5, 3])


def opposed_logits(margin: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The teacher is right by a margin, the student wrong by the same."""
    student, teacher = torch.zeros(2, 1, 751, dtype=dtype)
    teacher[0, 0] = margin
    student[0, 1] = margin
    return student.requires_grad_(), teacher, torch.tensor([0])


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_agrees_with_eq_6_in_loops(temperature: float) -> None:
    student, teacher, labels = batch()
    loss = decoupled_distillation_loss(
        student, teacher, labels, alpha=1.5, beta=3.0, temperature=temperature
    )
    expected = oracle(student, teacher, labels, 1.5, 3.0, temperature)
    assert_close(loss.item(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("index", range(GRID_SIZE))
def test_agrees_with_the_public_code(golden: dict[str, Tensor], index: int) -> None:
    assert len(golden["dkd"]) == GRID_SIZE
    loss = loss_at_grid_point(golden, index, golden["logits_s"], golden["logits_t"])
    assert_close(loss, golden["dkd"][index], rtol=1e-9, atol=0)


def test_defaults_are_those_of_the_public_code(golden: dict[str, Tensor]) -> None:
    assert golden["grid_alpha_beta_T"][0].tolist() == [1.0, 8.0, 4.0]
    loss = decoupled_distillation_loss(*golden_logits(golden))
    assert_close(loss, golden["dkd"][0], rtol=1e-9, atol=0)


def test_gradients_agree_with_the_public_code(golden: dict[str, Tensor]) -> None:
    for index, expected in zip(golden["grad_idx"].tolist(), golden["grad_s"], strict=True):
        student = golden["logits_s"].clone().requires_grad_()
        teacher = golden["logits_t"].clone().requires_grad_()
        loss = loss_at_grid_point(golden, index, student, teacher)
        of_student, of_teacher = torch.autograd.grad(loss, (student, teacher), allow_unused=True)
        assert_close(of_student, expected, rtol=1e-9, atol=1e-14)
        assert of_teacher is None


@pytest.mark.parametrize("temperature", [1, 4])
def test_divergences_of_each_crop_agree(golden: dict[str, Tensor], temperature: int) -> None:
    student, teacher, labels = golden_logits(golden)
    target, non_target = decoupled_divergences(student, teacher, labels, temperature=temperature)
    expected_target = golden[f"tckd_per_sample_T{temperature}"]
    expected_non_target = golden[f"nckd_per_sample_T{temperature}"]
    assert_close(target, expected_target, rtol=1e-9, atol=1e-15)
    assert_close(non_target, expected_non_target, rtol=1e-9, atol=0)


@pytest.mark.parametrize("temperature", [1, 4])
def test_parts_make_up_the_undivided_divergence_as_in_eq_5(
    golden: dict[str, Tensor], temperature: int
) -> None:
    student, teacher, labels = golden_logits(golden)
    log_b, _ = log_split(teacher, labels, temperature)
    target_probability = log_b[:, 0].exp()
    assert_close(target_probability, golden[f"pt_T{temperature}"], rtol=1e-9, atol=0)
    target, non_target = decoupled_divergences(student, teacher, labels, temperature=temperature)
    undivided = F.kl_div(
        torch.log_softmax(student / temperature, dim=1),
        torch.log_softmax(teacher / temperature, dim=1),
        reduction="none",
        log_target=True,
    ).sum(dim=1)
    combined = target + (1 - target_probability) * non_target
    assert_close(combined, undivided, rtol=1e-9, atol=0)
    expected = golden["kd"][golden["kd_T"].tolist().index(temperature)]
    assert_close(temperature**2 * combined.mean(), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("case", range(NUM_STABILITY_CASES))
def test_stays_finite_and_right_for_a_confidently_wrong_student(
    golden: dict[str, Tensor], case: int
) -> None:
    assert len(golden["stab_logit"]) == NUM_STABILITY_CASES
    margin = golden["stab_logit"][case].item()
    expected = golden["stab_exact_logspace_T1_a1_b8"][case].item()
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        student, teacher, labels = opposed_logits(margin, dtype)
        loss = decoupled_distillation_loss(student, teacher, labels, temperature=1.0)
        (gradient,) = torch.autograd.grad(loss, student)
        assert_close(loss.item(), expected, rtol=tolerance, atol=0)
        assert torch.isfinite(gradient).all()


def test_public_code_is_met_in_float32_as_far_as_it_is_finite(golden: dict[str, Tensor]) -> None:
    official = golden["stab_official_f32_T1"]
    finite = torch.isfinite(official)
    assert finite.tolist() == [True, True, False, False]
    for margin, expected in zip(golden["stab_logit"][finite], official[finite], strict=True):
        opposed = opposed_logits(margin.item(), torch.float32)
        loss = decoupled_distillation_loss(*opposed, temperature=1.0)
        assert_close(loss.item(), expected.item(), rtol=1e-5, atol=0)


def test_warm_up_agrees_with_the_public_code(golden: dict[str, Tensor]) -> None:
    epochs = golden["warmup_epoch"].tolist()
    factors = torch.tensor([warmup_factor(epoch) for epoch in epochs], dtype=torch.float64)
    assert_close(factors, golden["warmup_factor_20"], rtol=1e-9, atol=0)


def test_without_warm_up_the_first_epoch_counts_fully() -> None:
    assert warmup_factor(1, 0) == 1.0
    assert warmup_factor(1, 1) == 1.0


def test_gradient_is_that_of_the_definition() -> None:
    student, teacher, labels = batch()
    assert torch.autograd.gradcheck(
        lambda x: decoupled_distillation_loss(x, teacher, labels), (student.requires_grad_(),)
    )


def test_is_zero_with_no_gradient_only_where_the_student_answers_as_the_teacher() -> None:
    student, teacher, labels = batch()
    same = (teacher + 5).requires_grad_()  # a shift of all logits changes no probability
    loss = decoupled_distillation_loss(same, teacher, labels)
    (gradient,) = torch.autograd.grad(loss, same)
    assert_close(loss.item(), 0.0, rtol=0, atol=1e-12)
    assert_close(gradient, torch.zeros_like(teacher), rtol=0, atol=1e-12)
    target, non_target = decoupled_divergences(student, teacher, labels, temperature=1.0)
    assert (target > 0).all()
    assert (non_target > 0).all()


def test_each_part_moves_only_what_it_speaks_of() -> None:
    student, teacher, labels = batch()
    student.requires_grad_()
    target_column = F.one_hot(labels, 6).bool()
    only_others = decoupled_distillation_loss(student, teacher, labels, alpha=0.0)
    (gradient,) = torch.autograd.grad(only_others, student)
    assert (gradient[target_column] == 0).all()
    only_target = decoupled_distillation_loss(student, teacher, labels, beta=0.0)
    (gradient,) = torch.autograd.grad(only_target, student)
    student_p = torch.softmax(student / 4, dim=1)[target_column]
    teacher_p = torch.softmax(teacher / 4, dim=1)[target_column]
    assert torch.equal(gradient[target_column].sign(), (student_p - teacher_p).sign())


def test_order_of_the_classes_does_not_matter() -> None:
    student, teacher, labels = batch()
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    moved = decoupled_distillation_loss(
        student[:, order], teacher[:, order], order.argsort()[labels]
    )
    assert_close(moved, decoupled_distillation_loss(student, teacher, labels))


def test_two_classes_leave_nothing_among_the_others() -> None:
    logits = torch.tensor([[1.0, 2.0]])
    _, non_target = decoupled_divergences(logits, -logits, torch.tensor([0]), temperature=1.0)
    assert non_target.item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_input_is_computed_in_full_precision(dtype: torch.dtype) -> None:
    student, teacher, labels = batch()
    half = student.to(dtype), teacher.to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        loss = decoupled_distillation_loss(*half, labels)
    full = decoupled_distillation_loss(half[0].float(), half[1].float(), labels)
    assert_close(loss, full, rtol=0, atol=0)
