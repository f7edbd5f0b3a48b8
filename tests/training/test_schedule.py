"""The learning rate of Sec. III.B."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from adln.errors import SettingsError
from adln.training.schedule import Schedule, learning_rate

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "lr_schedule.npz")


def test_every_epoch_has_the_official_rate() -> None:
    rates = [learning_rate(Schedule(), int(epoch)) for epoch in GOLDEN["epoch"]]
    np.testing.assert_allclose(rates, GOLDEN["lr_step_at_epoch_end_APNet"], rtol=1e-9)


def test_stepping_at_the_start_of_an_epoch_is_one_epoch_ahead() -> None:
    rates = [learning_rate(Schedule(), int(epoch) + 1) for epoch in GOLDEN["epoch"]]
    np.testing.assert_allclose(rates, GOLDEN["lr_step_at_epoch_start_BoT_AGW"], rtol=1e-9)


def test_it_starts_and_ends_as_the_paper_says() -> None:
    assert learning_rate(Schedule(), 1) == pytest.approx(4e-6)
    assert learning_rate(Schedule(), 11) == pytest.approx(4e-4)
    assert learning_rate(Schedule(), 41) == pytest.approx(4e-5)
    assert learning_rate(Schedule(), 160) == pytest.approx(4e-7)


def test_a_schedule_without_warm_up_starts_at_the_base_rate() -> None:
    assert learning_rate(Schedule(warmup_epochs=0), 1) == pytest.approx(4e-4)


def test_a_cosine_falls_from_the_base_rate_to_its_floor() -> None:
    schedule = Schedule(epochs=21, warmup_epochs=0, shape="cosine", final_factor=0.1)
    rates = [learning_rate(schedule, epoch) for epoch in range(1, 22)]
    assert rates[0] == pytest.approx(4e-4)
    assert rates[10] == pytest.approx(4e-4 * 0.55)  # half way down
    assert rates[-1] == pytest.approx(4e-5)
    assert rates == sorted(rates, reverse=True)


def test_a_cosine_warms_up_like_the_steps() -> None:
    cosine, steps = Schedule(shape="cosine"), Schedule()
    for epoch in range(1, 12):
        assert learning_rate(cosine, epoch) == pytest.approx(learning_rate(steps, epoch))


def test_impossible_schedules_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"schedule.epochs must be at least 1"):
        Schedule(epochs=0)
    with pytest.raises(SettingsError, match=r"schedule.base_lr must be positive"):
        Schedule(base_lr=0.0)
    for name in ("warmup_factor", "warmup_epochs", "decay", "final_factor"):
        with pytest.raises(SettingsError, match=rf"schedule.{name} must be at least 0, got -1"):
            Schedule(**{name: -1})
    with pytest.raises(SettingsError, match=r"schedule.shape must be"):
        Schedule(shape="line")  # type: ignore[arg-type]


def test_a_rate_for_every_step_falls_without_a_jump_and_ends_at_the_floor() -> None:
    schedule = Schedule(
        epochs=3, warmup_epochs=0, shape="cosine", final_factor=0.1, every_step=True
    )
    rates = [learning_rate(schedule, 1 + step // 50, step % 50 / 50) for step in range(150)]
    assert rates == sorted(rates, reverse=True)
    assert max(a - b for a, b in pairwise(rates)) < 0.02 * rates[0]
    assert learning_rate(schedule, 3, 1.0) == pytest.approx(0.1 * schedule.base_lr)


def test_progress_within_an_epoch_counts_only_if_asked_for() -> None:
    assert learning_rate(Schedule(), 5, 0.5) == learning_rate(Schedule(), 5)
