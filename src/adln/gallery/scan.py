"""Exact search in two steps: codes first, embeddings only where codes cannot decide.

The cosine of a query q and an embedding v differs from that of their codes by at most
``|code of q| * error of v + error of q * |v|`` (Cauchy-Schwarz). So once k sightings certainly
reach some similarity, every other one whose code's similarity plus error is lower can be excluded.
This is exact: the answers are those of comparing everything, in a third of the time.
"""

import functools
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adln.gallery.codes import CodeFiles, Codes, encode_embeddings

Fetch = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Returns the embeddings (M, D) of slots (M,)."""

# Largest rounding error, per component, of a float32 dot product of unit vectors.
_ROUNDING = 6e-8
# Embeddings may be this much longer than 1.
_LONGEST = np.float32(1.002)
# A first pass over a few rows gives a bound that excludes most of the others.
_FIRST_ROWS = 4096
# Scores of one block fit a core's cache.
_BLOCK_ROWS = 65_536
_BATCH_BLOCK_ROWS = 8192
_QUERIES_AT_A_TIME = 128
# If fewer than one slot in this many passes the filter, slots are gathered.
_SPARSE = 8
# From this many queries on, it pays to share each read of the codes.
_FEW_QUERIES = 4


Rows = slice | NDArray[np.int64]
"""Slots that are compared together: a range, or gathered ones."""


class RoughComparison(Protocol):
    """An approximate comparison of Q queries with the sightings in R slots."""

    def scores(self, rows: Rows) -> NDArray[np.float32]:
        """(Q, R) approximate cosines."""

    def slack(self, rows: Rows) -> NDArray[np.float32]:
        """(Q,) largest error of these cosines."""


@dataclass(frozen=True)
class Wanted:
    """A search among the slots of a mask.

    Attributes:
        mask: (S,) the slots to search.
        k: number of answers per query, at least 1.
        person_ids: (S,) person of each slot, if only the best slot of each person counts.
    """

    mask: NDArray[np.bool_]
    k: int
    person_ids: NDArray[np.int64] | None = None


Best = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Slots (K,) and their cosines (K,), best first; K = k if there are enough."""


def find_best(
    comparison: RoughComparison,
    queries: NDArray[np.float32],
    wanted: Sequence[Wanted],
    sighting_ids: NDArray[np.int64],
    fetch: Fetch,
) -> list[list[Best]]:
    """The most similar slots of each query, exactly; one pass over the codes for all searches.

    Args:
        comparison: approximate comparison of these queries with the slots.
        queries: (Q, D) of unit length.
        wanted: the searches.
        sighting_ids: (S,) determines the order of equal similarities.
        fetch: returns exact embeddings.

    Returns:
        For each search, the answers to the Q queries.
    """
    pools = [[_pool(one) for _ in queries] for one in wanted]
    for rows, passing in _stretches([one.mask for one in wanted], len(queries)):
        scores, slack = comparison.scores(rows), comparison.slack(rows)
        for its_pools, its_rows in zip(pools, passing, strict=True):
            if its_rows.any():
                for pool, row, off_by in zip(its_pools, scores, slack, strict=True):
                    pool.take(row, its_rows, rows, off_by)
    slots = np.unique(np.concatenate([pool.slots for its in pools for pool in its]))
    embeddings = fetch(slots)

    def answer(pool: _Pool, query: NDArray[np.float32]) -> Best:
        mine = np.sort(pool.slots)
        # Row by row, unlike a matrix product: a sighting's cosine does not depend on the others.
        similarity = np.vecdot(embeddings[np.searchsorted(slots, mine)], query)
        order = pool.first(mine, np.lexsort((sighting_ids[mine], -similarity)))
        return mine[order], similarity[order].clip(-1, 1)

    return [
        [answer(pool, query) for pool, query in zip(its, queries, strict=True)] for its in pools
    ]


