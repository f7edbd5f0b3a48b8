"""Routes that list, change and erase people."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request
from starlette.exceptions import HTTPException

from adln.errors import GalleryError
from adln.gallery.records import Filter, Sighting, StoredSighting
from adln.service.access import Admin, Operator, Viewer
from adln.service.answers import (
    AssignIn,
    CameraId,
    Done,
    EnrolIn,
    ErasureOut,
    ForgetIn,
    MergeIn,
    NamedIn,
    NameIn,
    People,
    PersonId,
    PersonOut,
    SeenTime,
    SplitIn,
    Stored,
    Undone,
)
from adln.service.asked import require_model, require_network, require_person, require_sightings
from adln.service.bodies import caller_of
from adln.service.network import make_thumbnail
from adln.service.parts import Parts
from adln.service.problems import documented, without_place
from adln.service.routes_alerts import forget_alerts, rename_alerts
from adln.service.routes_search import PICTURE_BODY, embedded_picture
from adln.service.undoing import Step

_MOST_FACES = 100


def people_routes(router: APIRouter, parts: Parts) -> None:
    """List, enrol, name, merge, split and forget people."""

    @router.get("/persons", responses=documented())
    def list_persons(
        caller: Viewer,
        text: Annotated[str, Query(max_length=200, description="Part of a name.")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
        pictures: Annotated[bool, Query(description="Fill in `picture_ids`.")] = False,
        named: Annotated[bool, Query(description="Only people with a name.")] = False,
    ) -> People:
        """All people, most recently seen first."""
        wanted = text.casefold().strip()
        everybody = [
            person
            for person in parts.people.by_id().values()
            if wanted in (person.name or f"person {person.person_id}").casefold()
            and (person.name is not None or not named)
        ]
        everybody.sort(key=lambda person: (-(person.last_seen_s or 0), person.person_id))
        page = everybody[offset : offset + limit]
        facts = {"offset": offset, "shown": len(page), "by_text": bool(wanted)}
        parts.record_list(caller, facts)
        # Finding faces takes a while the first time, so only the first ones of a page get one.
        faces = parts.faces.of(page[:_MOST_FACES]) if pictures else {}
        return People(
            total=len(everybody),
            people=[PersonOut.of(person, faces.get(person.person_id, ())) for person in page],
        )

    @router.get("/persons/{person_id}", responses=documented(404))
    def get_person(person_id: PersonId, caller: Viewer) -> PersonOut:
        """One person."""
        person = require_person(parts, person_id)
        return PersonOut.of(person, parts.faces.of([person])[person_id])

    @router.post("/persons", status_code=201, responses=documented(404, 409))
    def enrol(asked: EnrolIn, caller: Operator) -> PersonOut:
        """Create a person, from unassigned sightings or without any."""
        if asked.sighting_ids:
            with parts.changing:
                records = require_sightings(parts, asked.sighting_ids)
                for one in records:
                    if one.person_id is not None:
                        raise HTTPException(
                            409,
                            f"Sighting {one.sighting_id} is already assigned to person "
                            f"{one.person_id}. Split it off that person instead.",
                        )
                parts.state.record(caller.name, "enrol", {"sightings": len(asked.sighting_ids)})
                person_id = parts.gallery.split(asked.sighting_ids, asked.name)
        else:
            # Needs no lock: nobody else is concerned, and checking the name against those that
            # were forgotten takes the gallery a while.
            parts.state.record(caller.name, "enrol", {"sightings": 0})
            person_id = parts.gallery.enrol(asked.name)
        parts.notify("enrol", person_id)
        return PersonOut.of(require_person(parts, person_id))

    @router.post(
        "/persons/{person_id}/picture",
        status_code=201,
        responses=documented(404, 409, 415),
        openapi_extra=PICTURE_BODY,
    )
    async def add_picture(
        request: Request,
        person_id: PersonId,
        caller: Operator,
        camera_id: Annotated[CameraId, Query()] = 0,
        time_s: Annotated[SeenTime | None, Query(allow_inf_nan=False)] = None,
    ) -> Stored:
        """Add a picture of a person. Only its embedding is stored unless pictures are kept."""
        await to_thread.run_sync(partial(require_person, parts, person_id))
        network = require_network(parts)
        data, embedding, _ = await embedded_picture(parts, request, network)

        def work() -> Stored:
            require_model(parts, network.model)
            most = parts.settings.max_picture_pixels
            is_kept = parts.settings.keep_pictures
            sighting = Sighting(
                embedding=embedding,
                model=network.model,
                camera_id=camera_id,
                time_s=time.time() if time_s is None else time_s,
                person_id=person_id,
                thumbnail=make_thumbnail(data, max_pixels=most) if is_kept else None,
            )
            parts.state.record(caller.name, "add picture", {"person": person_id})
            ids = parts.gallery.add([sighting])
            parts.metrics.stored.labels("picture").inc(len(ids) - ids.count(None))
            parts.notify("add", person_id)
            return Stored(sighting_ids=ids)

        async with parts.turns.slot(caller_of(request)):
            return await to_thread.run_sync(work)

    @router.put("/persons/{person_id}/name", responses=documented(404, 409, 412))
    def name(person_id: PersonId, asked: NameIn, caller: Operator) -> Done:
        """Set, change or remove a person's name."""
        with parts.changing:
            before = require_person(parts, person_id, fresh=True).name
            require_names(parts, asked.expected)
            parts.state.record(caller.name, "name", {"person": person_id})
            parts.gallery.name_person(person_id, asked.name)
            after = require_person(parts, person_id, fresh=True).name
            rename_alerts(parts, before, asked.name)

        def take_back() -> None:
            if require_person(parts, person_id, fresh=True).name != after:
                raise GalleryError(f"person {person_id} has been renamed since.")
            parts.gallery.name_person(person_id, before)
            rename_alerts(parts, asked.name, before)

        undo_id = parts.undo.add(Step("name", frozenset({person_id}), take_back))
        parts.notify("name", person_id)
        return Done(person_id=person_id, changed=0, undo_id=undo_id)

    @router.post("/persons/{person_id}/merge", responses=documented(404, 409, 412))
    def merge(person_id: PersonId, asked: MergeIn, caller: Operator) -> Done:
        """Merge other people into this person. The others cease to exist."""
        others = sorted(set(asked.person_ids) - {person_id})
        if not others:
            raise HTTPException(422, "Send at least one other person in person_ids.")
        with parts.changing:
            name_before = require_person(parts, person_id, fresh=True).name
            names = [require_person(parts, other).name for other in others]
            require_names(parts, asked.expected)
            sightings = [_sightings_of(parts, other) for other in others]
            parts.state.record(caller.name, "merge", {"persons": others, "into": person_id})
            moved = parts.gallery.merge(others, person_id)
            name_after = require_person(parts, person_id, fresh=True).name
            parts.events.moved(others, person_id)

        def take_back() -> None:
            # The name first: it may have come from one of the others.
            if require_person(parts, person_id, fresh=True).name == name_after:
                parts.gallery.name_person(person_id, name_before)
            for other, name, sighting_ids in zip(others, names, sightings, strict=True):
                left = [
                    record.sighting_id
                    for record in parts.gallery.get(sighting_ids)
                    if record.person_id == person_id
                ]
                # They get their old numbers back, which clients may have stored.
                parts.gallery.unmerge(other, left, name=name)

        undo_id = parts.undo.add(Step("merge", frozenset({person_id, *others}), take_back))
        parts.notify("merge", person_id)
        return Done(person_id=person_id, changed=moved, undo_id=undo_id)

    @router.post("/persons/{person_id}/split", responses=documented(404, 409))
    def split(person_id: PersonId, asked: SplitIn, caller: Operator) -> Done:
        """Move some of a person's sightings to a new person."""
        ids = sorted(set(asked.sighting_ids))
        with parts.changing:
            require_person(parts, person_id, fresh=True)
            records = parts.gallery.get(ids)
            if [record.person_id for record in records] != [person_id] * len(ids):
                raise HTTPException(404, f"Some of these sightings are not of person {person_id}.")
            parts.state.record(caller.name, "split", {"person": person_id, "sightings": len(ids)})
            new_id = parts.gallery.split(ids, asked.name)
            parts.events.moved([person_id], new_id)

        def take_back() -> None:
            name = require_person(parts, person_id, fresh=True).name
            parts.gallery.merge([new_id], person_id)
            # A person without a name has taken the name of the merged one.
            parts.gallery.name_person(person_id, name)

        undo_id = parts.undo.add(Step("split", frozenset({person_id, new_id}), take_back))
        parts.notify("split", person_id)
        return Done(person_id=new_id, changed=len(ids), undo_id=undo_id)

    @router.post("/persons/{person_id}/sightings", responses=documented(404, 409, 412))
    def assign(person_id: PersonId, asked: AssignIn, caller: Operator) -> Done:
        """Assign sightings to this person."""
        ids = sorted(set(asked.sighting_ids))
        with parts.changing:
            require_person(parts, person_id, fresh=True)
            owners = owners_of(require_sightings(parts, ids))
            is_checked = "expected_owner" in asked.model_fields_set
            if is_checked and owners.keys() != {asked.expected_owner}:
                raise HTTPException(
                    412,
                    "Somebody else has assigned these sightings in the meantime. Nothing was "
                    "changed; look again.",
                )
            parts.state.record(caller.name, "assign", {"person": person_id, "sightings": len(ids)})
            changed = parts.gallery.assign(ids, person_id)
            before = frozenset(one for one in owners if one is not None)
            parts.events.moved(before, person_id)

        take_back = partial(give_back, parts, owners, person_id)
        undo_id = parts.undo.add(Step("assign", before | {person_id}, take_back))
        parts.notify("assign", person_id)
        return Done(person_id=person_id, changed=changed, undo_id=undo_id)

    @router.post("/undo/{undo_id}", responses=documented(404, 409))
    def undo(undo_id: Annotated[str, Path(max_length=64)], caller: Operator) -> Undone:
        """Undo a change made in the last ten minutes; once."""
        with parts.changing:
            step = parts.undo.find(undo_id)
            if step is None:
                raise HTTPException(404, "There is no such change to undo any more.")
            parts.state.record(
                caller.name, "undo", {"action": step.action, "persons": sorted(step.persons)}
            )
            # Not before: a change that cannot be recorded can be undone later.
            parts.undo.take(undo_id)
            try:
                step.take_back()
            except GalleryError as error:
                why = f"This cannot be undone, because of a later change: {without_place(error)}"
                raise HTTPException(409, why) from error
            finally:
                parts.people.changed()
        parts.notify("undo", min(step.persons, default=None))
        return Undone(action=step.action)

    @router.post("/persons/{person_id}/forget", responses=documented(404, 409))
    def forget(person_id: PersonId, asked: ForgetIn, caller: Admin) -> ErasureOut:
        """Erase a person everywhere, and verify it. This cannot be undone."""
        with parts.changing:
            person = require_person(parts, person_id, fresh=True)
            parts.state.record(caller.name, "forget", {"person": person_id})
            # First, so that a failure here leaves the person to be forgotten again.
            forget_alerts(parts, person)
            # Events about people who were merged into them are about them, too.
            theirs = {person_id, *parts.gallery.merged_into(person_id)}
            parts.undo.forget(theirs)
            for one in theirs:
                parts.events.forget(one)
            try:
                erasure = parts.gallery.forget(person_id, suppress_above=asked.suppress_above)
            finally:
                parts.people.changed()
            # Again: requests in the meantime may have added to them.
            parts.undo.forget(theirs)
            for one in theirs:
                parts.events.forget(one, parts.people.by_id())
            parts.state.record(
                caller.name, "forgotten", {"person": person_id, "proved": erasure.is_proved}
            )
        parts.notify("forget", None)
        return ErasureOut(**vars(erasure), is_proved=erasure.is_proved)


