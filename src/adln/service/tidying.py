"""Applies the gallery's retention rules at intervals."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from adln.errors import AdlnError, ServiceError
from adln.gallery.retention import DAY_S, Retention, apply_retention
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.service.state import ServiceState

ACTOR = "retention"
# A clock that differs by more from the steady one was set.
_LEAP_S = 3600.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Tidiness:
    """Result of applying the rules.

    Attributes:
        applied_s: when they were last applied, in seconds since 1970; None before.
        erased: sightings erased by this service since it started.
        problem: why the last application failed; "" if it did not.
    """

    applied_s: float | None = None
    erased: int = 0
    problem: str = ""


class UnhurriedClock:
    """The wall clock, except that leaps forward take effect only after a day.

    Sightings that look old because of a wrong clock would be permanently erased. So after a leap
    forward, time continues from where it was, until the clock has kept the new time for a day.

    `wall` gives seconds since 1970, `steady` since any moment, also while the machine sleeps.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall = wall
        self._steady = steady
        self._last = self._wall(), self._steady()
        self._leapt_at_s = 0.0
        self.ahead_s = 0.0

    def now(self) -> float:
        """Seconds since 1970; `ahead_s` is how far the wall clock is ahead of it."""
        wall_s, steady_s = self._wall(), self._steady()
        leap_s = (wall_s - self._last[0]) - (steady_s - self._last[1])
        self._last = wall_s, steady_s
        if abs(leap_s) > _LEAP_S:
            if leap_s > 0:
                self._leapt_at_s = steady_s
                _log.warning(
                    "the clock was set %.1f days ahead; retention uses the new time when it has "
                    "lasted for a day",
                    leap_s / DAY_S,
                )
            self.ahead_s = max(self.ahead_s + leap_s, 0.0)
        if self.ahead_s <= _LEAP_S or steady_s - self._leapt_at_s >= DAY_S:
            self.ahead_s = 0.0
        return wall_s - self.ahead_s


def _since_boot() -> float:
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Tidying:
    """Erases sightings according to the retention rules of a gallery.

    The gallery logs each erasure in its own transaction; the service logs their number, if any.
    The interval `every_s`, 0 for never, is for display; for the clocks see `UnhurriedClock`.
    """

    def __init__(
        self,
        gallery: SqliteGallery,
        state: ServiceState,
        *,
        every_s: float,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = _since_boot,
    ) -> None:
        self._gallery = gallery
        self._state = state
        self.every_s = every_s
        self._clock = UnhurriedClock(clock, steady)
        self.last = Tidiness()

    @property
    def rules(self) -> Retention:
        """The current rules, including changes by other processes.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        return self._gallery.retention

    def apply(self) -> None:
        """Apply the rules once. Failures are logged, recorded in `last`, and retried next time."""
        now_s = self._clock.now()
        try:
            tidied = apply_retention(self._gallery, self._gallery.retention, now_s=now_s)
            self._gallery.compact_if_worthwhile()
        except Exception as error:
            # Retention must continue whatever fails.
            is_known = isinstance(error, AdlnError)
            problem = str(error) if is_known else f"{type(error).__name__}: {error}"
            self.last = replace(self.last, problem=problem)
            _log.error(
                "the retention rules could not be applied: %s", problem, exc_info=not is_known
            )
            return
        erased = tidied.expired + tidied.surplus_templates + tidied.surplus_unnamed
        problem = ""
        if ahead_s := self._clock.ahead_s:
            problem = (
                f"The clock was set {ahead_s / DAY_S:.1f} days ahead. Retention ignores that until "
                "it has lasted for a day."
            )
        self.last = Tidiness(applied_s=now_s, erased=self.last.erased + erased, problem=problem)
        if not erased:
            return
        try:
            self._state.record(ACTOR, "retention", vars(tidied))
        except ServiceError as error:
            # The erasure was due, and is in the gallery's own log.
            _log.error("retention: the erasure cannot be added to the service's log: %s", error)
