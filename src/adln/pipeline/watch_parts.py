"""Input and output types of the watch loop."""

from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adln.cameras.frames import CameraStatus, Frame
from adln.cameras.selection import CropSelector, TrackReport
from adln.cameras.tracker import Tracker
from adln.matching.calibration import Verdict
from adln.pipeline.evidence import Answer
from adln.pipeline.sightings import SightingEvent

Pictured = bool | Container[str]
"""Whether pictures of people are kept; or the names of the cameras for which they are."""


def is_pictured(pictures: Pictured, camera: str) -> bool:
    """Whether pictures are kept of the people before a camera."""
    return pictures if isinstance(pictures, bool) else camera in pictures


@dataclass(eq=False)
class OpenTrack:
    """State of an open track."""

    # Crop -> depth -> (D,).
    embeddings: dict[int, dict[int, NDArray[np.float32]]] = field(default_factory=dict)
    report: TrackReport | None = None
    answer: Answer | None = None
    said: int = 0  # sightings reported so far
    is_deep: bool = False  # the shallowest depth left its identity uncertain


class Rounds(Protocol):
    """Frames of all cameras in rounds, as from `adln.cameras.watching.CameraGroup`."""

    def rounds(self) -> Iterator[list[Frame]]:
        """Rounds with at most one frame of each camera; empty if none came."""

    def statuses(self) -> list[CameraStatus]:
        """Status of each camera."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CameraParts:
    """The parts for one camera.

    Attributes:
        number: its number in the gallery.
        source_name: identifies the recording or run in the ids of sightings.
        live: whether its frames arrive in real time, and are lost if not taken.
    """

    number: int
    tracker: Tracker
    selector: CropSelector
    source_name: str
    live: bool = False


@dataclass(frozen=True, kw_only=True)
class NamedBox:
    """A person in a frame, with their identity as far as known.

    Attributes:
        track_id: the tracker's id.
        box_xyxy: in px.
        person_id: None if unknown.
        probability: that it is this person, 0..1; None if not yet known.
        is_new: whether the person was enrolled from this track.
    """

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    person_id: int | None
    verdict: Verdict
    probability: float | None = None
    is_new: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class SeenFrame:
    """A frame that was processed."""

    frame: Frame
    people: tuple[NamedBox, ...]


@dataclass(frozen=True, kw_only=True)
class TrackEnd:
    """A finished track and its identity.

    Attributes:
        event: the last sighting reported of it.
        crop: (H, W, 3) uint8 RGB, its best crop; None if it had none.
    """

    event: SightingEvent
    crop: NDArray[np.uint8] | None


@dataclass(kw_only=True)
class WatchProgress:
    """Progress of the loop; one object, updated in each round.

    Frames, skipped frames, people in view now, tracks and failures are counted by camera, crops by
    depth, and ended tracks by verdict. `stage_ms` is the time spent by stage; the depth, the limit
    of crops and the share of frames are those of the load's level now.

    Attributes:
        video_s: seconds of video without its pauses; the larger of live and recorded cameras.
        wall_s: seconds since the start.
        identities: people in the gallery.
        steps: changes of the level so far.
        load_ms: recent work per second of video, in ms.
    """

    rounds: int = 0
    video_s: float = 0.0
    wall_s: float = 0.0
    stage_ms: Counter[str] = field(default_factory=Counter)
    frames: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    people: dict[str, int] = field(default_factory=dict)
    tracks: Counter[str] = field(default_factory=Counter)
    crops: Counter[int] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    identities: int = 0
    depth: int = 0
    depth_name: str = ""
    crops_per_track: int = 0
    keep_one_in: int = 1
    steps: int = 0
    load_ms: float = 0.0
