"""Times of frames that never fall, and the pauses between attempts to reach a camera."""

import logging
import random
import time
from collections import deque
from collections.abc import Callable

_LOG = logging.getLogger(__name__)

# A recording without a picture for longer than this is taken for a clock that leapt.
LONGEST_GAP_S = 3600.0
# Time stamps that fall back no further than this are late or doubled; the clock has not jumped.
LARGEST_JITTER_S = 2.0
# Smoothed times run ahead of the recording's own by no more.
_LONGEST_AHEAD_S = 1.0
_USUAL_FPS = 25.0
# Two frames of a camera are at least this far apart, so that no frame stands still in time.
_SHORTEST_STEP_S = 1e-4
# A wall clock that differs by more from the steady one was set; less is corrected by slewing.
_CLOCK_WAS_SET_S = 1.0
_SAY_SO_S = 60.0


class RecordedTimes:
    """The times inside a recording, carried on evenly where they cannot be used.

    Time stamps that are doubled, late, or rounded to whole seconds are smoothed, and the times
    after them are the recording's own again. Recordings that were joined from several, or made
    while a clock was set, have places where time falls or leaps: from there on, the recording's
    times are moved so that they go on evenly. A recording without times of its own, such as a raw
    H.264 stream, is evenly spaced.

    Args:
        start_s: time of the first picture.
        fps: pictures a second, for the places where the recording's own times cannot be used.
    """

    def __init__(self, *, start_s: float = 0.0, fps: float = 0.0) -> None:
        self._step_s = 1 / (fps if fps > 0 else _USUAL_FPS)
        self._start_s = start_s
        self._offset_s: float | None = None
        self._last_s = start_s
        self._recorded_s = 0.0
        self._has_times = False
        self.jumps = 0

    def next(self, recorded_s: float | None, *, skipped: int = 0) -> float:
        """The time of the next picture.

        Args:
            recorded_s: what the recording says; None if it says nothing.
            skipped: damaged pictures before this one.

        Returns:
            Seconds, above those of the picture before.
        """
        if self._offset_s is None:
            self._recorded_s = recorded_s or 0.0
            self._offset_s = self._start_s - self._recorded_s
            self._last_s = self._start_s
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
        elif not self._last_s - LARGEST_JITTER_S < time_s <= self._last_s + LONGEST_GAP_S:
            self.jumps += 1
            self._offset_s += evenly_s - time_s
            time_s = evenly_s
        elif time_s <= self._last_s:
            time_s = self._smoothed(time_s, stood_still, evenly_s)
        self._has_times = self._has_times or not stood_still
        self._last_s = time_s
        return time_s

    def _smoothed(self, time_s: float, stood_still: bool, evenly_s: float) -> float:
        """A time for a picture whose own is not above that of the picture before."""
        ahead_s = self._last_s - time_s
        if ahead_s + self._step_s > _LONGEST_AHEAD_S:
            return self._last_s + _SHORTEST_STEP_S
        return evenly_s if stood_still else self._last_s + self._step_s / 2


class SteadyClock:
    """Unix time that rises always and follows the wall clock when that is set.

    A small computer without a battery starts in the past and gets the time from the network a
    little later: the clock then leaps forward at once. When the wall clock is set back, this one
    goes at half speed until the two agree, because the times of a camera's frames must not fall.

    Args:
        wall: Unix time in s.
        monotonic: seconds since any moment.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._now_s = wall()
        self._at_s = monotonic()
        self._is_ahead = False

    def now(self) -> float:
        """Unix time in s, above that of the call before."""
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
    """Pauses that double with each attempt in vain, a part of them by chance.

    Chance keeps cameras that vanished together, when a switch was restarted, from all being asked
    for in the same instant.

    Args:
        first_s: longest first pause.
        longest_s: no pause is longer.
        jitter: part of a pause that is left to chance, 0..1.
        rng: where chance comes from.
    """

    def __init__(
        self,
        *,
        first_s: float = 1.0,
        longest_s: float = 60.0,
        jitter: float = 0.5,
        rng: random.Random | None = None,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._jitter = jitter
        self._rng = random.Random() if rng is None else rng
        self._attempts = 0

    def next_pause_s(self) -> float:
        """How long to wait before the next attempt, in s."""
        # Beyond 2**30 the pause has long been the longest.
        full_s = min(self._longest_s, self._first_s * 2.0 ** min(self._attempts, 30))
        self._attempts += 1
        return full_s * (1 - self._jitter * self._rng.random())

    def reset(self) -> None:
        """Begin with the first pause again: the camera works."""
        self._attempts = 0


class RecentRate:
    """Frames a second over the last few frames, by their times."""

    def __init__(self) -> None:
        self._times_s: deque[float] = deque(maxlen=31)

    def add(self, time_s: float) -> None:
        """A frame came."""
        self._times_s.append(time_s)

    @property
    def fps(self) -> float:
        """Frames a second; 0 before the second frame."""
        if len(self._times_s) < 2:
            return 0.0
        return (len(self._times_s) - 1) / (self._times_s[-1] - self._times_s[0])
