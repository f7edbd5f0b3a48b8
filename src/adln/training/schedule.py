"""The learning rate of each epoch.

Sec. III.B of the paper: linear warm-up from 4e-6 to 4e-4 over 10 epochs, then a tenth at epochs
40, 80 and 120.
"""

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
        milestones: after each of these epochs the learning rate is multiplied by `decay`.
        decay: factor at a milestone.
    """

    epochs: int = 160
    base_lr: float = 4e-4
    warmup_factor: float = 0.01
    warmup_epochs: int = 10
    milestones: tuple[int, ...] = (40, 80, 120)
    decay: float = 0.1

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SettingsError(f"schedule.epochs must be at least 1, got {self.epochs}")
        if self.base_lr <= 0:
            raise SettingsError(f"schedule.base_lr must be positive, got {self.base_lr}")


def learning_rate(schedule: Schedule, epoch: int) -> float:
    """Learning rate of an epoch.

    Args:
        schedule: the settings.
        epoch: counted from 1.

    Source: Sec. III.B; the order of steps is APNet's (the rate changes at the end of an epoch),
        which starts at exactly 4e-6, as the paper says.
    """
    passed = epoch - 1
    rate = schedule.base_lr
    if passed < schedule.warmup_epochs:
        progress = passed / schedule.warmup_epochs
        rate *= schedule.warmup_factor * (1 - progress) + progress
    reached = sum(1 for milestone in schedule.milestones if milestone <= passed)
    rate *= schedule.decay**reached
    return rate
