"""Assembles the service: parts, routes, guards, page."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import partial

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.types import Scope

from adln import __version__
from adln.errors import ServiceError
from adln.service.access import API, Gate
from adln.service.guarding import Guard
from adln.service.metrics import ServiceMetrics
from adln.service.page_files import page_routes
from adln.service.parts import Parts
from adln.service.problems import add_handlers
from adln.service.routes_alerts import alert_routes
from adln.service.routes_cameras import camera_routes
from adln.service.routes_check import check_routes
from adln.service.routes_frames import frame_routes
from adln.service.routes_news import news_routes
from adln.service.routes_people import people_routes
from adln.service.routes_review import review_routes
from adln.service.routes_search import search_routes
from adln.service.routes_setup import apply_silence, setup_routes
from adln.service.routes_sightings import sighting_routes
from adln.service.routes_status import CAMERA_PICTURE, EVENTS, live_views, status_routes
from adln.service.routes_visits import visit_routes
from adln.service.state import ServiceState
from adln.service.tidying import Tidying

_CAMERAS_EVERY_S = 2.0
_SYNC_EVERY_S = 2.0
# Threads for short work: parsing JSON, looking up a person, retention.
_SHORT_WORK = 4
_ABOUT = """Person re-identification: find where a person was seen.

Send a token as `Authorization: Bearer adln_…`. Roles: a *viewer* views and searches; an *operator*
also enrols, names, merges, splits and pushes sightings; an *admin* also forgets people, reads the
audit log and sets up the service. An error is a JSON object with `problem` (a code for programs)
and `message` (for people).
"""

_log = logging.getLogger(__name__)


def make_app(parts: Parts) -> FastAPI:
    """Make the service from its parts."""
    settings, state, tidying = parts.settings, parts.state, parts.tidying

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Bounds the requests being worked on, with some threads kept for short work.
        to_thread.current_default_thread_limiter().total_tokens = (
            settings.threads + settings.embed_at_once + _SHORT_WORK
        )
        await to_thread.run_sync(apply_silence, parts)
        parts.source.start(parts.events.take)
        work = [_watch_cameras(parts), _sync_log(state)]
        if tidying is not None and tidying.every_s > 0:
            work.append(_tidy(parts, tidying))
        tasks = [asyncio.create_task(one) for one in work]
        try:
            yield
        finally:
            parts.events.close()
            for task in tasks:
                task.cancel()
            # An erasure under way finishes before the gallery is closed.
            await asyncio.gather(*tasks, return_exceptions=True)
            await to_thread.run_sync(parts.source.stop)
            await to_thread.run_sync(partial(_sync, state))

    app = FastAPI(
        title="adln",
        version=__version__,
        description=_ABOUT,
        openapi_url=f"{API}/openapi.json",
        # FastAPI's documentation pages load scripts from other servers.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        routes=page_routes(),
    )
    add_handlers(app)
    token = HTTPBearer(auto_error=False, description="A token created by `adln serve`.")
    api = APIRouter(prefix=API, dependencies=[Security(token)])
    for tag, add_routes in (
        ("search", search_routes),
        ("people", people_routes),
        ("sightings", sighting_routes),
        ("visits", visit_routes),
        ("visits", news_routes),
        ("search", frame_routes),
        ("review", review_routes),
        ("status", status_routes),
        ("set-up", setup_routes),
        ("set-up", camera_routes),
        ("set-up", alert_routes),
        ("set-up", check_routes),
    ):
        router = APIRouter(tags=[tag], route_class=parts.route)
        add_routes(router, parts)
        api.include_router(router)
    app.include_router(api)
    app.add_middleware(Gate, state=state, metrics=parts.metrics, settings=settings)
    # The middleware added last runs first.
    app.add_middleware(
        Guard,
        settings=settings,
        on_answer=lambda scope, status, seconds: _count(parts.metrics, scope, status, seconds),
    )
    return app


async def _watch_cameras(parts: Parts) -> None:
    while True:
        await asyncio.sleep(_CAMERAS_EVERY_S)
        try:
            parts.silences.see(parts.source.cameras())
            if parts.events.listeners:
                parts.events.show("cameras", live_views(parts))
        except Exception:
            # A failure of the cameras must not end the events that report it.
            _log.exception("cannot get the state of the cameras")


async def _sync_log(state: ServiceState) -> None:
    while True:
        await asyncio.sleep(_SYNC_EVERY_S)
        await to_thread.run_sync(partial(_sync, state))


def _sync(state: ServiceState) -> None:
    try:
        state.sync()
    except ServiceError as error:
        _log.error("%s", error)


async def _tidy(parts: Parts, tidying: Tidying) -> None:
    while True:
        erased_before = tidying.last.erased
        # Failures are recorded in `tidying.last`, for the page to show, and retried.
        await to_thread.run_sync(tidying.apply)
        if tidying.last.erased != erased_before:
            parts.notify("retention", None)
        await asyncio.sleep(tidying.every_s)


def _count(metrics: ServiceMetrics, scope: Scope, status: int, seconds: float) -> None:
    # By route, not by path: clients can send any number of different paths.
    name = getattr(scope.get("route"), "path", "none")
    method = scope["method"] if scope["method"] in ("GET", "POST", "PUT", "DELETE") else "other"
    metrics.requests.labels(name, method, str(status)).inc()
    if not name.endswith(EVENTS):
        metrics.seconds.labels(name).observe(seconds)
    # Pages request camera pictures every second, which would flood the log.
    level = logging.DEBUG if name.endswith(CAMERA_PICTURE) and status < 500 else logging.INFO
    _log.log(level, "%s %s %d in %.1f ms", method, name, status, 1000 * seconds)
