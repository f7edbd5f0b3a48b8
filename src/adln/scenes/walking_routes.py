"""A small floor plan, and routes of drawn people on it, generated from a seed.

Replaces the recordings behind Sec. III.A where a whole site is needed instead of single crops: a
square seen by two cameras, a hall seen by a third one, and a passage between them that no camera
sees. Coordinates are metres on the ground, x to the east and y to the north.

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

_STREAM_ROUTE = 6
_STREAM_CROWD = 7
# Gates are out of sight of all cameras, so nobody appears suddenly.
_GATES = {"S": (4.5, -7.5), "E": (14.0, 4.0), "W": (34.0, 4.0), "R": (58.0, 4.0)}
_ROOMS = {"square": (1.2, 8.6, 1.0, 7.2), "hall": (40.5, 51.5, 1.0, 7.2)}
# From each gate: probability, next gate, and the room on the way.
_WAYS: dict[str, tuple[tuple[float, str, str], ...]] = {
    "S": ((0.75, "square", "E"), (0.25, "square", "S")),
    "E": ((0.7, "square", "S"), (0.3, "square", "E")),
    "W": ((0.7, "hall", "R"), (0.3, "hall", "W")),
    "R": ((0.7, "hall", "W"), (0.3, "hall", "R")),
}
_PASSAGE = {"E": "W", "W": "E"}
_AWAY_S = (6.0, 16.0)
_WARM_UP_S = 45.0
"""Walking starts this long before the first picture, which therefore already shows people."""


@dataclass(frozen=True, kw_only=True)
class WalkerState:
    """Position and pose of a person at one moment.

    Attributes:
        xy_m: Metres on the ground.
        heading_rad: Direction of walking, counter-clockwise from east.
        phase: Phase of the walk in radians; one double step is 2 pi.
        gesture: Pose of arms and legs, one of `adln.scenes.drawn_figure.GESTURES`.
    """

    xy_m: tuple[float, float]
    heading_rad: float
    phase: float
    gesture: str


class WalkedRoute:
    """The positions of a person over time: polylines with pauses.

    Args:
        person: The person, who determines the length of steps.
        times_s: (K,) float64, ascending.
        xy_m: (K, 2) float64, positions at these times; linearly interpolated in between.
        gestures: K names, the gesture from each time on.
    """

    def __init__(
        self,
        person: DrawnPerson,
        times_s: NDArray[np.float64],
        xy_m: NDArray[np.float64],
        gestures: list[str],
    ) -> None:
        self._times_s = times_s
        self._xy_m = xy_m
        self._gestures = gestures
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

    Args:
        seed: The seed of the scene, from 0.
        person: The person.
        until_s: The route covers at least all times from 0 to this.

    Returns:
        The route, which depends only on the seed and the person, not on ``until_s``.
    """
    rng = person_generator(seed, _STREAM_ROUTE, person.person_id)
    walk = _Walk(-_WARM_UP_S - float(rng.uniform(0, 30)), float(rng.uniform(1.05, 1.5)))
    gate = str(rng.choice(("S", "S", "E", "W", "R")))
    walk.go([_GATES[gate]])
    while walk.time_s < until_s:
        chance, ways = rng.random(), _WAYS[gate]
        _, room, target = ways[0] if chance < ways[0][0] else ways[1]
        _visit(walk, rng, room, _GATES[gate], _GATES[target], stops=int(rng.integers(2, 4)))
        gate = target
        if gate in _PASSAGE and rng.random() < 0.8:
            gate = _PASSAGE[gate]
            walk.go([_GATES[gate]])
        else:
            walk.stand(float(rng.uniform(*_AWAY_S)))
    return walk.route(person)


def join_crowd(
    seed: int, person: DrawnPerson, *, room: str, begin_s: float, end_s: float
) -> WalkedRoute:
    """Route into a room where a crowd gathers, and out again when it disperses.

    Args:
        seed: The seed of the scene, from 0.
        person: The person.
        room: "square" or "hall".
        begin_s: When the first people enter; the last ones arrive six seconds later.
        end_s: When they start to leave.

    Returns:
        The route; before and after it the person is nowhere.
    """
    rng = person_generator(seed, _STREAM_CROWD, person.person_id)
    walk = _Walk(begin_s + float(rng.uniform(0, 6)), float(rng.uniform(0.9, 1.3)))
    gates = ("S", "E") if room == "square" else ("W", "R")
    gate = _GATES[str(rng.choice(gates))]
    walk.go([gate])
    while walk.time_s < end_s:
        walk.go([_spot(rng, room)])
        walk.stand(float(rng.uniform(0.5, 4)), str(rng.choice(("stand", "phone", "pocket"))))
    walk.go([gate])
    return walk.route(person)


class _Walk:
    """A route under construction."""

    def __init__(self, time_s: float, speed_m_per_s: float) -> None:
        self.time_s = time_s
        self._speed = speed_m_per_s
        self._times_s: list[float] = []
        self._points: list[tuple[float, float]] = []
        self._gestures: list[str] = []

    def go(self, points: list[tuple[float, float]], gesture: str = "walk") -> None:
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


def _visit(
    walk: _Walk,
    rng: np.random.Generator,
    room: str,
    begin: tuple[float, float],
    end: tuple[float, float],
    *,
    stops: int,
) -> None:
    """Walk through a room past some points, sometimes stopping at one."""
    spots = [_spot(rng, room) for _ in range(stops)]
    gesture = str(rng.choice(("walk", "walk", "walk", "phone", "strap", "pocket")))
    curve = _round_corners([begin, *spots, end])
    if rng.random() < 0.4:
        halfway = len(curve) // 2
        walk.go(curve[1:halfway], gesture)
        walk.stand(float(rng.uniform(1.5, 4.0)), str(rng.choice(("stand", "phone"))))
        walk.go(curve[halfway:], gesture)
    else:
        walk.go(curve[1:], gesture)


def _spot(rng: np.random.Generator, room: str) -> tuple[float, float]:
    left, right, near, far = _ROOMS[room]
    return float(rng.uniform(left, right)), float(rng.uniform(near, far))


def _round_corners(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Cut corners three times (Chaikin), because people turn in curves."""
    curve = np.array(points)
    for _ in range(3):
        near = 0.75 * curve[:-1] + 0.25 * curve[1:]
        far = 0.25 * curve[:-1] + 0.75 * curve[1:]
        middle = np.stack([near, far], axis=1).reshape(-1, 2)
        curve = np.concatenate([curve[:1], middle, curve[-1:]])
    return [(float(x), float(y)) for x, y in curve]
