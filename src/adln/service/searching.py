"""Searches: who it is, and the most similar sightings."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.gallery.adapting import scales_in
from adln.gallery.records import (
    NO_PERSON,
    Filter,
    ModelKey,
    PersonsResult,
    SearchResult,
    StoredSighting,
)
from adln.matching.calibration import Scales
from adln.matching.identification import LEAST_GALLERY, Identification, identify, not_asked
from adln.service.answers import (
    Found,
    ModelName,
    RunnerUp,
    SearchOut,
    SightingOut,
    sighting_out,
)
from adln.service.batching import Searches
from adln.service.parts import Parts


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
    """Decide who it is, and list the most similar sightings.

    Args:
        parts: of the service.
        query: (D,) of unit length.
        model: network of the query.
        k: most sightings listed; does not affect who it is.
        least_similarity: sightings with a lower cosine are not listed.
        where: only these sightings are searched.
        leave_out: the sighting that is the query itself.
        camera: number of the camera that saw the query; None if unknown.
        no_crop: why the query is not a crop of one person, so that no one is named; None if it may
            be one.
    """
    without = frozenset() if leave_out is None else frozenset({leave_out})
    scales = Scales() if parts.network is None else parts.network.scales
    scales = scales_in(parts.gallery, model, replace(scales, otherwise=parts.scale))
    if no_crop is None:
        searches = _AlsoSightings(parts.searches, k)
        answer = identify(
            searches,
            query,
            model=model,
            scales=scales,
            where=where,
            without=without,
            camera=camera,
        )
        result = searches.sightings
    else:
        answer = not_asked(no_crop)
        cameras = None if camera is None else [camera]
        result = parts.searches.search(query, model=model, k=k, where=where, cameras=cameras)
    person, reason = answer.person, answer.reason
    is_open = no_crop is None and answer.verdict != "matched"
    if is_open and len(result) and result.person_ids[0] == NO_PERSON:
        reason += f"; the most similar sighting, {result.similarity[0]:.2f}, is unassigned"
    listed = result.sighting_ids[result.similarity >= least_similarity].tolist()
    shown = {*listed, *(one.sighting_id for one in answer.runners_up)}
    records = {record.sighting_id: record for record in parts.gallery.get(shown)}
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
                picture_id=_with_picture(records.get(one.sighting_id)),
            )
            for one in answer.runners_up
        ],
        gallery_size=answer.gallery_size,
        is_crop=no_crop is None,
        found=_found(
            parts,
            zip(listed, result.similarity.tolist(), strict=False),
            records,
            answer,
            scales,
            model.depth,
        ),
    )


class _AlsoSightings:
    """Searches for persons, and keeps the sightings that the first search returns as well."""

    def __init__(self, searches: Searches, k: int) -> None:
        self.sightings: SearchResult
        self._searches = searches
        self._k = k

    def search_persons(self, embeddings: NDArray[np.floating], **asked: Any) -> list[PersonsResult]:
        """See `Searches.search_persons`."""
        (result,) = self._searches.search_persons(embeddings, **asked, sightings=self._k)
        self._k = 0
        if result.sightings is not None:
            self.sightings = result.sightings
        return [result]


def _with_picture(record: StoredSighting | None) -> int | None:
    return None if record is None or record.thumbnail is None else record.sighting_id


def _found(
    parts: Parts,
    listed: Iterable[tuple[int, float]],
    records: Mapping[int, StoredSighting],
    answer: Identification,
    scales: Scales,
    depth: int,
) -> list[Found]:
    names = parts.people.names()
    found: list[Found] = []
    for sighting_id, similarity in listed:
        record = records.get(sighting_id)
        if record is None:
            # Erased in the meantime.
            continue
        scale = scales.between(depth, record.model.depth) if answer.verdict is not None else None
        decision = (
            None
            if scale is None
            else scale.decide(similarity, max(LEAST_GALLERY, answer.judged_among))
        )
        sighting: SightingOut = sighting_out(record, names, parts.camera_name)
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
