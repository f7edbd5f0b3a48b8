"""Clusters the tracks of a site by person.

A track shows one person and is never split. Tracks that one camera sees at the same time are never
in one cluster. The mean of each camera is subtracted first, so that tracks do not cluster by
camera. They are joined by shared nearest neighbours (Jaccard distance of k-reciprocal neighbours,
Zhong et al. 2017), in rounds: first tracks, then the clusters of the previous round, for people who
pass often.
"""

from collections.abc import Set

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.evaluation.reranking import rerank
from adln.gallery.clustering import join_alike
from adln.matching.together import at_once

MOST_TRACKS = 5000
"""Most tracks to cluster: their pairwise similarities take 1 GB."""

# Chosen on CUHK03 (100 persons of its test split, 248 of its training split). Queries are the
# gallery itself, so 4 neighbours are the track itself and its two nearest, each counted twice. Most
# people pass a camera once: with more neighbours, half of the links joined two people.
_NEIGHBOURS = 4
_SHARED = 0.25
_ROUNDS = 6
# Least cosine of two tracks, and of two clusters, for which neighbours alone are less reliable.
_ALIKE = 0.3
_CLUSTERS_ALIKE = 0.75


def seen_together(
    cameras: NDArray[np.int64], tracks: NDArray[np.int64], time_s: NDArray[np.float64] | None
) -> set[tuple[int, int]]:
    """Pairs of tracks that one camera saw at the same time; each pair in both orders.

    Of (N,) crops, their cameras, tracks 0..T-1, unique across cameras, and seconds, if known.
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
    """Join tracks of one person, of each a mean embedding (T, D) and a camera (T,).

    `apart` are pairs never to join, in both orders. Returns (T,) clusters, 0..K-1; each has at
    least one track.

    Raises:
        GalleryError: scikit-learn is not installed.
    """
    rows = without_cameras(unit_length(means), cameras)
    labels = np.arange(len(rows))
    for round_ in range(_ROUNDS):
        count = int(labels.max()) + 1 if len(labels) else 0
        if count < 2:
            break
        centres = unit_length(sums_by_label(rows, labels))
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
    """Share of tracks that `cluster_tracks` joins to a track of another camera, 0 to 1.

    If no two cameras see the same people, 10 to 20 % of tracks are joined to somebody who looks
    similar; if all see the same people, two thirds or more are joined. Embeddings of crops are (N,
    D) of unit length; tracks are unique across cameras.
    """
    if not len(tracks):
        return 0.0
    _, first, numbers = np.unique(tracks, return_index=True, return_inverse=True)
    camera_of = cameras[first]
    clusters = cluster_tracks(sums_by_label(rows, numbers.reshape(-1)), camera_of)
    pairs = np.unique(np.stack([clusters, camera_of], axis=1), axis=0)
    passing = np.flatnonzero(np.bincount(pairs[:, 0]) > 1)
    return float(np.isin(clusters, passing).mean())


def sums_by_label(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Sum of the rows of each label 0..K-1, (K, D)."""
    sums = np.zeros((int(labels.max()) + 1, rows.shape[1]), rows.dtype)
    np.add.at(sums, labels, rows)
    return sums


def without_cameras(
    rows: NDArray[np.float32], cameras: NDArray[np.int64], *, keep_mean: bool = False
) -> NDArray[np.float32]:
    """Subtract from (N, D) unit embeddings the mean of each camera, and restore unit length.

    `keep_mean` adds the overall mean, so that the embeddings as a whole do not move.
    """
    moved = rows + rows.mean(axis=0) if keep_mean else rows.copy()
    for camera in np.unique(cameras):
        moved[cameras == camera] -= rows[cameras == camera].mean(axis=0)
    return unit_length(moved)
