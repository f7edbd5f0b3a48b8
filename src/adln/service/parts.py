"""The parts of a running service, passed to its routes."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adln.gallery.interface import Gallery
from adln.gallery.records import ModelKey, StoredSighting
from adln.matching.calibration import Scale
from adln.service.answers import ModelName, SightingOut, VisitOut
from adln.service.batching import Searches
from adln.service.bodies import Bodies, bounded_route
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
from adln.service.visits import Visit

# The gallery makes one change at a time; one more, from another caller, may wait for it there.
_CHANGES_AT_ONCE = 2


@dataclass(kw_only=True, eq=False)
class Parts:
    """What the routes work with: what is given, and what belongs to this service alone.

    Attributes:
        network: embeds pictures; None if the service has no network.
        scale: calibration of scores; None if there is none.
        state: tokens and audit log; like the gallery, it stays open when the service ends.
        source: the cameras; they run as long as the service does.
        events: sends live events to pages; the caller may close it to end all event streams.
        tidying: applies the retention rules; None if the service does not.
        try_camera: takes one picture, as JPEG, from the address of a camera.
        find_people: detects people in a picture, see `adln.service.frames`; None without detector.
    """

    settings: ServeSettings
    gallery: Gallery
    network: Network | None
    scale: Scale | None
    state: ServiceState
    source: EventSource
    events: Events
    tidying: Tidying | None = None
    try_camera: Callable[[str], bytes] = try_camera
    find_people: FindPeople | None = None

    def __post_init__(self) -> None:
        settings = self.settings
        self.started_s = time.monotonic()
        self.metrics = ServiceMetrics(lambda: self.events.listeners, self.source)
        self.searches = Searches(self.gallery)
        self.people = People(self.gallery)
        self.faces = Faces(self.gallery)
        self.silences = Silences()
        self.undo = UndoList()
        # Held while people are changed, so that an undo restores the state before.
        self.changing = threading.Lock()
        # Networks already known to be comparable with the gallery's.
        self.admitted: set[ModelKey] = set()
        self.bodies = Bodies(max(settings.max_picture_bytes, settings.max_json_bytes))
        # For work in threads, and for embedding pictures.
        self.turns = FairSlots(settings.threads)
        self.embedding = FairSlots(settings.embed_at_once)
        changes = FairSlots(_CHANGES_AT_ONCE, most_of_one=1)
        self.route = bounded_route(
            self.bodies, self.turns, changes, json_bytes=settings.max_json_bytes
        )
        self._listed = RateLimit(1, at_once=1)

    def notify(self, what: str, person_id: int | None) -> None:
        """Notify pages that the gallery has changed, so that they update."""
        self.people.changed()
        self.faces.changed()
        self.events.publish("gallery", {"what": what, "person_id": person_id})

    def record_list(self, caller: Caller, facts: Mapping[str, Any]) -> None:
        """Log that a caller lists people, unless that was logged recently."""
        if self._listed.wait_s(caller.name) == 0:
            self.state.record(caller.name, "list people", facts, synced=False)

    def camera_name(self, camera_id: int) -> str:
        """Name of a camera for display."""
        return self.settings.camera_names.get(camera_id, f"camera {camera_id}")


def sighting_out(parts: Parts, record: StoredSighting) -> SightingOut:
    """A stored sighting as a response."""
    more = {
        "depth": record.model.depth,
        "model": ModelName.of(record.model),
        "has_picture": record.thumbnail is not None,
    }
    return SightingOut(**_called(parts, record) | more)


def visit_out(parts: Parts, visit: Visit) -> VisitOut:
    """A visit as a response."""
    newest = visit.sighting_ids[0]
    return VisitOut(
        **_called(parts, visit),
        sightings=len(visit.sighting_ids),
        sighting_id=newest if visit.picture_id is None else visit.picture_id,
    )


def _called(parts: Parts, record: StoredSighting | Visit) -> dict[str, Any]:
    """The values of a record, and what its person and camera are called."""
    person_id = record.person_id
    name = None if person_id is None else parts.people.names().get(person_id)
    return {**vars(record), "name": name, "camera_name": parts.camera_name(record.camera_id)}
