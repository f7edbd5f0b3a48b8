"""The people of a gallery and their names, for the parts that report them."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic

from adln.errors import GalleryError
from adln.gallery.names import kept_form
from adln.gallery.records import Person
from adln.pipeline.sightings import SightingEvent

EVERY_S = 10.0

_log = logging.getLogger(__name__)


class ReportedPeople:
    """The people of a gallery, reread every few seconds (`every_s`) at most.

    So a new name or a forgotten person is known here within seconds, even if another process made
    the change. Thread-safe. `ignored` are names, or numbers such as "id:6", of people who are never
    reported.
    """

    def __init__(
        self,
        persons: Callable[[], Sequence[Person]],
        *,
        ignored: Iterable[str] = (),
        every_s: float = EVERY_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._persons = persons
        # However a file encodes their accents.
        self._ignored = frozenset(map(kept_form, ignored))
        self._every_s = every_s
        self._clock = clock
        self._lock = threading.Lock()
        self._names: dict[int, str | None] | None = None
        self._asked_s: float | None = None
        self._is_failing = False

    def names(self) -> Mapping[int, str | None] | None:
        """Number -> name of everybody; None until the gallery could be read once.

        While the gallery cannot be read, this is its last answer, so that nobody vanishes because a
        disk is busy.
        """
        with self._lock:
            now_s = self._clock()
            if self._asked_s is None or now_s - self._asked_s >= self._every_s:
                self._asked_s = now_s
                try:
                    self._names = {one.person_id: one.name for one in self._persons()}
                    self._is_failing = False
                except GalleryError as error:
                    if not self._is_failing:
                        _log.warning("the people of the gallery cannot be read: %s", error)
                    self._is_failing = True
            return self._names

    def name_of(self, person_id: int | None) -> str | None:
        """The person's name; None if they have none."""
        return None if person_id is None else (self.names() or {}).get(person_id)

    def is_ignored(self, person_id: int | None) -> bool:
        """Whether the person is never reported."""
        if not self._ignored or person_id is None:
            return False
        name = self.name_of(person_id)
        is_named = name is not None and kept_form(name) in self._ignored
        return is_named or f"id:{person_id}" in self._ignored


def leaving_out(
    submit: Callable[[SightingEvent], object], people: ReportedPeople
) -> Callable[[SightingEvent], None]:
    """A `submit` that drops sightings of people who are never reported.

    Only matched sightings are dropped: a candidate may be another person.
    """

    def deliver(event: SightingEvent) -> None:
        if event.verdict != "matched" or not people.is_ignored(event.person_id):
            submit(event)

    return deliver
