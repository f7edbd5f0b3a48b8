"""Ranking: how well queries find the same person at other cameras, as CMC, mAP and mINP.

Implements the single-query protocol of Market-1501, as reported in Sec. III.A-C:

- gallery pictures of the query's person from the query's own camera (junk) are left out;
- all other pictures are kept, including those of persons without a query (distractors);
- queries without a match (same person, other camera) are skipped, not counted as zero;
- average precision is the mean of the precision at each match, without interpolation.

Equal similarities keep the order of the gallery, as in a stable sort. But the gallery is never
sorted: the rank of a match is the number of pictures above it, and counting them among the few
that beat the query's worst match gives exactly the ranks of a full sort.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import EvaluationError

# Similarities of one block of queries: large blocks make the matrix product fast; no more of the
# queries x gallery matrix is ever held.
_BLOCK_BYTES = 128 * 2**20
# Similarities ranked at a time: 4 MiB of float32 fit a core's caches.
_GROUP_SIZE = 2**20
# Lengths this close to 1 differ from it only by rounding.
_UNIT_TOLERANCE = 1e-6


Ids = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Person and camera of each picture of a split, two vectors of equal length."""

Side = tuple[NDArray[np.floating], NDArray[np.integer], NDArray[np.integer]]
"""One side of a comparison, N pictures: features (N, D), persons (N,) and cameras (N,)."""


@dataclass(frozen=True, eq=False)
class RetrievalMetrics:
    """The result of an evaluation over the valid queries: those with a match. Shares are in 0..1.

    Attributes:
        cmc: (max_rank,) float64, cumulative matching characteristic: ``cmc[k - 1]`` is the share of
            valid queries with a match among their k best gallery pictures.
        mean_ap: Mean average precision.
        minp: Mean inverse negative penalty: number of matches / rank of the last one. It measures
            how far one must look to find all of them.
        average_precision: (V,) float64, one per valid query.
        num_queries: Number of queries given.
        num_valid_queries: V.
        inverse_negative_penalty: (V,) float64, one per valid query.
        first_match_rank: (V,) int64, rank of the best match, from 1.
        valid_queries: (V,) int64, their indices, ascending.
    """

    cmc: NDArray[np.float64]
    mean_ap: float
    minp: float
    average_precision: NDArray[np.float64]
    num_queries: int
    num_valid_queries: int
    inverse_negative_penalty: NDArray[np.float64]
    first_match_rank: NDArray[np.int64]
    valid_queries: NDArray[np.int64]

    @property
    def rank1(self) -> float:
        """Share of valid queries whose best gallery picture is a match."""
        return self.rank(1)

    def rank(self, k: int) -> float:
        """Share of valid queries with a match among their k best gallery pictures.

        Raises:
            EvaluationError: The CMC was not computed up to k.
        """
        if not 1 <= k <= len(self.cmc):
            raise EvaluationError(
                f"Rank-{k} is unknown: the CMC has ranks 1 to {len(self.cmc)}. "
                f"Evaluate with max_rank={max(k, 1)} or more."
            )
        return float(self.cmc[k - 1])


def evaluate_features(query: Side, gallery: Side, *, max_rank: int = 50) -> RetrievalMetrics:
    """Evaluate features of any length above zero by cosine similarity, block by block.

    Needs about 150 MB of memory besides the features, whatever their number. The CMC is computed up
    to `max_rank`.

    Raises:
        EvaluationError: Shapes disagree, a split is empty, a feature is NaN, infinite or all
            zero, or no query has a match.
    """
    dtype = np.result_type(query[0], gallery[0], np.float32)
    queries, others = (np.asarray(side[0], dtype=dtype) for side in (query, gallery))
    query_ids, gallery_ids = matching_ids(len(queries), query[1:], len(others), gallery[1:])
    require_one_length(queries, others)
    # A query's length does not affect its ranks, so only the gallery is normalised.
    _checked_lengths("query", queries)
    gallery_lengths = _checked_lengths("gallery", others)
    unit = bool(np.all(np.abs(gallery_lengths - 1) <= _UNIT_TOLERANCE))

    tally = RankTally(*gallery_ids)
    row_bytes = len(others) * dtype.itemsize
    buffer = np.empty((rows_per_block(len(queries), row_bytes), len(others)), dtype=dtype)
    for block in row_blocks(len(queries), row_bytes):
        similarity = buffer[: block.stop - block.start]
        np.matmul(queries[block], others.T, out=similarity)
        if not unit:
            similarity /= gallery_lengths
        tally.add(similarity, query_ids[0][block], query_ids[1][block])
    return tally.metrics(max_rank=max_rank)


