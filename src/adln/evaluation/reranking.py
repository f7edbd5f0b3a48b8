"""Re-ranking: corrects distances by the neighbours that query and gallery picture share.

Implements k-reciprocal encoding (Zhong et al., "Re-ranking Person Re-identification with
k-reciprocal Encoding", CVPR 2017) with the rules of its public code. The paper's tables do not use
it. Nothing is approximated: the results are those of the public code, but the matrix of all pairs
of points is never held. Only the nearest neighbours of each point and the non-zero neighbour
weights (V in the publication) are kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.errors import EvaluationError
from adln.evaluation.ranking import (
    RankTally,
    RetrievalMetrics,
    Side,
    matching_ids,
    require_one_length,
    row_blocks,
)

# Pairs of points, or entries of a dense block, processed at a time.
_CHUNK = 2**20
# Pairs whose features are gathered at a time.
_GATHERED_PAIRS = 2048
# Row maxima of squared distances below this only occur where all points are equal.
_SMALLEST = 1e-30


def rerank(
    query_features: NDArray[np.floating],
    gallery_features: NDArray[np.floating],
    *,
    k1: int = 20,
    k2: int = 6,
    distance_weight: float = 0.3,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[slice, NDArray[np.floating]]]:
    """Re-ranked distances of (Q, D) queries to a (G, D) gallery, block by block.

    Yields the queries of a block as a slice, and their (B, G) distances in 0..1, in the float type
    of the features. Scale these to unit length first for cosine.

    Args:
        query_features: (Q, D) float.
        gallery_features: (G, D) float.
        k1: Number of neighbours that can be reciprocal.
        k2: Number of neighbours whose weights are averaged (local query expansion); 1 for none.
        distance_weight: Share of the original distance, 0..1 (lambda in the publication); the rest
            is the Jaccard distance.
        on_progress: Called with the number of points, of all Q + G, just finished.

    Raises:
        EvaluationError: Shapes disagree, a split is empty, features are NaN or infinite, or a
            setting is out of range.

    Source:
        Zhong et al. 2017, Eq. 3-12. As in its public code, distances are squared and divided by
        the largest of their row, a neighbour's neighbours are added if more than two thirds of
        them are already shared, and k1 / 2 is rounded half to even.
    """
    if k1 < 1 or not 1 <= k2 <= k1 + 1 or not 0 <= distance_weight <= 1:
        raise EvaluationError(
            "Re-ranking needs k1 >= 1, k2 in 1..k1 + 1 and distance_weight in 0..1, "
            f"got k1={k1}, k2={k2}, distance_weight={distance_weight}."
        )
    require_one_length(query_features, gallery_features)
    if not len(query_features) or not len(gallery_features):
        raise EvaluationError(
            "Re-ranking needs queries and gallery pictures, "
            f"got {len(query_features)} and {len(gallery_features)}."
        )
    dtype = np.result_type(query_features, gallery_features, np.float32)
    points = np.concatenate([query_features, gallery_features], dtype=dtype)
    squares: NDArray[np.floating] = np.vecdot(points, points)
    if not np.isfinite(squares).all():
        raise EvaluationError("Features to re-rank are NaN or infinite; all must be finite.")
    return _rerank(
        _Points(points, squares), len(query_features), k1, k2, distance_weight, on_progress
    )


def evaluate_reranked(
    query: Side,
    gallery: Side,
    *,
    k1: int = 20,
    k2: int = 6,
    distance_weight: float = 0.3,
    max_rank: int = 50,
    on_progress: Callable[[int], None] | None = None,
) -> RetrievalMetrics:
    """Evaluate features after re-ranking, without holding all distances; see `rerank`.

    Raises:
        EvaluationError: As for `rerank`, or no query has a match.
    """
    query_ids, gallery_ids = matching_ids(len(query[0]), query[1:], len(gallery[0]), gallery[1:])
    tally = RankTally(*gallery_ids)
    for rows, distances in rerank(
        query[0],
        gallery[0],
        k1=k1,
        k2=k2,
        distance_weight=distance_weight,
        on_progress=on_progress,
    ):
        np.negative(distances, out=distances)
        tally.add(distances, query_ids[0][rows], query_ids[1][rows])
    return tally.metrics(max_rank=max_rank)


@dataclass(frozen=True, eq=False)
class _Points:
    """Queries, then gallery: (N, D) features and their (N,) squared lengths."""

    features: NDArray[np.floating]
    squares: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.features)

    def squared_distances(self, rows: slice, columns: slice) -> NDArray[np.floating]:
        """Block of the matrix of all squared Euclidean distances."""
        block: NDArray[np.floating] = self.features[rows] @ self.features[columns].T
        block *= -2
        block += self.squares[rows, np.newaxis]
        block += self.squares[columns]
        np.maximum(block, 0, out=block)
        return block

    def squared_distances_of_pairs(
        self, first: NDArray[np.int64], second: NDArray[np.int64]
    ) -> NDArray[np.floating]:
        """Squared Euclidean distances of single pairs."""
        products = np.empty(len(first), self.features.dtype)
        for start in range(0, len(first), _GATHERED_PAIRS):
            pairs = slice(start, start + _GATHERED_PAIRS)
            products[pairs] = np.vecdot(self.features[first[pairs]], self.features[second[pairs]])
        distances: NDArray[np.floating] = self.squares[first] + self.squares[second] - 2 * products
        # The distance of a point to itself is exactly zero, despite rounding.
        distances[first == second] = 0
        return distances.clip(0)


@dataclass(frozen=True, eq=False)
class _Sets:
    """A set, or sparse row, for each of N points; row i is `offsets[i]..offsets[i + 1]`.

    Its points and their weights (ones if only the sets matter) are ascending, E in all rows.
    """

    offsets: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: NDArray[np.float64]

    @property
    def rows(self) -> NDArray[np.int64]:
        """(E,) the row of each entry."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def entries_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All entries of (R,) rows, which may repeat: for each its place in them, and its index."""
        counts = np.diff(self.offsets)[rows]
        position = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(position)) - np.repeat(np.cumsum(counts) - counts, counts)
        return position, self.offsets[rows][position] + within


