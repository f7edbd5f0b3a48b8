"""Route of the start page: what happened since the caller's last look."""

import time
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from adln.gallery.records import Filter
from adln.gallery.retention import DAY_S
from adln.service.access import Viewer
from adln.service.answers import In, Out, PersonOut, VisitOut
from adln.service.parts import Parts, visit_out
from adln.service.problems import documented
from adln.service.visits import Visit, newest_visits

_LONGEST_S = 7 * DAY_S
_MOST_NEW = 24
_MOST_VISITS = 1000


class LookIn(In):
    """A look at the news."""

    seen: bool = Field(default=False, description="Mark everything as seen.")


class CameraSilence(Out):
    """A time without pictures from a camera."""

    camera_id: int
    camera_name: str
    from_s: float
    until_s: float | None = Field(description="null if it has not ended.")


class PersonNews(Out):
    """A named person's latest visit and number of visits."""

    latest: VisitOut
    visits: int


class News(Out):
    """What happened since the caller's last look."""

    since_s: float
    whose: Literal["token", "machine"] = Field(
        description="Whose last look counts: that of the token, or of anyone on this machine."
    )
    is_first: bool = Field(description="The first look ever; covers the last day.")
    is_cut: bool = Field(description="The last look was before `since_s`; older news is left out.")
    new_people: list[PersonOut] = Field(description="People added, newest first.")
    num_new_people: int
    seen: list[PersonNews] = Field(description="Named people, most recently seen first.")
    unnamed_visits: int = Field(description="Visits of people without a name.")
    nobody_visits: int = Field(description="Visits of unassigned sightings.")
    is_all: bool = Field(description="False if there were too many visits to count all.")
    silences: list[CameraSilence] = Field(
        description="Cameras without pictures for half a minute or more, since the service started."
    )


def news_routes(router: APIRouter, parts: Parts) -> None:
    """What is new."""

    @router.post("/news", responses=documented())
    def news(asked: LookIn, caller: Viewer) -> News:
        """What happened since your last look; records this one.

        Looks within half an hour count as one, so that news does not disappear while you read it.
        """
        people = parts.people.by_id()
        newest = max(people, default=0)
        look = parts.state.look(caller.token_id, newest_person=newest, seen=asked.seen)
        now_s = time.time()
        is_first = look is None
        from_s, newest_then = (now_s - DAY_S, 0) if look is None else look
        since_s = max(from_s, now_s - _LONGEST_S)
        if look is None:
            new = [
                one for one in people.values() if one.first_seen_s and one.first_seen_s >= since_s
            ]
        else:
            # By number, which is never reused; someone's first sighting may have been erased.
            new = [one for one in people.values() if one.person_id > newest_then]
        new.sort(key=lambda one: -one.person_id)
        faces = parts.faces.of(new[:_MOST_NEW])
        where = Filter(from_s=since_s)
        visits, is_all = newest_visits(parts.gallery, where, limit=_MOST_VISITS)
        names = parts.people.names()
        named: dict[int, list[Visit]] = {}
        for visit in visits:
            if visit.person_id is not None and names.get(visit.person_id) is not None:
                named.setdefault(visit.person_id, []).append(visit)
        parts.record_list(caller, {"seen": len(named), "new": len(new)})
        nobody = sum(one.person_id is None for one in visits)
        return News(
            since_s=since_s,
            whose="token" if caller.token_id else "machine",
            is_first=is_first,
            is_cut=since_s > from_s,
            new_people=[PersonOut.of(one, faces[one.person_id]) for one in new[:_MOST_NEW]],
            num_new_people=len(new),
            seen=[
                PersonNews(latest=visit_out(parts, theirs[0]), visits=len(theirs))
                for theirs in named.values()
            ],
            unnamed_visits=len(visits) - nobody - sum(map(len, named.values())),
            nobody_visits=nobody,
            is_all=is_all,
            silences=[
                CameraSilence(**vars(one), camera_name=parts.camera_name(one.camera_id))
                for one in parts.silences.since(since_s)
            ],
        )
