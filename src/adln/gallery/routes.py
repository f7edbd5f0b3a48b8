"""Routes of people between cameras, and numbers of people, each counted once."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from adln.gallery.records import Sighting


@dataclass(frozen=True, kw_only=True)
class Route:
    """A person's move from one camera to another.

    Attributes:
        person_id: number of the person.
        from_camera: number of the first camera.
        to_camera: number of the second camera.
        left_s: time last seen at the first camera, in seconds since 1970.
        arrived_s: time first seen at the second camera, in seconds since 1970.
    """

    person_id: int
    from_camera: int
    to_camera: int
    left_s: float
    arrived_s: float


@dataclass(frozen=True, kw_only=True)
class Movements:
    """Numbers and routes of people.

    Attributes:
        persons: number of people, each counted once over all cameras and days.
        by_camera: number of a camera -> number of people there.
        routes: in order of departure.
    """

    persons: int
    by_camera: dict[int, int]
    routes: tuple[Route, ...]


def movements(sightings: Iterable[Sighting], *, within_s: float) -> Movements:
    """Count people and find their routes.

    A gallery stores one moment of each track, the best one. So times are accurate to the length of
    a track, and people whom a camera saw but did not recognise have no route there.

    Args:
        sightings: in any order; unassigned ones are ignored.
        within_s: longest time of a direct route.
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
