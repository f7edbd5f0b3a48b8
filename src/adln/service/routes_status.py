"""Routes for the state of the service, its audit log and its live events."""

import os
import time
from dataclasses import asdict, replace
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query
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
from adln.service.problems import a_jpeg, documented
from adln.service.state import Caller

EVENTS = "/events"
# One token may use at most 1/4 of `max_listeners`.
_LISTENERS_SHARE = 4
PICTURE_TIME = "Adln-Time"
CAMERA_PICTURE = "/cameras/{camera_id}/picture"


def status_routes(parts: Parts) -> APIRouter:
    """Health, status, metrics, the audit log, and live events."""
    router = APIRouter(tags=["status"], route_class=parts.route)

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
        return Session(
            name=caller.name,
            role=caller.role,
            token_required=parts.settings.tokens_required,
        )

    @router.get("/status", responses=documented())
    def status(caller: Viewer) -> Status:
        """Configuration, cameras, retention and load of the service."""
        network = parts.network
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
            retention=_retention(parts),
            listeners=parts.events.listeners,
            load=_load(),
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
    async def camera_picture(camera_id: Annotated[CameraId, Path()], caller: Viewer) -> Response:
        """A camera's current picture, if showing pictures is enabled for it. Not stored."""
        pipeline = parts.source.pipeline()
        is_shown = any(
            view.camera_id == camera_id and view.pictures for view in parts.source.cameras()
        )
        if pipeline is None or not (pipeline.pictures and is_shown):
            raise HTTPException(404, f"Showing pictures of camera {camera_id} is not enabled.")
        picture = parts.source.picture(camera_id)
        if picture is None:
            return Response(status_code=204)
        headers = {PICTURE_TIME: repr(picture.time_s)}
        return Response(picture.jpeg, media_type="image/jpeg", headers=headers)

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **documented(),
        },
    )
    def read_metrics(caller: Viewer) -> PlainTextResponse:
        """Metrics for Prometheus."""
        return PlainTextResponse(parts.metrics.text(), media_type=metrics.CONTENT_TYPE)

    @router.get("/audit", responses=documented())
    def audit(
        caller: Admin,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        expected_digest: Annotated[
            str | None,
            Query(pattern="^[0-9a-f]{64}$", description="An earlier `newest_digest`."),
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

    @router.get(
        EVENTS,
        response_class=StreamingResponse,
        responses={
            200: {
                "description": "Events `sighting`, `scene`, `cameras`, `gallery` and `lost`, until "
                "the client leaves.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **documented(),
        },
    )
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
        after = None if last_event_id is None else int(last_event_id)
        return StreamingResponse(
            parts.events.listen(
                after=after,
                caller=caller.name,
                may_listen=partial(_may_listen, parts, caller),
            ),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return router


def _may_listen(parts: Parts, caller: Caller) -> bool:
    return not caller.token_id or parts.state.is_valid(caller.token_id)


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


def _retention(parts: Parts) -> RetentionOut | None:
    tidying = parts.tidying
    if tidying is None:
        return None
    return RetentionOut(**vars(tidying.rules), **vars(tidying.last), every_s=tidying.every_s)


def _load() -> float | None:
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        # Not available on every system.
        return None
