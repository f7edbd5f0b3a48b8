"""Routes of the review queue: decisions for a person to make."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query

from adln.gallery.records import Person, StoredSighting
from adln.matching.calibration import Scales
from adln.service.access import Operator
from adln.service.answers import (
    DismissIn,
    Done,
    PersonOut,
    ReviewItem,
    ReviewQueue,
    SetAsideIn,
)
from adln.service.asked import require_sightings
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.review_queue import Item
from adln.service.review_queue import ReviewQueue as Queue
from adln.service.routes_people import give_back, owners_of
from adln.service.undoing import Step

_LOOKS = 4
_MOST_SIGHTINGS = 1000


def review_routes(router: APIRouter, parts: Parts) -> None:
    """List pending decisions, ignore them, set sightings aside."""
    scales = Scales() if parts.network is None else parts.network.scales
    queue = Queue(parts.gallery, parts.people, replace(scales, otherwise=parts.scale))

    @router.get("/review", responses=documented(409))
    def list_review(
        caller: Operator, limit: Annotated[int, Query(ge=1, le=200)] = 100
    ) -> ReviewQueue:
        """Pending decisions, clearest first, without ignored ones."""
        found = queue.look()
        ignored = parts.state.dismissed()
        people = parts.people.by_id()
        items: list[ReviewItem] = []
        for item in found.items:
            if len(items) == limit:
                break
            if item.key not in ignored and (shown := _shown(parts, item, people)) is not None:
                items.append(shown)
        parts.record_list(caller, {"to_review": len(items)})
        return ReviewQueue(items=items, left_out=found.left_out)

    @router.post("/review/ignore", responses=documented())
    def ignore(asked: DismissIn, caller: Operator) -> Done:
        """Ignore an item of the review queue; it is not listed again."""
        parts.state.dismiss(caller.name, asked.key)
        take_back = partial(parts.state.dismiss, caller.name, asked.key, take_back=True)
        undo_id = parts.undo.add(Step("ignore", frozenset(), take_back))
        return Done(person_id=0, changed=0, undo_id=undo_id)

    @router.post("/review/set-aside", responses=documented(404, 409))
    def set_aside(asked: SetAsideIn, caller: Operator) -> Done:
        """Unassign sightings: they are kept, but no longer represent a person."""
        ids = sorted(set(asked.sighting_ids))
        with parts.changing:
            owners = owners_of(require_sightings(parts, ids))
            parts.state.record(caller.name, "set aside", {"sightings": len(ids)})
            changed = parts.gallery.assign(ids, None)
        persons = frozenset(one for one in owners if one is not None)
        undo_id = parts.undo.add(
            Step("set aside", persons, partial(give_back, parts, owners, None))
        )
        parts.notify("set aside", None)
        return Done(person_id=min(persons, default=0), changed=changed, undo_id=undo_id)


def _shown(parts: Parts, item: Item, people: Mapping[int, Person]) -> ReviewItem | None:
    """An item as a response; None if it has been decided in the meantime."""
    person = None if item.person_id is None else people.get(item.person_id)
    other = None if item.other_id is None else people.get(item.other_id)
    if item.person_id is not None and person is None:
        return None
    if item.other_id is not None and other is None:
        if item.kind in ("merge", "strange"):
            return None
        item = replace(item, other_id=None, likeness=None)
    if item.kind == "unnamed" and (person is None or person.name or not person.num_sightings):
        return None
    faces = parts.faces.of(one for one in (person, other) if one is not None)
    records: list[StoredSighting] = []
    if item.sighting_ids:
        records = [
            record
            for record in parts.gallery.get(item.sighting_ids[:_MOST_SIGHTINGS])
            if record.person_id == item.person_id
        ]
        if not records:
            return None
        pictures: Iterable[int] = (one.sighting_id for one in records if one.thumbnail is not None)
        times = [record.time_s for record in records]
        seen: dict[str, Any] = {
            "num_sightings": len(records),
            "cameras": sorted({record.camera_id for record in records}),
            "first_seen_s": min(times),
            "last_seen_s": max(times),
        }
    else:
        assert person is not None
        pictures = faces[person.person_id]
        seen = vars(person)
    shown: dict[int | None, PersonOut] = {
        one.person_id: PersonOut.of(one, faces[one.person_id])
        for one in (person, other)
        if one is not None
    }
    return ReviewItem(
        key=item.key,
        kind=item.kind,
        likeness=item.likeness,
        person=shown.get(item.person_id),
        other=shown.get(item.other_id),
        sighting_ids=[record.sighting_id for record in records],
        picture_ids=list(pictures)[:_LOOKS],
        **seen,
    )
