"""Finds other people and unassigned sightings that may show the same person.

Forgetting a person erases the sightings assigned to them. Sightings of them that were split off or
never assigned remain, so these are shown before a person is forgotten.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter, SearchResult, StoredSighting

LEAST_SIMILARITY = 0.7
"""Lowest cosine of a look-alike, without a calibration."""
_MOST_QUERIES = 256
# First number of answers to a query; doubled while all of them are alike enough.
_ANSWERS = 100
_ANSWERS_AT_A_TIME = 2**18


@dataclass(frozen=True, kw_only=True)
class LookAlike:
    """A person who may be the same, or unassigned sightings that may show the person.

    Attributes:
        person_id: number of the person; None for unassigned sightings.
        similarity: highest cosine between their sightings and the person's, -1..1.
        sighting_ids: sightings that reach the threshold with one of the person's 256 best,
            ascending; on a server, those among the 16,384 nearest to one.
    """

    person_id: int | None
    similarity: float
    sighting_ids: tuple[int, ...]


def find_look_alikes(
    gallery: Gallery, person_id: int, *, least: float = LEAST_SIMILARITY
) -> list[LookAlike]:
    """Find look-alikes of a person, most similar first; unassigned sightings are one entry.

    Args:
        gallery: the gallery.
        person_id: number of the person.
        least: lowest cosine of a look-alike.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    # Apart, so that many unassigned sightings hide nobody.
    people = Filter(not_persons=frozenset({person_id, NO_PERSON}))
    nobody = Filter(persons=frozenset({NO_PERSON}))
    alike: dict[int, dict[int, float]] = {}
    for looks, where in product(_looks(gallery, person_id), (people, nobody)):
        for result in _reaching(gallery, looks, where, least):
            for other, sighting, similarity in zip(
                result.person_ids.tolist(),
                result.sighting_ids.tolist(),
                result.similarity.tolist(),
                strict=True,
            ):
                if similarity >= least:
                    known = alike.setdefault(other, {})
                    known[sighting] = max(similarity, known.get(sighting, -1.0))
    found = [
        LookAlike(
            person_id=None if other == NO_PERSON else other,
            similarity=max(sightings.values()),
            sighting_ids=tuple(sorted(sightings)),
        )
        for other, sightings in alike.items()
    ]
    return sorted(found, key=lambda one: -one.similarity)


def _reaching(
    gallery: Gallery, looks: Sequence[StoredSighting], where: Filter, least: float
) -> Iterator[SearchResult]:
    """Answers to each of these sightings of one network, with all that reach the threshold."""
    # A server has a limit.
    most = getattr(gallery, "most_answers", sys.maxsize)
    k = _ANSWERS
    while looks:
        unfinished: list[StoredSighting] = []
        step = max(1, _ANSWERS_AT_A_TIME // k)
        for start in range(0, len(looks), step):
            part = looks[start : start + step]
            results = gallery.search(
                np.stack([look.embedding for look in part]),
                model=part[0].model,
                k=k,
                where=where,
                cameras=[look.camera_id for look in part],
            )
            for look, result in zip(part, results, strict=True):
                if k < most and len(result) == k and result.similarity[-1] >= least:
                    unfinished.append(look)
                else:
                    yield result
        looks, k = unfinished, min(2 * k, most)


def _looks(gallery: Gallery, person_id: int) -> list[list[StoredSighting]]:
    """The best sightings of a person, those of each network."""
    theirs: Iterable[StoredSighting] = (
        record
        for batch in gallery.iterate(Filter(persons=frozenset({person_id})))
        for record in batch
    )
    best = sorted(theirs, key=lambda record: -record.quality)[:_MOST_QUERIES]
    return [[one for one in best if one.model == model] for model in {one.model for one in best}]
