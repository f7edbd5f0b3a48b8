"""Where people will be: a Kalman filter of constant speed for each box.

Noise is in body heights and seconds, not in pixels and frames, so that one setting serves near and
far people, 5 and 30 frames a second, and frames that are missing.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A box jitters by about this part of a person's height from frame to frame.
_MEASUREMENT = 0.05
# A person changes speed by about this many body heights a second, each second: 1.75 m tall, that
# is 3.5 m/s², the start of a sprint. Width and height change far more slowly.
_ACCELERATION = np.array([2.0, 2.0, 0.3, 0.5])
# Speed of a new track is not known; people walk at about one body height a second, or run.
_FIRST_SPEED = np.array([1.5, 0.8, 0.2, 0.4])
_FIRST_VARIANCES = np.array([np.full(4, _MEASUREMENT), np.zeros(4), _FIRST_SPEED]) ** 2


@dataclass(eq=False)
class Motion:
    """One person's box and how it moves.

    The four numbers (centre x, centre y, width, height) are filtered independently of each other,
    which makes the covariance three numbers for each. All people of a frame are filtered together,
    by the functions below.

    Attributes:
        state: (5, 4): place in px, speed in px/s, variance of the place, covariance of the two,
            variance of the speed. Never changed in place.
    """

    state: NDArray[np.float64]

    @property
    def place(self) -> NDArray[np.float64]:
        """(4,) px."""
        place: NDArray[np.float64] = self.state[0]
        return place

    @property
    def speed(self) -> NDArray[np.float64]:
        """(4,) px/s."""
        speed: NDArray[np.float64] = self.state[1]
        return speed


def start(boxes_xyxy: NDArray[np.floating]) -> list[Motion]:
    """The motions of people who were just found at (N, 4) px."""
    states = np.zeros((len(boxes_xyxy), 5, 4))
    states[:, 0] = _places_of(boxes_xyxy)
    states[:, 2:] = _FIRST_VARIANCES * (_heights(states) ** 2)[:, np.newaxis]
    return [Motion(state) for state in states]


def predict(motions: Sequence[Motion], elapsed_s: float) -> None:
    """Move on by some time."""
    if not motions:
        return
    states, t = _states(motions), elapsed_s
    place, speed, place_var, both_var, speed_var = states.swapaxes(0, 1)
    noise = (_ACCELERATION * _heights(states) * t) ** 2
    # In place and in this order: each row takes what the next one was.
    place += t * speed
    place_var += t * (2 * both_var + t * speed_var) + noise * (t * t / 4)
    both_var += t * speed_var + noise * (t / 2)
    speed_var += noise
    _keep(motions, states)


def update(motions: Sequence[Motion], found: Sequence[Motion]) -> None:
    """Take in where these people were found, each as a motion that starts there."""
    if not motions:
        return
    states = _states(motions)
    place, speed, place_var, both_var, speed_var = states.swapaxes(0, 1)
    total = place_var + (_MEASUREMENT * _heights(states)) ** 2
    gain_place, gain_speed = place_var / total, both_var / total
    error = _states(found)[:, 0] - place
    # In place: the last row first, because it takes what the others were.
    place += gain_place * error
    speed += gain_speed * error
    speed_var -= gain_speed * both_var
    place_var *= 1 - gain_place
    both_var *= 1 - gain_place
    _keep(motions, states)


def shift(motions: Sequence[Motion], affine: NDArray[np.float64]) -> None:
    """Go along with the camera.

    Args:
        motions: each of them once.
        affine: (2, 3), where points of the frame before are in this one.
    """
    if not motions:
        return
    (a, b, right), (c, d, down) = affine.tolist()
    growth = abs(a * d - b * c)  # of areas
    states = _states(motions)
    across, along = states[:, :2, 0].copy(), states[:, :2, 1].copy()
    states[:, :2, 0] = a * across + b * along
    states[:, :2, 1] = c * across + d * along
    states[:, 0, :2] += right, down
    states[:, :2, 2:] *= math.sqrt(growth)
    states[:, 2:] *= growth
    _keep(motions, states)


def boxes_of(motions: Sequence[Motion]) -> NDArray[np.float64]:
    """Where these people are, (N, 4) px, left, top, right, bottom."""
    places = np.array([motion.place for motion in motions]).reshape(-1, 4)
    half = np.maximum(places[:, 2:], 1.0) / 2
    return np.concatenate([places[:, :2] - half, places[:, :2] + half], axis=1)


def _states(motions: Sequence[Motion]) -> NDArray[np.float64]:
    return np.array([motion.state for motion in motions])


def _keep(motions: Sequence[Motion], states: NDArray[np.float64]) -> None:
    for motion, state in zip(motions, states, strict=True):
        motion.state = state


def _heights(states: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(states[:, 0, 3:], 1.0)


def _places_of(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    boxes = boxes_xyxy.astype(np.float64)
    size = boxes[:, 2:] - boxes[:, :2]
    return np.concatenate([boxes[:, :2] + size / 2, size], axis=1)


def distance_heights(a: Motion, b: Motion) -> float:
    """How far apart two are, in body heights of the mean of both."""
    height = (a.place[3] + b.place[3]) / 2
    return math.dist(a.place[:2], b.place[:2]) / max(float(height), 1.0)


def growth(a: Motion, b: Motion) -> float:
    """Logarithm of how much higher the higher one is; 0 if both are of one height."""
    heights = max(float(a.place[3]), 1.0), max(float(b.place[3]), 1.0)
    return abs(math.log(heights[1] / heights[0]))
