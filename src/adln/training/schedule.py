"""The learning rate of each epoch.

Sec. III.B of the paper: linear warm-up from 4e-6 to 4e-4 over 10 epochs, then divided by 10 at
epochs 40, 80 and 120. Half a cosine instead of steps is for improved recipes.
"""

import math
from typing import Literal

from adln.errors import SettingsError
from adln.settings import settings


@settings
class Schedule:
    """Learning rate over the epochs; the defaults are the paper's.

    Attributes:
        epochs: passes over the training identities.
        base_lr: learning rate after warm-up.
        warmup_factor: fraction of `base_lr` in the first epoch.
        warmup_epochs: epochs of linear warm-up.
        shape: "steps" as in the paper, or "cosine".
        milestones: after each of these epochs the learning rate is multiplied by `decay` (steps).
        decay: factor at a milestone (steps).
        final_factor: fraction of `base_lr` in the last epoch (cosine).
        every_step: update the rate at every step, not at every epoch; for few long epochs.
    """

    epochs: int = 160
    base_lr: float = 4e-4
    warmup_factor: float = 0.01
    warmup_epochs: int = 10
    shape: Literal["steps", "cosine"] = "steps"
    milestones: tuple[int, ...] = (40, 80, 120)
    decay: float = 0.1
    final_factor: float = 0.01
    every_step: bool = False

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SettingsError(f"schedule.epochs must be at least 1, got {self.epochs}")
        if self.base_lr <= 0:
            raise SettingsError(f"schedule.base_lr must be positive, got {self.base_lr}")
        for name in ("warmup_factor", "warmup_epochs", "decay", "final_factor"):
            if getattr(self, name) < 0:
                raise SettingsError(
                    f"schedule.{name} must be at least 0, got {getattr(self, name)}: below, the "
                    "learning rate is negative and training increases the loss"
                )
        if self.shape not in ("steps", "cosine"):
            raise SettingsError(f'schedule.shape must be "steps" or "cosine", got {self.shape!r}')


def learning_rate(schedule: Schedule, epoch: int, progress: float = 0.0) -> float:
    """Learning rate of an epoch, counted from 1, or with `every_step` after a share of it.

    Source: Sec. III.B; the order of steps is APNet's (the rate changes at the end of an epoch),
        which starts at exactly 4e-6, as in the paper.
    """
    passed = epoch - 1 + (progress if schedule.every_step else 0.0)
    rate = schedule.base_lr
    if passed < schedule.warmup_epochs:
        warm = passed / schedule.warmup_epochs
        rate *= schedule.warmup_factor * (1 - warm) + warm
    if schedule.shape == "cosine":
        last = schedule.epochs if schedule.every_step else schedule.epochs - 1
        falling = max(last - schedule.warmup_epochs, 1)
        way = min(max(passed - schedule.warmup_epochs, 0) / falling, 1.0)
        floor = schedule.final_factor
        return rate * (floor + (1 - floor) * (1 + math.cos(math.pi * way)) / 2)
    reached = sum(1 for milestone in schedule.milestones if milestone <= passed)
    rate *= schedule.decay**reached
    return rate
