"""Finds pairs that one camera saw at the same time, which are different people."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import permutations

import numpy as np
from numpy.typing import NDArray


def in_one_frame(seen: Iterable[tuple[int, float, int]]) -> set[tuple[int, int]]:
    """Pairs that one camera saw in one frame, each in both orders.

    Args:
        seen: camera, time in seconds, and number of the person or track.
    """
    frames: dict[tuple[int, float], set[int]] = defaultdict(set)
    for camera, time_s, who in seen:
        frames[camera, time_s].add(who)
    return {pair for together in frames.values() for pair in permutations(together, 2)}


def at_once(tracks: NDArray[np.int64], time_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which tracks of one camera overlap in time.

    Args:
        tracks: (N,) tracks 0..T-1 of crops; each has at least one.
        time_s: (N,) seconds.

    Returns:
        (T, T) bool; the diagonal is False.
    """
    count = int(tracks.max()) + 1 if len(tracks) else 0
    first, last = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(first, tracks, time_s)
    np.maximum.at(last, tracks, time_s)
    pairs: NDArray[np.bool_] = (first[:, np.newaxis] <= last) & (first <= last[:, np.newaxis])
    np.fill_diagonal(pairs, False)
    return pairs
