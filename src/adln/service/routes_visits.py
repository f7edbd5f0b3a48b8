"""Route of visits: who was where, from when to when."""

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from adln.gallery.records import Filter
from adln.service.access import Needs
from adln.service.answers import CameraId, PersonId, Time, VisitOut, Visits
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.searching import NOBODY
from adln.service.state import Caller
from adln.service.visits import GAP_S, newest_visits

Who = Literal["everybody", "named", "unnamed", "nobody"]
"""Of whom: all, people with a name, people without one, or sightings of nobody yet."""


def visit_routes(parts: Parts) -> APIRouter:
    """List visits."""
    router = APIRouter(tags=["visits"], route_class=parts.route)
    viewer = Annotated[Caller, Depends(Needs("viewer"))]

    @router.get("/visits", response_model=Visits, responses=documented())
    def list_visits(
        caller: viewer,
        camera: Annotated[list[CameraId] | None, Query(max_length=1000)] = None,
        person: Annotated[list[PersonId] | None, Query(max_length=1000)] = None,
        who: Annotated[Who, Query(description="Plays no part if `person` is given.")] = "everybody",
        from_s: Annotated[Time | None, Query(allow_inf_nan=False)] = None,
        until_s: Annotated[Time | None, Query(allow_inf_nan=False)] = None,
        gap_s: Annotated[float, Query(ge=1, le=86_400, allow_inf_nan=False)] = GAP_S,
        limit: Annotated[int, Query(ge=1, le=1000)] = 500,
    ) -> Visits:
        """Who was at which camera from when to when, newest first.

        Sightings of one person at one camera are one visit unless they are more than `gap_s` apart.
        """
        names = parts.people.names()
        persons = frozenset(person) if person is not None else _persons(who, names)
        where = Filter(
            cameras=None if camera is None else frozenset(camera),
            persons=persons,
            from_s=from_s,
            until_s=until_s,
        )
        if persons is not None and not persons:
            return Visits(visits=[], is_all=True)
        visits, is_all = newest_visits(parts.gallery, where, gap_s=gap_s, limit=limit)
        return Visits(
            visits=[
                VisitOut(
                    person_id=visit.person_id,
                    name=None if visit.person_id is None else names.get(visit.person_id),
                    camera_id=visit.camera_id,
                    camera_name=parts.camera_name(visit.camera_id),
                    first_s=visit.first_s,
                    last_s=visit.last_s,
                    sightings=visit.sightings,
                    picture_id=visit.picture_id,
                )
                for visit in visits
            ],
            is_all=is_all,
        )

    return router


def _persons(who: Who, names: Mapping[int, str | None]) -> frozenset[int] | None:
    if who == "everybody":
        return None
    if who == "nobody":
        return NOBODY
    return frozenset(
        person for person, name in names.items() if (name is not None) == (who == "named")
    )
