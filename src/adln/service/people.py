"""Everybody the gallery knows, remembered for a moment: search results need names at every turn.

Asking the gallery takes as long as counting all its sightings. What others change shows after a
few seconds; what this service changes, at once.
"""

import threading
import time
from collections.abc import Callable, Mapping

from adln.gallery.interface import Gallery
from adln.gallery.records import EVERYTHING, Filter, Person

STALE_S = 5.0


class People:
    """The people of a gallery. May be used by several threads.

    Args:
        gallery: any.
        clock: seconds that never go back.
    """

    def __init__(self, gallery: Gallery, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._gallery = gallery
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[int, Person] = {}
        self._names: Mapping[int, str | None] = {}
        self._seen = 0
        # Before the first time.
        self._read_s = -STALE_S
        self._outdated = True

    def by_id(self) -> Mapping[int, Person]:
        """Everybody, by number.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        if self._outdated:
            # Whoever comes after a change waits for it.
            with self._lock:
                if self._outdated:
                    self._read()
        elif self._clock() - self._read_s > STALE_S and self._lock.acquire(blocking=False):
            # One thread reads anew; the others go on with what is known.
            try:
                self._read()
            finally:
                self._lock.release()
        return self._known

    def names(self) -> Mapping[int, str | None]:
        """Person -> name, as new as `by_id`."""
        self.by_id()
        return self._names

    def changed(self) -> None:
        """Say that somebody was named, merged, forgotten or the like."""
        self._outdated = True

    def count(self, where: Filter = EVERYTHING) -> int:
        """How many people a search with this filter is among; never too few.

        Too many makes a verdict stricter, too few would make it wrong.
        """
        people = self.by_id().values()
        if where == EVERYTHING:
            return self._seen
        return sum(person.num_sightings > 0 and _may_pass(person, where) for person in people)

    def _read(self) -> None:
        self._outdated = False
        try:
            people = self._gallery.persons()
        except BaseException:
            self._outdated = True
            raise
        self._known = {person.person_id: person for person in people}
        self._names = {person.person_id: person.name for person in people}
        self._seen = sum(person.num_sightings > 0 for person in people)
        self._read_s = self._clock()


def _may_pass(person: Person, where: Filter) -> bool:
    cameras = frozenset(person.cameras) - where.not_cameras
    if where.cameras is not None:
        cameras &= where.cameras
    first, last = person.first_seen_s, person.last_seen_s
    return (
        bool(cameras)
        and (where.from_s is None or (last is not None and last >= where.from_s))
        and (where.until_s is None or (first is not None and first < where.until_s))
        and (where.persons is None or person.person_id in where.persons)
        and person.person_id not in where.not_persons
    )
