"""First stages of a search in codes: what each gains in time over exact float search, and loses.

    python -m benchmarks.code_frontier --count 100000 --count 1000000
    python -m benchmarks.code_frontier --count 100000 --features market.npz --data data/Market-...

A search of one query finds the K most alike. Exact search multiplies the query with all embeddings.
All others compare codes first, take the best of these as candidates, and compare the candidates'
embeddings exactly:

- int8, proved: what the gallery does. The code's error is known, so that everything is a candidate
  that could be among the answers; these are always the exact ones.
- int8: a fixed number of candidates, so that rare answers may be missed.
- 1 bit: the sign of each number, less the mean of the gallery; compared by Hamming distance.
- PCA + ITQ, b bits: signs after a rotation that is fitted to the gallery (Gong and Lazebnik,
  "Iterative Quantization", CVPR 2011).
- PCA, d x int8: the d directions in which embeddings differ most, one byte each; fitted, too.

Recall@n is the share of the n exact best that are among the n found. mAP@K counts what is beyond
the K answers as not found, for exact search as well; "lost" is the difference to that. Methods are
timed in turns, query by query, by the clock on the wall: run it on a quiet machine. One thread
unless OMP_NUM_THREADS says otherwise. Codes are compared by numkong.

Embeddings are made up (benchmarks/made_up_features.py), or real: `query_<depth>` and
`gallery_<depth>` of a file that `benchmarks.gallery_market --features` wrote, with the persons of
Market-1501. Distractors are added up to the size that is asked for; those of real features lie
between two real ones.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import click
import numkong
import numpy as np
from benchmarks.made_up_features import Ids, made_up_features, made_up_ids, market_ids
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.gallery import scan
from adln.gallery.codes import CodeFiles, encode_embeddings

Floats = NDArray[np.float32]
Slots = NDArray[np.int64]

_SAMPLE = 20_000
_BLOCK = 8192
_ROWS_AT_A_TIME = 64
_ITQ_ROUNDS = 30
# Of the scores, every so manieth tells where the best begin.
_STRIDE = 64
# Bars to be reached together.
_WANTED_RATIO, _WANTED_LOSS = 5.0, 0.3


@dataclass(frozen=True, eq=False)
class Data:
    """Queries and a gallery of unit length, and who is who."""

    queries: Floats
    gallery: Floats
    ids: Ids


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one method does.

    Attributes:
        method: its name.
        code_bytes: read for each embedding in the first stage.
        candidates: compared exactly; None if the method decides.
        ms: median time of a search.
        ratio: median time of exact search over it.
        recall_1: see the module; share in 0..1.
        recall_10: the same of ten.
        mean_ap: mAP@K in 0..1.
        lost: mAP@K that exact search has more, in points of a hundred.
    """

    method: str
    code_bytes: int
    candidates: int | None
    ms: float
    ratio: float
    recall_1: float
    recall_10: float
    mean_ap: float
    lost: float


class FirstStage(Protocol):
    """Compares codes."""

    code_bytes: int

    def scores(self, query: Floats) -> Floats:
        """(N,) how alike, larger is more, for a query (D,)."""
        ...


class Int8Codes:
    """One byte a number, each embedding by a scale of its own."""

    def __init__(self, gallery: Floats) -> None:
        self._numbers = np.empty(gallery.shape, np.int8)
        self._scales = np.empty(len(gallery), np.float32)
        for rows in _blocks(len(gallery)):
            codes = encode_embeddings(gallery[rows])
            self._numbers[rows], self._scales[rows] = codes.numbers, codes.scales
        self.code_bytes = gallery.shape[1] + 4

    def scores(self, query: Floats) -> Floats:
        """See `FirstStage`."""
        scores = _int8_products(encode_embeddings(query[np.newaxis]).numbers, self._numbers)
        scores *= self._scales
        return scores


