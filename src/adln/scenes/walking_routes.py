"""A small floor plan, and routes of drawn people on it, generated from a seed.

A square is seen by two cameras, a hall by a third one, the passage between them by none.
Coordinates are metres on the ground, x to the east and y to the north.

        y
        8 +-------- shops --------+                     +------- hall -------+
          |                       |                     |                    |
        4 |        square       cam 2  E --- passage --- W       hall         R
          |                       |                     |                    |
        0 +-----------------------+                     +--------------------+
                cam 1  S                                        cam 3
          0                      11                     37                  55   x
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.scenes.drawn_people import DrawnPerson, person_generator

_Point = tuple[float, float]
_Room = tuple[float, float, float, float]
"""Left, right, near and far side."""

_STREAM_ROUTE = 6
_STREAM_CROWD = 7
# Gates are out of sight of all cameras, so nobody appears suddenly.
_GATES = {"S": (4.5, -7.5), "E": (14.0, 4.0), "W": (34.0, 4.0), "R": (58.0, 4.0)}
_SQUARE, _HALL = (1.2, 8.6, 1.0, 7.2), (40.5, 51.5, 1.0, 7.2)
# From each gate: the room behind it, the other gate of that room, the probability to leave there.
_WAYS = {
    "S": (_SQUARE, "E", 0.75),
    "E": (_SQUARE, "S", 0.7),
    "W": (_HALL, "R", 0.7),
    "R": (_HALL, "W", 0.7),
}
_PASSAGE = {"E": "W", "W": "E"}
_AWAY_S = (6.0, 16.0)
_WARM_UP_S = 45.0
"""Walking starts this long before the first picture, which therefore already shows people."""


@dataclass(frozen=True, kw_only=True)
class WalkerState:
    """Position and pose of a person at one moment.

    Attributes:
        heading_rad: Direction of walking, counter-clockwise from east.
        phase: Phase of the walk in radians; one double step is 2 pi.
        gesture: One of `adln.scenes.drawn_figure.GESTURES`.
    """

    xy_m: tuple[float, float]
    heading_rad: float
    phase: float
    gesture: str


class WalkedRoute:
    """The positions of a person over time: polylines with pauses.

    Args:
        person: Determines the length of steps.
        times_s: (K,) float64, ascending.
        xy_m: (K, 2) float64, linearly interpolated in between.
        gestures: The gesture from each time on.
    """

    def __init__(
        self,
        person: DrawnPerson,
        times_s: NDArray[np.float64],
        xy_m: NDArray[np.float64],
        gestures: list[str],
    ) -> None:
        self._times_s, self._xy_m, self._gestures = times_s, xy_m, gestures
        steps = np.diff(xy_m, axis=0)
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        self._walked_m = np.concatenate([[0.0], np.cumsum(lengths)])
        headings = np.arctan2(steps[:, 1], steps[:, 0])
        # A standing person keeps the direction they came from.
        last_moved = np.maximum.accumulate(np.where(lengths > 0, np.arange(len(lengths)), 0))
        self._headings = headings[last_moved]
        self._double_step_m = 0.8 * person.height_m * person.stride

    def at(self, time_s: float) -> WalkerState | None:
        """The person's state; None before the first and after the last time."""
        after = int(np.searchsorted(self._times_s, time_s, side="right"))
        if after == 0 or after == len(self._times_s):
            return None
        leg = after - 1
        begin, end = self._times_s[leg], self._times_s[after]
        share = (time_s - begin) / (end - begin)
        x, y = self._xy_m[leg] + share * (self._xy_m[after] - self._xy_m[leg])
        walked = self._walked_m[leg] + share * (self._walked_m[after] - self._walked_m[leg])
        return WalkerState(
            xy_m=(float(x), float(y)),
            heading_rad=float(self._headings[leg]),
            phase=float(2 * np.pi * walked / self._double_step_m),
            gesture=self._gestures[leg],
        )


