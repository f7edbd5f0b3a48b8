"""Selects each person's best pictures; cached until their sightings or people change."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from adln.gallery.interface import Gallery
from adln.gallery.records import Filter, Person
from adln.service.visits import GAP_S

MOST_LOOKS = 4
# Recent pictures are preferred, because clothes change.
_AMONG = 32
_REMEMBERED = 10_000


class Faces:
    """The best pictures of people. May be used by several threads."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery
        self._lock = threading.Lock()
        self._changes = 0
        self._known: OrderedDict[int, tuple[tuple[int, float | None], tuple[int, ...]]] = (
            OrderedDict()
        )

    def of(self, people: Iterable[Person]) -> dict[int, tuple[int, ...]]:
        """Person -> sightings with a picture, best first, from different visits if possible.

        Empty for people without stored pictures.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        return {person.person_id: self._of_one(person) for person in people}

    def changed(self) -> None:
        """Invalidate the cache after people were changed: they may have others' sightings now."""
        with self._lock:
            self._changes += 1
            self._known.clear()

    def _of_one(self, person: Person) -> tuple[int, ...]:
        state = person.num_sightings, person.last_seen_s
        with self._lock:
            known, changes = self._known.get(person.person_id), self._changes
        if known is not None and known[0] == state:
            return known[1]
        looks = self._best(person.person_id) if person.num_sightings else ()
        with self._lock:
            if changes != self._changes:
                return looks
            self._known[person.person_id] = state, looks
            self._known.move_to_end(person.person_id)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return looks

    def _best(self, person_id: int) -> tuple[int, ...]:
        where = Filter(persons=frozenset({person_id}))
        records = [
            record
            for record in self._gallery.newest_facts(where, limit=_AMONG)
            if record.has_picture
        ]
        records.sort(key=lambda record: (-record.quality, -record.time_s, record.sighting_id))
        seen: dict[tuple[int, int], int] = {}
        turns: list[tuple[int, int, int]] = []
        for record in records:
            # The pictures of one visit look much alike.
            visit = record.camera_id, int(record.time_s // GAP_S)
            turn = seen[visit] = seen.get(visit, -1) + 1
            turns.append((turn, len(turns), record.sighting_id))
        return tuple(sighting_id for _, _, sighting_id in sorted(turns)[:MOST_LOOKS])
