"""Exact search by rough comparison: codes first, embeddings only where codes cannot decide.

The cosine of a query q and an embedding v differs from that of their codes by at most
``|code of q| * error of v + error of q * |v|`` (Cauchy-Schwarz). So once k sightings are certain to
reach some similarity, every other one whose code plus its error stays below that is out, and this
is a proof, not a guess: the answers are those of comparing everything, in a third of the time.
"""

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adln.gallery.codes import CodeFiles, Codes, encode_embeddings

Fetch = Callable[[NDArray[np.int64]], NDArray[np.float32]]
"""Gives the embeddings (M, D) of slots (M,)."""

# The most that rounding can do to a float32 sum of products of unit vectors, for each number.
_ROUNDING = 6e-8
# Embeddings may be this much longer than 1.
_LONGEST = np.float32(1.002)
# A first look at a few rows gives a bar that most of the others fail at once.
_FIRST_ROWS = 4096
# Answers of one block stay in a core's cache.
_BLOCK_ROWS = 65_536
_BATCH_BLOCK_ROWS = 8192
_QUERIES_AT_A_TIME = 128
# From this many queries on, sharing each read of the codes pays.
_FEW_QUERIES = 4


class RoughComparison(Protocol):
    """A rough comparison of Q queries with the sightings in a range of slots."""

    def scores(self, start: int, stop: int) -> NDArray[np.float32]:
        """(Q, stop - start) rough cosines."""
        ...

    def slack(self, start: int, stop: int) -> NDArray[np.float32]:
        """(Q,) how far a rough cosine in the range can be from the true one, at most."""
        ...


