import logging
import threading
import time

import numpy as np
import pytest

from adln.cameras.clocks import RecordedTimes, SteadyClock

HOUR = 25 * 3600


def times(recorded: list[float], *, fps: float = 25.0) -> tuple[np.ndarray, int]:
    clock = RecordedTimes(fps=fps)
    return np.array([clock.next(one) for one in recorded]), clock.jumps


@pytest.mark.parametrize(
    ("recorded", "tolerance_s"),
    [
        ([(i - (i % 25 == 24)) / 25 for i in range(HOUR)], 0.05),
        ([i / 25 + 0.045 * (i % 10 == 5) for i in range(HOUR)], 0.05),
        ([i / 25 + 0.3 * (i % 100 == 5) for i in range(HOUR)], 0.31),
        ([float(i // 25) for i in range(HOUR)], 1.0),
        ([float(i // 60) for i in range(HOUR)], 2.5),
    ],
    ids=["doubled", "45 ms late", "300 ms late", "whole seconds", "whole seconds, other rate"],
)
def test_doubled_late_and_rounded_time_stamps_do_not_move_the_times_after_them(
    recorded: list[float], tolerance_s: float
) -> None:
    found, jumps = times(recorded)
    assert (np.diff(found) > 0).all()
    assert np.abs(found - recorded).max() <= tolerance_s
    assert jumps == 0


def test_a_recording_without_times_is_evenly_spaced() -> None:
    found, jumps = times([0.0] * 100, fps=10)
    np.testing.assert_allclose(found, np.arange(100) / 10)
    assert jumps == 0


def test_a_clock_that_falls_is_a_jump_and_one_that_pauses_is_none() -> None:
    found, jumps = times([0.0, 0.1, 0.2, 600.0, 600.1, 5.0, 5.1], fps=10)
    np.testing.assert_allclose(found, [0, 0.1, 0.2, 600, 600.1, 600.2, 600.3])
    assert jumps == 1


class Clocks:
    """A wall clock and a steady one that a test sets."""

    def __init__(self, wall_s: float) -> None:
        self.wall_s, self.steady_s = wall_s, 5.0
        self.clock = SteadyClock(wall=lambda: self.wall_s, monotonic=lambda: self.steady_s)

    def after(self, seconds: float, *, set_by_s: float = 0.0) -> float:
        self.wall_s += seconds + set_by_s
        self.steady_s += seconds
        return self.clock.now()


def test_a_clock_that_is_set_after_the_start_is_followed_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clocks = Clocks(0.0)
    with caplog.at_level(logging.WARNING):
        assert clocks.after(30) == pytest.approx(30)
        assert clocks.after(1, set_by_s=1.8e9) == pytest.approx(clocks.wall_s)
        assert clocks.after(3600) == pytest.approx(clocks.wall_s)
    assert caplog.text.count("set") == 1


def test_a_clock_that_is_set_back_is_met_again_without_a_time_that_falls() -> None:
    clocks = Clocks(1e9)
    found = [clocks.after(1), clocks.after(1, set_by_s=-100)]
    found += [clocks.after(1) for _ in range(250)]
    assert (np.diff(found) > 0).all()
    assert found[-1] == pytest.approx(clocks.wall_s, abs=1.5)


def test_a_clock_that_is_corrected_by_a_little_does_not_leap() -> None:
    clocks = Clocks(1e9)
    assert clocks.after(1, set_by_s=0.4) == pytest.approx(1e9 + 1)


def test_threads_that_share_a_clock_do_not_move_it_twice() -> None:
    def wall() -> float:
        time.sleep(0.001)  # lets the other thread in
        return time.time()

    begun_s = time.monotonic()
    clock = SteadyClock(wall=wall)
    found: list[float] = []
    threads = [
        threading.Thread(target=lambda: found.extend(clock.now() for _ in range(100)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 200
    assert max(found) - min(found) <= time.monotonic() - begun_s
