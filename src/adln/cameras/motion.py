"""Motion of people: a constant-velocity Kalman filter for each box.

Noise is in body heights and seconds, not in pixels and frames, so that one setting works for near
and far people and for any frame rate. It uses plain floats: a frame has few people, and after a
detector has flushed the processor's cache, calling NumPy takes longer than the arithmetic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Axis = tuple[float, float, float, float, float]

# Standard deviation of detected boxes, in body heights.
_MEASUREMENT = 0.05
# Accelerations, in body heights per s²: for a person of 1.75 m, 3.5 m/s², the start of a sprint.
# Width and height change far more slowly.
_ACCELERATION = (2.0, 2.0, 0.3, 0.5)
# Standard deviation of a new track's speed, in body heights per s; people walk at about 1.
_FIRST_SPEED = (1.5, 0.8, 0.2, 0.4)


@dataclass(eq=False)
class Motion:
    """State of one person's box.

    Attributes:
        axes: the independent filters of centre x, centre y, width and height. Each has place in px,
            speed in px/s, variance of the place, covariance of both, variance of the speed.
            Never changed in place.
    """

    axes: tuple[Axis, ...]

    @property
    def place(self) -> tuple[float, ...]:
        """(4,) px."""
        return tuple([axis[0] for axis in self.axes])

    @property
    def speed(self) -> tuple[float, ...]:
        """(4,) px/s."""
        return tuple([axis[1] for axis in self.axes])

    @property
    def height(self) -> float:
        """Body height, at least 1 px."""
        return max(self.axes[3][0], 1.0)


def start(boxes_xyxy: NDArray[np.floating]) -> list[Motion]:
    """New filters for people found at (N, 4) px."""
    motions = []
    for left, top, right, bottom in boxes_xyxy.tolist():
        width, height = right - left, bottom - top
        place = left + width / 2, top + height / 2, width, height
        unit = max(height, 1.0)
        place_var = (_MEASUREMENT * unit) ** 2
        axes = [
            (at, 0.0, place_var, 0.0, (speed * unit) ** 2)
            for at, speed in zip(place, _FIRST_SPEED, strict=True)
        ]
        motions.append(Motion(tuple(axes)))
    return motions


def predict(motions: Sequence[Motion], elapsed_s: float) -> None:
    """Predict the state after some time."""
    t = elapsed_s
    for motion in motions:
        height, axes = motion.height, []
        for axis, acceleration in zip(motion.axes, _ACCELERATION, strict=True):
            place, speed, place_var, both_var, speed_var = axis
            noise = (acceleration * height * t) ** 2
            place_var += t * (2 * both_var + t * speed_var) + noise * (t * t / 4)
            both_var += t * speed_var + noise * (t / 2)
            axes.append((place + t * speed, speed, place_var, both_var, speed_var + noise))
        motion.axes = tuple(axes)


def update(motions: Sequence[Motion], found: Sequence[Motion]) -> None:
    """Correct with the boxes found, each given as a new filter there."""
    for motion, other in zip(motions, found, strict=True):
        measurement = (_MEASUREMENT * motion.height) ** 2
        axes = []
        for axis, (seen, *_) in zip(motion.axes, other.axes, strict=True):
            place, speed, place_var, both_var, speed_var = axis
            total = place_var + measurement
            gain_place, gain_speed = place_var / total, both_var / total
            place, speed = place + gain_place * (seen - place), speed + gain_speed * (seen - place)
            rest = 1 - gain_place
            speed_var -= gain_speed * both_var
            axes.append((place, speed, rest * place_var, rest * both_var, speed_var))
        motion.axes = tuple(axes)


def shift(motions: Sequence[Motion], affine: NDArray[np.float64]) -> None:
    """Compensate the motion of the camera: (2, 3), maps points of the previous frame to this one.

    No filter may be given twice.
    """
    (a, b, right), (c, d, down) = affine.tolist()
    growth = abs(a * d - b * c)  # of areas
    larger = math.sqrt(growth)
    for motion in motions:
        (x, across, *_), (y, along, *_), (width, wider, *_), (height, higher, *_) = motion.axes
        places = a * x + b * y + right, c * x + d * y + down, larger * width, larger * height
        speeds = a * across + b * along, c * across + d * along, larger * wider, larger * higher
        motion.axes = tuple(
            (place, speed, growth * place_var, growth * both_var, growth * speed_var)
            for place, speed, (*_, place_var, both_var, speed_var) in zip(
                places, speeds, motion.axes, strict=True
            )
        )


def boxes_of(motions: Sequence[Motion]) -> NDArray[np.float64]:
    """Boxes (N, 4): left, top, right, bottom in px."""
    boxes = []
    for motion in motions:
        across, down, width, height = motion.place
        half, upper = max(width, 1.0) / 2, max(height, 1.0) / 2
        boxes.append((across - half, down - upper, across + half, down + upper))
    return np.array(boxes).reshape(-1, 4)


def distance_heights(a: Motion, b: Motion) -> float:
    """Distance between two centres, in units of their mean body height."""
    height = (a.axes[3][0] + b.axes[3][0]) / 2
    return math.dist(a.place[:2], b.place[:2]) / max(height, 1.0)


def growth(a: Motion, b: Motion) -> float:
    """Logarithm of the ratio of their heights, at least 0."""
    return abs(math.log(b.height / a.height))
