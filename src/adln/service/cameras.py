"""Supervises the camera process and passes its messages on to the service."""

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from adln.cameras.redaction import public_text
from adln.errors import ServiceError
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch_settings import WatchSettings
from adln.service.camera_process import Order, watch_cameras
from adln.service.live import CameraPicture, CameraView, PipelineView, Scene
from adln.service.messages import MOST_BYTES, SHOW, STOP, Ended, Report, bound_waiting, decode

# A process silent for this long has hung; loading networks and detectors is allowed longer.
_SILENT_S = 60.0
_OPENING_S = 300.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
# After this long without failure, the pauses between restarts start over.
_SOUND_S = 120.0
_PICTURE_NEW_S = 5.0
_ASK_AGAIN_S = 1.0
_KILL_S = 5.0
# A process that sends this many invalid messages is broken or compromised, and is restarted.
_MOST_UNREAD = 100

_log = logging.getLogger(__name__)


class WatchedCameras:
    """The cameras of a service: an `EventSource`.

    They run in a separate process (`work`), which is restarted after failures, with growing pauses.
    Sightings are in the gallery before they are reported, so a failure loses only open tracks.

    Recordings are played once or, with `repeat`, in a loop, as if recorded now. The process has
    `stop_s` to end.
    """

    def __init__(
        self,
        order: Order,
        *,
        repeat: bool = False,
        stop_s: float = 10.0,
        work: Callable[[Connection, Order], None] = watch_cameras,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        self._order = order
        self._repeat = repeat
        self._stop_s = stop_s
        self._work = work
        self._first_pause_s = first_pause_s
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._link: Connection | None = None
        self._asked_s = float("-inf")
        self._pictures: dict[int, tuple[float, CameraPicture]] = {}
        self._pipeline = PipelineView(state="stopped")
        self._restarts = 0
        self._unread = 0
        self._ignored = frozenset[str]()
        self._changed = threading.Event()
        self._receive: Callable[[SightingEvent | Scene], None] = lambda _: None
        self._expect(order)

    @property
    def sources(self) -> tuple[str, ...]:
        """Addresses of the cameras with their passwords, which logs must hide."""
        return self._order.sources

    def start(self, receive: Callable[[SightingEvent | Scene], None]) -> None:
        """See `EventSource`."""
        self._receive = receive
        self._pipeline = PipelineView(state="starting")
        self._thread = threading.Thread(target=self._keep_alive, name="adln-cameras", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """See `EventSource`."""
        self._stop.set()
        self._say(STOP)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def cameras(self) -> Sequence[CameraView]:
        """See `EventSource`."""
        return self._views

    def pipeline(self) -> PipelineView | None:
        """See `EventSource`. None while there is no camera."""
        if not self._numbers:
            return None
        return replace(self._pipeline, restarts=self._restarts, unread=self._unread)

    def picture(self, camera_id: int) -> CameraPicture | None:
        """See `EventSource`."""
        if camera_id not in self._pictured:
            return None
        now_s = time.monotonic()
        if now_s - self._asked_s > _ASK_AGAIN_S:
            self._asked_s = now_s
            self._say(SHOW)
        came_s, picture = self._pictures.get(camera_id, (float("-inf"), None))
        return picture if now_s - came_s < _PICTURE_NEW_S else None

    def watch(self, settings: WatchSettings) -> bool:
        """See `EventSource`. Open tracks are finished first."""
        pictures = self._order.settings.pictures
        self._expect(replace(self._order, settings=replace(settings, pictures=pictures)))
        self._begin_again()
        return True

    def ignore(self, names: frozenset[str]) -> None:
        """See `EventSource`. Open tracks are finished first."""
        if names != self._ignored:
            self._ignored = names
            self._begin_again()

    def _expect(self, order: Order) -> None:
        self._order = order
        settings = order.settings
        self._numbers = frozenset(one.number for one in settings.cameras)
        self._pictured = frozenset(
            one.number for one in settings.cameras if one.name in settings.pictured
        )
        self._views = tuple(
            CameraView(
                camera_id=one.number,
                name=one.name,
                state="connecting",
                fps=0.0,
                people=0,
                last_frame_s=None,
                pictures=one.number in self._pictured,
            )
            for one in settings.cameras
        )

    def _begin_again(self) -> None:
        if self._thread is not None and not self._stop.is_set():
            self._pipeline = PipelineView(state="starting")
            self._changed.set()
            self._say(STOP)

    # -- the process -------------------------------------------------------------------------

    def _keep_alive(self) -> None:
        # Inherited by the process: only the service handles Ctrl-C, and then stops the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pause_s = self._first_pause_s
        while not self._stop.is_set():
            begun_s = time.monotonic()
            self._changed.clear()
            if not self._order.settings.cameras:
                self._wait_for_change()
                continue
            try:
                ended = self._run_once()
            except Exception as error:
                _log.exception("cameras: supervising the process failed")
                ended = Ended(problem=f"Watching failed ({type(error).__name__}).")
            self._pictures.clear()
            if self._stop.is_set():
                break
            if self._changed.is_set():
                continue
            if not ended.problem and not self._repeat:
                self._settle(PipelineView(state="ended"), "ended")
                self._wait_for_change()
            elif ended.problem:
                if time.monotonic() - begun_s > _SOUND_S:
                    pause_s = self._first_pause_s
                _log.error("cameras: %s Retrying in %.0f s.", ended.problem, pause_s)
                self._settle(PipelineView(state="failed", problem=ended.problem), "lost")
                self._wait_for_change(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                self._restarts += 1
        self._settle(PipelineView(state="stopped"), "ended")

    def _wait_for_change(self, most_s: float = float("inf")) -> None:
        """Wait until the settings change or the service ends."""
        until_s = time.monotonic() + most_s
        while time.monotonic() < until_s and not self._changed.is_set():
            if self._stop.wait(min(0.2, most_s)):
                break

    def _run_once(self) -> Ended:
        """Start the process and pass on its messages until it ends."""
        context = multiprocessing.get_context("spawn")
        link, theirs = context.Pipe()
        bound_waiting(link)
        order = self._next_order()
        process = context.Process(
            target=self._work, args=(theirs, order), name="adln-cameras", daemon=True
        )
        try:
            process.start()
        except OSError as error:
            link.close()
            return Ended(problem=f"The camera process cannot be started ({error}).")
        finally:
            # The process now has the only copy of its end: when it ends, the pipe closes.
            theirs.close()
        with self._lock:
            self._link = link
        if self._stop.is_set() or self._changed.is_set():
            self._say(STOP)
        try:
            numbers = frozenset(one.number for one in order.settings.cameras)
            ended = self._listen(link, process, numbers)
        finally:
            with self._lock:
                self._link = None
            _end(process)
            link.close()
        status = f"The camera process ended with status {process.exitcode}."
        return ended or Ended(problem=status)

    def _next_order(self) -> Order:
        settings = self._order.settings
        settings = replace(settings, ignore=tuple(sorted({*settings.ignore, *self._ignored})))
        if self._repeat:
            now = datetime.now(UTC).isoformat()
            cameras = tuple(replace(one, start=now) for one in settings.cameras)
            settings = replace(settings, cameras=cameras)
        return replace(self._order, settings=settings)

    def _listen(
        self, link: Connection, process: BaseProcess, numbers: frozenset[int]
    ) -> Ended | None:
        """Pass on messages; None if the process ended, or was killed, without a last message."""
        heard_s, patience_s = time.monotonic(), _OPENING_S
        stopped_s: float | None = None
        unread = 0
        while True:
            now_s = time.monotonic()
            if self._stop.is_set() or self._changed.is_set():
                stopped_s = now_s if stopped_s is None else stopped_s
                if now_s - stopped_s > self._stop_s:
                    _log.error(
                        "cameras: the process did not stop and is killed; open tracks are lost."
                    )
                    process.kill()
                    return None
            elif now_s - heard_s > patience_s:
                process.kill()
                return Ended(problem=f"The camera process sent nothing for {patience_s:.0f} s.")
            try:
                if not link.poll(0.2):
                    continue
                data = link.recv_bytes(MOST_BYTES)
            except (EOFError, OSError):
                return None
            try:
                message = decode(data, numbers)
            except ServiceError as error:
                self._unread += 1
                unread += 1
                if unread == 1:
                    _log.error("cameras: %s", error)
                if unread >= _MOST_UNREAD:
                    process.kill()
                    return Ended(problem=f"The camera process sent {unread} invalid messages.")
                # Does not count as a sign of life.
                continue
            heard_s = time.monotonic()
            if isinstance(message, Ended):
                return Ended(problem=self._shown(message.problem))
            if isinstance(message, Report):
                patience_s = _SILENT_S
                # After a change of the settings, this process is about to be replaced.
                if not self._changed.is_set():
                    self._views = tuple(
                        replace(view, last_error=self._shown(view.last_error))
                        for view in message.cameras
                    )
                    problem = self._shown(message.pipeline.problem)
                    self._pipeline = replace(message.pipeline, problem=problem)
            elif isinstance(message, CameraPicture):
                self._pictures[message.camera_id] = time.monotonic(), message
            else:
                try:
                    self._receive(message)
                except Exception:
                    # A failing receiver must not end the watching.
                    _log.exception("cameras: an event cannot be delivered")

    def _shown(self, text: str) -> str:
        """Text for the page, without passwords."""
        return public_text(text, *self._order.sources)

    def _say(self, what: bytes) -> None:
        with self._lock:
            if self._link is not None:
                try:
                    self._link.send_bytes(what)
                except OSError:
                    _log.debug("cameras: the process is gone already")

    def _settle(self, pipeline: PipelineView, state: str) -> None:
        """Set the states shown while no process runs."""
        self._pipeline = pipeline
        self._views = tuple(replace(one, state=state, fps=0.0, people=0) for one in self._views)


def _end(process: BaseProcess) -> None:
    """Wait for a process that should be ending; kill it if it does not."""
    process.join(_KILL_S)
    if process.is_alive():
        process.kill()
        process.join()
