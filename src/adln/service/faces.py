"""Selects each person's best pictures; cached until their sightings or people change."""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

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
        self._changes = object()
        self._best = lru_cache(_REMEMBERED)(self._find)

    def of(self, people: Iterable[Person]) -> dict[int, tuple[int, ...]]:
        """Person -> sightings with a picture, best first, from different visits if possible.

        Empty for people without stored pictures.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        changes = self._changes
        return {
            one.person_id: self._best(one.person_id, changes, one.num_sightings, one.last_seen_s)
            for one in people
        }

    def changed(self) -> None:
        """Invalidate the cache after people were changed: they may have others' sightings now."""
        self._changes = object()
        self._best.cache_clear()

    def _find(
        self, person_id: int, changes: object, num_sightings: int, last_seen_s: float | None
    ) -> tuple[int, ...]:
        """The best sightings of a person; what follows the person says which state was read."""
        if not num_sightings:
            return ()
        where = Filter(persons=frozenset({person_id}))
        newest = self._gallery.newest_facts(where, limit=_AMONG)
        records = [one for one in newest if one.has_picture]
        records.sort(key=lambda one: (-one.quality, -one.time_s, one.sighting_id))
        # The pictures of one visit look much alike: the best of each come first.
        seen = Counter[tuple[int, int]]()
        turns: list[tuple[int, int]] = []
        for record in records:
            visit = record.camera_id, int(record.time_s // GAP_S)
            turns.append((seen[visit], record.sighting_id))
            seen[visit] += 1
        turns.sort(key=lambda one: one[0])
        return tuple(sighting_id for _, sighting_id in turns[:MOST_LOOKS])
