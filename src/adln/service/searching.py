"""Searches: who it is, and the most similar sightings."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.gallery.adapting import scales_in
from adln.gallery.records import NO_PERSON, Filter, ModelKey, PersonsResult, SearchResult
from adln.matching.calibration import Scales
from adln.matching.identification import LEAST_GALLERY, identify, not_asked
from adln.service.answers import Found, ModelName, RunnerUp, SearchOut
from adln.service.batching import Searches
from adln.service.parts import Parts, sighting_out


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
    """Decide whom a query, (D,) of unit length, shows, and list the most similar sightings.

    At most `k` are listed, without those of a lower cosine than `least_similarity`; neither affects
    who it is. `leave_out` is the sighting that is the query itself, `camera` the one that saw it.
    `no_crop` is why the query is not a crop of one person, so that no one is named.
    """
    without = frozenset() if leave_out is None else frozenset({leave_out})
    scales = Scales() if parts.network is None else parts.network.scales
    scales = scales_in(parts.gallery, model, replace(scales, otherwise=parts.scale))
    searches = _AlsoSightings(parts.searches, k)
    if no_crop is None:
        answer = identify(
            searches,
            query,
            model=model,
            scales=scales,
            where=where,
            without=without,
            camera=camera,
        )
    else:
        answer = not_asked(no_crop)
        searches.search_persons(query, model=model, k=1, where=where)
    result = searches.sightings
    person, reason = answer.person, answer.reason
    is_open = no_crop is None and answer.verdict != "matched"
    if is_open and len(result) and result.person_ids[0] == NO_PERSON:
        reason += f"; the most similar sighting, {result.similarity[0]:.2f}, is unassigned"
    listed = result.sighting_ids[result.similarity >= least_similarity].tolist()
    shown = {*listed, *(one.sighting_id for one in answer.runners_up)}
    records = {record.sighting_id: record for record in parts.gallery.get(shown)}
    pictured = {at for at, record in records.items() if record.thumbnail is not None}
    found: list[Found] = []
    for sighting_id, similarity in zip(listed, result.similarity.tolist(), strict=False):
        record = records.get(sighting_id)
        if record is None:
            # Erased in the meantime.
            continue
        verdict = probability = None
        scale = scales.between(model.depth, record.model.depth)
        if answer.verdict is not None and scale is not None:
            decision = scale.decide(similarity, max(LEAST_GALLERY, answer.judged_among))
            verdict = answer.verdict_on(record.person_id, decision)
            probability = decision.probability
        found.append(
            Found(
                rank=len(found) + 1,
                similarity=similarity,
                verdict=verdict,
                probability=probability,
                sighting=sighting_out(parts, record),
            )
        )
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
                **vars(one), picture_id=one.sighting_id if one.sighting_id in pictured else None
            )
            for one in answer.runners_up
        ],
        gallery_size=answer.gallery_size,
        is_crop=no_crop is None,
        found=found,
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