def _stretches(
    masks: Sequence[NDArray[np.bool_]], num_queries: int
) -> Iterator[tuple[Rows, list[NDArray[np.bool_]]]]:
    """Slots to compare at a time, and which of them pass each mask."""
    block = _BLOCK_ROWS if num_queries <= _FEW_QUERIES else _BATCH_BLOCK_ROWS
    passing = functools.reduce(np.logical_or, masks)
    # If few pass the filter, only those are gathered; otherwise contiguous reads are faster.
    is_sparse = np.count_nonzero(passing) * _SPARSE < len(passing)
    slots = np.flatnonzero(passing) if is_sparse else None
    count = len(passing) if slots is None else len(slots)
    start, stop = 0, min(_FIRST_ROWS, count)
    while start < count:
        rows = slice(start, stop) if slots is None else slots[start:stop]
        # A filter on time or camera often excludes whole ranges.
        if passing[rows].any():
            yield rows, [mask[rows] for mask in masks]
        start, stop = stop, min(stop + block, count)


def _pool(wanted: Wanted) -> "_Pool":
    if wanted.person_ids is None:
        return _Pool(wanted.k)
    return _PersonPool(wanted.k, wanted.person_ids)


class _Pool:
    """Slots that may still be among the k best of one query."""

    def __init__(self, k: int) -> None:
        self._k = k
        self.slots = np.empty(0, np.int64)
        self._scores = np.empty(0, np.float32)
        self._slack = np.empty(0, np.float32)
        # k slots certainly reach this.
        self._bar = np.float32(-np.inf)

    def take(
        self,
        scores: NDArray[np.float32],
        passing: NDArray[np.bool_],
        rows: Rows,
        slack: np.float32,
    ) -> None:
        """Process the approximate cosines of the next slots."""
        chosen = np.flatnonzero((scores >= self._bar - slack) & passing)
        if len(chosen) == 0:
            return
        slots = chosen + rows.start if isinstance(rows, slice) else rows[chosen]
        self.slots = np.concatenate([self.slots, slots])
        self._scores = np.concatenate([self._scores, scores[chosen]])
        self._slack = np.concatenate([self._slack, np.full(len(slots), slack, np.float32)])
        if len(self.slots) > self._k:
            self._keep(self._possible(self._scores - self._slack))

    def first(self, slots: NDArray[np.int64], order: NDArray[np.intp]) -> NDArray[np.intp]:
        """Which of these slots are the answers, given their order by exact comparison."""
        return order[: self._k]

    def _possible(self, certain: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which slots may still be among the best; updates the bound from `certain` scores."""
        self._raise_bar(certain)
        return self._scores + self._slack >= self._bar

    def _raise_bar(self, certain: NDArray[np.float32]) -> None:
        if len(certain) >= self._k:
            place = len(certain) - self._k
            self._bar = max(self._bar, np.partition(certain, place)[place])

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        self.slots, self._scores = self.slots[keep], self._scores[keep]
        self._slack = self._slack[keep]


class _PersonPool(_Pool):
    """Slots that may still be the best one of one of the k best persons of one query."""

    def __init__(self, k: int, person_ids: NDArray[np.int64]) -> None:
        super().__init__(k)
        self._person_ids = person_ids

    def first(self, slots: NDArray[np.int64], order: NDArray[np.intp]) -> NDArray[np.intp]:
        """As in `_Pool`, with one slot per person."""
        _, first = np.unique(self._person_ids[slots[order]], return_index=True)
        return order[np.sort(first)][: self._k]

    def _possible(self, certain: NDArray[np.float32]) -> NDArray[np.bool_]:
        persons, whose = np.unique(self._person_ids[self.slots], return_inverse=True)
        sure = np.full(len(persons), -np.inf, np.float32)
        np.maximum.at(sure, whose, certain)
        self._raise_bar(sure)
        return self._scores + self._slack >= np.maximum(sure[whose], self._bar)


class CodeComparison:
    """Compares codes with codes (int8), by numkong.

    Args:
        queries: (Q, D).
        files: the gallery's codes.
        kernels: the module numkong.
    """

    def __init__(
        self, queries: NDArray[np.float32], files: CodeFiles | Codes, kernels: Any
    ) -> None:
        codes = encode_embeddings(queries)
        self._files = files
        self._kernels = kernels
        self._numbers = codes.numbers
        self._packed = kernels.dots_pack(codes.numbers) if len(queries) > _FEW_QUERIES else None
        self._scales = codes.scales[:, np.newaxis]
        lengths = np.sqrt(np.vecdot(queries, queries)) + codes.errors
        self._of_error = lengths
        self._constant = codes.errors * _LONGEST + _rounding(queries)

    def scores(self, rows: Rows) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        numbers = self._files.numbers[rows]
        scales = self._files.scales[rows]
        if self._packed is not None:
            # As columns, which the multiplication below turns into rows.
            products = np.asarray(self._kernels.dots_packed(numbers, self._packed)).T
            scores = np.empty(products.shape, np.float32)
            np.multiply(products, scales, out=scores, casting="unsafe")
        else:
            scores = np.empty((len(self._numbers), len(numbers)), np.float32)
            self._kernels.cdist(self._numbers, numbers, "dot", out=scores, out_dtype="float32")
            scores *= scales
        scores *= self._scales
        return scores

    def slack(self, rows: Rows) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        largest = _largest(self._files.errors[rows])
        slack: NDArray[np.float32] = self._of_error * largest + self._constant
        return slack


class WidenedCodeComparison:
    """Compares codes, converted to float32 block by block, with queries; slow, needs only numpy."""

    def __init__(self, queries: NDArray[np.float32], files: CodeFiles | Codes) -> None:
        self._queries = queries
        self._files = files

    def scores(self, rows: Rows) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        wide = self._files.numbers[rows].astype(np.float32)
        scores: NDArray[np.float32] = self._queries @ wide.T
        scores *= self._files.scales[rows]
        return scores

    def slack(self, rows: Rows) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        largest = _largest(self._files.errors[rows])
        return np.full(
            len(self._queries), largest * _LONGEST + _rounding(self._queries), np.float32
        )


class EmbeddingComparison:
    """Compares embeddings with queries; needs only numpy, but reads four times as much."""

    def __init__(self, queries: NDArray[np.float32], embeddings: NDArray[np.float32]) -> None:
        self._queries = queries
        self._embeddings = embeddings

    def scores(self, rows: Rows) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        scores: NDArray[np.float32] = self._queries @ self._embeddings[rows].T
        return scores

    def slack(self, rows: Rows) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        return np.full(len(self._queries), _rounding(self._queries), np.float32)


def _rounding(queries: NDArray[np.float32]) -> np.float32:
    return np.float32(2 * _ROUNDING * queries.shape[1])


def _largest(errors: NDArray[np.float32]) -> np.float32:
    # After a power cut, free slots may contain anything, including NaN.
    return np.float32(np.fmax.reduce(errors))


def compare(
    queries: NDArray[np.float32], files: CodeFiles | Codes, *, engine: str, low_memory: bool
) -> RoughComparison:
    """The fastest available comparison.

    Args:
        queries: (Q, D).
        files: the gallery's codes.
        engine: "numkong" or "numpy".
        low_memory: never read embeddings in bulk.
    """
    if engine == "numkong":
        return CodeComparison(queries, files, importlib.import_module("numkong"))
    if files.embeddings is not None and not low_memory:
        return EmbeddingComparison(queries, files.embeddings)
    return WidenedCodeComparison(queries, files)


def best_engine() -> str:
    """Name of the fastest installed engine: "numkong" or "numpy"."""
    try:
        importlib.import_module("numkong")
    except ImportError:
        return "numpy"
    return "numkong"


def batches(count: int) -> list[slice]:
    """Groups of queries, of a size that limits memory."""
    return [
        slice(start, start + _QUERIES_AT_A_TIME) for start in range(0, count, _QUERIES_AT_A_TIME)
    ]