class BitCodes:
    """Signs after a linear map, by Hamming distance.

    Args:
        gallery: (N, D).
        mean: (D,), taken off first.
        directions: (D, B) of the map; none if left out.
    """

    def __init__(self, gallery: Floats, mean: Floats, directions: Floats | None = None) -> None:
        self._mean, self._directions = mean, directions
        self.code_bytes = (gallery if directions is None else directions).shape[1] // 8
        self._bits = np.empty((len(gallery), self.code_bytes), np.uint8)
        for rows in _blocks(len(gallery)):
            self._bits[rows] = self._encode(gallery[rows])

    def scores(self, query: Floats) -> Floats:
        """See `FirstStage`."""
        distances = np.empty((1, len(self._bits)), np.float32)
        numkong.cdist(
            self._encode(query[np.newaxis]),
            self._bits,
            "hamming",
            dtype="uint1",
            out=distances,
            out_dtype="float32",
        )
        scores: Floats = np.negative(distances[0], out=distances[0])
        return scores

    def _encode(self, embeddings: Floats) -> NDArray[np.uint8]:
        centred = embeddings - self._mean
        if self._directions is not None:
            centred = centred @ self._directions
        return np.packbits(centred > 0, axis=1)


class PrincipalCodes:
    """The directions in which embeddings differ most, a byte each.

    A cosine is the product within these directions, plus what the mean has in common with both;
    only what the other directions have in common is left out.
    """

    def __init__(self, gallery: Floats, mean: Floats, directions: Floats) -> None:
        self._mean, self._directions = mean, directions
        self._numbers = np.empty((len(gallery), directions.shape[1]), np.int8)
        self._scales = np.empty(len(gallery), np.float32)
        self._common = np.empty(len(gallery), np.float32)
        for rows in _blocks(len(gallery)):
            codes = encode_embeddings(self._project(gallery[rows]))
            self._numbers[rows], self._scales[rows] = codes.numbers, codes.scales
            self._common[rows] = gallery[rows] @ mean
        self.code_bytes = directions.shape[1] + 8

    def scores(self, query: Floats) -> Floats:
        """See `FirstStage`."""
        codes = encode_embeddings(self._project(query[np.newaxis]))
        scores = _int8_products(codes.numbers, self._numbers)
        scores *= self._scales
        scores *= codes.scales[0]
        scores += self._common
        return scores

    def _project(self, embeddings: Floats) -> Floats:
        projected: Floats = np.matmul(embeddings - self._mean, self._directions)
        return projected


def _int8_products(query: NDArray[np.int8], numbers: NDArray[np.int8]) -> Floats:
    products = np.empty((1, len(numbers)), np.float32)
    numkong.cdist(query, numbers, "dot", out=products, out_dtype="float32")
    scores: Floats = products[0]
    return scores


