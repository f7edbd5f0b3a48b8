"""Made-up sightings for the gallery's benchmarks: hard ones, whose people overlap.

People's centres lie in a space of few dimensions, cameras shift all that they see, and each crop
has noise of its own, so that crops of one person have a cosine of about 0.3 to each other and
near ties are everywhere. Queries are new crops.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery

NUM_CAMERAS = 8
CROPS_PER_PERSON = 20
_SUBSPACE = 48
_BATCH = 10_000
DAY_S = 86_400.0


@dataclass(frozen=True)
class World:
    """What crops are drawn from.

    Attributes:
        centres: (P, D) of people.
        cameras: (C, D) shifts.
    """

    centres: NDArray[np.float32]
    cameras: NDArray[np.float32]

    def crops(
        self, person_ids: NDArray[np.int64], camera_ids: NDArray[np.int64], *, seed: int
    ) -> NDArray[np.float32]:
        """New crops (N, D) of unit length."""
        rng = np.random.default_rng(seed)
        dim = self.centres.shape[1]
        made: NDArray[np.float32] = rng.standard_normal(
            (len(person_ids), dim), dtype=np.float32
        ) / np.sqrt(dim)
        made *= 1.4
        made += self.centres[person_ids]
        made += self.cameras[camera_ids]
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        embeddings: NDArray[np.float32] = made
        return embeddings


def make_world(*, num_persons: int, dim: int, seed: int = 0) -> World:
    """Draw people and cameras."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((dim, _SUBSPACE)))[0].T.astype(np.float32)
    weights = rng.standard_normal((num_persons, _SUBSPACE), dtype=np.float32)
    centres = weights @ basis / np.sqrt(_SUBSPACE)
    cameras = rng.standard_normal((NUM_CAMERAS, dim), dtype=np.float32) * 0.25 / np.sqrt(dim)
    return World(centres.astype(np.float32), cameras)


def ids_and_times(
    count: int, *, seed: int = 1
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Persons, cameras and times (over 100 days) of sightings, in order of time."""
    rng = np.random.default_rng(seed)
    persons = rng.permutation(count) // CROPS_PER_PERSON
    cameras = rng.integers(0, NUM_CAMERAS, count)
    return persons, cameras, np.sort(rng.uniform(0, 100 * DAY_S, count))


def fill(
    gallery: SqliteGallery, embeddings: NDArray[np.float32], model: ModelKey, *, seed: int = 1
) -> Iterator[int]:
    """Store embeddings (N, D) with cameras and times; yields how many are stored so far."""
    _, cameras, times = ids_and_times(len(embeddings), seed=seed)
    for start in range(0, len(embeddings), _BATCH):
        stop = min(start + _BATCH, len(embeddings))
        gallery.add(
            [
                Sighting(
                    embedding=embeddings[at],
                    model=model,
                    camera_id=int(cameras[at]),
                    time_s=float(times[at]),
                )
                for at in range(start, stop)
            ]
        )
        yield stop
