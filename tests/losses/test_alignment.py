import torch
from torch.testing import assert_close

from adln.losses.alignment import alignment_loss, relation_loss


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


def test_relations_are_the_cosines_of_all_pairs_whatever_the_space() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (
        torch.randn(4, 6, generator=generator),
        torch.randn(4, 9, generator=generator),
    )
    total = 0.0
    for a in range(4):
        for b in range(4):
            own = torch.cosine_similarity(student[a], student[b], dim=0)
            given = torch.cosine_similarity(teacher[a], teacher[b], dim=0)
            total += float((own - given) ** 2) / 16
    assert_close(relation_loss(student, teacher), torch.tensor(total))


def test_a_turned_copy_has_the_same_relations() -> None:
    teacher = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    turned, _ = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))
    loss = relation_loss(teacher @ turned, teacher)
    assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)


def test_only_the_student_moves_by_relations() -> None:
    student, teacher = torch.eye(3, requires_grad=True), torch.ones(3, 3, requires_grad=True)
    relation_loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
