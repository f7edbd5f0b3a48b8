"""Routes for the state of the service, its audit log and its live events."""

import os
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from adln import __version__
from adln.service import metrics
from adln.service.access import Admin, Viewer
from adln.service.answers import (
    Audit,
    CameraId,
    Health,
    ModelName,
    Problem,
    RetentionOut,
    Session,
    Status,
)
from adln.service.live import CameraView
from adln.service.parts import Parts
from adln.service.problems import a_jpeg, documented, sends

EVENTS = "/events"
# One token may use at most 1/4 of `max_listeners`.
_LISTENERS_SHARE = 4
PICTURE_TIME = "Adln-Time"
CAMERA_PICTURE = "/cameras/{camera_id}/picture"


def status_routes(router: APIRouter, parts: Parts) -> None:
    """Health, status, metrics, the audit log, and live events."""

    @router.get(
        "/health",
        responses={**documented(), 503: {"model": Problem, "description": "unavailable"}},
    )
    def health() -> Health:
        """Whether the gallery answers and the network passed its self-check. Needs no token."""
        parts.gallery.get([])
        return Health(network="none" if parts.network is None else parts.network.verdict)

    @router.get("/session", responses=documented())
    async def session(caller: Viewer) -> Session:
        """The caller's name and role."""
        required = parts.settings.tokens_required
        return Session(name=caller.name, role=caller.role, token_required=required)

    @router.get("/status", responses=documented())
    def status(caller: Viewer) -> Status:
        """Configuration, cameras, retention and load of the service."""
        network, tidying = parts.network, parts.tidying
        retention = load = None
        if tidying is not None:
            facts = {**vars(tidying.rules), **vars(tidying.last)}
            retention = RetentionOut(**facts, every_s=tidying.every_s)
        # Not available on every system.
        with suppress(OSError):
            load = os.getloadavg()[0] / (os.cpu_count() or 1)
        return Status(
            version=__version__,
            model=None if network is None else ModelName.of(network.model),
            precision=None if network is None else network.precision,
            gives_verdicts=parts.scale is not None,
            keeps_pictures=parts.settings.keep_pictures,
            sightings=parts.gallery.count(),
            people=len(parts.people.by_id()),
            camera_names=parts.settings.camera_names,
            cameras=_cameras(parts),
            pipeline=parts.source.pipeline(),
            retention=retention,
            listeners=parts.events.listeners,
            load=load,
            up_s=time.monotonic() - parts.started_s,
        )

    @router.get(
        CAMERA_PICTURE,
        response_class=Response,
        responses={
            **a_jpeg(f"The picture; header {PICTURE_TIME}: `time_s` of its scene."),
            204: {"description": "No picture yet: ask again."},
            **documented(404),
        },
    )
    async def camera_picture(camera_id: CameraId, caller: Viewer) -> Response:
        """A camera's current picture, if showing pictures is enabled for it. Not stored."""
        pipeline = parts.source.pipeline()
        shown = {view.camera_id for view in parts.source.cameras() if view.pictures}
        if pipeline is None or not pipeline.pictures or camera_id not in shown:
            raise HTTPException(404, f"Showing pictures of camera {camera_id} is not enabled.")
        picture = parts.source.picture(camera_id)
        if picture is None:
            return Response(status_code=204)
        headers = {PICTURE_TIME: repr(picture.time_s)}
        return Response(picture.jpeg, media_type="image/jpeg", headers=headers)

    as_text = sends("text/plain") | documented()

    @router.get("/metrics", response_class=PlainTextResponse, responses=as_text)
    def read_metrics(caller: Viewer) -> PlainTextResponse:
        """Metrics for Prometheus."""
        return PlainTextResponse(parts.metrics.text(), media_type=metrics.CONTENT_TYPE)

    @router.get("/audit", responses=documented())
    def audit(
        caller: Admin,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        expected_digest: Annotated[
            str | None, Query(pattern="^[0-9a-f]{64}$", description="An earlier `newest_digest`.")
        ] = None,
    ) -> Audit:
        """The audit log, newest first, and whether it is unaltered."""
        check = parts.state.check(expected_digest=expected_digest)
        return Audit(
            entries=parts.state.entries(newest=limit),
            num_entries=check.entries,
            is_sound=check.is_sound,
            first_broken=check.first_broken,
            newest_digest=check.newest_digest,
        )

    what = "Events `sighting`, `scene`, `cameras`, `gallery` and `lost`, until the client leaves."
    as_events = sends("text/event-stream", what) | documented()

    @router.get(EVENTS, response_class=StreamingResponse, responses=as_events)
    async def events(
        caller: Viewer,
        last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,15}$")] = None,
    ) -> StreamingResponse:
        """Live events (server-sent events)."""
        if parts.events.listeners >= parts.settings.max_listeners:
            raise HTTPException(503, "Too many open event streams; close one and try again.")
        # One token must not use up all streams.
        share = max(1, parts.settings.max_listeners // _LISTENERS_SHARE)
        if caller.token_id and parts.events.count_of(caller.name) >= share:
            raise HTTPException(429, f"This token has {share} open event streams; close one.")
        texts = parts.events.listen(
            after=None if last_event_id is None else int(last_event_id),
            caller=caller.name,
            may_listen=lambda: not caller.token_id or parts.state.is_valid(caller.token_id),
        )
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(texts, media_type="text/event-stream", headers=headers)


def live_views(parts: Parts) -> dict[str, Any]:
    """State of cameras and pipeline, as sent in events."""
    pipeline = parts.source.pipeline()
    return {
        "cameras": [asdict(camera) for camera in _cameras(parts)],
        "pipeline": None if pipeline is None else asdict(pipeline),
    }


def _cameras(parts: Parts) -> list[CameraView]:
    return [
        replace(view, name=parts.camera_name(view.camera_id)) for view in parts.source.cameras()
    ]
