"""The parts of a running service, handed to its routes."""

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
        gallery: any.
        network: embeds pictures; None if this service does not.
        scale: what scores mean; None if nobody has said.
        state: tokens and audit log.
        source: where live events come from.
        events: hands them to pages.
        metrics: counts.
        searches: searches the gallery, for several callers at a time.
        people: everybody in the gallery.
        faces: which pictures show people best.
        undo: what can be taken back.
        started_s: when, of `time.monotonic`.
        changing: held by whoever changes people, so that what can be taken back is what was.
        bodies: room for what is sent.
        turns: of work in threads.
        embedding: turns of embedding pictures.
        route: class of the routes.
        listed: says when it is to be logged again that a caller looks through the list of people.
        tidying: applies the rules on what is kept; None if this service does not.
        admitted: networks whose embeddings the gallery takes, as far as was asked.
        silences: when cameras gave no pictures.
        find_people: finds people in a picture, see `adln.service.frames`; None where nothing can.
        try_camera: gets one picture, as JPEG, from the address of a camera.
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

    def tell(self, what: str, person_id: int | None) -> None:
        """Let pages know that the gallery has changed, so that they show what is."""
        self.people.changed()
        self.events.publish("gallery", {"what": what, "person_id": person_id})

    def record_list(self, caller: Caller, facts: Mapping[str, Any]) -> None:
        """Log that a caller looks through the list of people, if that is due again."""
        if self.listed.wait_s(caller.name) == 0:
            self.state.record(caller.name, "list people", facts, synced=False)

    def camera_name(self, camera_id: int) -> str:
        """What people call a camera."""
        return self.settings.camera_names.get(camera_id, f"camera {camera_id}")
