"""Frames of cameras and files, and the status of their camera."""

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adln.cameras.redaction import public_name

CameraState = Literal["opening", "running", "waiting", "ended", "closed"]
"""`waiting`: the camera is unreachable and will be retried. `ended`: end of a file."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of one camera.

    Attributes:
        camera_id: unique among those watched together.
        index: number of the picture in its source, from 0. Damaged pictures of a file are counted;
            live cameras count delivered pictures.
        time_s: when it was taken; strictly increasing within a camera. Files: time since their
            start, plus the start given to them. Live cameras: Unix time that does not jump.
        image: (H, W, 3) uint8 RGB.
    """

    camera_id: str
    index: int
    time_s: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class CameraStatus:
    """Status of a camera; an immutable copy.

    Attributes:
        source: without user name and password.
        frames_dropped: decoded pictures that were not taken in time.
        frames_corrupt: pictures that could not be decoded.
        reconnects: number of times a live camera was opened again.
        clock_jumps: number of jumps in the times of a file, which were evened out.
        last_error: the latest problem; empty if there was none.
        last_frame_s: `time_s` of the newest picture; None before the first.
        fps: recent pictures per second, by their times; 0 before the second.
    """

    camera_id: str
    source: str
    state: CameraState
    frames_read: int = 0
    frames_dropped: int = 0
    frames_corrupt: int = 0
    reconnects: int = 0
    clock_jumps: int = 0
    last_error: str = ""
    last_frame_s: float | None = None
    fps: float = 0.0


class Reporting:
    """What has a status that one thread changes and others read."""

    def __init__(self, source: str | Path, camera_id: str, state: CameraState) -> None:
        self.camera_id = camera_id
        self._name = public_name(source)
        self._lock = threading.Lock()
        self._status = CameraStatus(camera_id, self._name, state)

    def status(self) -> CameraStatus:
        """Status of the camera."""
        with self._lock:
            return self._status

    def _change(self, **values: Any) -> None:
        with self._lock:
            self._status = replace(self._status, **values)


class Source(Protocol):
    """A source of one camera's frames."""

    @property
    def camera_id(self) -> str:
        """The camera's id."""

    @property
    def live(self) -> bool:
        """Whether frames are lost if not taken in time."""

    @property
    def ended(self) -> bool:
        """Whether no more frames will come."""

    def next_frame(self) -> Frame | None:
        """The next frame; None at the end of a file, or if a live camera has none now."""

    def status(self) -> CameraStatus:
        """Status of the camera."""

    def close(self) -> None:
        """Release the file or the connection; may be called twice."""
