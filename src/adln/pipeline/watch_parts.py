"""What the loop of a watch is given, and what it tells."""

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
"""Whether pictures are kept of people; or the names of the cameras where they are."""


def is_pictured(pictures: Pictured, camera: str) -> bool:
    """Whether pictures are kept of the people before a camera."""
    return pictures if isinstance(pictures, bool) else camera in pictures


@dataclass(eq=False)
class OpenTrack:
    """What is kept of a track that goes on.

    Attributes:
        embeddings: crop -> depth -> (D,).
        report: the latest.
        answer: who it was last said to be.
        said: sightings of it so far.
        is_deep: whether the shallowest depth was not sure of it.
    """

    embeddings: dict[int, dict[int, NDArray[np.float32]]] = field(default_factory=dict)
    report: TrackReport | None = None
    answer: Answer | None = None
    said: int = 0
    is_deep: bool = False


class Rounds(Protocol):
    """Frames of all cameras in rounds; `adln.cameras.watching.CameraGroup` does."""

    def rounds(self) -> Iterator[list[Frame]]:
        """At most one frame of each camera in a round; an empty one if nothing came."""

    def statuses(self) -> list[CameraStatus]:
        """How each camera is doing."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CameraParts:
    """What belongs to one camera.

    Attributes:
        number: in the gallery.
        tracker: follows its people.
        selector: chooses their crops.
        source_name: names the recording or the run in the ids of sightings.
        live: whether its frames come by themselves, and are lost if nobody takes them.
    """

    number: int
    tracker: Tracker
    selector: CropSelector
    source_name: str
    live: bool = False


@dataclass(frozen=True, kw_only=True)
class NamedBox:
    """A person in a frame, with what is known of them.

    Attributes:
        track_id: of the tracker.
        box_xyxy: in the frame, px.
        person_id: who; None if not known.
        verdict: how sure.
        probability: that it is this person, 0..1; None as long as that is not known.
        is_new: whether the person was first seen in this track.
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
    """A track that is over, and who it was.

    Attributes:
        event: the last sighting said of it.
        crop: (H, W, 3) uint8 RGB, its best crop; None if it had none.
    """

    event: SightingEvent
    crop: NDArray[np.uint8] | None


@dataclass(kw_only=True)
class WatchProgress:
    """Where the loop stands; one object that is renewed in each round.

    Attributes:
        rounds: processed.
        video_s: seconds of video, without the pauses in it; of live and recorded cameras, the
            longer.
        wall_s: seconds since the start.
        stage_ms: stage -> ms spent so far.
        frames: camera -> frames processed.
        skipped: camera -> frames left out to keep the pace.
        people: camera -> people in view now.
        tracks: camera -> tracks so far.
        crops: depth -> crops embedded so far.
        verdicts: verdict -> tracks that ended with it.
        failures: camera -> frames, tracks or sightings that could not be used.
        identities: people in the gallery.
        depth: in use.
        depth_name: what people call it.
        crops_per_track: in use.
        keep_one_in: in use.
        steps: changes of the level so far.
        load_ms: work for a second of video lately.
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
