"""Sightings of nobody in particular, for tests."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import ModelKey, Sighting

DIM = 32
MODEL = ModelKey("a" * 64, 2, DIM)


def unit_rows(count: int, *, seed: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def sightings(
    embeddings: NDArray[np.float32],
    *,
    persons: Sequence[int | None] | None = None,
    thumbnails: bool = False,
) -> list[Sighting]:
    rng = np.random.default_rng(7)
    return [
        Sighting(
            embedding=embedding,
            model=MODEL,
            camera_id=number % 4,
            time_s=1000.0 + number,
            person_id=None if persons is None else persons[number],
            quality=(number % 10) / 10,
            thumbnail=rng.bytes(400) if thumbnails else None,
        )
        for number, embedding in enumerate(embeddings)
    ]
