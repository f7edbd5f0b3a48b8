"""Times of frames that never fall, and the pauses between attempts to reach a camera."""

import random
import time
from collections import deque
from collections.abc import Callable

# A recording without a picture for longer than this is taken for a clock that leapt.
LONGEST_GAP_S = 3600.0
_USUAL_FPS = 25.0
# Two frames of a camera are at least this far apart, so that no frame stands still in time.
_SHORTEST_STEP_S = 1e-4


class RecordedTimes:
    """The times inside a recording, carried on evenly where they fall or leap.

    Recordings that were joined from several, or made while a clock was set, have such places.

    Args:
        start_s: time of the first picture.
        fps: pictures a second, for the places where the recording's own times cannot be used.
    """

    def __init__(self, *, start_s: float = 0.0, fps: float = 0.0) -> None:
        self._step_s = 1 / (fps if fps > 0 else _USUAL_FPS)
        self._start_s = start_s
        self._offset_s: float | None = None
        self._last_s = start_s
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
            self._offset_s = self._start_s - (recorded_s or 0.0)
            self._last_s = self._start_s
            return self._last_s
        evenly_s = self._last_s + (1 + skipped) * self._step_s
        if recorded_s is None:
            self._last_s = evenly_s
            return evenly_s
        time_s = recorded_s + self._offset_s
        if not self._last_s < time_s <= self._last_s + LONGEST_GAP_S:
            self.jumps += 1
            self._offset_s += evenly_s - time_s
            time_s = evenly_s
        self._last_s = time_s
        return time_s


class SteadyClock:
    """Unix time that does not jump: read once, then carried on by the clock that never falls.

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
        self._monotonic = monotonic
        self._offset_s = wall() - monotonic()
        self._last_s = float("-inf")

    def now(self) -> float:
        """Unix time in s, above that of the call before."""
        self._last_s = max(self._monotonic() + self._offset_s, self._last_s + _SHORTEST_STEP_S)
        return self._last_s


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
