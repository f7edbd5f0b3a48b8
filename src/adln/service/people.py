"""A short-lived cache of the people in the gallery, whose names every search result needs.

Querying the gallery takes as long as counting all its sightings. Changes by other programs appear
after a few seconds, changes by this service immediately.
"""

import threading
import time
from collections.abc import Callable, Mapping

from adln.gallery.interface import Gallery
from adln.gallery.records import Person

STALE_S = 5.0


class People:
    """The people of a gallery. May be used by several threads; `clock` is monotonic, in s."""

    def __init__(self, gallery: Gallery, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._gallery = gallery
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[int, Person] = {}
        self._names: Mapping[int, str | None] = {}
        self._read_s = 0.0
        # Another object after each change; the one that was current before what is known was read.
        self._state: object = object()
        self._read_state: object = None

    def by_id(self) -> Mapping[int, Person]:
        """All people, by number.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        if self._read_state is not self._state:
            # After a change, callers wait for the new state, also while another one reads it.
            with self._lock:
                if self._read_state is not self._state:
                    self._read()
        elif self._clock() - self._read_s > STALE_S and self._lock.acquire(blocking=False):
            # One thread refreshes; the others use the cached state.
            try:
                self._read()
            finally:
                self._lock.release()
        return self._known

    def names(self) -> Mapping[int, str | None]:
        """Person -> name, as fresh as `by_id`."""
        self.by_id()
        return self._names

    def changed(self) -> None:
        """Invalidate the cache after people were changed."""
        self._state = object()

    def _read(self) -> None:
        # Noted before reading: a change in between may be in it or not.
        state = self._state
        people = self._gallery.persons()
        self._known = {person.person_id: person for person in people}
        self._names = {person.person_id: person.name for person in people}
        self._read_s = self._clock()
        self._read_state = state
