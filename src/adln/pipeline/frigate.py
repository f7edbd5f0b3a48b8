"""Names the people of Frigate's events, and collects unknown people in a gallery."""

import logging
import math
import zlib
from collections import Counter, OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass

import numpy as np
from numpy.typing import NDArray

from adln.boxes import xywh_to_xyxy
from adln.cameras.names import camera_name
from adln.crops import cut, decode_image, kept_jpeg, resize
from adln.embeddings import require_direction
from adln.errors import AdlnError, DeliveryError, EventRefusedError, GalleryError, ImageError
from adln.gallery.records import Filter, ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Scales
from adln.matching.framing import why_not_a_crop
from adln.matching.identification import MARGIN, Identification, identify
from adln.pipeline.depths import DepthEmbedder
from adln.pipeline.frigate_api import FrigateApi, FrigateEvent
from adln.pipeline.roster import enter_new_camera, read_cameras

_MOST_REMEMBERED = 10_000

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class FrigateNamer:
    """Identifies the people of events, writes names back, and stores unknown people.

    As in a watch, a *matched* person gains a template if their score leads all other people's by a
    margin; the others are stored unassigned, to be grouped and named later. No event is stored
    twice: an event already in the gallery is skipped.
    """

    frigate: FrigateApi
    gallery: SqliteGallery
    embedder: DepthEmbedder
    _: KW_ONLY
    model: ModelKey
    scales: Scales
    write: bool
    pictures: bool = False

    def __post_init__(self) -> None:
        self._cameras = read_cameras(self.gallery.folder)
        # Handled events that the gallery does not show; the oldest are dropped.
        self._done: OrderedDict[str, None] = OrderedDict()
        # Id -> start of the events in progress at the last poll.
        self._in_progress: dict[str, float] = {}
        self.counts: Counter[str] = Counter()

    def poll(self, *, after_s: float, before_s: float) -> None:
        """Process the events that have ended, also those that were in progress for long.

        They started between these two Unix times, or were in progress at the poll before.

        Raises:
            DeliveryError: Frigate cannot be reached.
        """
        now = self.frigate.events(after_s=0.0, before_s=before_s, in_progress=True)
        in_progress = {event.event_id: event.start_s for event in now}
        self.take_all(self.frigate.events(after_s=after_s, before_s=before_s))
        for event_id, start_s in self._in_progress.items():
            if start_s <= after_s and event_id not in in_progress:
                # Frigate lists events by their start.
                with suppress(EventRefusedError):
                    self.take_all([self.frigate.event(event_id)])
        self._in_progress = in_progress

    def take_all(self, events: Iterable[FrigateEvent]) -> None:
        """Process events; one that cannot be used does not stop the others.

        Raises:
            DeliveryError: Frigate cannot be reached.
        """
        for event in events:
            if event.event_id in self._done:
                continue
            try:
                self.take(event)
            except AdlnError as error:
                if isinstance(error, DeliveryError) and not isinstance(error, EventRefusedError):
                    raise
                self.counts["failed"] += 1
                _log.warning("event %s: %s", event.event_id, error)
                if isinstance(error, GalleryError | EventRefusedError):
                    # The next time, perhaps.
                    continue
            self._done[event.event_id] = None
            if len(self._done) > _MOST_REMEMBERED:
                self._done.popitem(last=False)

    def take(self, event: FrigateEvent) -> Identification | None:
        """Identify the person of an event; None if it is done, has a name, or shows nobody.

        Raises:
            AdlnError: the event cannot be used, or Frigate cannot be reached.
        """
        if event.has_name:
            self.counts["named before"] += 1
            return None
        camera = self._number(event.camera)
        time_s = moment_of(event)
        if self._is_known(camera, event.start_s) or self._is_known(camera, time_s):
            self.counts["done before"] += 1
            return None
        crop = self._crop(event)
        if crop is None:
            self.counts["without picture"] += 1
            return None
        height, width = self.embedder.crop_size
        ready = resize(crop, height_px=height, width_px=width)
        rows = self.embedder.embed(ready[np.newaxis], self.model.depth)[self.model.depth]
        require_direction(rows, what="its snapshot")
        (embedding,) = rows
        answer = identify(
            self.gallery, embedding, model=self.model, scales=self.scales, names=False
        )
        self.counts[answer.verdict or "unknown"] += 1
        _log.info("event %s: %s (%s)", event.event_id, answer.verdict, answer.reason)
        who = answer.person if answer.verdict == "matched" else None
        if who is not None and who.name is not None and self.write:
            self.frigate.set_sub_label(event.event_id, who.name, answer.probability or 0.0)
            self.counts["written"] += 1
        if who is None or answer.lead >= MARGIN:
            self.gallery.add(
                [
                    Sighting(
                        embedding=embedding,
                        model=self.model,
                        camera_id=camera,
                        time_s=time_s,
                        person_id=None if who is None else who.person_id,
                        thumbnail=kept_jpeg(resize(crop)) if self.pictures else None,
                    )
                ]
            )
        return answer

    def _number(self, name: str) -> int:
        """The camera's number in the gallery; a new camera gets the next free one."""
        name = camera_name(name)
        if name not in self._cameras:
            self._cameras[name] = enter_new_camera(self.gallery.folder, name)
        return self._cameras[name]

    def _is_known(self, camera: int, time_s: float) -> bool:
        just_then = Filter(
            cameras=frozenset({camera}), from_s=time_s, until_s=math.nextafter(time_s, math.inf)
        )
        return self.gallery.count(just_then) > 0

    def _crop(self, event: FrigateEvent) -> NDArray[np.uint8] | None:
        data = self.frigate.picture(event.event_id)
        if data is None:
            return None
        image = decode_image(data, name=f"snapshot of event {event.event_id}")
        height, width = image.shape[:2]
        if event.box_xywh is not None and width > height:
            box = xywh_to_xyxy(np.array(event.box_xywh)) * (width, height, width, height)
            try:
                image = cut(image, box.tolist())
            except ImageError:
                return None
        # Snapshots that Frigate has cropped, and upright frames, are used whole.
        why = why_not_a_crop(image.shape[1], image.shape[0])
        if why is not None:
            _log.info("event %s: %s", event.event_id, why)
            return None
        return image


def moment_of(event: FrigateEvent) -> float:
    """Unix time of an event's sighting: the event's start, and up to 10 ms that its id tells.

    People who come into view together have one start; their sightings differ so. Earlier versions
    dated sightings by the start alone.
    """
    return event.start_s + (1 + zlib.crc32(event.event_id.encode()) % 9_999) * 1e-6
