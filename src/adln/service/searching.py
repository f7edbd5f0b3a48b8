"""Searches: who is most alike, and what that means."""

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from adln.errors import GalleryError
from adln.gallery.records import NO_PERSON, Filter, ModelKey, SearchResult
from adln.gallery.spaces import admit
from adln.matching.calibration import Decision
from adln.service.answers import FilterIn, Found, ModelName, SearchOut, SightingOut, sighting_out
from adln.service.parts import Parts


def as_filter(given: FilterIn) -> Filter:
    """The gallery's filter of what a client asks for."""
    return Filter(
        cameras=None if given.cameras is None else frozenset(given.cameras),
        not_cameras=frozenset(given.not_cameras),
        persons=None if given.persons is None else frozenset(given.persons),
        from_s=given.from_s,
        until_s=given.until_s,
    )


def require_model(parts: Parts, model: ModelKey) -> None:
    """Refuse embeddings that cannot be compared with what is there.

    Raises:
        HTTPException: 409, naming both models.
    """
    own = [] if parts.network is None else [parts.network.model]
    try:
        admit(parts.gallery.models or own, [model], place="this service")
    except GalleryError as error:
        raise HTTPException(409, str(error)) from error


def search(
    parts: Parts,
    query: NDArray[np.float32],
    *,
    model: ModelKey,
    k: int,
    least_similarity: float,
    where: Filter,
    leave_out: int | None = None,
) -> SearchOut:
    """Search and say what it means.

    Args:
        parts: of the service.
        query: (D,) of unit length.
        model: what made it.
        k: at most so many answers.
        least_similarity: leave out answers below.
        where: only sightings that pass.
        leave_out: a sighting that is the query itself.
    """
    more = 0 if leave_out is None else 1
    result = parts.searches.search(query, model=model, k=k + more, where=where)
    places = [
        at
        for at in range(len(result))
        if result.sighting_ids[at] != leave_out and result.similarity[at] >= least_similarity
    ][:k]
    size = parts.people.count(where)
    found = _found(parts, result, places, size, model.depth)
    # The answer is a person: what nobody has named yet is listed, but says nothing of who it is.
    best = next((one for one in found if one.sighting.person_id is not None), None)
    similarity, stored_depth = (
        (None, model.depth) if best is None else (best.similarity, best.sighting.depth)
    )
    decision = _decide(parts, similarity, size, (model.depth, stored_depth))
    # Nobody is named for an answer that is not even a candidate.
    meant = best if decision is None or decision.verdict != "unknown" else None
    return SearchOut(
        model=ModelName.of(model),
        verdict=None if decision is None else decision.verdict,
        probability=None if decision is None else decision.probability,
        person_id=None if meant is None else meant.sighting.person_id,
        name=None if meant is None else meant.sighting.name,
        gallery_size=size,
        found=found,
    )


def _found(
    parts: Parts, result: SearchResult, places: list[int], size: int, depth: int
) -> list[Found]:
    names = parts.people.names()
    ids = [int(result.sighting_ids[at]) for at in places]
    records = {record.sighting_id: record for record in parts.gallery.get(ids)}
    found: list[Found] = []
    for at, sighting_id in zip(places, ids, strict=True):
        record = records.get(sighting_id)
        if record is None:
            # Erased since.
            continue
        similarity = float(result.similarity[at])
        # Of unnamed sightings it says whether they show the same person.
        decision = _decide(parts, similarity, max(1, size), (depth, record.model.depth))
        sighting: SightingOut = sighting_out(record, names, parts.camera_name(record.camera_id))
        found.append(
            Found(
                rank=len(found) + 1,
                similarity=similarity,
                verdict=None if decision is None else decision.verdict,
                probability=None if decision is None else decision.probability,
                sighting=sighting,
            )
        )
    return found


def _decide(
    parts: Parts, similarity: float | None, size: int, depths: tuple[int, int]
) -> Decision | None:
    """What a score means between the depths of a query and of what was found."""
    known = None if parts.network is None else parts.network.scales.between(*depths)
    scale = parts.scale if known is None else known
    return None if scale is None else scale.decide(similarity, size)


NOBODY = frozenset({NO_PERSON})
"""Filter for sightings of nobody yet."""
