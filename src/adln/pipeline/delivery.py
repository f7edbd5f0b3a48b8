"""Delivery: hands sightings from the outbox to every sink, each at its own pace, at least once.

One thread stores incoming sightings, and one thread per sink sends the stored ones, so a failing
sink delays neither the others nor the cameras. A failed sink is retried after growing pauses, which
are randomised so that many devices do not return to a restarted broker at the same moment.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Protocol

from adln.cameras.clocks import Backoff
from adln.errors import DeliveryError, UndeliveredError
from adln.pipeline.outbox import Outbox, SinkCounts, StoredEvent
from adln.pipeline.sightings import SightingEvent

BATCH = 100
REFUSALS = 5
"""A sighting that a sink refused this many times in a row is set aside."""
Gone = Callable[[Collection[int]], Collection[int]]
"""Selects, from person numbers, those that no longer exist."""
MAX_WAITING = 10_000
"""Most sightings held in memory while the disk cannot be written."""

_BACKOFF = partial(Backoff, first_s=0.5)
_log = logging.getLogger(__name__)


class Sink(Protocol):
    """A receiver of sightings, used by one thread only."""

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Deliver sightings in order; on return the receiver has acknowledged all of them.

        Raises:
            UndeliveredError: Not all were acknowledged.
        """

    def close(self) -> None:
        """Release files and connections."""


@dataclass(frozen=True, kw_only=True)
class DeliveryCounts:
    """Status of delivery.

    Attributes:
        submitted: Sightings submitted since the start.
        stored: Those of them that were stored in the outbox.
        waiting: Those in memory, not yet stored.
        lost_unstored: Those dropped because the disk failed for too long, or by an internal error.
        failures: Consecutive failed attempts of each sink; 0 while it works.
    """

    submitted: int
    stored: int
    waiting: int
    lost_unstored: int
    sinks: Mapping[str, SinkCounts]
    failures: Mapping[str, int]


class Delivery:
    """Accepts sightings without blocking, stores them, and delivers them to all sinks.

    The outbox, which must be for the same sinks, is closed together with the delivery. `backoff`
    makes the pauses between the attempts of one sink. Sightings of people that `gone` selects, as
    forgotten, are erased and not sent.
    """

    def __init__(
        self,
        outbox: Outbox,
        sinks: Mapping[str, Sink],
        *,
        backoff: Callable[[], Backoff] = _BACKOFF,
        gone: Gone | None = None,
    ) -> None:
        self._outbox = outbox
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._waiting: deque[SightingEvent] = deque()
        self._submitted = self._stored = self._lost = self._storing = 0
        self._couriers = {
            name: _Courier(name, sink, outbox, backoff(), gone) for name, sink in sinks.items()
        }
        self._writer = threading.Thread(target=self._store, name="adln-outbox", daemon=True)
        self._writer.start()

    def submit(self, event: SightingEvent) -> None:
        """Submit a sighting; returns at once, see `flush`."""
        with self._changed:
            self._submitted += 1
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self._lost += 1
                if self._lost == 1 or self._lost % 1000 == 0:
                    _log.error(
                        "%d sightings lost so far: the outbox could not be written, and %d more"
                        " wait in memory",
                        self._lost,
                        MAX_WAITING,
                    )
            self._waiting.append(event)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all submitted sightings are on the disk; False after a timeout."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and self._storing == 0, timeout=timeout_s
            )

    def drain(self, timeout_s: float) -> bool:
        """Wait until every sink has acknowledged all submitted sightings; False after a timeout."""
        until = monotonic() + timeout_s
        done = self.flush(timeout_s)
        while done and any(count.pending for count in self._outbox.counts().values()):
            if monotonic() >= until or self._stop.wait(0.02):
                return False
        return done

    def counts(self) -> DeliveryCounts:
        """Status of delivery.

        Raises:
            DeliveryError: The outbox cannot be read.
        """
        sinks = self._outbox.counts()
        with self._changed:
            return DeliveryCounts(
                submitted=self._submitted,
                stored=self._stored,
                waiting=len(self._waiting) + self._storing,
                lost_unstored=self._lost,
                sinks=sinks,
                failures={name: courier.failures for name, courier in self._couriers.items()},
            )

    def close(self, timeout_s: float = 5.0) -> None:
        """Store waiting sightings, stop sending, and close the outbox and the sinks.

        Stored but unsent sightings are sent when the outbox is opened again. The disk, and each
        sink, may take `timeout_s`.
        """
        if self._stop.is_set():
            return
        if not self.flush(timeout_s):
            _log.error("%d sightings could not be stored before the end", len(self._waiting))
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        self._writer.join(timeout_s)
        for courier in self._couriers.values():
            courier.ask_to_stop()
        for courier in self._couriers.values():
            courier.finish(timeout_s)
        self._outbox.close()

    def _store(self) -> None:
        failures = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stop.is_set())
                if self._stop.is_set():
                    return
                batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                self._storing = len(batch)
            stored = lost = 0
            try:
                self._outbox.append(batch)
            except DeliveryError as error:
                failures += 1
                if failures == 1 or failures % 60 == 0:
                    _log.error("%s Sightings wait in memory.", error)
            except Exception:
                # An error in the program, not of the disk: a retry would fail again.
                lost = len(batch)
                _log.exception("%d sightings could not be stored and are lost", lost)
            else:
                stored = len(batch)
                if failures:
                    _log.warning("the outbox can be written again after %d attempts", failures)
                failures = 0
            with self._changed:
                self._stored += stored
                self._lost += lost
                self._storing = 0
                if not stored and not lost:
                    self._waiting.extendleft(reversed(batch))
                self._changed.notify_all()
            if stored:
                for courier in self._couriers.values():
                    courier.wake()
            elif not lost:
                self._stop.wait(1.0)


