import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from adln.cameras.clocks import Backoff
from adln.errors import DeliveryError, UndeliveredError
from adln.pipeline import delivery as delivery_module
from adln.pipeline.delivery import REFUSALS, Delivery
from adln.pipeline.outbox import Outbox, StoredEvent
from adln.pipeline.sightings import SightingEvent

Make = Callable[..., SightingEvent]
FAST = partial(Backoff, first_s=0.002, longest_s=0.01)


class Receiver:
    """A sink that takes what it is told to take."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.is_down = threading.Event()
        self.hangs = threading.Event()
        self.refuses: str | None = None
        self.attempts = 0
        self.is_closed = False

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        self.attempts += 1
        while self.hangs.is_set():
            time.sleep(0.005)
        if self.is_down.is_set():
            raise UndeliveredError("out for lunch")
        for done, event in enumerate(events):
            if event.event_id == self.refuses:
                raise UndeliveredError("not that one", acknowledged=done, refused=True)
            self.got.append(event.event_id)

    def close(self) -> None:
        self.is_closed = True


def make_delivery(path: Path, **sinks: Receiver) -> Delivery:
    return Delivery(Outbox(path, list(sinks)), sinks, backoff=FAST)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


def test_everything_reaches_every_sink_once_and_in_order(path: Path, make_event: Make) -> None:
    a, b = Receiver(), Receiver()
    delivery = make_delivery(path, a=a, b=b)
    events = [make_event(n) for n in range(250)]
    for event in events:
        delivery.submit(event)
    assert delivery.drain(10)
    counts = delivery.counts()
    delivery.close()
    assert a.got == b.got == [event.event_id for event in events]
    assert (counts.submitted, counts.stored, counts.waiting, counts.lost_unstored) == (
        250,
        250,
        0,
        0,
    )
    assert counts.sinks["a"].delivered == 250
    assert a.is_closed
    assert b.is_closed


def test_a_sink_that_is_down_or_hangs_blocks_neither_the_others_nor_the_caller(
    path: Path, make_event: Make
) -> None:
    down, hung, up = Receiver(), Receiver(), Receiver()
    down.is_down.set()
    hung.hangs.set()
    delivery = make_delivery(path, down=down, hung=hung, up=up)
    events = [make_event(n) for n in range(20)]
    for event in events:
        delivery.submit(event)
    assert delivery.flush(10)
    for _ in range(1000):
        if len(up.got) == 20 and delivery.counts().failures["down"] > 0:
            break
        time.sleep(0.005)
    assert up.got == [event.event_id for event in events]
    assert down.got == []
    assert delivery.counts().failures["down"] > 0
    assert not delivery.drain(0.05)
    down.is_down.clear()
    hung.hangs.clear()
    assert delivery.drain(10)
    delivery.close()
    assert down.got == hung.got == up.got


def test_what_was_not_sent_is_sent_after_a_restart(path: Path, make_event: Make) -> None:
    down = Receiver()
    down.is_down.set()
    first = make_delivery(path, a=down)
    for n in range(3):
        first.submit(make_event(n))
    first.close()
    up = Receiver()
    second = make_delivery(path, a=up)
    second.submit(make_event(3))
    assert second.drain(10)
    second.close()
    assert up.got == [make_event(n).event_id for n in range(4)]


def test_a_part_that_was_acknowledged_is_not_sent_again(path: Path, make_event: Make) -> None:
    class Half(Receiver):
        def deliver(self, events: Sequence[StoredEvent]) -> None:
            self.attempts += 1
            self.got.append(events[0].event_id)
            if len(events) > 1:
                raise UndeliveredError("one at a time", acknowledged=1)

    half = Half()
    outbox = Outbox(path, ["a"])
    outbox.append([make_event(n) for n in range(6)])
    delivery = Delivery(outbox, {"a": half}, backoff=FAST)
    assert delivery.drain(10)
    delivery.close()
    assert half.got == [make_event(n).event_id for n in range(6)]


def test_a_refused_sighting_is_set_aside_after_some_attempts(
    path: Path, make_event: Make, caplog: pytest.LogCaptureFixture
) -> None:
    picky = Receiver()
    picky.refuses = make_event(1).event_id
    with caplog.at_level(logging.WARNING):
        delivery = make_delivery(path, a=picky)
        for n in range(4):
            delivery.submit(make_event(n))
        assert delivery.drain(10)
        counts = delivery.counts().sinks["a"]
        delivery.close()
    assert picky.got == [make_event(n).event_id for n in (0, 2, 3)]
    assert (counts.delivered, counts.set_aside) == (3, 1)
    assert f"{REFUSALS} times" in caplog.text


def test_a_sink_with_a_bug_is_tried_again(
    path: Path, make_event: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Buggy(Receiver):
        def deliver(self, events: Sequence[StoredEvent]) -> None:
            self.attempts += 1
            if self.attempts < 3:
                raise KeyError("a bug")
            self.got += [event.event_id for event in events]

    buggy = Buggy()
    with caplog.at_level(logging.WARNING):
        delivery = make_delivery(path, a=buggy)
        delivery.submit(make_event(1))
        assert delivery.drain(10)
        delivery.close()
    assert buggy.got == [make_event(1).event_id]
    assert "unexpected" in caplog.text
    assert "works again after 2 failures" in caplog.text


def test_while_the_disk_takes_nothing_sightings_wait_and_the_oldest_are_given_up_at_last(
    path: Path,
    make_event: Make,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(Outbox):
        is_full = True

        def append(self, events: Sequence[SightingEvent]) -> None:
            if self.is_full:
                raise DeliveryError("The outbox cannot be written: disk is full.")
            super().append(events)

    monkeypatch.setattr(delivery_module, "MAX_WAITING", 5)
    outbox, sink = Full(path, ["a"]), Receiver()
    with caplog.at_level(logging.WARNING):
        delivery = Delivery(outbox, {"a": sink}, backoff=FAST)
        for n in range(8):
            delivery.submit(make_event(n))
            assert not delivery.flush(0.05)
        outbox.is_full = False
        assert delivery.drain(10)
        counts = delivery.counts()
        delivery.close()
    assert sink.got == [make_event(n).event_id for n in range(3, 8)]
    assert (counts.submitted, counts.stored, counts.lost_unstored) == (8, 5, 3)
    assert "Sightings wait in memory" in caplog.text
    assert "lost so far" in caplog.text


def test_a_fault_in_storing_does_not_end_storing(
    path: Path, make_event: Make, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Outbox):
        is_faulty = True

        def append(self, events: Sequence[SightingEvent]) -> None:
            if self.is_faulty:
                raise TypeError("a bug")
            super().append(events)

    outbox, sink = Faulty(path, ["a"]), Receiver()
    delivery = Delivery(outbox, {"a": sink}, backoff=FAST)
    delivery.submit(make_event(1))
    assert delivery.flush(10)
    outbox.is_faulty = False
    delivery.submit(make_event(2))
    assert delivery.drain(10)
    assert delivery.counts().lost_unstored == 1
    delivery.close()
    assert sink.got == [make_event(2).event_id]
    assert "are lost" in caplog.text


def test_pauses_double_up_to_a_bound_and_are_drawn_from_the_upper_half() -> None:
    class Drawn(random.Random):
        share = 0.0

        def random(self) -> float:
            return self.share

    drawn = Drawn()
    for drawn.share, ends in ((0.0, [1, 2, 4, 32, 60, 60, 60]), (1.0, [0.5, 1, 2, 16, 30, 30, 30])):
        backoff = Backoff(first_s=1.0, rng=drawn)
        pauses = [backoff.next_pause_s() for _ in range(5000)]
        assert [pauses[n - 1] for n in (1, 2, 3, 6, 7, 8, 5000)] == ends


def test_a_sink_that_hangs_does_not_hold_up_the_end(path: Path, make_event: Make) -> None:
    hung = Receiver()
    hung.hangs.set()
    delivery = make_delivery(path, a=hung)
    delivery.submit(make_event(1))
    assert delivery.flush(10)
    while hung.attempts == 0:
        time.sleep(0.005)
    delivery.close(timeout_s=0.05)
    hung.hangs.clear()
    # Whether it got the sighting in the end nobody has noted; so it comes again.
    up = Receiver()
    again = make_delivery(path, a=up)
    assert again.drain(10)
    again.close()
    assert up.got == [make_event(1).event_id]


def test_closing_twice_does_nothing(path: Path) -> None:
    delivery = make_delivery(path, a=Receiver())
    delivery.close()
    delivery.close()


def test_nothing_of_somebody_who_was_forgotten_is_sent(path: Path, make_event: Make) -> None:
    receiver, forgotten = Receiver(), set[int]()
    receiver.is_down.set()
    outbox = Outbox(path, ["a"])
    delivery = Delivery(
        outbox,
        {"a": receiver},
        backoff=FAST,
        gone=lambda people: forgotten & set(people),
    )
    kept = [make_event(n, person_id=8) for n in range(3)]
    for event in [make_event(10), *kept, make_event(11)]:
        delivery.submit(event)
    assert delivery.flush(10)
    forgotten.add(7)
    receiver.is_down.clear()
    assert delivery.drain(10)
    assert receiver.got == [event.event_id for event in kept]
    assert outbox.persons() == set()
    delivery.close()
