"""Where people will be: a Kalman filter of constant speed for each box.

Noise is in body heights and seconds, not in pixels and frames, so that one setting serves near and
far people, 5 and 30 frames a second, and frames that are missing.
"""

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


@dataclass(eq=False)
class Motion:
    """One person's box and how it moves.

    The four numbers (centre x, centre y, width, height) are filtered independently of each other,
    which makes the covariance three numbers for each.

    Attributes:
        place: (4,) px.
        speed: (4,) px/s.
        covariance: (3, 4): variance of the place, covariance, variance of the speed.
    """

    place: NDArray[np.float64]
    speed: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @property
    def box_xyxy(self) -> NDArray[np.float64]:
        """The box, (4,)."""
        centre, half = self.place[:2], np.maximum(self.place[2:], 1.0) / 2
        return np.concatenate([centre - half, centre + half])

    def predict(self, elapsed_s: float) -> None:
        """Move on by some time."""
        t = elapsed_s
        noise = (_ACCELERATION * self._height()) ** 2
        self.place = self.place + self.speed * t
        place, both, speed = self.covariance
        self.covariance = np.stack(
            [
                place + 2 * t * both + t * t * speed + noise * t**4 / 4,
                both + t * speed + noise * t**3 / 2,
                speed + noise * t * t,
            ]
        )

    def update(self, box_xyxy: NDArray[np.floating]) -> None:
        """Take in the box that was found for this person."""
        measured = _place_of(box_xyxy)
        place, both, speed = self.covariance
        total = place + (_MEASUREMENT * self._height()) ** 2
        gain_place, gain_speed = place / total, both / total
        error = measured - self.place
        self.place = self.place + gain_place * error
        self.speed = self.speed + gain_speed * error
        self.covariance = np.stack(
            [place * (1 - gain_place), both * (1 - gain_place), speed - gain_speed * both]
        )

    def shift(self, affine: NDArray[np.float64]) -> None:
        """Go along with the camera.

        Args:
            affine: (2, 3), where points of the frame before are in this one.
        """
        turn = affine[:, :2]
        growth = float(np.sqrt(abs(np.linalg.det(turn))))
        self.place = np.concatenate([turn @ self.place[:2] + affine[:, 2], growth * self.place[2:]])
        self.speed = np.concatenate([turn @ self.speed[:2], growth * self.speed[2:]])
        self.covariance = growth**2 * self.covariance

    def _height(self) -> float:
        return max(float(self.place[3]), 1.0)


def start_motion(box_xyxy: NDArray[np.floating]) -> Motion:
    """The motion of a person who was just found at (4,) px."""
    place = _place_of(box_xyxy)
    height = max(float(place[3]), 1.0)
    return Motion(
        place=place,
        speed=np.zeros(4),
        covariance=np.stack(
            [
                np.full(4, (_MEASUREMENT * height) ** 2),
                np.zeros(4),
                (_FIRST_SPEED * height) ** 2,
            ]
        ),
    )


def _place_of(box_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    box = box_xyxy.astype(np.float64)
    size = box[2:] - box[:2]
    return np.concatenate([box[:2] + size / 2, size])


def distance_heights(a: Motion, b: Motion) -> float:
    """How far apart two are, in body heights of the mean of both."""
    height = (a.place[3] + b.place[3]) / 2
    way = float(np.hypot(*(a.place[:2] - b.place[:2])))
    return way / max(float(height), 1.0)


def growth(a: Motion, b: Motion) -> float:
    """Logarithm of how much higher the higher one is; 0 if both are of one height."""
    heights = max(float(a.place[3]), 1.0), max(float(b.place[3]), 1.0)
    return abs(float(np.log(heights[1] / heights[0])))
