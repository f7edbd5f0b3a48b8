import time
from collections.abc import Callable

import pytest
from fake_service import NOW_S, Served

from adln.gallery.retention import DAY_S, Retention
from adln.service.tidying import Tidying, UnhurriedClock

LATER_S = NOW_S + 1000.0


def tidying_of(served: Served, every_s: float = 3600.0) -> Tidying:
    return Tidying(served.gallery, served.state, every_s=every_s, clock=lambda: LATER_S)


def test_what_is_too_old_is_erased_and_both_logs_say_so(served: Served) -> None:
    # People are seen 100 s apart; the first one too long ago.
    served.gallery.set_retention(Retention(keep_s=LATER_S - NOW_S - 50))
    tidying = tidying_of(served)
    tidying.apply()
    assert served.gallery.count() == 10
    assert (tidying.last.applied_s, tidying.last.erased, tidying.last.problem) == (LATER_S, 4, "")
    (newest, *_) = served.state.entries(newest=1)
    assert (newest.actor, newest.action, newest.details["expired"]) == ("retention", "retention", 4)
    assert "expire" in {entry.action for entry in served.gallery.audit_entries()}
    tidying.apply()
    # Nothing more is erased, and nothing is said of it.
    assert served.state.entries(newest=1) == [newest]
    assert tidying.last.erased == 4


def test_trouble_is_told_and_the_next_time_is_tried_again(served: Served) -> None:
    tidying = tidying_of(served)
    tidying.apply()
    served.gallery.close()
    tidying.apply()
    assert "closed" in tidying.last.problem
    assert tidying.last.applied_s == LATER_S


class Broken:
    """A gallery whose rules cannot be read, for a reason that nobody thought of."""

    @property
    def retention(self) -> Retention:
        raise ZeroDivisionError("of all things")


def test_trouble_that_nobody_thought_of_does_not_end_it(served: Served) -> None:
    tidying = Tidying(Broken(), served.state, every_s=0.01)  # type: ignore[arg-type]
    tidying.apply()
    assert tidying.last.problem == "ZeroDivisionError: of all things"
    tidying = tidying_of(served)
    tidying.apply()
    assert tidying.last.problem == ""


def test_the_service_applies_the_rules_by_itself_and_shows_them(
    make_served: Callable[..., Served],
) -> None:
    assert make_served().client.get("/api/v1/status").json()["retention"] is None
    served = make_served()
    served.fill()
    served.gallery.set_retention(Retention(keep_s=1.0, camera_keep_s={1: 5.0}))
    served.tidied_by(tidying_of(served))
    shown = served.client.get("/api/v1/status").json()["retention"]
    assert (shown["keep_s"], shown["camera_keep_s"], shown["every_s"]) == (1.0, {"1": 5.0}, 3600.0)
    end_s = time.monotonic() + 20
    while shown["erased"] < 14 and time.monotonic() < end_s:
        shown = served.client.get("/api/v1/status").json()["retention"]
    assert shown["applied_s"] == LATER_S
    assert served.gallery.count() == 0


def test_a_fault_of_the_program_does_not_end_the_tidying(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidying = tidying_of(served)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(served.gallery, "compact_if_worthwhile", broken)
        tidying.apply()
    assert tidying.last.problem == "RuntimeError: a fault"
    tidying.apply()
    assert tidying.last.problem == ""


class Clocks:
    """A wall clock that can be set, and a steady one."""

    def __init__(self) -> None:
        self.wall_s, self.steady_s = NOW_S, 7.0

    def go(self, seconds: float) -> None:
        self.wall_s += seconds
        self.steady_s += seconds

    def unhurried(self) -> UnhurriedClock:
        return UnhurriedClock(lambda: self.wall_s, steady=lambda: self.steady_s)


def test_a_clock_that_leaps_ahead_for_a_while_makes_nothing_old(served: Served) -> None:
    clocks = Clocks()
    served.gallery.set_retention(Retention(keep_s=DAY_S))
    tidying = Tidying(
        served.gallery,
        served.state,
        every_s=3600.0,
        clock=lambda: clocks.wall_s,
        steady=lambda: clocks.steady_s,
    )
    everybody = served.gallery.count()
    clocks.wall_s += 3650 * DAY_S
    for _ in range(5):
        tidying.apply()
        clocks.go(3600)
    assert served.gallery.count() == everybody
    assert "3650.0 days ahead" in tidying.last.problem
    clocks.wall_s -= 3650 * DAY_S
    tidying.apply()
    assert (served.gallery.count(), tidying.last.problem) == (everybody, "")
    # What has become old is erased, whatever the clock did meanwhile.
    clocks.wall_s += 3650 * DAY_S
    tidying.apply()
    clocks.go(20 * 3600 + 500)
    tidying.apply()
    assert served.gallery.count() < everybody


def test_a_clock_that_stays_ahead_is_believed_after_a_day() -> None:
    clocks = Clocks()
    clock = clocks.unhurried()
    clocks.wall_s += 30 * DAY_S
    assert clock.now() == NOW_S
    clocks.go(DAY_S - 1)
    assert clock.now() == NOW_S + DAY_S - 1
    clocks.go(1)
    assert clock.now() == clocks.wall_s
    assert clock.ahead_s == 0


def test_a_clock_that_is_put_right_or_set_back_is_followed_at_once() -> None:
    clocks = Clocks()
    clock = clocks.unhurried()
    for seconds in (0.5, -40.0, 1800.0, -20 * DAY_S):
        clocks.wall_s += seconds
        clocks.go(60)
        assert clock.now() == clocks.wall_s
