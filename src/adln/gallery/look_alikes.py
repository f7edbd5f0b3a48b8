"""Who looks like somebody: other people and unassigned sightings that may be the same person.

Whoever is erased is erased as far as the gallery knows that a sighting is theirs. Sightings of them
that were split off, or never assigned, stay. So before somebody is forgotten, these are shown.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter, ModelKey, StoredSighting

LEAST_SIMILARITY = 0.7
"""Cosine from which somebody counts as alike, where no calibration says better."""
_MOST_QUERIES = 256
_ANSWERS = 100


@dataclass(frozen=True, kw_only=True)
class LookAlike:
    """Somebody who may be the same person, or unassigned sightings that may show them.

    Attributes:
        person_id: who; None for unassigned sightings.
        similarity: the highest cosine between any of theirs and any of the person's, -1..1.
        sighting_ids: of those that reach the threshold, ascending.
    """

    person_id: int | None
    similarity: float
    sighting_ids: tuple[int, ...]


def find_look_alikes(
    gallery: Gallery, person_id: int, *, least: float = LEAST_SIMILARITY
) -> list[LookAlike]:
    """Who looks like a person, the most alike first; unassigned sightings are one entry.

    Args:
        gallery: any.
        person_id: whom others are compared with.
        least: cosine from which they count.

    Raises:
        GalleryError: The gallery cannot be read.
    """
    others = Filter(not_persons=frozenset({person_id}))
    alike: dict[int, dict[int, float]] = {}
    for model, queries in _queries(gallery, person_id).items():
        for result in gallery.search(queries, model=model, k=_ANSWERS, where=others):
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


def _queries(gallery: Gallery, person_id: int) -> dict[ModelKey, NDArray[np.floating]]:
    """The best looks of a person, by what embedded them."""
    theirs: Iterable[StoredSighting] = (
        record
        for batch in gallery.iterate(Filter(persons=frozenset({person_id})))
        for record in batch
    )
    best = sorted(theirs, key=lambda record: -record.quality)[:_MOST_QUERIES]
    return {
        model: np.stack([one.embedding for one in best if one.model == model])
        for model in {one.model for one in best}
    }
