import torch
from torch.testing import assert_close

from adln.losses.alignment import alignment_loss


def test_the_same_direction_costs_nothing_and_the_opposite_two() -> None:
    teacher = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    assert_close(alignment_loss(3 * teacher, teacher), torch.tensor(0.0), atol=1e-6, rtol=0)
    assert_close(alignment_loss(-teacher, teacher), torch.tensor(2.0))


def test_it_is_one_less_the_mean_cosine_in_float32() -> None:
    student, teacher = torch.eye(4)[:2], torch.ones(2, 4)
    loss = alignment_loss(student.bfloat16(), teacher.bfloat16())
    assert_close(loss, torch.tensor(0.5))


def test_only_the_student_moves() -> None:
    student = torch.ones(2, 3, requires_grad=True)
    teacher = torch.eye(3)[:2].requires_grad_()
    alignment_loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
