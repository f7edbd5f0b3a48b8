"""Runs the cameras of a service in a separate process.

A decoder that crashes or hangs then affects neither the page nor the API, and processing frames
does not delay answers. The process talks to the service through a pipe. When the pipe closes,
because the service has ended for whatever reason, the process finishes its open tracks and ends.
"""

import importlib.util
import logging
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from adln.cameras.frames import CameraStatus
from adln.cameras.tracker import ByteTracker
from adln.crops import to_jpeg
from adln.errors import AdlnError, SettingsError, how_to_install
from adln.gallery.records import ModelKey
from adln.gallery.spaces import admit
from adln.pipeline.assembly import Assembly, assemble, open_outputs
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch import SeenFrame, WatchProgress
from adln.pipeline.watch_settings import WatchSettings
from adln.service.live import CameraPicture, CameraView, PersonInView, PipelineView, Scene
from adln.service.logs import set_up_logs
from adln.service.messages import SHOW, STOP, Ended, Message, Report, encode

_REPORT_EVERY_S = 1.0
_SCENE_EVERY_S = 0.4
_PICTURE_EVERY_S = 0.4
# How long pictures are still produced after the last request for one.
_LOOKED_AT_S = 5.0
_PICTURE_WIDTH_PX = 640
_PICTURE_QUALITY = 70
_STATES = {"opening": "connecting", "waiting": "lost", "closed": "ended"}
_FLUSH_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Order:
    """Configuration of the camera process.

    Attributes:
        folder: base of relative paths in the settings.
        gallery: folder of the service's gallery, used instead of that in the settings.
        models: networks of the service, which the cameras' must be comparable with.
    """

    settings: WatchSettings
    folder: Path
    gallery: Path
    models: tuple[ModelKey, ...] = ()
    log_format: str = "text"

    @property
    def sources(self) -> tuple[str, ...]:
        """Addresses of the cameras, with passwords."""
        return tuple(camera.source for camera in self.settings.cameras)


def watch_cameras(link: Connection, order: Order) -> None:
    """Watch until stopped, until the service is gone, or until all recordings have ended.

    Through the pipe `link`, the service sends `STOP` and `SHOW`.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    set_up_logs(order.log_format, order.sources)
    sender = _Sender(link, stop)
    threading.Thread(target=sender.listen, name="adln-orders", daemon=True).start()
    problem = ""
    try:
        _watch(sender, order, stop)
    except AdlnError as error:
        problem = str(error)
    except Exception as error:
        _log.exception("the camera process failed")
        problem = f"{type(error).__name__}: {error}"
    sender.send(Ended(problem=problem))


class _Sender:
    """This end of the pipe."""

    def __init__(self, link: Connection, stop: threading.Event) -> None:
        self._link = link
        self._stop = stop
        self._sending = threading.Lock()
        self._shown_until_s = 0.0

    @property
    def is_watched(self) -> bool:
        """Whether pictures have been requested recently."""
        return time.monotonic() < self._shown_until_s

    def send(self, message: Message) -> None:
        try:
            with self._sending:
                self._link.send_bytes(encode(message))
        except OSError:
            # The service is gone.
            self._stop.set()

    def listen(self) -> None:
        with suppress(EOFError, OSError):
            while (asked := self._link.recv_bytes()) != STOP:
                if asked == SHOW:
                    self._shown_until_s = time.monotonic() + _LOOKED_AT_S
        self._stop.set()


def _watch(sender: _Sender, order: Order, stop: threading.Event) -> None:
    settings = order.settings
    with ExitStack() as stack:
        assembly = assemble(settings, order.folder, gallery_folder=order.gallery)
        stack.callback(assembly.close)
        _require_same_model(assembly, order.models)
        _require_tracker(assembly)
        outputs = open_outputs(settings, order.folder, assembly, stack)
        if outputs.delivery is not None:
            stack.callback(outputs.delivery.flush, _FLUSH_S)
        numbers = {name: part.number for name, part in assembly.parts.items()}
        shown_to = [_showing(sender, numbers, pictured=settings.pictured)]
        if outputs.home is not None:
            shown_to.append(outputs.home.saw)

        def deliver(event: SightingEvent) -> None:
            sender.send(event)
            outputs.submit(event)

        def show(seen: SeenFrame) -> None:
            for take in shown_to:
                take(seen)

        loop = assembly.loop(
            deliver, pictures=settings.pictured, metrics=outputs.metrics, on_frame=show
        )
        reported_s = float("-inf")
        # All frames of recordings are processed, unless a budget is set.
        is_adapted = assembly.live or assembly.costs is not None
        budget_ms = settings.load.budget_ms if is_adapted else 0.0

        def report(progress: WatchProgress, statuses: list[CameraStatus]) -> None:
            pipeline = PipelineView(
                state="running",
                depth=progress.depth,
                crops_per_track=progress.crops_per_track,
                keep_one_in=progress.keep_one_in,
                load_ms=progress.load_ms,
                budget_ms=budget_ms,
                pictures=bool(settings.pictured),
            )
            views = _camera_views(progress, statuses, numbers, settings.pictured)
            sender.send(Report(cameras=views, pipeline=pipeline))

        def on_round(progress: WatchProgress, statuses: list[CameraStatus]) -> None:
            nonlocal reported_s
            now_s = time.monotonic()
            if now_s - reported_s >= _REPORT_EVERY_S:
                reported_s = now_s
                report(progress, statuses)
            if not assembly.live:
                # Recordings play at their original speed, like a camera.
                stop.wait(min(_REPORT_EVERY_S, progress.video_s - progress.wall_s))

        report(loop.progress, assembly.cameras.statuses())
        loop.run(should_stop=stop.is_set, on_round=on_round)


def _require_same_model(assembly: Assembly, own: Sequence[ModelKey]) -> None:
    """Check at the start, not for each person, that the networks are comparable."""
    embedder = assembly.embedder
    keys = [
        ModelKey(embedder.digest, depth, embedder.dim, space)
        for depth, space in embedder.spaces.items()
    ]
    admit(assembly.gallery.models or own, keys, place="the service")


def _require_tracker(assembly: Assembly) -> None:
    """Check at the start, not for each picture, that the tracker's dependency is installed."""
    follows = any(isinstance(part.tracker, ByteTracker) for part in assembly.parts.values())
    if follows and importlib.util.find_spec("lap") is None:
        raise SettingsError(
            f"Tracking people needs lap, which is not installed; {how_to_install('camera')}."
        )


