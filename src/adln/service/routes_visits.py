"""Routes of visits: who was where from when to when, and the visit of a sighting."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from adln.gallery.records import Filter
from adln.gallery.retention import DAY_S
from adln.service.access import Viewer
from adln.service.answers import (
    Out,
    SightingId,
    SightingOut,
    VisitOut,
    Visits,
)
from adln.service.asked import NOBODY, AskedFor, require_sightings
from adln.service.parts import Parts, sighting_out, visit_out
from adln.service.problems import documented
from adln.service.visits import GAP_S, Visit, newest_visits

_WEEK_S = 7 * DAY_S
# Time searched before and after a sighting for the rest of its visit.
_LONGEST_S = 6 * 3600.0
_AROUND_S = 120.0
_MOST_LOOKS = 100
Who = Literal["everybody", "named", "unnamed", "nobody"]
"""All people, named ones, unnamed ones, or unassigned sightings."""


class Moment(Out):
    """The visit of a sighting and its context."""

    visit: VisitOut
    sightings: list[SightingOut] = Field(description="Of the visit, oldest first; at most 100.")
    before: VisitOut | None = Field(description="The person's previous visit, within a week.")
    after: VisitOut | None = Field(description="The person's next visit, within a day.")
    around: list[VisitOut] = Field(
        description="Visits of others at the same time, at any camera; newest first."
    )


def visit_routes(router: APIRouter, parts: Parts) -> None:
    """List visits."""

    @router.get("/visits", responses=documented())
    def list_visits(
        caller: Viewer,
        where: AskedFor,
        who: Annotated[Who, Query(description="Ignored if `person` is given.")] = "everybody",
        gap_s: Annotated[float, Query(ge=1, le=86_400, allow_inf_nan=False)] = GAP_S,
        limit: Annotated[int, Query(ge=1, le=1000)] = 500,
    ) -> Visits:
        """Who was at which camera from when to when, newest first.

        Sightings of a person at a camera that are at most `gap_s` apart belong to one visit.
        """
        if where.persons is None:
            where = replace(where, persons=_persons(who, parts.people.names()))
        if where.persons == frozenset():
            return Visits(visits=[], is_all=True)
        visits, is_all = newest_visits(parts.gallery, where, gap_s=gap_s, limit=limit)
        return Visits(visits=[visit_out(parts, visit) for visit in visits], is_all=is_all)

    @router.get("/moments/{sighting_id}", responses=documented(404))
    def get_moment(sighting_id: SightingId, caller: Viewer) -> Moment:
        """The visit of a sighting, the person's visits before and after, and who else was there."""
        (record,) = require_sightings(parts, [sighting_id])
        time_s = record.time_s
        persons = NOBODY if record.person_id is None else frozenset({record.person_id})
        theirs = Filter(
            cameras=frozenset({record.camera_id}),
            persons=persons,
            from_s=time_s - _LONGEST_S,
            until_s=time_s + _LONGEST_S,
        )
        found, _ = newest_visits(parts.gallery, theirs, limit=1000)
        # With too many newer sightings, the search has not reached this one.
        alone = Visit(record.person_id, record.camera_id, time_s, time_s, [sighting_id])
        visit = next((one for one in found if sighting_id in one.sighting_ids), alone)

        def shown(visits: Iterable[Visit]) -> list[VisitOut]:
            return [visit_out(parts, one) for one in visits]

        before: list[Visit] = []
        after: list[Visit] = []
        if record.person_id is not None:
            earlier = Filter(persons=persons, from_s=visit.first_s - _WEEK_S, until_s=visit.first_s)
            before, _ = newest_visits(parts.gallery, earlier, limit=1)
            past_s = math.nextafter(visit.last_s, math.inf)
            later = Filter(persons=persons, from_s=past_s, until_s=visit.last_s + DAY_S)
            following, is_all = newest_visits(parts.gallery, later, limit=1000)
            after = sorted(following, key=lambda one: one.first_s)[:1] if is_all else []
        at_once = Filter(from_s=visit.first_s - _AROUND_S, until_s=visit.last_s + _AROUND_S)
        around, _ = newest_visits(parts.gallery, at_once, limit=60)
        looks = parts.gallery.get(visit.sighting_ids[:_MOST_LOOKS][::-1])
        others = (one for one in around if not {*one.sighting_ids} & {*visit.sighting_ids})
        return Moment(
            visit=visit_out(parts, visit),
            sightings=[sighting_out(parts, one) for one in looks],
            before=next(iter(shown(before)), None),
            after=next(iter(shown(after)), None),
            around=shown(others),
        )


def _persons(who: Who, names: Mapping[int, str | None]) -> frozenset[int] | None:
    if who == "everybody":
        return None
    if who == "nobody":
        return NOBODY
    return frozenset(
        person for person, name in names.items() if (name is not None) == (who == "named")
    )
