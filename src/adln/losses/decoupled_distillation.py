"""Decoupled knowledge distillation: a shallow exit learns the deepest exit's answer in two parts.

Sec. II.B, Eq. 5-6 of the paper.
"""

import torch
from torch import Tensor


def decoupled_distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
) -> Tensor:
    """Weighted sum of the two divergences, times temperature squared, mean over the batch.

    A scalar of (B, K) logits, K at least 2, and (B,) int64 target classes. The teacher gets no
    gradient. Computed in float32 or better.

    Source: Sec. II.B, Eq. 6.
    Deviation: alpha, beta and the temperature are not in the paper; the defaults are those of
        the public code (mdistiller, DKD), and so are the factor temperature^2, which keeps the
        gradient's size at every temperature, and the fixed teacher.
    """
    target, non_target = decoupled_divergences(
        student_logits, teacher_logits.detach(), labels, temperature=temperature
    )
    return temperature**2 * (alpha * target + beta * non_target).mean()


def decoupled_divergences(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """The two divergences that KL(teacher || student) consists of, (B,) each.

    KL(teacher || student) = target + (1 - p) * non_target, where p is the teacher's probability of
    the target class: `target` is KL(b^T || b^S), of "target class or not", and `non_target` KL(P^T
    || P^S), among all other classes.

    Source: Sec. II.B, Eq. 5.
    Deviation: the listing of P in Eq. 5 includes the target class by mistake; the text, and the
        identity above, need it without. All is computed from logarithms of probabilities: the
        public code takes the logarithm of a softmax, which in float32 is infinite once a
        student is wrong by a margin of about 100.
    """
    student_target, student_others = log_split(student_logits, labels, temperature)
    teacher_target, teacher_others = log_split(teacher_logits, labels, temperature)
    return divergence(teacher_target, student_target), divergence(teacher_others, student_others)


def log_split(logits: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logarithms of the distributions b (B, 2) and P (B, K - 1) of Eq. 5, from (B, K) logits.

    b is of the target class and of not being it, P of the other classes, given that it is out.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature
    label_column = labels.unsqueeze(1)  # (B, 1)
    columns = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
    other_columns = columns + (columns >= label_column)  # (B, K-1): all but the label
    target = logits.gather(1, label_column)  # (B, 1)
    others = logits.gather(1, other_columns)  # (B, K-1)
    not_target = torch.logsumexp(others, dim=1, keepdim=True)  # (B, 1)
    log_b = torch.log_softmax(torch.cat((target, not_target), dim=1), dim=1)
    return log_b, torch.log_softmax(others, dim=1)


def divergence(log_teacher: Tensor, log_student: Tensor) -> Tensor:
    """KL(teacher || student) of each row of logarithms of probabilities: (B, M) -> (B,)."""
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1)


def warmup_factor(epoch: int, warmup_epochs: int = 20) -> float:
    """Share of its full weight that distillation has in an epoch (from 1): rises linearly to 1.

    It reaches 1 in epoch `warmup_epochs`; with 0 it is 1 from the start.

    Source: not in the paper; public code of decoupled distillation (mdistiller, DKD), 20 epochs.
    """
    if warmup_epochs <= 0:
        return 1.0
    return min(epoch / warmup_epochs, 1.0)
