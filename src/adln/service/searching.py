"""Searches: who somebody is, and which sightings are most alike."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from starlette.exceptions import HTTPException

from adln.errors import GalleryError
from adln.gallery.adapting import scales_in
from adln.gallery.records import NO_PERSON, Filter, ModelKey, SearchResult
from adln.gallery.spaces import admit
from adln.matching.calibration import Scales
from adln.matching.identification import LEAST_GALLERY, Identification, identify, not_asked
from adln.service.answers import (
    FilterIn,
    Found,
    ModelName,
    RunnerUp,
    SearchOut,
    SightingOut,
    sighting_out,
)
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
    camera: int | None = None,
    no_crop: str | None = None,
) -> SearchOut:
    """Decide who it is, and list the most alike sightings.

    Args:
        parts: of the service.
        query: (D,) of unit length.
        model: what made it.
        k: at most so many sightings are listed; who it is does not depend on it.
        least_similarity: sightings below are not listed.
        where: only sightings that pass.
        leave_out: a sighting that is the query itself.
        camera: number of the camera that saw the query; None if it is not known.
        no_crop: why the query is no picture of one person, so that nobody is named for it; None if
            it may be one.
    """
    without = frozenset() if leave_out is None else frozenset({leave_out})
    scales = Scales() if parts.network is None else parts.network.scales
    scales = replace(scales, otherwise=parts.scale)
    answer = (
        identify(
            parts.searches,
            query,
            model=model,
            scales=scales,
            where=where,
            without=without,
            camera=camera,
        )
        if no_crop is None
        else not_asked(no_crop)
    )
    result = parts.searches.search(
        query,
        model=model,
        k=k + len(without),
        where=where,
        cameras=None if camera is None else [camera],
    )
    places = [at for at in range(len(result)) if result.sighting_ids[at] != leave_out][:k]
    person, reason = answer.person, answer.reason
    if places and answer.verdict != "matched" and no_crop is None:
        first = places[0]
        if result.person_ids[first] == NO_PERSON:
            reason += f"; the most alike sighting, {result.similarity[first]:.2f}, is nobody's yet"
    pictured = {
        record.sighting_id
        for record in parts.gallery.get(one.sighting_id for one in answer.runners_up)
        if record.thumbnail is not None
    }
    return SearchOut(
        model=ModelName.of(model),
        verdict=answer.verdict,
        probability=answer.probability,
        reason=reason,
        score=answer.score,
        threshold=answer.threshold,
        person_id=None if person is None else person.person_id,
        name=None if person is None else person.name,
        runners_up=[
            RunnerUp(
                person_id=one.person_id,
                name=one.name,
                score=one.score,
                picture_id=one.sighting_id if one.sighting_id in pictured else None,
            )
            for one in answer.runners_up
        ],
        gallery_size=answer.gallery_size,
        is_crop=no_crop is None,
        found=_found(
            parts,
            result,
            [at for at in places if result.similarity[at] >= least_similarity],
            answer,
            scales_in(parts.gallery, model, scales),
            model.depth,
        ),
    )


def _found(
    parts: Parts,
    result: SearchResult,
    places: list[int],
    answer: Identification,
    scales: Scales,
    depth: int,
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
        scale = scales.between(depth, record.model.depth) if answer.verdict is not None else None
        decision = (
            None
            if scale is None
            else scale.decide(similarity, max(LEAST_GALLERY, answer.judged_among))
        )
        sighting: SightingOut = sighting_out(record, names, parts.camera_name(record.camera_id))
        found.append(
            Found(
                rank=len(found) + 1,
                similarity=similarity,
                verdict=None if decision is None else answer.verdict_on(record.person_id, decision),
                probability=None if decision is None else decision.probability,
                sighting=sighting,
            )
        )
    return found


NOBODY = frozenset({NO_PERSON})
"""Filter for sightings of nobody yet."""