def _rerank(
    points: _Points,
    num_query: int,
    k1: int,
    k2: int,
    distance_weight: float,
    on_progress: Callable[[int], None] | None,
) -> Iterator[tuple[slice, NDArray[np.floating]]]:
    neighbours, largest = _nearest(points, k1 + 1, on_progress)
    weights = _neighbour_weights(points, neighbours, largest, k1)
    if k2 > 1:
        weights = _averaged(weights, neighbours[:, :k2])
    by_column = _transposed(weights, first_row=num_query)

    num_gallery = len(points) - num_query
    rows_per_chunk = max(1, _CHUNK // num_gallery)
    for rows in row_blocks(num_query, num_gallery * points.features.itemsize):
        distances = points.squared_distances(rows, slice(num_query, None))
        distances *= distance_weight / largest[rows, np.newaxis]
        for first in range(rows.start, rows.stop, rows_per_chunk):
            chunk = np.arange(first, min(first + rows_per_chunk, rows.stop))
            shared = _shared_weight(weights, by_column, chunk, num_gallery)
            # The weights of a point sum to 1, so those of a union sum to 2 - shared.
            jaccard = 1 - shared / (2 - shared)
            distances[chunk - rows.start] += (1 - distance_weight) * jaccard
        yield rows, distances


def _nearest(
    points: _Points, count: int, on_progress: Callable[[int], None] | None
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """The nearest of each point with itself, equal ones by number; and its largest distance."""
    count = min(count, len(points))
    neighbours = np.empty((len(points), count), np.int64)
    largest = np.empty(len(points), points.features.dtype)
    rows_per_chunk = max(1, _CHUNK // len(points))
    for at in row_blocks(len(points), len(points) * points.features.itemsize):
        start = at.start
        block = points.squared_distances(at, slice(None))
        own = np.arange(len(block))
        block[own, start + own] = 0
        for first in range(0, len(block), rows_per_chunk):
            chunk = block[first : first + rows_per_chunk]
            done = slice(start + first, start + first + len(chunk))
            largest[done] = chunk.max(axis=1)
            # All points as near as the last neighbour: a few more than `count` if some tie.
            farthest = np.partition(chunk, count - 1, axis=1)[:, count - 1 : count]
            rows, columns = np.nonzero(chunk <= farthest)
            order = np.lexsort((chunk[rows, columns], rows))
            firsts = np.searchsorted(rows, np.arange(len(chunk)))
            neighbours[done] = columns[order][firsts[:, np.newaxis] + np.arange(count)]
        if on_progress is not None:
            on_progress(len(block))
    return neighbours, np.maximum(largest, _SMALLEST)


def _neighbour_weights(
    points: _Points, neighbours: NDArray[np.int64], largest: NDArray[np.floating], k1: int
) -> _Sets:
    """Weights of each point's extended k-reciprocal neighbours: exp(-distance), summing to 1."""
    num_points = len(points)
    reciprocal = _reciprocal(neighbours, k1 + 1)
    # numpy and the public code round halves to even: k1 = 5 gives 2.
    smaller = _reciprocal(neighbours, round(k1 / 2) + 1)

    # For each neighbour c of i: are more than two thirds of c's own smaller set already i's?
    reciprocal_keys = reciprocal.rows * num_points + reciprocal.columns
    keys = [reciprocal_keys]
    for start in range(0, len(reciprocal_keys), _CHUNK // 16):
        pairs = slice(start, start + _CHUNK // 16)
        pair, entry = smaller.entries_of(reciprocal.columns[pairs])
        wanted = reciprocal.rows[pairs][pair] * num_points + smaller.columns[entry]
        shared = _contains(reciprocal_keys, wanted)
        num_shared = np.bincount(pair[shared], minlength=len(reciprocal_keys[pairs]))
        size = np.bincount(pair, minlength=len(reciprocal_keys[pairs]))
        keys.append(wanted[(3 * num_shared > 2 * size)[pair]])
    rows, columns = np.divmod(np.unique(np.concatenate(keys)), num_points)

    distances = points.squared_distances_of_pairs(rows, columns) / largest[rows]
    weights = np.exp(-distances.astype(np.float64))
    sums = np.bincount(rows, weights=weights, minlength=num_points)
    return _Sets(_offsets(rows, num_points), columns, weights / sums[rows])


def _reciprocal(neighbours: NDArray[np.int64], count: int) -> _Sets:
    """Reciprocal ones among each point's first `count` neighbours."""
    nearest = neighbours[:, :count]
    mutual = np.zeros(nearest.shape, dtype=np.bool_)
    for rank in range(nearest.shape[1]):
        theirs = nearest[nearest[:, rank]]  # (N, count), the neighbours of one neighbour
        mutual[:, rank] = (theirs == np.arange(len(nearest))[:, np.newaxis]).any(axis=1)
    rows, ranks = np.nonzero(mutual)
    keys = np.sort(rows * len(nearest) + nearest[rows, ranks])
    rows, columns = np.divmod(keys, len(nearest))
    return _Sets(_offsets(rows, len(nearest)), columns, np.ones(len(columns)))


def _averaged(weights: _Sets, nearest: NDArray[np.int64]) -> _Sets:
    """Mean of the weights of each point's nearest points (local query expansion)."""
    num_points, count = nearest.shape
    rows, columns, values = [], [], []
    for start in range(0, num_points, _CHUNK // 128):
        chunk = nearest[start : start + _CHUNK // 128]
        position, entry = weights.entries_of(chunk.ravel())
        keys, inverse = np.unique(
            (start + position // count) * num_points + weights.columns[entry], return_inverse=True
        )
        chunk_rows, chunk_columns = np.divmod(keys, num_points)
        rows.append(chunk_rows)
        columns.append(chunk_columns)
        values.append(np.bincount(inverse, weights=weights.weights[entry]) / count)
    return _Sets(
        _offsets(np.concatenate(rows), num_points), np.concatenate(columns), np.concatenate(values)
    )


def _transposed(weights: _Sets, *, first_row: int) -> _Sets:
    """The entries of the rows from `first_row` on, by column; row numbers count from it."""
    num_points = len(weights.offsets) - 1
    entries = slice(weights.offsets[first_row], None)
    columns = weights.columns[entries]
    order = np.argsort(columns, kind="stable")
    return _Sets(
        _offsets(columns[order], num_points),
        weights.rows[entries][order] - first_row,
        weights.weights[entries][order],
    )


def _shared_weight(
    weights: _Sets, by_column: _Sets, queries: NDArray[np.int64], num_gallery: int
) -> NDArray[np.float64]:
    """(B, G) sum over all points of the smaller weight, for each query and gallery picture."""
    position, entry = weights.entries_of(queries)
    at, other = by_column.entries_of(weights.columns[entry])
    smaller = np.minimum(weights.weights[entry][at], by_column.weights[other])
    cells = position[at] * num_gallery + by_column.columns[other]
    shared: NDArray[np.float64] = np.bincount(
        cells, weights=smaller, minlength=len(queries) * num_gallery
    ).astype(np.float64, copy=False)
    return shared.reshape(len(queries), num_gallery)


def _offsets(rows: NDArray[np.int64], num_rows: int) -> NDArray[np.int64]:
    """First index of each row in entries sorted by row."""
    return np.searchsorted(rows, np.arange(num_rows + 1))


def _contains(ordered: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each wanted value is among the ordered ones."""
    at = np.searchsorted(ordered, wanted)
    found: NDArray[np.bool_] = ordered[np.minimum(at, len(ordered) - 1)] == wanted
    return found
