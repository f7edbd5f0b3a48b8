"""Clusters of the tracks of a site: which of them seem to show one person.

A track is one person and is never split. Tracks that one camera sees at the same time are two
people and never in one cluster. What all tracks under a camera have in common is taken off before
they are compared, so that they do not cluster by camera.

Tracks are joined by the nearest neighbours that they share (Jaccard distance of k-reciprocal
neighbours, Zhong et al. 2017), in rounds: first tracks, then the clusters of the round before, for
people who pass often. A track that nothing is joined to is a cluster of its own.
"""

from collections.abc import Set

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.evaluation.reranking import rerank
from adln.gallery.clustering import join_alike
from adln.matching.together import at_once

# Chosen on CUHK03 (100 persons of its test split, 248 of its training split). Tracks stand on both
# sides of the search, so that these are a track itself and its two nearest, both twice. Most people
# pass a camera once: with more neighbours half of the links were between two people.
_NEIGHBOURS = 4
_SHARED = 0.25
_ROUNDS = 6
# Cosine that tracks must have, and clusters, of which the neighbours alone say less.
_ALIKE = 0.3
_CLUSTERS_ALIKE = 0.75


def seen_together(
    cameras: NDArray[np.int64], tracks: NDArray[np.int64], time_s: NDArray[np.float64] | None
) -> set[tuple[int, int]]:
    """Pairs of tracks that a camera saw at the same time, each pair both ways round.

    Args:
        cameras: (N,) of crops.
        tracks: (N,) 0..T-1, unique among all cameras.
        time_s: (N,) seconds; None if not known.
    """
    if time_s is None:
        return set()
    pairs: set[tuple[int, int]] = set()
    for camera in np.unique(cameras):
        rows = cameras == camera
        names, mine = np.unique(tracks[rows], return_inverse=True)
        beside = at_once(mine.reshape(-1), time_s[rows])
        pairs |= {(int(one), int(other)) for one, other in names[np.argwhere(beside)]}
    return pairs


def cluster_tracks(
    means: NDArray[np.float32],
    cameras: NDArray[np.int64],
    apart: Set[tuple[int, int]] = frozenset(),
) -> NDArray[np.int64]:
    """Join tracks that seem to show one person.

    Args:
        means: (T, D) mean embedding of each track.
        cameras: (T,) camera of each.
        apart: pairs of tracks that are never joined, both ways round.

    Returns:
        (T,) clusters, 0..K-1; each has at least one track.

    Raises:
        GalleryError: scikit-learn is not installed.
    """
    rows = without_cameras(unit_length(means), cameras)
    labels = np.arange(len(rows))
    for round_ in range(_ROUNDS):
        count = int(labels.max()) + 1 if len(labels) else 0
        if count < 2:
            break
        centres = unit_length(_sums(rows, labels))
        found = rerank(centres, centres, k1=_NEIGHBOURS, k2=1, distance_weight=0.0)
        distances = np.concatenate([block for _, block in found])
        shared = 1 - np.clip((distances + distances.T) / 2, 0, 1)
        shared[centres @ centres.T < (_CLUSTERS_ALIKE if round_ else _ALIKE)] = -1
        kept_apart = {(int(labels[a]), int(labels[b])) for a, b in apart}
        joined = join_alike(shared.astype(np.float64), kept_apart, _SHARED)
        labels = joined[labels]
        if int(joined.max()) + 1 == count:
            break
    return labels


def share_passing_cameras(
    rows: NDArray[np.float32], cameras: NDArray[np.int64], tracks: NDArray[np.int64]
) -> float:
    """Share of tracks that are joined to one of another camera, 0 to 1.

    Where no two cameras see the same people, one or two tracks in ten find somebody who looks
    alike; where all see the same, two thirds or more are joined.

    Args:
        rows: (N, D) of unit length, of crops.
        cameras: (N,).
        tracks: (N,) unique among all cameras.

    Raises:
        GalleryError: scikit-learn is not installed.
    """
    if not len(tracks):
        return 0.0
    _, first, numbers = np.unique(tracks, return_index=True, return_inverse=True)
    camera_of = cameras[first]
    clusters = cluster_tracks(_sums(rows, numbers.reshape(-1)), camera_of)
    pairs = np.unique(np.stack([clusters, camera_of], axis=1), axis=0)
    passing = np.flatnonzero(np.bincount(pairs[:, 0]) > 1)
    return float(np.isin(clusters, passing).mean())


def _sums(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sum of the rows of each label 0..K-1, (K, D)."""
    sums = np.zeros((int(labels.max()) + 1, rows.shape[1]), rows.dtype)
    np.add.at(sums, labels, rows)
    return sums


def without_cameras(
    rows: NDArray[np.float32], cameras: NDArray[np.int64], *, keep_mean: bool = False
) -> NDArray[np.float32]:
    """Embeddings without what those of their camera have in common, of unit length.

    Args:
        rows: (N, D) of unit length.
        cameras: (N,).
        keep_mean: put the mean of all in its place, so that they stay where they were as a whole.
    """
    moved = rows + rows.mean(axis=0) if keep_mean else rows.copy()
    for camera in np.unique(cameras):
        moved[cameras == camera] -= rows[cameras == camera].mean(axis=0)
    return unit_length(moved)
