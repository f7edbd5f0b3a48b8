"""One person who is followed: who it is, and where they are."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.cameras.appearance import Look
from adln.cameras.detections import Detections
from adln.cameras.motion import Motion, start

# Who moves towards a side by this part of their height a second is on the way there.
_LEAVING = 0.1
# Who is on the way out is not found further inside by this part of their height: a swinging leg
# reaches less far back.
_COMES_IN = 0.15


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
        detection: position of the box among the frame's detections; -1 if it is not known.
    """

    track_id: int
    box_xyxy: NDArray[np.float32]
    confidence: float
    first_s: float
    hits: int
    detection: int = -1


@dataclass(eq=False)
class Place:
    """Where somebody was last found.

    Attributes:
        seen_s: when.
        detection: position of the box among the detections of that frame.
        box_xyxy: (4,) float32, the box.
        confidence: of the detection.
        sides: of the picture at which the box ended; None if the picture is not known.
        still: the box as a motion that only goes along with the camera.
        motion: the box as it moves.
    """

    seen_s: float
    detection: int
    box_xyxy: NDArray[np.float32]
    confidence: float
    sides: frozenset[str] | None
    still: Motion
    motion: Motion

    @property
    def motions(self) -> tuple[Motion, Motion]:
        """What goes along with the camera."""
        return self.still, self.motion

    def stays(self) -> "Place":
        """A copy that goes its own way."""
        place = copy(self)
        place.still, place.motion = Motion(self.still.state), Motion(self.motion.state)
        return place


class Track:
    """A person who is followed; without an id until it is sure that there is one.

    Who it is: `track_id`, `first_s`, `hits`, `look`. Where they are: `place`.

    Args:
        place: where the person was found.
    """

    def __init__(self, place: Place) -> None:
        self.track_id: int | None = None
        self.first_s = place.seen_s
        self.hits = 1
        self.came_by = place.sides
        self.place = place
        self.look: Look | None = None
        self.looked_at = self.place.stays()
        """Where the person was when the look was last seen to fit."""
        self.in_doubt = False
        """Whether somebody else may have this place since the look was last seen to fit."""
        self.strange = 0
        """Clean boxes since then that look like somebody else."""
        self.over = False

    @property
    def seen_s(self) -> float:
        """When the person was last found."""
        return self.place.seen_s

    @property
    def motions(self) -> tuple[Motion, ...]:
        """What goes along with the camera."""
        return self.place.motions + self.looked_at.motions

    @property
    def is_leaving(self) -> bool:
        """Whether the person was last seen at a side of the picture and on the way out there."""
        if not self.place.sides:
            return False
        motion = self.place.motion
        across, down = (motion.speed[:2] / max(float(motion.place[3]), 1.0)).tolist()
        outward = {"left": -across, "right": across, "top": -down, "bottom": down}
        return any(outward[side] > _LEAVING for side in self.place.sides)

    def is_met_by(self, box_xyxy: Sequence[float]) -> bool:
        """Whether a box shows somebody who comes in where this person, who leaves, goes out.

        Args:
            box_xyxy: px, in the frame after.
        """
        across, down, width, height = self.place.still.place.tolist()
        left, top, right, bottom = box_xyxy
        inwards = {
            "left": right - across - width / 2,
            "right": across - width / 2 - left,
            "top": bottom - down - height / 2,
            "bottom": down - height / 2 - top,
        }
        return any(inwards[side] > _COMES_IN * height for side in self.place.sides or ())

    def take(self, place: Place) -> None:
        """Be found in a place; the motion is this person's own."""
        place.motion = self.place.motion
        self.place = place
        self.hits += 1

    def renew_look(self, embedding: NDArray[np.float32], time_s: float) -> None:
        """Take in what the person looks like in this place."""
        if self.look is None:
            self.look = Look(embedding, time_s)
        else:
            self.look.renew(embedding, time_s)
        self.looked_at = self.place.stays()
        self.in_doubt, self.strange = False, 0

    def exchange(self, other: "Track") -> None:
        """Each takes the place of the other one."""
        self.place, other.place = other.place, self.place

    def part(self, time_s: float) -> "Track":
        """Leave the place to somebody new, who is returned; be where the look last fitted."""
        newcomer = copy(self)
        newcomer.track_id, newcomer.first_s = None, time_s
        newcomer.look, newcomer.looked_at = None, self.place.stays()
        newcomer.came_by = None
        newcomer.in_doubt, newcomer.strange = False, 0
        self.place = self.looked_at.stays()
        self.in_doubt, self.strange = False, 0
        return newcomer

    def go_on(self, newcomer: "Track", time_s: float) -> None:
        """Be found again where a newcomer is, who is no track of its own any more."""
        self.exchange(newcomer)
        self.hits += newcomer.hits
        if newcomer.look is not None:
            self.renew_look(newcomer.look.embedding, time_s)
        newcomer.over = True

    def as_person(self, track_id: int) -> TrackedPerson:
        """As the world sees it."""
        return TrackedPerson(
            track_id=track_id,
            box_xyxy=self.place.box_xyxy,
            confidence=self.place.confidence,
            first_s=self.first_s,
            hits=self.hits,
            detection=self.place.detection,
        )


def places_of(
    detections: Detections, time_s: float, sides: Sequence[frozenset[str] | None]
) -> list[Place]:
    """A place for each box of a frame, with the motion of somebody who was just found there.

    Args:
        detections: of the frame, N of them.
        time_s: of the frame.
        sides: (N,) of the picture at which each box ends; None if the picture is not known.
    """
    boxes = detections.boxes_xyxy
    found = zip(boxes, detections.confidences.tolist(), sides, start(boxes), strict=True)
    return [
        Place(time_s, at, box, confidence, of_picture, still=Motion(motion.state), motion=motion)
        for at, (box, confidence, of_picture, motion) in enumerate(found)
    ]
