"""Who is seen at the same time is not the same person: pairs that a camera has told apart."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import permutations

import numpy as np
from numpy.typing import NDArray


def in_one_frame(seen: Iterable[tuple[int, float, int]]) -> set[tuple[int, int]]:
    """Pairs that one camera saw in one frame, each pair both ways round.

    Args:
        seen: camera, time in seconds, and the number of who or what is seen.
    """
    frames: dict[tuple[int, float], set[int]] = defaultdict(set)
    for camera, time_s, who in seen:
        frames[camera, time_s].add(who)
    return {pair for together in frames.values() for pair in permutations(together, 2)}


def at_once(tracks: NDArray[np.int64], time_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which tracks of one camera overlap in time.

    Args:
        tracks: (N,) 0..T-1, of crops; each has at least one.
        time_s: (N,) seconds.

    Returns:
        (T, T); no track is at once with itself.
    """
    count = int(tracks.max()) + 1 if len(tracks) else 0
    first, last = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(first, tracks, time_s)
    np.maximum.at(last, tracks, time_s)
    pairs: NDArray[np.bool_] = (first[:, np.newaxis] <= last) & (first <= last[:, np.newaxis])
    np.fill_diagonal(pairs, False)
    return pairs