def _blocks(count: int) -> list[slice]:
    return [slice(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]


def principal_directions(gallery: Floats) -> tuple[Floats, Floats]:
    """Mean (D,) and directions (D, D) by falling variance, of a sample of the gallery."""
    rng = np.random.default_rng(7)
    rows = np.sort(rng.permutation(len(gallery))[:_SAMPLE])
    sample = gallery[rows]
    mean = sample.mean(axis=0)
    centred = sample - mean
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, np.ascontiguousarray(vectors[:, ::-1])


def itq_directions(gallery: Floats, mean: Floats, directions: Floats) -> Floats:
    """Turn (D, B) directions so that signs lose as little as possible."""
    rng = np.random.default_rng(8)
    rows = np.sort(rng.permutation(len(gallery))[:_SAMPLE])
    projected = (gallery[rows] - mean) @ directions
    count = projected.shape[1]
    rotation = np.linalg.qr(rng.standard_normal((count, count)))[0].astype(np.float32)
    for _ in range(_ITQ_ROUNDS):
        signs = np.where(projected @ rotation > 0, np.float32(1), np.float32(-1))
        left, _, right = np.linalg.svd(projected.T @ signs)
        rotation = left @ right
    turned: Floats = np.ascontiguousarray(directions @ rotation)
    return turned


def best(scores: Floats, count: int) -> Slots:
    """Positions of the highest scores, in no order; at least `count` of many, without sorting."""
    if count >= len(scores):
        return np.arange(len(scores))
    sample = scores[::_STRIDE]
    place = min(len(sample), 2 * (count // _STRIDE) + 8)
    bar = np.partition(sample, len(sample) - place)[len(sample) - place]
    chosen = np.flatnonzero(scores >= bar)
    if len(chosen) < count:
        chosen = np.arange(len(scores))
    found: Slots = chosen[np.argpartition(scores[chosen], len(chosen) - count)[-count:]]
    return found


def ranked(gallery: Floats, query: Floats, slots: Slots, count: int) -> Slots:
    """The best of these slots by their embeddings, best first."""
    slots = np.sort(slots)
    # A few rows at a time stay in the cache and need no large memory from the system.
    parts = np.array_split(slots, -(-len(slots) // _ROWS_AT_A_TIME))
    similarity = np.concatenate([gallery[part] @ query for part in parts])
    return slots[np.lexsort((slots, -similarity))[:count]]


def exact_search(gallery: Floats, query: Floats, count: int) -> Slots:
    """The K best by comparing everything."""
    scores = gallery @ query
    slots = best(scores, count)
    return slots[np.lexsort((slots, -scores[slots]))]


def proved_search(folder: Path, gallery: Floats, count: int) -> Callable[[Floats], Slots]:
    """The gallery's own search, on its own code files."""
    files = CodeFiles(folder, 1, gallery.shape[1], with_embeddings=False)
    files.reserve(len(gallery))
    for rows in _blocks(len(gallery)):
        files.write(np.arange(rows.start, rows.stop), gallery[rows])
    wanted = scan.Wanted(np.ones(len(gallery), np.bool_), count)
    numbers = np.arange(len(gallery))

    def search(query: Floats) -> Slots:
        queries = query[np.newaxis]
        comparison = scan.compare(queries, files, engine="numkong", low_memory=True)
        (((slots, _),),) = scan.find_best(
            comparison, queries, [wanted], numbers, lambda slots: gallery[slots]
        )
        return slots

    return search


def methods(
    data: Data, folder: Path, *, candidates: Sequence[int], answers: int
) -> list[tuple[str, int, int | None, Callable[[Floats], Slots]]]:
    """Name, bytes of a code, candidates and search of all methods, the exact one first."""
    gallery = data.gallery
    dim = gallery.shape[1]
    found: list[tuple[str, int, int | None, Callable[[Floats], Slots]]] = [
        ("exact float32", 4 * dim, None, lambda query: exact_search(gallery, query, answers)),
        ("int8, proved", dim + 8, None, proved_search(folder, gallery, answers)),
    ]
    mean, directions = principal_directions(gallery)
    stages: list[tuple[str, FirstStage]] = [
        ("int8", Int8Codes(gallery)),
        ("1 bit", BitCodes(gallery, mean)),
    ]
    for bits in (128, 256, 512):
        if bits <= dim:
            turned = itq_directions(gallery, mean, directions[:, :bits])
            stages.append((f"PCA + ITQ, {bits} bits", BitCodes(gallery, mean, turned)))
    for kept in (32, 64, 128, 256):
        if kept < dim:
            first = np.ascontiguousarray(directions[:, :kept])
            stages.append((f"PCA, {kept} x int8", PrincipalCodes(gallery, mean, first)))

    def two_stages(stage: FirstStage, count: int) -> Callable[[Floats], Slots]:
        return lambda query: ranked(gallery, query, best(stage.scores(query), count), answers)

    for name, stage in stages:
        found += [
            (name, stage.code_bytes, count, two_stages(stage, count))
            for count in candidates
            if answers <= count <= len(gallery)
        ]
    return found


def average_precision(data: Data, at: int, slots: Slots) -> float | None:
    """AP of the answers to a query; what is beyond them is not found. None without a match."""
    ids = data.ids
    person, camera = ids.query_person_ids[at], ids.query_camera_ids[at]
    is_person = ids.gallery_person_ids == person
    is_junk = (is_person & (ids.gallery_camera_ids == camera)) | (ids.gallery_person_ids == -1)
    matches = int(np.count_nonzero(is_person & ~is_junk))
    if matches == 0:
        return None
    hits = is_person[slots[~is_junk[slots]]]
    places = np.flatnonzero(hits) + 1
    return float((np.arange(1, len(places) + 1) / places).sum() / matches)


def measure(data: Data, *, candidates: Sequence[int], answers: int) -> list[Row]:
    """All methods on all queries."""
    with tempfile.TemporaryDirectory() as folder:
        every = methods(data, Path(folder), candidates=candidates, answers=answers)
        times: list[list[float]] = [[] for _ in every]
        answered: list[list[Slots]] = [[] for _ in every]
        for at, query in enumerate(data.queries):
            for number, (_, _, _, search) in enumerate(every):
                if at == 0:
                    # Whatever the first call sets up is not part of a search.
                    search(query)
                began = time.perf_counter()
                slots = search(query)
                times[number].append(1000 * (time.perf_counter() - began))
                answered[number].append(slots)
    rows = []
    exact = answered[0]
    exact_ms, exact_ap = statistics.median(times[0]), _mean_ap(data, exact)
    for (name, code_bytes, count, _), its_times, its in zip(every, times, answered, strict=True):
        ms, mean_ap = statistics.median(its_times), _mean_ap(data, its)
        rows.append(
            Row(
                method=name,
                code_bytes=code_bytes,
                candidates=count,
                ms=ms,
                ratio=exact_ms / ms,
                recall_1=_recall(exact, its, 1),
                recall_10=_recall(exact, its, 10),
                mean_ap=mean_ap,
                lost=100 * (exact_ap - mean_ap),
            )
        )
    return rows


def _mean_ap(data: Data, answered: Sequence[Slots]) -> float:
    found = [average_precision(data, at, slots) for at, slots in enumerate(answered)]
    return statistics.fmean(ap for ap in found if ap is not None)


def _recall(exact: Sequence[Slots], found: Sequence[Slots], count: int) -> float:
    return statistics.fmean(
        len(np.intersect1d(a[:count], b[:count])) / len(a[:count])
        for a, b in zip(exact, found, strict=True)
    )


def made_up(count: int, dim: int, num_queries: int) -> Data:
    """As Market-1501: some 16,000 pictures of 750 persons; all others are distractors."""
    of_persons = min(count // 2, 16_000)
    ids = made_up_ids(
        num_query=num_queries,
        num_gallery=count,
        num_persons=max(2, min(750, of_persons // 21)),
        num_cameras=6,
        num_distractors=count - of_persons,
    )
    return Data(*made_up_features(ids, dim=dim), ids)


def real(path: Path, root: Path, count: int, depth: int | None, num_queries: int) -> Data:
    """Features of Market-1501, with distractors up to the size."""
    ids = market_ids(root)
    with np.load(path, allow_pickle=False) as content:
        names = [name.removeprefix("query_") for name in content if name.startswith("query_")]
        chosen = depth or max(int(name) for name in names if name.isdigit())
        queries, gallery = content[f"query_{chosen}"], content[f"gallery_{chosen}"]
    rng = np.random.default_rng(9)
    asked = np.sort(rng.permutation(len(queries))[:num_queries])
    missing = count - len(gallery)
    if missing < 0:
        raise click.UsageError(f"--count must be at least {len(gallery):,} with these features.")
    whole = np.empty((count, gallery.shape[1]), np.float32)
    whole[: len(gallery)] = gallery
    for rows in _blocks(missing):
        size = rows.stop - rows.start
        one, other = rng.integers(0, len(gallery), (2, size))
        share = rng.uniform(0.5, 0.9, (size, 1)).astype(np.float32)
        between = np.sqrt(share) * gallery[one] + np.sqrt(1 - share) * gallery[other]
        whole[len(gallery) + rows.start : len(gallery) + rows.stop] = unit_length(between)
    nobody = np.zeros(missing, np.int64)
    return Data(
        queries[asked],
        whole,
        Ids(
            ids.query_person_ids[asked],
            ids.query_camera_ids[asked],
            np.concatenate([ids.gallery_person_ids, nobody]),
            np.concatenate([ids.gallery_camera_ids, nobody]),
        ),
    )


def as_text(title: str, rows: Sequence[Row], answers: int) -> str:
    """A table; rows that reach both bars are marked."""
    lines = [
        title,
        f"{'first stage':<22}{'bytes':>6}{'candidates':>11}{'ms':>9}{'speed':>8}{'recall@1':>10}"
        f"{'@10':>8}{f'mAP@{answers}':>9}{'lost':>7}",
        "─" * 90,
    ]
    for row in rows:
        reached = row.ratio >= _WANTED_RATIO and row.lost <= _WANTED_LOSS
        lines.append(
            f"{row.method:<22}{row.code_bytes:>6,}"
            f"{'' if row.candidates is None else format(row.candidates, ','):>11}"
            f"{row.ms:>9.2f}{row.ratio:>7.1f}x{row.recall_1:>10.4f}{row.recall_10:>8.4f}"
            f"{100 * row.mean_ap:>9.2f}{row.lost:>7.2f}{' *' if reached else ''}"
        )
    lines.append(f"* at least {_WANTED_RATIO:g}x the speed and at most {_WANTED_LOSS} mAP lost")
    return "\n".join(lines)


@click.command()
@click.option("--count", "counts", type=click.IntRange(200), multiple=True)
@click.option("--dim", "dims", type=click.IntRange(32), multiple=True, help="Of made-up features.")
@click.option("--queries", type=click.IntRange(1), default=200, show_default=True)
@click.option("--answers", type=click.IntRange(10), default=100, show_default=True, help="K.")
@click.option("--candidates", type=click.IntRange(10), multiple=True)
@click.option("--features", type=click.Path(path_type=Path), help="Real features, .npz.")
@click.option("--data", type=click.Path(path_type=Path), help="Market-1501, with --features.")
@click.option("--depth", type=click.IntRange(1, 4), help="The deepest of the file if left out.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def main(
    counts: tuple[int, ...],
    dims: tuple[int, ...],
    queries: int,
    answers: int,
    candidates: tuple[int, ...],
    features: Path | None,
    data: Path | None,
    depth: int | None,
    as_json: bool,
) -> None:
    """Measure first stages of a search against exact float search."""
    if (features is None) != (data is None):
        raise click.UsageError("--features and --data go together.")
    wanted = candidates or (100, 300, 1000, 3000)
    parts: list[dict[str, Any]] = []
    for count in counts or (100_000, 1_000_000):
        for dim in dims or (512, 2048) if features is None else (0,):
            if features is None or data is None:
                made = made_up(count, dim, queries)
            else:
                made = real(features, data, count, depth, queries)
            kind = "made up" if features is None else features.name
            size = f"{count:,} x {made.gallery.shape[1]}"
            rows = measure(made, candidates=wanted, answers=answers)
            parts.append(
                {
                    "features": kind,
                    "count": count,
                    "dim": made.gallery.shape[1],
                    "queries": len(made.queries),
                    "answers": answers,
                    "rows": [asdict(row) for row in rows],
                }
            )
            if not as_json:
                title = f"{size}, {kind}, {len(made.queries)} queries one by one"
                click.echo(as_text(title, rows, answers) + "\n")
    if as_json:
        click.echo(json.dumps(parts, indent=1))


if __name__ == "__main__":
    main()
