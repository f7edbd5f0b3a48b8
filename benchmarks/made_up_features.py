"""Made-up re-identification features at the size of the public data sets, for the benchmarks.

Each person has a centre, each person under each camera a shift, each picture its own noise, and
some pictures are much worse than others. The numbers are set so that, with the ids of
Market-1501, Rank-1 is 97 %, mAP 78 % and mINP 32 %: the ranks of a good network, with rather more
hard matches than one has.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.datasets.market1501 import read_market1501

_BLOCK = 4096


@dataclass(frozen=True)
class Ids:
    """Person and camera of each query and gallery picture, all int64 vectors."""

    query_person_ids: NDArray[np.int64]
    query_camera_ids: NDArray[np.int64]
    gallery_person_ids: NDArray[np.int64]
    gallery_camera_ids: NDArray[np.int64]


def market_ids(root: Path) -> Ids:
    """Ids of Market-1501: 3,368 queries and 15,913 gallery pictures."""
    dataset = read_market1501(root)
    return Ids(
        dataset.query.person_ids,
        dataset.query.camera_ids,
        dataset.gallery.person_ids,
        dataset.gallery.camera_ids,
    )


def made_up_ids(
    *, num_query: int, num_gallery: int, num_persons: int, num_cameras: int, num_distractors: int
) -> Ids:
    """Ids at the size of a data set, where the data set itself is not at hand.

    Every person has about as many pictures as every other; distractors have person id 0.
    """
    rng = np.random.default_rng(1)
    persons = rng.integers(1, num_persons + 1, num_query + num_gallery)
    cameras = rng.integers(1, num_cameras + 1, num_query + num_gallery)
    persons[num_query : num_query + num_distractors] = 0
    return Ids(persons[:num_query], cameras[:num_query], persons[num_query:], cameras[num_query:])


def made_up_features(
    ids: Ids, *, dim: int = 2048, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Query and gallery features of unit length.

    Args:
        ids: Who and where.
        dim: Length D of a feature.
        seed: Same seed, same features.

    Returns:
        (Q, D) and (G, D) float32. They are made block by block, so that hardly more memory is
        used than they take.
    """
    rng = np.random.default_rng(seed)
    spectrum = (1 / np.sqrt(np.arange(dim) + 6)).astype(np.float32)
    spectrum /= np.linalg.norm(spectrum)
    num_persons = int(max(ids.query_person_ids.max(), ids.gallery_person_ids.max())) + 1
    num_cameras = int(max(ids.query_camera_ids.max(), ids.gallery_camera_ids.max())) + 1

    def normal(count: int) -> NDArray[np.float32]:
        return rng.standard_normal((count, dim), dtype=np.float32) * spectrum

    # People come in groups of about 12 who dress alike.
    groups = normal(num_persons // 12 + 1)[rng.integers(0, num_persons // 12 + 1, num_persons)]
    centres = 0.82 * groups + 0.48 * normal(num_persons)
    cameras, common = normal(num_cameras), normal(1)

    def features(
        person_ids: NDArray[np.int64], camera_ids: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        made = np.empty((len(person_ids), dim), np.float32)
        for start in range(0, len(made), _BLOCK):
            block = made[start : start + _BLOCK]
            persons = person_ids[start : start + _BLOCK]
            block[:] = normal(len(block))
            block *= 0.55 * rng.lognormal(0, 0.4, (len(block), 1)).astype(np.float32)
            # A distractor is nobody in particular: it has a centre of its own.
            distractors = np.flatnonzero(persons == 0)
            block[distractors] += normal(len(distractors))
            block[persons > 0] += centres[persons[persons > 0]]
            block += 0.5 * common + 0.35 * cameras[camera_ids[start : start + _BLOCK]]
            block /= np.linalg.norm(block, axis=1, keepdims=True)
        return made

    return (
        features(ids.query_person_ids, ids.query_camera_ids),
        features(ids.gallery_person_ids, ids.gallery_camera_ids),
    )
