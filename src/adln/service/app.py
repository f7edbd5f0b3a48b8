"""Assembles the service: parts, routes, guards, page."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Security
from fastapi.security import HTTPBearer
from starlette.types import Scope

from adln import __version__
from adln.errors import ServiceError
from adln.gallery.interface import Gallery
from adln.matching.calibration import Scale
from adln.service.access import API, Gate
from adln.service.batching import Searches
from adln.service.bodies import Bodies, bounded_route
from adln.service.camera_file import try_camera
from adln.service.faces import Faces
from adln.service.fairness import FairSlots
from adln.service.frames import FindPeople
from adln.service.guarding import Guard, known_hosts
from adln.service.live import Events, EventSource
from adln.service.metrics import ServiceMetrics
from adln.service.network import Network
from adln.service.page_files import page_routes
from adln.service.parts import Parts
from adln.service.people import People
from adln.service.problems import add_handlers
from adln.service.rate_limits import RateLimit
from adln.service.routes_alerts import alert_routes
from adln.service.routes_cameras import camera_routes
from adln.service.routes_check import check_routes
from adln.service.routes_frames import frame_routes
from adln.service.routes_news import news_routes
from adln.service.routes_people import people_routes
from adln.service.routes_review import review_routes
from adln.service.routes_search import Pictures, search_routes
from adln.service.routes_setup import apply_silence, setup_routes
from adln.service.routes_sightings import sighting_routes
from adln.service.routes_status import CAMERA_PICTURE, EVENTS, live_views, status_routes
from adln.service.routes_visits import visit_routes
from adln.service.settings import ServeSettings
from adln.service.state import ServiceState
from adln.service.tidying import Tidying
from adln.service.undoing import UndoList

_CAMERAS_EVERY_S = 2.0
_SYNC_EVERY_S = 2.0
# The gallery makes one change at a time; one more, from another caller, may wait for it there.
_CHANGES_AT_ONCE = 2
# Threads for short work: parsing JSON, looking up a person, retention.
_SHORT_WORK = 4
_ABOUT = """Person re-identification: find where a person was seen.

Send a token as `Authorization: Bearer adln_…`. Roles: a *viewer* views and searches; an *operator*
also enrols, names, merges, splits and pushes sightings; an *admin* also forgets people, reads the
audit log and sets up the service. An error is a JSON object with `problem` (a code for programs)
and `message` (for people).
"""

_log = logging.getLogger(__name__)


def make_app(
    settings: ServeSettings,
    *,
    gallery: Gallery,
    network: Network | None,
    scale: Scale | None,
    state: ServiceState,
    source: EventSource,
    events: Events,
    tidying: Tidying | None = None,
    try_camera: Callable[[str], bytes] = try_camera,
    find_people: FindPeople | None = None,
) -> FastAPI:
    """Make the service from these parts, which `Parts` describes.

    Gallery and state stay open when the service ends. The source runs as long as the service does.
    The caller may close `events` to end all event streams.
    """
    metrics = ServiceMetrics(lambda: events.listeners, source)
    bodies = Bodies(max(settings.max_picture_bytes, settings.max_json_bytes))
    turns = FairSlots(settings.threads)
    changes = FairSlots(_CHANGES_AT_ONCE, most_of_one=1)
    parts = Parts(
        settings=settings,
        gallery=gallery,
        network=network,
        scale=scale,
        state=state,
        source=source,
        events=events,
        metrics=metrics,
        searches=Searches(gallery),
        people=People(gallery),
        faces=Faces(gallery),
        undo=UndoList(),
        started_s=time.monotonic(),
        bodies=bodies,
        turns=turns,
        embedding=FairSlots(settings.embed_at_once),
        route=bounded_route(bodies, turns, changes, json_bytes=settings.max_json_bytes),
        tidying=tidying,
        try_camera=try_camera,
        find_people=find_people,
    )

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Bounds the requests being worked on, with some threads kept for short work.
        to_thread.current_default_thread_limiter().total_tokens = (
            settings.threads + settings.embed_at_once + _SHORT_WORK
        )
        await to_thread.run_sync(apply_silence, parts)
        source.start(events.take)
        tasks = [
            asyncio.create_task(_watch_cameras(parts)),
            asyncio.create_task(_sync_log(state)),
        ]
        if tidying is not None and tidying.every_s > 0:
            tasks.append(asyncio.create_task(_tidy(parts, tidying)))
        try:
            yield
        finally:
            events.close()
            for task in tasks:
                task.cancel()
            # An erasure under way finishes before the gallery is closed.
            await asyncio.gather(*tasks, return_exceptions=True)
            await to_thread.run_sync(source.stop)
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
    pictures = Pictures(parts)
    token = HTTPBearer(auto_error=False, description="A token created by `adln serve`.")
    api = APIRouter(prefix=API, dependencies=[Security(token)])
    for router in (
        search_routes(parts, pictures),
        people_routes(parts, pictures),
        sighting_routes(parts),
        visit_routes(parts),
        news_routes(parts),
        frame_routes(parts, pictures),
        review_routes(parts),
        status_routes(parts),
        setup_routes(parts),
        camera_routes(parts),
        alert_routes(parts),
        check_routes(parts),
    ):
        api.include_router(router)
    app.include_router(api)
    app.add_middleware(
        Gate,
        state=state,
        metrics=metrics,
        required=settings.tokens_required,
        requests=RateLimit(settings.requests_per_minute),
        failures=RateLimit(
            settings.failed_tokens_per_minute, at_once=settings.failed_tokens_per_minute
        ),
    )
    # The middleware added last runs first.
    app.add_middleware(
        Guard,
        hosts=known_hosts(settings.hosts),
        tokens_required=settings.tokens_required,
        picture_bytes=settings.max_picture_bytes,
        json_bytes=settings.max_json_bytes,
        body_s=settings.body_s,
        tls=settings.tls_certificate is not None,
        on_answer=lambda scope, status, seconds: _count(metrics, scope, status, seconds),
    )
    return app


async def _watch_cameras(parts: Parts) -> None:
    while True:
        await asyncio.sleep(_CAMERAS_EVERY_S)
        try:
            parts.silences.see(parts.source.cameras())
            if parts.events.listeners == 0:
                continue
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
