"""Routes of sightings: list them, show their pictures, take them from boxes, erase them."""

import base64
import binascii
import re
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from adln.gallery.records import Filter, Sighting, checked_embeddings, require_usable
from adln.service.access import Needs
from adln.service.answers import (
    CameraId,
    PersonId,
    PushedSighting,
    PushIn,
    SightingId,
    SightingOut,
    Sightings,
    Stored,
    Time,
    decode_embedding,
    sighting_out,
)
from adln.service.network import make_thumbnail
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.searching import NOBODY, require_model
from adln.service.state import Caller

Cursor = tuple[float, int]
"""Time and number of a sighting: what comes after it on the next page is older."""

_CURSOR = re.compile(r"(-?0x[0-9a-f.]{1,20}p[+-]\d{1,4})_(\d{1,16})")


def sighting_routes(parts: Parts) -> APIRouter:
    """List, show, push and erase sightings."""
    router = APIRouter(tags=["sightings"], route_class=parts.route)
    viewer = Annotated[Caller, Depends(Needs("viewer"))]
    operator = Annotated[Caller, Depends(Needs("operator"))]
    admin = Annotated[Caller, Depends(Needs("admin"))]
    one = Annotated[SightingId, Path()]

    @router.get("/sightings", response_model=Sightings, responses=documented())
    def list_sightings(
        caller: viewer,
        camera: Annotated[list[CameraId] | None, Query(max_length=1000)] = None,
        person: Annotated[list[PersonId] | None, Query(max_length=1000)] = None,
        nobody: Annotated[bool, Query(description="Only those of nobody yet.")] = False,
        from_s: Annotated[Time | None, Query(allow_inf_nan=False)] = None,
        until_s: Annotated[Time | None, Query(allow_inf_nan=False)] = None,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[str | None, Query(pattern=f"^{_CURSOR.pattern}$")] = None,
    ) -> Sightings:
        """Sightings, newest first, a page at a time."""
        persons = NOBODY if nobody else None if person is None else frozenset(person)
        where = Filter(
            cameras=None if camera is None else frozenset(camera),
            persons=persons,
            from_s=from_s,
            until_s=until_s,
        )
        records = parts.gallery.newest(where, limit=limit, before=_cursor(before))
        names = parts.people.names()
        more = None
        if len(records) == limit:
            more = f"{records[-1].time_s.hex()}_{records[-1].sighting_id}"
        return Sightings(
            sightings=[
                sighting_out(record, names, parts.camera_name(record.camera_id))
                for record in records
            ],
            next=more,
        )

    @router.get("/sightings/{sighting_id}", response_model=SightingOut, responses=documented(404))
    def get_sighting(sighting_id: one, caller: viewer) -> SightingOut:
        """One sighting."""
        records = parts.gallery.get([sighting_id])
        if not records:
            raise HTTPException(404, f"There is no sighting {sighting_id}.")
        return sighting_out(
            records[0], parts.people.names(), parts.camera_name(records[0].camera_id)
        )

    @router.get(
        "/sightings/{sighting_id}/picture",
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
            **documented(404),
        },
    )
    def get_picture(sighting_id: one, caller: viewer) -> Response:
        """The picture of a sighting, where one was kept."""
        records = parts.gallery.get([sighting_id])
        if not records or records[0].thumbnail is None:
            raise HTTPException(404, f"There is no picture of sighting {sighting_id}.")
        return Response(records[0].thumbnail, media_type="image/jpeg")

    @router.post(
        "/sightings", response_model=Stored, status_code=201, responses=documented(404, 409)
    )
    def push(asked: Annotated[PushIn, Body()], caller: operator) -> Stored:
        """Store sightings that a box has embedded; all or none, on the disk when answered."""
        model = asked.model.key()
        require_model(parts, model)
        try:
            sightings = [_pushed(parts, one, asked) for one in asked.sightings]
        except ValueError as error:
            raise HTTPException(422, f"A sighting cannot be stored: {error}") from error
        wanted = {one.person_id for one in sightings if one.person_id is not None}
        if wanted - parts.people.by_id().keys():
            parts.people.changed()
            missing = wanted - parts.people.by_id().keys()
            if missing:
                raise HTTPException(404, f"There is no person {min(missing)}.")
        ids = parts.gallery.add(sightings)
        stored = len(ids) - ids.count(None)
        parts.metrics.stored.labels("push").inc(stored)
        parts.events.publish("gallery", {"what": "add", "person_id": None})
        return Stored(sighting_ids=ids)

    @router.delete("/sightings/{sighting_id}", status_code=204, responses=documented(404))
    def erase(sighting_id: one, caller: admin) -> None:
        """Erase one sighting. This cannot be taken back."""
        parts.state.record(caller.name, "erase", {"sighting": sighting_id})
        if parts.gallery.delete([sighting_id]) == 0:
            raise HTTPException(404, f"There is no sighting {sighting_id}.")
        parts.people.changed()

    return router


def _pushed(parts: Parts, one: PushedSighting, asked: PushIn) -> Sighting:
    model = asked.model.key()
    thumbnail = None
    if parts.settings.keep_pictures and one.picture is not None:
        try:
            picture = base64.b64decode(one.picture, validate=True)
        except binascii.Error as error:
            raise ValueError(f"a picture is base64: {error}") from error
        thumbnail = make_thumbnail(picture, max_pixels=parts.settings.max_picture_pixels)
    (embedding,) = checked_embeddings(decode_embedding(one.embedding, model.dim), dim=model.dim)
    sighting = Sighting(
        embedding=embedding,
        model=model,
        camera_id=one.camera_id,
        time_s=one.time_s,
        person_id=one.person_id,
        track_id=one.track_id,
        box_xyxy=one.box_xyxy,
        quality=one.quality,
        thumbnail=thumbnail,
    )
    require_usable(sighting)
    return sighting


def _cursor(text: str | None) -> Cursor | None:
    if text is None:
        return None
    match = _CURSOR.fullmatch(text)
    try:
        if match is None:
            raise ValueError("not of this form")
        return float.fromhex(match[1]), int(match[2])
    except (ValueError, OverflowError) as error:
        raise HTTPException(422, "`before` is what `next` of the page before was.") from error
