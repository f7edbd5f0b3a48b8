"""Follows people from frame to frame: the `Tracker` interface, and ByteTrack behind it.

Source: Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV
2022: sure boxes find their tracks first, then the unsure ones find the tracks that are left,
because a person half hidden is a weak detection, not a missing one.

Written here and not taken from a library: the one that is well kept and permissively licensed
(roboflow's `trackers`) brings several hundred megabytes with it, among them a second OpenCV that
overwrites the first and FFmpeg under the GPL. The assignment is `lap`'s.

Deviation: times in seconds instead of frames (see `adln.cameras.motion`), so that a camera that
drops frames is followed as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adln.boxes import iou
from adln.cameras.detections import Detections
from adln.cameras.motion import Motion, start_motion
from adln.errors import CameraError
from adln.settings import settings


@dataclass(frozen=True, eq=False)
class TrackedPerson:
    """A person who is seen in this frame and has been followed here.

    Attributes:
        track_id: from 1 (or as given by a file of boxes); unique within its camera, never used
            again.
        box_xyxy: (4,) float32, the detected box.
        confidence: of the detection.
        first_s: when the track began.
        hits: frames in which the person was found so far.
    """

    track_id: int
    box_xyxy: NDArray[np.float32]
    confidence: float
    first_s: float
    hits: int


@dataclass(frozen=True)
class TrackUpdate:
    """What one frame changed.

    Attributes:
        people: those who are seen and followed, by track id.
        ended: tracks that are over, by track id. Only tracks that were among `people` once.
    """

    people: tuple[TrackedPerson, ...]
    ended: tuple[int, ...]


class Tracker(Protocol):
    """Anything that follows the people of one camera; each camera has its own."""

    def update(self, detections: Detections, time_s: float) -> TrackUpdate:
        """Take in one frame.

        Args:
            detections: of the frame.
            time_s: of the frame; above that of the frame before.
        """
        ...

    def finish(self) -> tuple[int, ...]:
        """End all tracks, because the camera has ended; gives their ids."""
        ...


@settings
class TrackerSettings:
    """When boxes belong to one person.

    Attributes:
        sure: detections from this confidence on find their tracks first.
        start: a new track begins with a detection of at least this confidence.
        min_iou: least overlap of a predicted box and a sure detection, weighed with its
            confidence.
        min_iou_unsure: least overlap with a detection that is not sure.
        confirm_hits: a track counts once it was found in so many frames.
        confirm_within_s: a track that has not been confirmed is dropped when it has not been
            seen for so long.
        keep_s: a track that is not seen ends after so long.
    """

    sure: float = 0.5
    start: float = 0.6
    min_iou: float = 0.2
    min_iou_unsure: float = 0.4
    confirm_hits: int = 3
    confirm_within_s: float = 0.35
    keep_s: float = 2.0


class ByteTracker:
    """Follows the people of one camera by where they are and how they move.

    The same detections give the same tracks.

    Args:
        settings: thresholds.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._tracks: list[_Track] = []
        self._next_id = 1
        self._last_s: float | None = None

    def update(self, detections: Detections, time_s: float) -> TrackUpdate:
        """Take in one frame.

        Raises:
            CameraError: `time_s` is not above that of the frame before.
        """
        elapsed_s = self._elapsed(time_s)
        for track in self._tracks:
            track.motion.predict(elapsed_s)
        matches = self._match(detections, previous_s=time_s - elapsed_s)
        for track, at in matches:
            track.take(detections.boxes_xyxy[at], float(detections.confidences[at]), time_s)
        taken = {at for _, at in matches}
        for at in range(len(detections)):
            if at not in taken and detections.confidences[at] >= self._settings.start:
                self._tracks.append(
                    _Track(detections.boxes_xyxy[at], float(detections.confidences[at]), time_s)
                )
        self._confirm(time_s)
        ended = self._drop(time_s)
        people = [
            track.as_person(track.track_id)
            for track in self._tracks
            if track.track_id is not None and track.seen_s == time_s
        ]
        people.sort(key=lambda person: person.track_id)
        return TrackUpdate(tuple(people), ended)

    def finish(self) -> tuple[int, ...]:
        """End all tracks."""
        ids = sorted(track.track_id for track in self._tracks if track.track_id is not None)
        self._tracks.clear()
        return tuple(ids)

    def _elapsed(self, time_s: float) -> float:
        if self._last_s is not None and time_s <= self._last_s:
            raise CameraError(
                f"a tracker was given a frame at {time_s:.3f} s after one at {self._last_s:.3f} s; "
                "times must rise. Each camera needs a tracker of its own."
            )
        elapsed_s = 0.0 if self._last_s is None else time_s - self._last_s
        self._last_s = time_s
        return elapsed_s

    def _match(self, detections: Detections, *, previous_s: float) -> list[tuple["_Track", int]]:
        limits = self._settings
        is_sure = detections.confidences >= limits.sure
        sure: Sequence[int] = np.flatnonzero(is_sure).tolist()
        unsure: Sequence[int] = np.flatnonzero(~is_sure).tolist()
        known = [track for track in self._tracks if track.track_id is not None]
        new = [track for track in self._tracks if track.track_id is None]

        matches = _assign(known, sure, detections, limits.min_iou, weighed=True)
        found = {id(track) for track, _ in matches}
        # Only those seen a moment ago: an unsure box where somebody was long ago is mostly nobody.
        left = [track for track in known if id(track) not in found and track.seen_s >= previous_s]
        matches += _assign(left, unsure, detections, limits.min_iou_unsure, weighed=False)
        taken = {at for _, at in matches}
        rest = [at for at in sure if at not in taken]
        matches += _assign(new, rest, detections, limits.min_iou, weighed=True)
        return matches

    def _confirm(self, time_s: float) -> None:
        for track in self._tracks:
            if (
                track.track_id is None
                and track.seen_s == time_s
                and track.hits >= self._settings.confirm_hits
            ):
                track.track_id = self._next_id
                self._next_id += 1

    def _drop(self, time_s: float) -> tuple[int, ...]:
        limits = self._settings
        stay, ended = [], []
        for track in self._tracks:
            known = track.track_id is not None
            if time_s - track.seen_s <= (limits.keep_s if known else limits.confirm_within_s):
                stay.append(track)
            elif track.track_id is not None:
                ended.append(track.track_id)
        self._tracks = stay
        return tuple(sorted(ended))