def wander(seed: int, person: DrawnPerson, *, until_s: float) -> WalkedRoute:
    """Route through square, passage and hall, with pauses, exits and returns.

    It covers at least all times from 0 to `until_s`, and depends only on the seed and the person.
    """
    rng = person_generator(seed, _STREAM_ROUTE, person.person_id)
    walk = _Walk(-_WARM_UP_S - float(rng.uniform(0, 30)), float(rng.uniform(1.05, 1.5)))
    gate = str(rng.choice(("S", "S", "E", "W", "R")))
    walk.go([_GATES[gate]])
    while walk.time_s < until_s:
        room, other, probability = _WAYS[gate]
        target = other if rng.random() < probability else gate
        _visit(walk, rng, room, _GATES[gate], _GATES[target])
        gate = target
        if gate in _PASSAGE and rng.random() < 0.8:
            gate = _PASSAGE[gate]
            walk.go([_GATES[gate]])
        else:
            walk.stand(float(rng.uniform(*_AWAY_S)))
    return walk.route(person)


def join_crowd(seed: int, person: DrawnPerson, *, begin_s: float, end_s: float) -> WalkedRoute:
    """Route into the square, where a crowd gathers, and out again when it disperses.

    Args:
        seed: The seed of the scene, from 0.
        person: The person.
        begin_s: When the first people enter; the last ones arrive six seconds later.
        end_s: When they start to leave.
    """
    rng = person_generator(seed, _STREAM_CROWD, person.person_id)
    walk = _Walk(begin_s + float(rng.uniform(0, 6)), float(rng.uniform(0.9, 1.3)))
    gate = _GATES[str(rng.choice(("S", "E")))]
    walk.go([gate])
    while walk.time_s < end_s:
        walk.go([_spot(rng, _SQUARE)])
        walk.stand(float(rng.uniform(0.5, 4)), str(rng.choice(("stand", "phone", "pocket"))))
    walk.go([gate])
    return walk.route(person)


class _Walk:
    """A route under construction."""

    def __init__(self, time_s: float, speed_m_per_s: float) -> None:
        self.time_s = time_s
        self._speed = speed_m_per_s
        self._times_s: list[float] = []
        self._points: list[_Point] = []
        self._gestures: list[str] = []

    def go(self, points: list[_Point], gesture: str = "walk") -> None:
        for point in points:
            if self._points:
                self._gestures.append(gesture)
                x, y = self._points[-1]
                # A minimum duration keeps times ascending if two points coincide.
                self.time_s += max(np.hypot(point[0] - x, point[1] - y), 0.01) / self._speed
            self._points.append(point)
            self._times_s.append(self.time_s)

    def stand(self, seconds: float, gesture: str = "stand") -> None:
        self._gestures.append(gesture)
        self.time_s += seconds
        self._points.append(self._points[-1])
        self._times_s.append(self.time_s)

    def route(self, person: DrawnPerson) -> WalkedRoute:
        times_s, points = np.array(self._times_s), np.array(self._points, dtype=np.float64)
        return WalkedRoute(person, times_s, points, self._gestures)


def _visit(walk: _Walk, rng: np.random.Generator, room: _Room, begin: _Point, end: _Point) -> None:
    """Walk through a room past some points, sometimes stopping at one."""
    spots = [_spot(rng, room) for _ in range(int(rng.integers(2, 4)))]
    gesture = str(rng.choice(("walk", "walk", "walk", "phone", "strap", "pocket")))
    curve = _round_corners([begin, *spots, end])
    if rng.random() < 0.4:
        halfway = len(curve) // 2
        walk.go(curve[1:halfway], gesture)
        walk.stand(float(rng.uniform(1.5, 4.0)), str(rng.choice(("stand", "phone"))))
        walk.go(curve[halfway:], gesture)
    else:
        walk.go(curve[1:], gesture)


def _spot(rng: np.random.Generator, room: _Room) -> _Point:
    left, right, near, far = room
    return float(rng.uniform(left, right)), float(rng.uniform(near, far))


def _round_corners(points: list[_Point]) -> list[_Point]:
    """Cut corners three times (Chaikin), because people turn in curves."""
    curve = np.array(points)
    for _ in range(3):
        near = 0.75 * curve[:-1] + 0.25 * curve[1:]
        far = 0.25 * curve[:-1] + 0.75 * curve[1:]
        middle = np.stack([near, far], axis=1).reshape(-1, 2)
        curve = np.concatenate([curve[:1], middle, curve[-1:]])
    return [(float(x), float(y)) for x, y in curve]
