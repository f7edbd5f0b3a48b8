"""A site of nobody in particular: embeddings drawn from normal distributions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.matching.adaptation import TrackedCrops

DIM = 24
CROPS_OF_A_TRACK = 4


@dataclass(frozen=True, eq=False)
class DrawnSite:
    """Crops whose persons are known.

    Attributes:
        crops: each track under one camera, every person in one track.
        persons: (N,).
    """

    crops: TrackedCrops
    persons: NDArray[np.int64]


def draw_site(
    *,
    tracks: int = 60,
    cameras: int = 2,
    camera_bias: float = 0.5,
    nuisance: float = 0.5,
    common: float = 1.0,
    noise: float = 0.12,
    persons: int | None = None,
    seed: int = 0,
) -> DrawnSite:
    """Draw embeddings.

    Args:
        tracks: of each camera.
        cameras: number of cameras.
        camera_bias: how far apart the means of the cameras are.
        nuisance: spread within a track along three directions.
        common: length of what all embeddings have in common.
        noise: spread within a track along all directions.
        persons: of each camera; as many as tracks if left out.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    shared = np.zeros(DIM)
    shared[0] = common
    places = rng.standard_normal((cameras, DIM)) * camera_bias / np.sqrt(DIM) * 3
    rows, camera_ids, track_ids, person_ids, times = [], [], [], [], []
    for camera in range(cameras):
        looks = rng.standard_normal((persons or tracks, DIM)) * 0.35
        for track in range(tracks):
            who = track % len(looks)
            for crop in range(CROPS_OF_A_TRACK):
                row = shared + places[camera] + looks[who] + rng.standard_normal(DIM) * noise
                row[1:4] += rng.standard_normal(3) * nuisance
                rows.append(row)
                camera_ids.append(camera)
                track_ids.append(1000 * camera + track)
                person_ids.append(1000 * camera + who)
                times.append(100.0 * track + 2 * crop)
    return DrawnSite(
        TrackedCrops(
            unit_length(np.array(rows)),
            np.array(camera_ids, np.int64),
            np.array(track_ids, np.int64),
            np.array(times),
        ),
        np.array(person_ids, np.int64),
    )


def with_switches(crops: TrackedCrops, share: float) -> TrackedCrops:
    """A share of the tracks of each camera show the next one's person in their second half."""
    embeddings = crops.embeddings.copy()
    for camera in np.unique(crops.cameras):
        tracks = np.unique(crops.tracks[crops.cameras == camera])
        chosen = tracks[: round(share * len(tracks))]
        for track, other in zip(chosen, np.roll(tracks, 7)[: len(chosen)], strict=True):
            mine, theirs = (np.flatnonzero(crops.tracks == each) for each in (track, other))
            embeddings[mine[len(mine) // 2 :]] = crops.embeddings[theirs[len(theirs) // 2 :]]
    return TrackedCrops(embeddings, crops.cameras, crops.tracks, crops.time_s)