def evaluate_distance_matrix(
    distance_matrix: NDArray[np.floating],
    query_ids: Ids,
    gallery_ids: Ids,
    *,
    max_rank: int = 50,
) -> RetrievalMetrics:
    """Evaluate a (Q, G) matrix of distances of any kind; small means similar. It is not modified.

    Raises:
        EvaluationError: Shapes disagree, a split is empty, a distance is NaN or infinite, or no
            query has a match.
    """
    distances = np.asarray(distance_matrix)
    if distances.ndim != 2:
        raise EvaluationError(f"The distance matrix must be (Q, G), got {distances.shape}.")
    num_queries, num_gallery = distances.shape
    dtype = np.result_type(distances, np.float32)
    query_ids, gallery_ids = matching_ids(num_queries, query_ids, num_gallery, gallery_ids)
    tally = RankTally(*gallery_ids)
    for block in row_blocks(num_queries, num_gallery * dtype.itemsize):
        similarity = np.negative(distances[block], dtype=dtype)
        if not np.isfinite(similarity).all():
            raise EvaluationError(
                "The distance matrix contains NaN or infinite values in rows "
                f"{block.start}..{block.stop - 1}; every distance must be a finite number."
            )
        tally.add(similarity, query_ids[0][block], query_ids[1][block])
    return tally.metrics(max_rank=max_rank)


def checked_ids(split: str, length: int, person_ids: NDArray[Any], camera_ids: NDArray[Any]) -> Ids:
    """Check that a split of `length` pictures has as many ids; returns both as (N,) int64.

    Raises:
        EvaluationError: They are not N integers each, or N is 0.
    """
    persons, cameras = np.asarray(person_ids), np.asarray(camera_ids)
    if persons.shape != (length,) or cameras.shape != (length,):
        raise EvaluationError(
            f"The {split} has {length} pictures, so its person and camera ids must have "
            f"shape ({length},), got {persons.shape} and {cameras.shape}."
        )
    if length == 0:
        raise EvaluationError(
            f"The {split} is empty; nothing can be evaluated. It needs a data set with query and "
            "gallery; `adln data check` says what is in a folder."
        )
    for word, ids in (("person", persons), ("camera", cameras)):
        if not np.issubdtype(ids.dtype, np.integer):
            raise EvaluationError(
                f"The {word} ids of the {split} must be whole numbers, got {ids.dtype}."
            )
    return persons.astype(np.int64, copy=False), cameras.astype(np.int64, copy=False)


def require_one_length(queries: NDArray[Any], gallery: NDArray[Any]) -> None:
    """Raise EvaluationError unless features are (Q, D) and (G, D)."""
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise EvaluationError(
            "Query and gallery features must be (Q, D) and (G, D) with the same D, "
            f"got {queries.shape} and {gallery.shape}."
        )


def matching_ids(
    num_query: int,
    query_ids: tuple[NDArray[Any], NDArray[Any]],
    num_gallery: int,
    gallery_ids: tuple[NDArray[Any], NDArray[Any]],
) -> tuple[Ids, Ids]:
    """Check, before any work, the ids of both sides and that a query can be evaluated.

    Raises:
        EvaluationError: See `checked_ids`; or no query has a match; the message says why.
    """
    queries = checked_ids("query", num_query, *query_ids)
    stored = checked_ids("gallery", num_gallery, *gallery_ids)
    persons, cameras = (
        np.unique(np.concatenate(columns), return_inverse=True)[1]
        for columns in zip(queries, stored, strict=True)
    )
    views = persons * (cameras.max() + 1) + cameras
    by_any_camera = np.bincount(persons[num_query:], minlength=persons.max() + 1)
    by_own_camera = np.bincount(views[num_query:], minlength=views.max() + 1)
    num_pictures = by_any_camera[persons[:num_query]]
    if np.any(num_pictures > by_own_camera[views[:num_query]]):
        return queries, stored
    num_absent = np.count_nonzero(num_pictures == 0)
    raise EvaluationError(
        f"None of the {num_query} queries has a match in the gallery: a match is the same person "
        f"seen by another camera. {num_absent} of the queries show a person who is not in the "
        f"gallery at all, {num_query - num_absent} one who is there only from the query's own "
        "camera. Check that query and gallery use the same person ids, and that persons are seen "
        "by two cameras or more."
    )


