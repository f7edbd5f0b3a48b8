"""Frame times that always increase, and pauses between attempts to reach a camera."""

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

# A longer gap between pictures of a recording is taken for a jump of its clock.
_LONGEST_GAP_S = 3600.0
# Time stamps that fall by no more than this are late or duplicated; the clock has not jumped.
_LARGEST_JITTER_S = 2.0
# Smoothed times run ahead of the recording's own by at most this.
_LONGEST_AHEAD_S = 1.0
_USUAL_FPS = 25.0
# Frames of a camera are at least this far apart, so that times strictly increase.
_SHORTEST_STEP_S = 1e-4
# A larger difference between wall clock and monotonic clock means that the wall clock was set;
# smaller ones come from slewing.
_CLOCK_WAS_SET_S = 1.0
_SAY_SO_S = 60.0


class RecordedTimes:
    """Times of a recording's pictures, extrapolated evenly where the recorded ones are unusable.

    Time stamps that are duplicated, late, or rounded to whole seconds are smoothed. Where times
    jump, because recordings were joined or a clock was set, all later ones are shifted.

    Args:
        start_s: time of the first picture.
        fps: pictures per second, used where recorded times are unusable.
    """

    def __init__(self, *, start_s: float = 0.0, fps: float = 0.0) -> None:
        self._step_s = 1 / (fps if fps > 0 else _USUAL_FPS)
        self._offset_s: float | None = None
        self._last_s = start_s
        self._recorded_s = 0.0
        self._has_times = False
        self.jumps = 0

    def next(self, recorded_s: float | None, *, skipped: int = 0) -> float:
        """The time of the next picture, above the previous one's.

        Args:
            recorded_s: recorded time; None if there is none.
            skipped: damaged pictures before this one.
        """
        if self._offset_s is None:
            self._recorded_s = recorded_s or 0.0
            self._offset_s = self._last_s - self._recorded_s
            return self._last_s
        evenly_s = self._last_s + (1 + skipped) * self._step_s
        if recorded_s is None:
            self._last_s = evenly_s
            return evenly_s
        stood_still = recorded_s == self._recorded_s
        self._recorded_s = recorded_s
        time_s = recorded_s + self._offset_s
        if stood_still and not self._has_times:
            time_s = evenly_s
        elif not self._last_s - _LARGEST_JITTER_S < time_s <= self._last_s + _LONGEST_GAP_S:
            self.jumps += 1
            self._offset_s += evenly_s - time_s
            time_s = evenly_s
        elif time_s <= self._last_s:
            is_far_ahead = self._last_s - time_s + self._step_s > _LONGEST_AHEAD_S
            smoothed_s = evenly_s if stood_still else self._last_s + self._step_s / 2
            time_s = self._last_s + _SHORTEST_STEP_S if is_far_ahead else smoothed_s
        self._has_times = self._has_times or not stood_still
        self._last_s = time_s
        return time_s


class SteadyClock:
    """Unix time that always increases and follows the wall clock when that is set.

    Forward it jumps at once. When the wall clock is set back, it runs at half speed until the two
    agree, because frame times must not fall. Threads may share it, and the live cameras of a
    watch must: of two clocks, one that is not read as the wall clock is set back lags for hours.

    Args:
        wall: Unix time in s.
        monotonic: monotonic clock in s.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall, self._monotonic = wall, monotonic
        self._now_s, self._at_s = wall(), monotonic()
        self._is_ahead = False
        self._lock = threading.Lock()

    def now(self) -> float:
        """Unix time in s, above the previous call's."""
        with self._lock:
            return self._advance()

    def _advance(self) -> float:
        at_s = self._monotonic()
        passed_s = at_s - self._at_s
        if passed_s <= 0:
            self._now_s += _SHORTEST_STEP_S
            return self._now_s
        wall_s = self._wall()
        ahead_s = self._now_s + passed_s - wall_s
        if ahead_s < -_CLOCK_WAS_SET_S:
            if -ahead_s > _SAY_SO_S:
                _LOG.warning("the clock was set %s forward; times follow it", _span(-ahead_s))
            passed_s -= ahead_s
        elif ahead_s > _CLOCK_WAS_SET_S:
            if not self._is_ahead and ahead_s > _SAY_SO_S:
                _LOG.warning(
                    "the clock was set back by %s; until it has caught up, times advance at half "
                    "speed. Restart to use the clock's time at once",
                    _span(ahead_s),
                )
            passed_s /= 2
        self._is_ahead = ahead_s > _CLOCK_WAS_SET_S
        self._at_s = at_s
        self._now_s += max(passed_s, _SHORTEST_STEP_S)
        return self._now_s


def _span(seconds: float) -> str:
    for length_s, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} seconds"


class Backoff:
    """Pauses that double with each failed attempt, partly random.

    Randomness keeps cameras that were lost together from being retried at the same moment.

    Args:
        first_s: upper bound of the first pause.
        longest_s: upper bound of all pauses.
        jitter: share of a pause that is random, 0..1.
        rng: source of randomness.
    """

    def __init__(
        self,
        *,
        first_s: float = 1.0,
        longest_s: float = 60.0,
        jitter: float = 0.5,
        rng: random.Random | None = None,
    ) -> None:
        self._first_s, self._longest_s, self._jitter = first_s, longest_s, jitter
        self._rng = rng or random.Random()
        self._attempts = 0

    def next_pause_s(self) -> float:
        """Time to wait before the next attempt, in s."""
        # A larger exponent overflows a float.
        full_s = min(self._longest_s, self._first_s * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        return full_s * (1 - self._jitter * self._rng.random())

    def reset(self) -> None:
        """Start again with the first pause: the camera works."""
        self._attempts = 0


class RecentRate:
    """Frames per second over the last few frames, by their times."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=31)

    def add(self, time_s: float) -> None:
        """Record the time of a frame."""
        self._times_s.append(time_s)

    @property
    def fps(self) -> float:
        """Frames per second; 0 before the second frame."""
        if len(self._times_s) < 2:
            return 0.0
        return (len(self._times_s) - 1) / (self._times_s[-1] - self._times_s[0])
