"""Which sightings of a person to keep when there are too many: the good ones that differ."""

import numpy as np
from numpy.typing import NDArray


def choose_templates(
    embeddings: NDArray[np.float32], qualities: NDArray[np.floating], keep: int
) -> NDArray[np.int64]:
    """Choose good and different sightings.

    The best comes first; then, one after the other, the one with the largest product of its
    quality and its distance to the nearest that was chosen already.

    Args:
        embeddings: (N, D) of unit length.
        qualities: (N,) from 0 to 1.
        keep: how many.

    Returns:
        (min(N, keep),) positions, ascending.
    """
    count = len(embeddings)
    if count <= keep:
        return np.arange(count)
    chosen = [int(np.argmax(qualities))]
    nearest = np.full(count, np.inf)
    for _ in range(keep - 1):
        nearest = np.minimum(nearest, 1 - embeddings @ embeddings[chosen[-1]])
        # Copies of a chosen one are at distance 0, or by rounding a little below it.
        worth = np.maximum(nearest, 0) * np.maximum(qualities, 1e-6)
        worth[chosen] = -1
        chosen.append(int(np.argmax(worth)))
    return np.sort(np.array(chosen, dtype=np.int64))