class GivenTracks:
    """A `Tracker` for detections that carry track ids already.

    Args:
        keep_s: a track that is not seen ends after so long.
    """

    def __init__(self, *, keep_s: float = 2.0) -> None:
        self._keep_s = keep_s
        self._seen: dict[int, tuple[float, float, int]] = {}  # first, latest, hits

    def update(self, detections: Detections, time_s: float) -> TrackUpdate:
        """Take in one frame.

        Raises:
            CameraError: the detections carry no track ids.
        """
        if detections.track_ids is None and len(detections):
            raise CameraError(
                "these boxes carry no track_id; write one on each line, or follow them with "
                "ByteTracker."
            )
        people = []
        ids = [] if detections.track_ids is None else detections.track_ids.tolist()
        for at, track_id in enumerate(ids):
            first_s, _, hits = self._seen.get(track_id, (time_s, time_s, 0))
            self._seen[track_id] = first_s, time_s, hits + 1
            people.append(
                TrackedPerson(
                    track_id=track_id,
                    box_xyxy=detections.boxes_xyxy[at],
                    confidence=float(detections.confidences[at]),
                    first_s=first_s,
                    hits=hits + 1,
                )
            )
        over = [key for key, (_, last_s, _) in self._seen.items() if time_s - last_s > self._keep_s]
        for track_id in over:
            del self._seen[track_id]
        people.sort(key=lambda person: person.track_id)
        return TrackUpdate(tuple(people), tuple(sorted(over)))

    def finish(self) -> tuple[int, ...]:
        """End all tracks."""
        ids = tuple(sorted(self._seen))
        self._seen.clear()
        return ids


class _Track:
    """A person who is followed; without an id until it is sure that there is one."""

    def __init__(self, box_xyxy: NDArray[np.float32], confidence: float, time_s: float) -> None:
        self.track_id: int | None = None
        self.motion: Motion = start_motion(box_xyxy)
        self.first_s = self.seen_s = time_s
        self.hits = 1
        self._box_xyxy = box_xyxy
        self._confidence = confidence

    def take(self, box_xyxy: NDArray[np.float32], confidence: float, time_s: float) -> None:
        self.motion.update(box_xyxy)
        self.seen_s = time_s
        self.hits += 1
        self._box_xyxy = box_xyxy
        self._confidence = confidence

    def as_person(self, track_id: int) -> TrackedPerson:
        return TrackedPerson(
            track_id=track_id,
            box_xyxy=self._box_xyxy,
            confidence=self._confidence,
            first_s=self.first_s,
            hits=self.hits,
        )


def _assign(
    tracks: Sequence[_Track],
    positions: Sequence[int],
    detections: Detections,
    min_overlap: float,
    *,
    weighed: bool,
) -> list[tuple[_Track, int]]:
    """Pair tracks with detections so that the sum of the overlaps is largest."""
    if not tracks or not positions:
        return []
    boxes = np.stack([track.motion.box_xyxy for track in tracks])
    overlaps = iou(boxes, detections.boxes_xyxy[list(positions)].astype(np.float64))
    if weighed:
        overlaps = overlaps * detections.confidences[list(positions)]
    _, columns, _ = _load_lap().lapjv(1 - overlaps, extend_cost=True, cost_limit=1 - min_overlap)
    return [
        (tracks[row], positions[column])
        for row, column in enumerate(columns.tolist())
        if column >= 0
    ]


def _load_lap() -> Any:
    try:
        return import_module("lap")
    except ImportError as error:
        raise CameraError(
            f"following people needs lap, which is not here ({error}); "
            "install it with: pip install 'adln[camera]'"
        ) from error
