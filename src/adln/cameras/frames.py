"""Frames as they come from cameras and files, and what is known of the camera they come from."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

CameraState = Literal["opening", "running", "waiting", "ended", "closed"]
"""`waiting`: the camera is gone and will be tried again. `ended`: a file is at its end."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of one camera.

    Attributes:
        camera_id: which camera; unique among those that are watched together.
        index: number of the picture in its source, from 0. Files skip the number of a picture
            that is damaged; live cameras number what they delivered.
        time_s: when it was taken, in seconds. Never falls and never stands still within a camera,
            whatever the clocks do. Files: since their start, plus the start given to them. Live
            cameras: Unix time when the source was made, carried on by a clock that does not jump.
        image: (H, W, 3) uint8 RGB.
    """

    camera_id: str
    index: int
    time_s: float
    image: NDArray[np.uint8]


@dataclass(frozen=True)
class CameraStatus:
    """How a camera is doing; a copy, which does not change any more.

    Attributes:
        camera_id: which camera.
        source: where its pictures come from, without user name and password.
        state: see `CameraState`.
        frames_read: pictures that were decoded.
        frames_dropped: decoded pictures that nobody took in time.
        frames_corrupt: pictures that could not be decoded.
        reconnects: how often a live camera was opened again.
        clock_jumps: how often the times inside a file fell or leapt and were carried on evenly.
        last_error: the latest thing that went wrong; empty if nothing did.
        last_frame_s: `time_s` of the newest picture; None before the first.
        fps: pictures a second of late, by their times; 0 before the second.
    """

    camera_id: str
    source: str
    state: CameraState
    frames_read: int
    frames_dropped: int = 0
    frames_corrupt: int = 0
    reconnects: int = 0
    clock_jumps: int = 0
    last_error: str = ""
    last_frame_s: float | None = None
    fps: float = 0.0


class Source(Protocol):
    """Anything that gives the frames of one camera."""

    @property
    def camera_id(self) -> str:
        """Which camera."""

    @property
    def live(self) -> bool:
        """Whether frames are lost that are not taken in time."""

    @property
    def ended(self) -> bool:
        """Whether no frame will come any more."""

    def next_frame(self) -> Frame | None:
        """The next frame; None at the end of a file, or if a live camera has none at the moment."""

    def status(self) -> CameraStatus:
        """How the camera is doing."""

    def close(self) -> None:
        """Let go of the file or the connection; may be called twice."""