def require_names(parts: Parts, expected: Iterable[NamedIn]) -> None:
    """Refuse a change to people who are no longer called what the caller saw.

    Raises:
        HTTPException: 404: one is gone; 412: one has another name.
    """
    for one in expected:
        now = require_person(parts, one.person_id).name
        if now != one.name:
            raise HTTPException(
                412,
                f"Somebody else has changed the name of person {one.person_id} in the meantime: "
                f"{'it has none now' if now is None else f'it is {now!r} now'}. Nothing was "
                "changed; look again.",
            )


def _sightings_of(parts: Parts, person_id: int) -> list[int]:
    batches = parts.gallery.iterate(Filter(persons=frozenset({person_id})), batch_size=200)
    return [record.sighting_id for batch in batches for record in batch]


def owners_of(records: Iterable[StoredSighting]) -> dict[int | None, list[int]]:
    """Person (None: unassigned) -> their sightings among these."""
    owners: dict[int | None, list[int]] = defaultdict(list)
    for record in records:
        owners[record.person_id].append(record.sighting_id)
    return owners


def give_back(parts: Parts, owners: Mapping[int | None, list[int]], given_to: int | None) -> None:
    """Assign sightings to their former owners, as returned by `owners_of`.

    Those that are not of `given_to` any more, because somebody has assigned them otherwise since or
    erased them, stay as they are.

    Raises:
        GalleryError: none is left to give back, or a former owner exists no more; then nothing is
            changed.
    """
    left = {
        owner: [one.sighting_id for one in parts.gallery.get(theirs) if one.person_id == given_to]
        for owner, theirs in owners.items()
        if owner != given_to
    }
    if left and not any(left.values()):
        raise GalleryError("these sightings have been assigned otherwise or erased since.")
    known = parts.gallery.names(owner for owner in left if owner is not None)
    for owner, theirs in left.items():
        if theirs and owner is not None and owner not in known:
            raise GalleryError(f"there is no person {owner} any more.")
    for owner, theirs in left.items():
        if theirs:
            parts.gallery.assign(theirs, owner)