def find_best(
    comparison: RoughComparison,
    queries: NDArray[np.float32],
    mask: NDArray[np.bool_],
    sighting_ids: NDArray[np.int64],
    k: int,
    fetch: Fetch,
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The k most similar slots of each query, exactly.

    Args:
        comparison: of these queries with the slots.
        queries: (Q, D) of unit length.
        mask: (S,) which slots count.
        sighting_ids: (S,) order of equal similarities.
        k: how many, at least 1.
        fetch: gives exact embeddings.

    Returns:
        For each query slots (K,) and cosines (K,), best first; K = k where so many count.
    """
    pools = [_Pool(k) for _ in queries]
    answers = []
    for slots, similarity in _looked_at(comparison, queries, mask, pools, fetch):
        order = np.lexsort((sighting_ids[slots], -similarity))[:k]
        answers.append((slots[order], similarity[order].clip(-1, 1)))
    return answers


def find_best_of_persons(
    comparison: RoughComparison,
    queries: NDArray[np.float32],
    mask: NDArray[np.bool_],
    sighting_ids: NDArray[np.int64],
    person_ids: NDArray[np.int64],
    k: int,
    fetch: Fetch,
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """The most similar slot of each of the k most similar persons, for each query, exactly.

    Args:
        comparison: of these queries with the slots.
        queries: (Q, D) of unit length.
        mask: (S,) which slots count.
        sighting_ids: (S,) order of equal similarities.
        person_ids: (S,) who is in each slot.
        k: how many persons, at least 1.
        fetch: gives exact embeddings.

    Returns:
        For each query slots (K,), of one person each, and cosines (K,), best first; K = k where so
        many persons count.
    """
    pools = [_PersonPool(k, person_ids) for _ in queries]
    answers = []
    for slots, similarity in _looked_at(comparison, queries, mask, pools, fetch):
        order = np.lexsort((sighting_ids[slots], -similarity))
        _, first = np.unique(person_ids[slots[order]], return_index=True)
        order = order[np.sort(first)][:k]
        answers.append((slots[order], similarity[order].clip(-1, 1)))
    return answers


def _looked_at(
    comparison: RoughComparison,
    queries: NDArray[np.float32],
    mask: NDArray[np.bool_],
    pools: "Sequence[_Pool]",
    fetch: Fetch,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Slots that the codes could not rule out, and their exact cosines, query by query."""
    block = _BLOCK_ROWS if len(queries) <= _FEW_QUERIES else _BATCH_BLOCK_ROWS
    start, stop = 0, min(_FIRST_ROWS, len(mask))
    while start < len(mask):
        passing = mask[start:stop]
        # A filter on time or camera often leaves out whole stretches.
        if passing.any():
            scores = comparison.scores(start, stop)
            slack = comparison.slack(start, stop)
            for pool, row, off_by in zip(pools, scores, slack, strict=True):
                pool.take(row, passing, start, off_by)
        start, stop = stop, min(stop + block, len(mask))
    slots = [pool.slots() for pool in pools]
    wanted = np.unique(np.concatenate(slots)) if len(slots) > 1 else slots[0]
    embeddings = fetch(wanted)
    for query, mine in zip(queries, slots, strict=True):
        rows = embeddings if len(slots) == 1 else embeddings[np.searchsorted(wanted, mine)]
        # Row by row, unlike a matrix product, gives a sighting the same cosine in any company.
        yield mine, np.vecdot(rows, query)


class _Pool:
    """Slots that may still be among the k best of one query."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._slots = np.empty(0, np.int64)
        self._scores = np.empty(0, np.float32)
        self._slack = np.empty(0, np.float32)
        # k slots are certain to reach this.
        self._bar = np.float32(-np.inf)

    def take(
        self,
        scores: NDArray[np.float32],
        passing: NDArray[np.bool_],
        start: int,
        slack: np.float32,
    ) -> None:
        """Look at the rough cosines of the next slots."""
        chosen = np.flatnonzero((scores >= self._bar - slack) & passing)
        if len(chosen) == 0:
            return
        slots, found = chosen + start, scores[chosen]
        self._slots = np.concatenate([self._slots, slots])
        self._scores = np.concatenate([self._scores, found])
        self._slack = np.concatenate([self._slack, np.full(len(slots), slack, np.float32)])
        if len(self._slots) > self._k:
            self._keep(self._possible(self._scores - self._slack))

    def _possible(self, certain: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which may still be among the best, and a new bar; `certain` is what each reaches."""
        self._raise_bar(certain)
        return self._scores + self._slack >= self._bar

    def _raise_bar(self, certain: NDArray[np.float32]) -> None:
        if len(certain) >= self._k:
            place = len(certain) - self._k
            self._bar = max(self._bar, np.partition(certain, place)[place])

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        self._slots, self._scores = self._slots[keep], self._scores[keep]
        self._slack = self._slack[keep]

    def slots(self) -> NDArray[np.int64]:
        """Slots that need an exact look, ascending."""
        return np.sort(self._slots)


class _PersonPool(_Pool):
    """Slots that may still be the best one of one of the k best persons of one query."""

    def __init__(self, k: int, person_ids: NDArray[np.int64]) -> None:
        super().__init__(k)
        self._person_ids = person_ids

    def _possible(self, certain: NDArray[np.float32]) -> NDArray[np.bool_]:
        persons, whose = np.unique(self._person_ids[self._slots], return_inverse=True)
        sure = np.full(len(persons), -np.inf, np.float32)
        np.maximum.at(sure, whose, certain)
        self._raise_bar(sure)
        return self._scores + self._slack >= np.maximum(sure[whose], self._bar)


class CodeComparison:
    """Codes with codes, whole numbers of one byte, by numkong.

    Args:
        queries: (Q, D).
        files: of the gallery.
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

    def scores(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        numbers = self._files.numbers[start:stop]
        scales = self._files.scales[start:stop]
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

    def slack(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        largest = _largest(self._files.errors[start:stop])
        slack: NDArray[np.float32] = self._of_error * largest + self._constant
        return slack


class WidenedCodeComparison:
    """Codes, made float32 block by block, with the queries themselves: slow, needs only numpy."""

    def __init__(self, queries: NDArray[np.float32], files: CodeFiles | Codes) -> None:
        self._queries = queries
        self._files = files

    def scores(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        wide = self._files.numbers[start:stop].astype(np.float32)
        scores: NDArray[np.float32] = self._queries @ wide.T
        scores *= self._files.scales[start:stop]
        return scores

    def slack(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        largest = _largest(self._files.errors[start:stop])
        return np.full(
            len(self._queries), largest * _LONGEST + _rounding(self._queries), np.float32
        )


class EmbeddingComparison:
    """Embeddings with the queries themselves: needs only numpy, and reads four times as much."""

    def __init__(self, queries: NDArray[np.float32], embeddings: NDArray[np.float32]) -> None:
        self._queries = queries
        self._embeddings = embeddings

    def scores(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        scores: NDArray[np.float32] = self._queries @ self._embeddings[start:stop].T
        return scores

    def slack(self, start: int, stop: int) -> NDArray[np.float32]:
        """See `RoughComparison`."""
        return np.full(len(self._queries), _rounding(self._queries), np.float32)


def _rounding(queries: NDArray[np.float32]) -> np.float32:
    return np.float32(2 * _ROUNDING * queries.shape[1])


def _largest(errors: NDArray[np.float32]) -> np.float32:
    # Free slots may hold anything after a power cut, also what is not a number.
    return np.float32(np.fmax.reduce(errors))


def compare(
    queries: NDArray[np.float32], files: CodeFiles | Codes, *, engine: str, low_memory: bool
) -> RoughComparison:
    """The fastest comparison that there is.

    Args:
        queries: (Q, D).
        files: of the gallery.
        engine: "numkong" or "numpy".
        low_memory: never read embeddings in bulk.
    """
    if engine == "numkong":
        return CodeComparison(queries, files, importlib.import_module("numkong"))
    if files.embeddings is not None and not low_memory:
        return EmbeddingComparison(queries, files.embeddings)
    return WidenedCodeComparison(queries, files)


def best_engine() -> str:
    """Name of the fastest engine that is installed: "numkong" or "numpy"."""
    try:
        importlib.import_module("numkong")
    except ImportError:
        return "numpy"
    return "numkong"


def batches(count: int) -> list[slice]:
    """Queries in groups of a size that keeps memory small."""
    return [
        slice(start, start + _QUERIES_AT_A_TIME) for start in range(0, count, _QUERIES_AT_A_TIME)
    ]
