"""Chooses which sightings of a person to keep: good and different ones."""

import numpy as np
from numpy.typing import NDArray


def choose_templates(
    embeddings: NDArray[np.float32], qualities: NDArray[np.floating], keep: int
) -> NDArray[np.int64]:
    """Choose good and different sightings.

    The best is chosen first; then, repeatedly, the one with the largest product of its quality and
    its distance to the nearest one already chosen.

    Args:
        embeddings: (N, D) of unit length.
        qualities: (N,) from 0 to 1.
        keep: number to keep.

    Returns:
        (min(N, keep),) indices, ascending.
    """
    count = len(embeddings)
    if count <= keep:
        return np.arange(count)
    chosen = [int(np.argmax(qualities))]
    nearest = np.full(count, np.inf)
    for _ in range(keep - 1):
        nearest = np.minimum(nearest, 1 - embeddings @ embeddings[chosen[-1]])
        # Copies of a chosen one have distance 0, or slightly less by rounding.
        worth = np.maximum(nearest, 0) * np.maximum(qualities, 1e-6)
        worth[chosen] = -1
        chosen.append(int(np.argmax(worth)))
    return np.sort(np.array(chosen, dtype=np.int64))