def rows_per_block(num_rows: int, row_bytes: int) -> int:
    """Rows per block of a large matrix, for blocks of nearly equal size.

    At least 1; a block takes at most 128 MiB unless a single row takes more.
    """
    largest = max(1, _BLOCK_BYTES // max(1, row_bytes))
    num_blocks = max(1, -(-num_rows // largest))
    return max(1, -(-num_rows // num_blocks))


def row_blocks(num_rows: int, row_bytes: int) -> Iterator[slice]:
    """The blocks of rows of `rows_per_block`."""
    size = rows_per_block(num_rows, row_bytes)
    return (slice(at, min(at + size, num_rows)) for at in range(0, num_rows, size))


class RankTally:
    """Collects the ranks of all matches from successive blocks of similarities to G pictures."""

    def __init__(
        self, gallery_person_ids: NDArray[np.int64], gallery_camera_ids: NDArray[np.int64]
    ) -> None:
        self._camera_ids = gallery_camera_ids
        # Groups the gallery by person; the stable sort keeps its order within a person.
        self._by_person = np.argsort(gallery_person_ids, kind="stable")
        self._sorted_person_ids = gallery_person_ids[self._by_person]
        self._ranks: list[NDArray[np.int64]] = []
        self._match_counts: list[NDArray[np.int64]] = []

    def add(
        self,
        similarity: NDArray[np.floating],
        query_person_ids: NDArray[np.int64],
        query_camera_ids: NDArray[np.int64],
    ) -> None:
        """Rank the matches of the next block of B queries.

        The similarities (B, G) are finite, large means similar; they are overwritten.
        """
        rows = max(1, _GROUP_SIZE // max(1, similarity.shape[1]))
        for start in range(0, len(similarity), rows):
            group = slice(start, start + rows)
            self._add_group(similarity[group], query_person_ids[group], query_camera_ids[group])

    def metrics(self, *, max_rank: int = 50) -> RetrievalMetrics:
        """Compute the metrics over all queries added so far.

        Raises:
            EvaluationError: No query has a match, or ``max_rank`` is below 1.
        """
        if max_rank < 1:
            raise EvaluationError(f"max_rank must be at least 1, got {max_rank}.")
        counts = np.concatenate([np.zeros(0, np.int64), *self._match_counts])
        valid_queries = np.flatnonzero(counts)
        if len(valid_queries) == 0:
            raise EvaluationError(f"None of the {len(counts)} queries has a match.")
        num_matches = counts[valid_queries]
        ranks = np.concatenate(self._ranks)
        ends = np.cumsum(num_matches)
        starts = ends - num_matches
        found = np.arange(1, len(ranks) + 1) - np.repeat(starts, num_matches)
        average_precision = np.add.reduceat(found / ranks, starts) / num_matches
        inverse_negative_penalty = num_matches / ranks[ends - 1]
        first_match_rank = ranks[starts]
        hits = np.bincount(np.minimum(first_match_rank, max_rank + 1), minlength=max_rank + 2)
        return RetrievalMetrics(
            cmc=np.cumsum(hits[1 : max_rank + 1]) / len(valid_queries),
            mean_ap=float(average_precision.mean()),
            minp=float(inverse_negative_penalty.mean()),
            average_precision=average_precision,
            num_queries=len(counts),
            num_valid_queries=len(valid_queries),
            inverse_negative_penalty=inverse_negative_penalty,
            first_match_rank=first_match_rank,
            valid_queries=valid_queries,
        )

    def _add_group(
        self,
        similarity: NDArray[np.floating],
        query_person_ids: NDArray[np.int64],
        query_camera_ids: NDArray[np.int64],
    ) -> None:
        rows, columns = self._same_person(query_person_ids)
        scores = similarity[rows, columns]
        # Junk and matches must not be counted among the others below.
        similarity[rows, columns] = -np.inf
        is_match = self._camera_ids[columns] != query_camera_ids[rows]
        rows, columns, scores = rows[is_match], columns[is_match], scores[is_match]

        # Best match first; lexsort is stable, so equal scores keep the gallery's order.
        order = np.lexsort((-scores, rows))
        columns, scores = columns[order], scores[order]
        counts = np.bincount(rows, minlength=len(similarity))
        starts = np.cumsum(counts) - counts
        matches_above = np.arange(len(scores)) - np.repeat(starts, counts)
        others_above = _count_others_above(similarity, counts, columns, scores)
        self._match_counts.append(counts)
        self._ranks.append(1 + matches_above + others_above)

    def _same_person(
        self, query_person_ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """All pairs (query, gallery picture) of one person, by query, then by gallery order."""
        starts = np.searchsorted(self._sorted_person_ids, query_person_ids, side="left")
        counts = np.searchsorted(self._sorted_person_ids, query_person_ids, side="right") - starts
        rows = np.repeat(np.arange(len(query_person_ids)), counts)
        first_pair = np.repeat(np.cumsum(counts) - counts, counts)
        within = np.arange(len(rows)) - first_pair
        return rows, self._by_person[starts[rows] + within]


def _count_others_above(
    similarity: NDArray[np.floating],
    counts: NDArray[np.int64],
    columns: NDArray[np.int64],
    scores: NDArray[np.floating],
) -> NDArray[np.int64]:
    """For each of M matches, count the other persons' pictures ranked above it: earlier if equal.

    `similarity` (B, G) is -infinity for all of the query's person; `counts` (B,) are its matches,
    whose columns and scores (M,) are by query, then best first.
    """
    ends = np.cumsum(counts)
    starts = ends - counts
    valid = np.flatnonzero(counts)
    # Only pictures that reach the worst match can rank above any match: for most queries, a small
    # part of the gallery.
    worst = np.full((len(similarity), 1), np.inf, dtype=similarity.dtype)
    worst[valid, 0] = scores[ends[valid] - 1]
    others = np.flatnonzero(similarity >= worst)
    other_scores = similarity.ravel()[others]
    bounds = np.searchsorted(others, np.arange(len(similarity) + 1) * similarity.shape[1])

    # Within each query, sort the others in ascending order; those from `first_above` on beat it.
    first_above = np.empty(len(scores), dtype=np.int64)
    for row in valid.tolist():
        own, matches = slice(*bounds[row : row + 2]), slice(starts[row], ends[row])
        other_scores[own].sort()
        first_above[matches] = other_scores[own].searchsorted(scores[matches], side="right")
    rows = np.repeat(np.arange(len(counts)), counts)
    first_above += bounds[rows]
    above: NDArray[np.int64] = bounds[rows + 1] - first_above

    # Equal scores are just before `first_above`. Ties are rare enough for a loop.
    tied = first_above > bounds[rows]
    tied[tied] = other_scores[first_above[tied] - 1] == scores[tied]
    for match in np.flatnonzero(tied):
        earlier = similarity[rows[match], : columns[match]]
        above[match] += np.count_nonzero(earlier == scores[match])
    return above


def _checked_lengths(split: str, features: NDArray[np.floating]) -> NDArray[np.floating]:
    """Euclidean lengths of the features, checked to be finite and above zero."""
    lengths: NDArray[np.floating] = np.sqrt(np.vecdot(features, features))
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(bad) > 0:
        raise EvaluationError(
            f"{len(bad)} of {len(features)} {split} features are NaN, infinite or all zero, the "
            f"first at position {bad[0]}; every feature must be finite and longer than zero."
        )
    return lengths
