"""The track of one person: identity and place."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.cameras.appearance import Look
from adln.cameras.association import touched_sides
from adln.cameras.detections import Detections
from adln.cameras.motion import Motion, start

# Speed towards a side, in body heights per s, from which a person is leaving there.
_LEAVING = 0.1
# A leaving person is not found further inside by this part of the height; a swinging leg reaches
# less far back.
_COMES_IN = 0.15


@dataclass(frozen=True, eq=False)
class TrackedPerson:
    """A tracked person found in this frame.

    Attributes:
        track_id: from 1 (or as given by a file of boxes); unique within its camera, never reused.
        box_xyxy: (4,) float32, the detected box.
        first_s: time at which the track started.
        hits: number of frames in which the person was found.
        detection: index of the box among the frame's detections; -1 if unknown.
    """

    track_id: int
    box_xyxy: NDArray[np.float32]
    confidence: float
    first_s: float
    hits: int
    detection: int = -1


@dataclass(eq=False)
class Place:
    """Where a person was last found.

    Attributes:
        seen_s: time of that frame.
        detection: index of the box among the detections of that frame.
        box_xyxy: (4,) float32.
        sides: of the picture that the box touched; None if the picture is unknown.
        still: filter that follows the camera only.
        motion: filter that follows the person.
    """

    seen_s: float
    detection: int
    box_xyxy: NDArray[np.float32]
    confidence: float
    sides: frozenset[str] | None
    still: Motion
    motion: Motion

    def stays(self) -> "Place":
        """An independent copy."""
        place = copy(self)
        place.still, place.motion = Motion(self.still.axes), Motion(self.motion.axes)
        return place


class Track:
    """A tracked person, found first at a place; without an id until confirmed."""

    def __init__(self, place: Place) -> None:
        self.track_id: int | None = None
        self.first_s, self.hits = place.seen_s, 1
        self.place, self.came_by = place, place.sides
        self.look: Look | None = None
        self.looked_at = self.place.stays()
        """Where the person was when the embedding last matched."""
        self.in_doubt = False
        """Whether another person may have taken over the place since then."""
        self.strange = 0
        """Number of clean boxes since then that look like someone else."""
        self.over = False

    @property
    def seen_s(self) -> float:
        """Time at which the person was last found."""
        return self.place.seen_s

    @property
    def motions(self) -> tuple[Motion, ...]:
        """The filters that camera motion changes."""
        place, looked_at = self.place, self.looked_at
        return place.still, place.motion, looked_at.still, looked_at.motion

    @property
    def is_leaving(self) -> bool:
        """Whether the person was last found at a side of the picture, moving out."""
        if not self.place.sides:
            return False
        motion = self.place.motion
        across, down = (speed / motion.height for speed in motion.speed[:2])
        outward = {"left": -across, "right": across, "top": -down, "bottom": down}
        return any(outward[side] > _LEAVING for side in self.place.sides)

    def is_met_by(self, box_xyxy: Sequence[float]) -> bool:
        """Whether a box of the next frame shows someone who enters where this person leaves."""
        across, down, width, height = self.place.still.place
        left, top, right, bottom = box_xyxy
        inwards = {
            "left": right - across - width / 2,
            "right": across - width / 2 - left,
            "top": bottom - down - height / 2,
            "bottom": down - height / 2 - top,
        }
        return any(inwards[side] > _COMES_IN * height for side in self.place.sides or ())

    def take(self, place: Place) -> None:
        """Move to a place; the motion filter is kept."""
        place.motion = self.place.motion
        self.place = place
        self.hits += 1

    def renew_look(self, embedding: NDArray[np.float32], time_s: float) -> None:
        """Update the appearance with an embedding from the current place."""
        if self.look is None:
            self.look = Look(embedding, time_s)
        else:
            self.look.renew(embedding, time_s)
        self.looked_at = self.place.stays()
        self.in_doubt, self.strange = False, 0

    def exchange(self, other: "Track") -> None:
        """Exchange places with another track."""
        self.place, other.place = other.place, self.place

    def part(self, time_s: float) -> "Track":
        """Split off a new track at this place, and return to where the appearance last matched."""
        newcomer = Track(self.place)
        newcomer.first_s, newcomer.hits, newcomer.came_by = time_s, self.hits, None
        self.place = self.looked_at.stays()
        self.in_doubt, self.strange = False, 0
        return newcomer

    def go_on(self, newcomer: "Track", time_s: float) -> None:
        """Continue at the place of a new track, which ends."""
        self.exchange(newcomer)
        self.hits += newcomer.hits
        if newcomer.look is not None:
            self.renew_look(newcomer.look.embedding, time_s)
        newcomer.over = True

    def as_person(self, track_id: int) -> TrackedPerson:
        """The public view of this track."""
        place, first_s, hits = self.place, self.first_s, self.hits
        box, confidence, detection = place.box_xyxy, place.confidence, place.detection
        return TrackedPerson(track_id, box, confidence, first_s, hits, detection)


def places_of(
    detections: Detections, time_s: float, image: NDArray[np.uint8] | None
) -> list[Place]:
    """A place for each box of a frame, with a new motion filter."""
    boxes = detections.boxes_xyxy
    sides: Sequence[frozenset[str] | None] = [None] * len(boxes)
    if image is not None:
        sides = touched_sides(boxes, height_px=image.shape[0], width_px=image.shape[1])
    found = zip(boxes, detections.confidences.tolist(), sides, start(boxes), strict=True)
    return [
        Place(time_s, at, box, confidence, of_picture, still=Motion(motion.axes), motion=motion)
        for at, (box, confidence, of_picture, motion) in enumerate(found)
    ]
