"""Who went from where to where, and how many people there were, each counted once."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from adln.gallery.records import Sighting


@dataclass(frozen=True, kw_only=True)
class Route:
    """Somebody was in front of one camera and then of another.

    Attributes:
        person_id: who.
        from_camera: number of the first camera.
        to_camera: number of the second.
        left_s: when they were last seen before the first, Unix time.
        arrived_s: when they were first seen before the second.
    """

    person_id: int
    from_camera: int
    to_camera: int
    left_s: float
    arrived_s: float


@dataclass(frozen=True, kw_only=True)
class Movements:
    """What people did.

    Attributes:
        persons: how many there were, each counted once over all cameras and days.
        by_camera: number of a camera -> how many of them were there.
        routes: by the time of leaving.
    """

    persons: int
    by_camera: dict[int, int]
    routes: tuple[Route, ...]


def movements(sightings: Iterable[Sighting], *, within_s: float) -> Movements:
    """Count people and find their routes.

    A gallery keeps one moment of each track, the one in which somebody was seen best. So times are
    right to the length of a track, and somebody whom a camera saw but did not recognise left no
    route.

    Args:
        sightings: in any order; unassigned ones are left out.
        within_s: whoever needs longer has not come straight from there.
    """
    seen: dict[int, set[tuple[float, int]]] = defaultdict(set)
    for one in sightings:
        if one.person_id is not None:
            # A track that was kept at several depths was one visit.
            seen[one.person_id].add((one.time_s, one.camera_id))
    by_camera: dict[int, set[int]] = defaultdict(set)
    routes = []
    for person_id, moments in seen.items():
        ordered = sorted(moments)
        for _, camera in ordered:
            by_camera[camera].add(person_id)
        for (left_s, before), (arrived_s, after) in pairwise(ordered):
            if before != after and arrived_s - left_s <= within_s:
                routes.append(
                    Route(
                        person_id=person_id,
                        from_camera=before,
                        to_camera=after,
                        left_s=left_s,
                        arrived_s=arrived_s,
                    )
                )
    routes.sort(key=lambda one: (one.left_s, one.person_id))
    return Movements(
        persons=len(seen),
        by_camera={camera: len(people) for camera, people in sorted(by_camera.items())},
        routes=tuple(routes),
    )