def _showing(
    sender: _Sender, numbers: Mapping[str, int], *, pictured: frozenset[str]
) -> Callable[[SeenFrame], None]:
    """Sends scenes at intervals, and pictures of cameras for which showing them is enabled."""
    # When a scene and a picture of a camera may be sent next.
    scene_s = defaultdict[int, float](float)
    picture_s = defaultdict[int, float](float)

    def on_frame(seen: SeenFrame) -> None:
        now_s = time.monotonic()
        number = numbers[seen.frame.camera_id]
        is_shown = seen.frame.camera_id in pictured and sender.is_watched
        due = is_shown and now_s >= picture_s[number]
        # The scene of the same frame goes with each picture, so that boxes match it.
        if due or now_s >= scene_s[number]:
            scene_s[number] = now_s + _SCENE_EVERY_S
            sender.send(_scene(seen, number))
        if due:
            picture_s[number] = now_s + _PICTURE_EVERY_S
            picture = Image.fromarray(seen.frame.image)
            picture.thumbnail((_PICTURE_WIDTH_PX, _PICTURE_WIDTH_PX))
            jpeg, time_s = to_jpeg(picture, quality=_PICTURE_QUALITY), seen.frame.time_s
            sender.send(CameraPicture(camera_id=number, time_s=time_s, jpeg=jpeg))

    return on_frame


def _scene(seen: SeenFrame, number: int) -> Scene:
    height, width = seen.frame.image.shape[:2]
    return Scene(
        camera_id=number,
        time_s=seen.frame.time_s,
        width_px=width,
        height_px=height,
        people=tuple(
            PersonInView(
                track_id=one.track_id,
                box_xyxy=one.box_xyxy,
                person_id=one.person_id,
                verdict=one.verdict,
            )
            for one in seen.people
        ),
    )


def _camera_views(
    progress: WatchProgress,
    statuses: list[CameraStatus],
    numbers: Mapping[str, int],
    pictured: frozenset[str],
) -> tuple[CameraView, ...]:
    return tuple(
        CameraView(
            camera_id=numbers[one.camera_id],
            name=one.camera_id,
            state=_STATES.get(one.state, one.state),
            fps=one.fps,
            people=progress.people.get(one.camera_id, 0),
            last_frame_s=one.last_frame_s,
            last_error=one.last_error if one.state != "running" else "",
            pictures=one.camera_id in pictured,
        )
        for one in statuses
    )
