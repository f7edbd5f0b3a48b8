"""Live cameras: each is read in its own thread, reconnected after failures, and drops late frames.

A slow, silent or unreachable camera delays no other, and memory use is constant.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adln.cameras.captures import Capture, open_capture
from adln.cameras.clocks import Backoff, RecentRate, SteadyClock
from adln.cameras.frames import Frame, Reporting
from adln.cameras.redaction import public_text
from adln.errors import CameraError, SettingsError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Patience:
    """When a camera counts as lost.

    Attributes:
        silent_s: no picture for this long.
        failures: this many consecutive pictures could not be read.
        still_s: the same picture, pixel by pixel, for this long: cameras and encoders that hang go
            on sending their last picture. Until it changes, no frame is given.
        proved_s: after this long, a connection resets the pauses between attempts.
        close_s: how long `close` waits for a thread that is still reading.
    """

    silent_s: float = 10.0
    failures: int = 25
    still_s: float = 120.0
    proved_s: float = 10.0
    close_s: float = 2.0


class LiveCamera(Reporting):
    """A stream or USB camera, read in its own thread until it is closed.

    Args:
        source: argument of `open_capture`: "rtsp://...", "usb:0".
        buffer_frames: decoded frames that may wait; beyond that the oldest are dropped and counted.
        backoff: pauses between attempts to connect.
        clock: for frame times; the same one for all cameras that are watched together.
        monotonic: measures silence, in s.
        wait: sleeps for this many seconds or until the camera is closed.
        on_frame: called in the camera's thread when a frame has come or the camera has ended.

    Raises:
        SettingsError: `buffer_frames` is below one.
    """

    live = True

    def __init__(
        self,
        source: str,
        camera_id: str,
        *,
        buffer_frames: int = 2,
        opener: Callable[[str], Capture] = open_capture,
        backoff: Backoff | None = None,
        clock: SteadyClock | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
        patience: Patience | None = None,
        on_frame: Callable[[], object] | None = None,
    ) -> None:
        if buffer_frames < 1:
            raise SettingsError(f"buffer_frames must be at least 1, got {buffer_frames}.")
        super().__init__(source, camera_id, "opening")
        self._source = source
        self._opener = opener
        self._backoff = backoff or Backoff()
        self._clock, self._monotonic = clock or SteadyClock(), monotonic
        self._closing = threading.Event()
        self._wait = wait or self._closing.wait
        self._patience = patience or Patience()
        self._on_frame = on_frame or (lambda: None)
        self._connections = 0
        self._thread: threading.Thread | None = None
        # Only of the reading thread, from one connection to the next.
        self._shown: NDArray[np.uint8] | None = None
        self._hangs = False
        self._rate = RecentRate()
        # Shared between the two threads, like the status.
        self._waiting: deque[Frame] = deque(maxlen=buffer_frames)

    @property
    def ended(self) -> bool:
        """Whether it was closed; a live camera does not end by itself."""
        return self._closing.is_set()

    def start(self) -> None:
        """Start reading; calling it again has no effect."""
        if self._thread is None:
            # A daemon: a driver that hangs despite its time limits must not keep the program alive.
            self._thread = threading.Thread(
                target=self.run, name=f"camera {self.camera_id}", daemon=True
            )
            self._thread.start()

    def run(self) -> None:
        """Read until the camera is closed; runs in the thread of `start`."""
        while not self._closing.is_set():
            reason = public_text(self._read_one_connection(), self._source)
            if self._closing.is_set():
                break
            pause_s = self._backoff.next_pause_s()
            self._change(state="waiting", fps=0.0, last_error=reason)
            self._warn(f"{reason.removesuffix('.')}; trying again in {pause_s:.1f} s")
            self._wait(pause_s)
        self._change(state="closed", fps=0.0)

    def next_frame(self) -> Frame | None:
        """The oldest waiting frame; None if there is none."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Stop reading and release the camera."""
        self._closing.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(self._patience.close_s)
        with self._lock:
            self._waiting.clear()
            self._status = replace(self._status, state="closed", fps=0.0)
        self._on_frame()

    def _warn(self, what: str) -> None:
        _LOG.warning("camera %s: %s", self.camera_id, what)

    def _read_one_connection(self) -> str:
        """Open the camera and read until it is lost; returns the reason."""
        try:
            capture = self._opener(self._source)
        except CameraError as error:
            return str(error)
        except Exception as error:  # a driver's own errors must not stop other cameras
            return f"{self._name}: cannot be opened ({error!r})"
        try:
            self._connections += 1
            if self._connections > 1:
                self._change(reconnects=self._connections - 1)
                _LOG.info("camera %s: connected again", self.camera_id)
            return self._read_until_gone(capture)
        except CameraError as error:
            return str(error)
        except Exception as error:
            return f"{self._name}: reading failed ({error!r})"
        finally:
            try:
                capture.close()
            except Exception as error:
                self._warn(f"closing failed: {public_text(repr(error), self._source)}")

    def _read_until_gone(self, capture: Capture) -> str:
        opened_s = last_s = changed_s = self._monotonic()
        failures = 0
        while not self._closing.is_set():
            picture = capture.read()
            now_s = self._monotonic()
            if picture is None:
                failures += 1
                if now_s - last_s >= self._patience.silent_s:
                    return f"{self._name}: no picture for {now_s - last_s:.0f} s"
                if failures >= self._patience.failures:
                    return f"{self._name}: {failures} pictures in a row could not be read"
                continue
            if failures:
                total = self._status.frames_corrupt + failures
                skipped = f"skipped {failures} damaged frame(s)"
                self._change(frames_corrupt=total, last_error=skipped)
                self._warn(f"{self._name}: {skipped} ({total} so far)")
            failures, last_s = 0, now_s
            if self._shown is None or not _same_picture(self._shown, picture.image):
                self._shown, changed_s, self._hangs = picture.image, now_s, False
            elif now_s - changed_s >= self._patience.still_s:
                self._hangs = True
                return (
                    f"{self._name}: the same picture for {now_s - changed_s:.0f} s, so the camera "
                    "or its encoder hangs; restart it if connecting again does not help"
                )
            if now_s - opened_s >= self._patience.proved_s:
                self._backoff.reset()
            with self._lock:
                before, time_s = self._status, self._clock.now()
                self._rate.add(time_s)
                state = before.state if self._hangs else "running"
                is_full = False
                if not self._hangs:
                    is_full = len(self._waiting) == self._waiting.maxlen
                    self._waiting.append(
                        Frame(self.camera_id, before.frames_read, time_s, picture.image)
                    )
                self._status = replace(
                    before,
                    state=state,
                    frames_read=before.frames_read + 1,
                    frames_dropped=before.frames_dropped + is_full,
                    last_frame_s=time_s,
                    fps=self._rate.fps if state == "running" else 0.0,
                )
            if not self._hangs:
                self._on_frame()
        return "closed"


def _same_picture(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two pictures are equal; those that differ mostly show it in a few pixels."""
    return np.array_equal(one[::31, ::31], other[::31, ::31]) and np.array_equal(one, other)
