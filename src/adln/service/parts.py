"""The parts of a running service, passed to its routes."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi.routing import APIRoute

from adln.gallery.interface import Gallery
from adln.gallery.records import ModelKey
from adln.matching.calibration import Scale
from adln.service.batching import Searches
from adln.service.bodies import Bodies
from adln.service.camera_file import try_camera
from adln.service.faces import Faces
from adln.service.fairness import FairSlots
from adln.service.frames import FindPeople
from adln.service.live import Events, EventSource
from adln.service.metrics import ServiceMetrics
from adln.service.network import Network
from adln.service.people import People
from adln.service.rate_limits import RateLimit
from adln.service.settings import ServeSettings
from adln.service.silences import Silences
from adln.service.state import Caller, ServiceState
from adln.service.tidying import Tidying
from adln.service.undoing import UndoList


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the routes work with.

    Attributes:
        settings: as read.
        gallery: the gallery.
        network: embeds pictures; None if the service has no network.
        scale: calibration of scores; None if there is none.
        state: tokens and audit log.
        source: the cameras.
        events: sends live events to pages.
        metrics: for Prometheus.
        searches: batches searches of the gallery.
        people: cache of the people in the gallery.
        faces: selects people's best pictures.
        undo: changes that can be undone.
        started_s: start time, of `time.monotonic`.
        changing: lock held while people are changed, so that an undo restores the state before.
        bodies: limits the memory for request bodies.
        turns: slots for work in threads.
        embedding: slots for embedding pictures.
        route: class of the routes.
        listed: limits how often a caller's listing of people is logged.
        tidying: applies the retention rules; None if the service does not.
        admitted: networks already known to be comparable with the gallery's.
        silences: times without pictures from cameras.
        find_people: detects people in a picture, see `adln.service.frames`; None without detector.
        try_camera: takes one picture, as JPEG, from the address of a camera.
    """

    settings: ServeSettings
    gallery: Gallery
    network: Network | None
    scale: Scale | None
    state: ServiceState
    source: EventSource
    events: Events
    metrics: ServiceMetrics
    searches: Searches
    people: People
    faces: Faces
    undo: UndoList
    started_s: float
    bodies: Bodies
    turns: FairSlots
    embedding: FairSlots
    route: type[APIRoute]
    listed: RateLimit = field(default_factory=lambda: RateLimit(1, at_once=1))
    tidying: Tidying | None = None
    admitted: set[ModelKey] = field(default_factory=set)
    silences: Silences = field(default_factory=Silences)
    find_people: FindPeople | None = None
    try_camera: Callable[[str], bytes] = try_camera
    changing: threading.Lock = field(default_factory=threading.Lock)

    def notify(self, what: str, person_id: int | None) -> None:
        """Notify pages that the gallery has changed, so that they update."""
        self.people.changed()
        self.faces.changed()
        self.events.publish("gallery", {"what": what, "person_id": person_id})

    def record_list(self, caller: Caller, facts: Mapping[str, Any]) -> None:
        """Log that a caller lists people, unless that was logged recently."""
        if self.listed.wait_s(caller.name) == 0:
            self.state.record(caller.name, "list people", facts, synced=False)

    def camera_name(self, camera_id: int) -> str:
        """Name of a camera for display."""
        return self.settings.camera_names.get(camera_id, f"camera {camera_id}")
