"""Routes that tell how the service is doing and what was done."""

import os
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, StreamingResponse

from adln import __version__
from adln.service import metrics
from adln.service.access import needs
from adln.service.answers import (
    Audit,
    AuditRow,
    CameraOut,
    Health,
    ModelName,
    Problem,
    Session,
    Status,
)
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.state import Caller

EVENTS = "/events"


def status_routes(parts: Parts) -> APIRouter:
    """Health, status, metrics, the audit log, and live events."""
    router = APIRouter(tags=["status"])
    viewer = Annotated[Caller, Depends(needs("viewer"))]
    admin = Annotated[Caller, Depends(needs("admin"))]

    @router.get(
        "/health",
        response_model=Health,
        # One route names the model, so that the document describes it.
        responses={**documented(), 503: {"model": Problem, "description": "not now"}},
    )
    def health() -> Health:
        """Whether the gallery answers. Needs no token and says nothing else."""
        parts.gallery.get([])
        return Health()

    @router.get("/session", response_model=Session, responses=documented())
    async def session(caller: viewer) -> Session:
        """Who you are, and what you may do."""
        return Session(
            name=caller.name,
            role=caller.role,
            token_required=parts.settings.tokens_required,
        )

    @router.get("/status", response_model=Status, responses=documented())
    def status(caller: viewer) -> Status:
        """What the service runs with, its cameras and its load."""
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
            cameras=[CameraOut.of(view) for view in parts.source.cameras()],
            listeners=parts.events.listeners,
            load=_load(),
            up_s=time.monotonic() - parts.started_s,
        )

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **documented(),
        },
    )
    def read_metrics(caller: viewer) -> PlainTextResponse:
        """Numbers for Prometheus."""
        return PlainTextResponse(parts.metrics.text(), media_type=metrics.CONTENT_TYPE)

    @router.get("/audit", response_model=Audit, responses=documented())
    def audit(
        caller: admin,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        expected_digest: Annotated[
            str | None, Query(pattern="^[0-9a-f]{64}$", description="One kept from earlier.")
        ] = None,
    ) -> Audit:
        """Who did what, newest first, and whether nobody has rewritten the log."""
        check = parts.state.check(expected_digest=expected_digest)
        return Audit(
            entries=[AuditRow(**vars(entry)) for entry in parts.state.entries(newest=limit)],
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
                "description": "Events `sighting`, `cameras`, `gallery` and `lost`, until the "
                "client leaves.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **documented(),
        },
    )
    async def events(
        caller: viewer,
        last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,15}$")] = None,
    ) -> StreamingResponse:
        """What happens, as it happens (server-sent events)."""
        if parts.events.listeners >= parts.settings.max_listeners:
            raise HTTPException(503, "Too many pages follow events already; close one.")
        after = None if last_event_id is None else int(last_event_id)
        return StreamingResponse(
            parts.events.listen(after=after),
            media_type="text/event-stream",
            headers={"X-Accel-Buffering": "no"},
        )

    return router


def _load() -> float | None:
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        # Not every system tells.
        return None
