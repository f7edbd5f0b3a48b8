"""Routes of sightings: list them, show their pictures, receive them from devices, erase them."""

import base64
import binascii
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.exceptions import HTTPException
from starlette.responses import Response

from adln.gallery.records import Sighting, checked_embeddings, require_usable
from adln.service.access import Admin, Operator, Viewer
from adln.service.answers import (
    PushedSighting,
    PushIn,
    SightingId,
    SightingOut,
    Sightings,
    Stored,
    decode_embedding,
)
from adln.service.asked import NOBODY, AskedFor, require_model, require_person, require_sightings
from adln.service.network import make_thumbnail
from adln.service.parts import Parts, sighting_out
from adln.service.problems import a_jpeg, documented

# Time and number of the last sighting of a page; the next page has older ones.
_CURSOR = r"^-?0x[0-9a-f.]{1,20}p[+-]\d{1,4}_\d{1,16}$"


def sighting_routes(router: APIRouter, parts: Parts) -> None:
    """List, show, push and erase sightings."""

    @router.get("/sightings", responses=documented())
    def list_sightings(
        caller: Viewer,
        where: AskedFor,
        nobody: Annotated[bool, Query(description="Only unassigned sightings.")] = False,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[str | None, Query(pattern=_CURSOR)] = None,
    ) -> Sightings:
        """Sightings, newest first, paginated."""
        where = replace(where, persons=NOBODY) if nobody else where
        records = parts.gallery.newest(where, limit=limit, before=_cursor(before))
        last = records[-1] if len(records) == limit else None
        return Sightings(
            sightings=[sighting_out(parts, record) for record in records],
            next=None if last is None else f"{last.time_s.hex()}_{last.sighting_id}",
        )

    @router.get("/sightings/{sighting_id}", responses=documented(404))
    def get_sighting(sighting_id: SightingId, caller: Viewer) -> SightingOut:
        """One sighting."""
        (record,) = require_sightings(parts, [sighting_id])
        return sighting_out(parts, record)

    @router.get(
        "/sightings/{sighting_id}/picture",
        response_class=Response,
        responses=a_jpeg("The picture.") | documented(404),
    )
    def get_picture(sighting_id: SightingId, caller: Viewer) -> Response:
        """The picture of a sighting, if one is stored."""
        records = parts.gallery.get([sighting_id])
        if not records or records[0].thumbnail is None:
            raise HTTPException(404, f"There is no picture of sighting {sighting_id}.")
        return Response(records[0].thumbnail, media_type="image/jpeg")

    @router.post("/sightings", status_code=201, responses=documented(404, 409))
    def push(asked: PushIn, caller: Operator) -> Stored:
        """Store sightings that a device has embedded: all or none, on the disk when answered."""
        model = asked.model.key()
        require_model(parts, model)
        try:
            sightings = [_pushed(parts, one, asked) for one in asked.sightings]
        except ValueError as error:
            raise HTTPException(422, f"A sighting cannot be stored: {error}") from error
        for person_id in sorted({one.person_id for one in sightings if one.person_id is not None}):
            require_person(parts, person_id)
        ids = parts.gallery.add(sightings)
        parts.metrics.stored.labels("push").inc(len(ids) - ids.count(None))
        parts.events.publish("gallery", {"what": "add", "person_id": None})
        return Stored(sighting_ids=ids)

    @router.delete("/sightings/{sighting_id}", status_code=204, responses=documented(404))
    def erase(sighting_id: SightingId, caller: Admin) -> None:
        """Erase one sighting. This cannot be undone."""
        parts.state.record(caller.name, "erase", {"sighting": sighting_id})
        if parts.gallery.delete([sighting_id]) == 0:
            raise HTTPException(404, f"There is no sighting {sighting_id}.")
        parts.people.changed()


def _pushed(parts: Parts, one: PushedSighting, asked: PushIn) -> Sighting:
    model = asked.model.key()
    thumbnail = None
    if parts.settings.keep_pictures and one.picture is not None:
        try:
            picture = base64.b64decode(one.picture, validate=True)
        except binascii.Error as error:
            raise ValueError(f"the picture is not valid base64: {error}") from error
        thumbnail = make_thumbnail(picture, max_pixels=parts.settings.max_picture_pixels)
    (embedding,) = checked_embeddings(decode_embedding(one.embedding, model.dim), dim=model.dim)
    sighting = Sighting(
        embedding=embedding,
        model=model,
        thumbnail=thumbnail,
        **one.model_dump(exclude={"embedding", "picture"}),
    )
    require_usable(sighting)
    return sighting


def _cursor(text: str | None) -> tuple[float, int] | None:
    if text is None:
        return None
    time_s, _, number = text.partition("_")
    try:
        return float.fromhex(time_s), int(number)
    except (ValueError, OverflowError) as error:
        raise HTTPException(422, "`before` must be `next` of the previous page.") from error
