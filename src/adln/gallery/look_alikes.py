"""Finds other people and unassigned sightings that may show the same person.

Forgetting a person erases the sightings assigned to them. Sightings of them that were split off or
never assigned remain, so these are shown before a person is forgotten.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter, ModelKey, StoredSighting

LEAST_SIMILARITY = 0.7
"""Lowest cosine of a look-alike, without a calibration."""
_MOST_QUERIES = 256
_ANSWERS = 100


@dataclass(frozen=True, kw_only=True)
class LookAlike:
    """A person who may be the same, or unassigned sightings that may show the person.

    Attributes:
        person_id: number of the person; None for unassigned sightings.
        similarity: highest cosine between their sightings and the person's, -1..1.
        sighting_ids: sightings that reach the threshold, ascending.
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
    """Network -> best embeddings of a person, for searching."""
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