class _Courier:
    """The thread of one sink."""

    def __init__(
        self, name: str, sink: Sink, outbox: Outbox, backoff: Backoff, gone: Gone | None
    ) -> None:
        self._name = name
        self._sink = sink
        self._outbox = outbox
        self._backoff = backoff
        self._gone = gone
        self.failures = 0
        self._refused: tuple[int, int] = (-1, 0)  # position, times in a row
        self._stop = threading.Event()
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"adln-sink-{name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        self._news.set()

    def ask_to_stop(self) -> None:
        self._stop.set()
        self._news.set()

    def finish(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            # The process is ending; a daemon thread does not delay it.
            _log.warning("sink %s did not stop in time", self._name)
            return
        self._sink.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._news.clear()
            # An earlier request to stop is seen here; a later one wakes the wait.
            if self._attempt() and not self._stop.is_set():
                self._news.wait()

    def _attempt(self) -> bool:
        """Send the next sightings; return whether none are left."""
        events: list[StoredEvent] = []
        try:
            self._purge()
            events = self._outbox.pending(self._name, BATCH)
            if not events:
                return True
            self._sink.deliver(events)
        except UndeliveredError as error:
            self._outbox.acknowledge(self._name, events[: error.acknowledged])
            if error.refused:
                self._note_refusal(events[error.acknowledged], str(error))
            self._fail(str(error), progress=error.acknowledged > 0)
            return False
        except Exception as error:
            # This thread must survive any error of a sink; nothing was acknowledged.
            if not isinstance(error, DeliveryError):
                _log.exception("sink %s failed unexpectedly", self._name)
            self._fail(str(error), progress=False)
            return False
        self._outbox.acknowledge(self._name, events)
        if self.failures:
            _log.warning("sink %s works again after %d failures", self._name, self.failures)
        self.failures = 0
        self._backoff.reset()
        return False

    def _purge(self) -> None:
        """Erase the stored sightings of people who were forgotten since."""
        if self._gone is None or not (people := self._outbox.persons()):
            return
        if gone := self._gone(people):
            erased = self._outbox.purge(gone)
            _log.info("erased %d unsent sightings of forgotten people", erased)

    def _note_refusal(self, event: StoredEvent, reason: str) -> None:
        position, times = self._refused
        self._refused = event.position, times + 1 if position == event.position else 1
        if self._refused[1] < REFUSALS:
            return
        try:
            self._outbox.set_aside(self._name, event, reason)
        except DeliveryError as error:
            _log.error("%s", error)
            return
        _log.error(
            "sink %s refused sighting %s %d times; it is kept in the outbox's table set_aside: %s",
            self._name,
            event.event_id,
            REFUSALS,
            reason,
        )

    def _fail(self, reason: str, *, progress: bool) -> None:
        if progress:
            self.failures = 0
            self._backoff.reset()
        self.failures += 1
        pause_s = self._backoff.next_pause_s()
        # Log failures 1, 2, 4, 8, ... only.
        if self.failures & (self.failures - 1) == 0:
            _log.warning(
                "sink %s: %s (%d failures in a row, next attempt in %.1f s)",
                self._name,
                reason,
                self.failures,
                pause_s,
            )
        self._stop.wait(pause_s)
