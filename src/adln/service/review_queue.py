"""The review queue: possible duplicates, unnamed people and suspicious sightings of a gallery.

Examining a gallery takes a while, so the result is cached: until something changes or, if sightings
were only added, for four times as long as the examination took.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from adln.errors import GalleryError
from adln.gallery.adapting import as_compared, scales_in
from adln.gallery.clustering import Group, group_sightings
from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter, Person
from adln.gallery.spaces import group_by_space
from adln.matching.calibration import Scales
from adln.matching.identification import LEAST_GALLERY, identify
from adln.matching.reviewing import Review, review_gallery
from adln.service.people import People

MOST_COMPARED = 6000
"""Most sightings of people compared with each other; more would take too long for a page."""
MOST_OF_NOBODY = 1000
_MOST_SUGGESTED = 40
_ASSIGNED = Filter(not_persons=frozenset({NO_PERSON}))
_NOBODY = Filter(persons=frozenset({NO_PERSON}))
Kind = Literal["merge", "strange", "unnamed", "group"]
_REST = 4.0


@dataclass(frozen=True)
class Item:
    """A decision for a person to make; see `adln.service.answers.ReviewItem`."""

    key: str
    kind: Kind
    likeness: float | None = None
    person_id: int | None = None
    other_id: int | None = None
    sighting_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Found:
    """The items found, and what was not examined, in words."""

    items: tuple[Item, ...]
    left_out: str


class ReviewQueue:
    """Finds pending decisions. May be used by several threads; one examines at a time.

    The gallery is only read; `clock` is monotonic, in s.
    """

    def __init__(
        self,
        gallery: Gallery,
        people: People,
        scales: Scales,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gallery = gallery
        self._people = people
        self._scales = scales
        self._clock = clock
        self._lock = threading.Lock()
        self._who: object = None
        self._counts: object = None
        self._found = Found((), "")
        self._again_s = float("-inf")

    def look(self) -> Found:
        """Pending decisions, clearest first; as fresh as the size of the gallery allows.

        Raises:
            GalleryError: the gallery cannot be read.
        """
        with self._lock:
            people = self._people.by_id()
            who = tuple((one.person_id, one.name) for one in people.values())
            counts = (
                tuple(one.num_sightings for one in people.values()),
                self._gallery.count(_NOBODY),
            )
            began_s = self._clock()
            is_due = who != self._who or began_s >= self._again_s
            if is_due and (who, counts) != (self._who, self._counts):
                self._found = self._look(list(people.values()))
                self._who, self._counts = who, counts
                now_s = self._clock()
                self._again_s = now_s + _REST * (now_s - began_s)
            return self._found

    def _look(self, people: Sequence[Person]) -> Found:
        left_out = []
        threshold = self._threshold(len(people))
        review = Review(merges=(), strange=())
        groups: list[Group] = []
        if threshold is None:
            left_out.append(
                "Without a calibration (`adln calibrate`), people are not compared with each other."
            )
        else:
            if self._gallery.count(_ASSIGNED) > MOST_COMPARED:
                left_out.append(
                    f"People are not compared with each other: there are more than "
                    f"{MOST_COMPARED:,} sightings."
                )
            else:
                review = review_gallery(self._gallery, threshold=threshold)
            try:
                groups = self._groups(threshold)
            except GalleryError:
                left_out.append(
                    "Unassigned sightings are not grouped: that needs scikit-learn on the server."
                )
        items = [
            Item(
                f"merge:{one.into}:{one.person_id}",
                "merge",
                likeness=one.score,
                person_id=one.into,
                other_id=one.person_id,
            )
            for one in review.merges
        ]
        items += [
            Item(
                f"strange:{one.sighting_id}",
                "strange",
                likeness=one.other_score,
                person_id=one.person_id,
                other_id=one.other_id,
                sighting_ids=(one.sighting_id,),
            )
            for one in review.strange
        ]
        merging = {person for one in review.merges for person in (one.into, one.person_id)}
        unnamed = [
            Item(f"unnamed:{one.person_id}", "unnamed", person_id=one.person_id)
            for one in sorted(people, key=lambda one: (-one.num_sightings, one.person_id))
            if one.name is None and one.num_sightings and one.person_id not in merging
        ]
        grouped = [
            Item(f"group:{min(one.sighting_ids)}", "group", sighting_ids=one.sighting_ids)
            for one in groups
            if len(one.sighting_ids) > 1
        ]
        items += [self._suggest(one) for one in (unnamed + grouped)[:_MOST_SUGGESTED]]
        items += (unnamed + grouped)[_MOST_SUGGESTED:]
        return Found(tuple(items), " ".join(left_out))

    def _threshold(self, size: int) -> float | None:
        found = []
        for model in self._gallery.models:
            scales = scales_in(self._gallery, model, self._scales)
            scale = scales.between(model.depth, model.depth)
            match = None if scale is None else scale.decide(1.0, max(LEAST_GALLERY, size)).match
            if match is not None and -1 < match < 1:
                found.append(match)
        return max(found, default=None)

    def _groups(self, threshold: float) -> list[Group]:
        newest = self._gallery.newest(_NOBODY, limit=MOST_OF_NOBODY)
        records = as_compared(self._gallery, newest)
        groups: list[Group] = []
        for space in group_by_space(record.model for record in records):
            groups += group_sightings(
                [record for record in records if record.model in space], threshold=threshold
            )
        return groups

    def _suggest(self, item: Item) -> Item:
        """The item with a possible match, if there is one."""
        itself = frozenset[int]() if item.person_id is None else frozenset({item.person_id})
        if item.sighting_ids:
            looks = self._gallery.get(item.sighting_ids[:1])
        else:
            looks = self._gallery.newest(Filter(persons=itself), limit=16)
        if not looks:
            return item
        look = max(looks, key=lambda one: (one.quality, one.sighting_id))
        answer = identify(
            self._gallery,
            look.embedding.astype("float32"),
            model=look.model,
            scales=self._scales,
            where=Filter(not_persons=itself),
            camera=look.camera_id,
        )
        if answer.person is None or answer.verdict is None or answer.person.name is None:
            return item
        return replace(item, other_id=answer.person.person_id, likeness=answer.person.score)
