"""The parity gate: refuses an exported file whose outputs differ from its torch network's.

Compares the test features of Sec. III.B by the cosine of each crop, at several batch sizes, and, on
a data set, Rank-1 and mAP (Sec. III.A).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.datasets.split import ReidDataset
from adln.embeddings import Embedder
from adln.errors import ParityError
from adln.evaluation.protocol import evaluate
from adln.manifest import Accuracy, Parity, Precision

BATCH_SIZES = (1, 7, 32)
# Rank-1 and mAP may drop by at most this (half a point).
LARGEST_FALL = 0.005
_UNIT_TOLERANCE = 1e-3
_PERCENT = 100.0


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Required cosines between file and torch network: the smallest, the mean, the 1 % quantile."""

    least: float = -1.0
    mean: float = -1.0
    first_percentile: float = -1.0


TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(least=0.9999),
    "fp16": Tolerance(least=0.999),
    "int8": Tolerance(mean=0.99, first_percentile=0.98),
}


def measure_parity(
    reference: Embedder,
    open_candidate: Callable[[int], Embedder],
    crops: NDArray[np.uint8],
    *,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> tuple[Parity, ...]:
    """Compare the torch network's and the file's embeddings of (N, H, W, 3) uint8 RGB crops.

    `open_candidate` opens the file to be run with a batch size. Returns a row for each depth and
    batch size.

    Raises:
        ParityError: the file does not run, or its embeddings do not have length 1.
    """
    expected = reference.embed(crops)
    rows = []
    for batch_size in batch_sizes:
        candidate = open_candidate(batch_size)
        try:
            found = candidate.embed(crops)
        except Exception as error:
            # Runtimes raise exceptions of any type; all mean that the file does not work.
            raise ParityError(f"the file fails at batch {batch_size}: {error}") from error
        for depth in sorted(expected):
            cosines = _cosines(expected[depth], found[depth], depth)
            rows.append(
                Parity(
                    depth=depth,
                    batch_size=batch_size,
                    crops=len(crops),
                    least=float(cosines.min()),
                    mean=float(cosines.mean()),
                    first_percentile=float(np.percentile(cosines, 1)),
                )
            )
    return tuple(sorted(rows, key=lambda row: (row.depth, row.batch_size)))


def require_parity(rows: Sequence[Parity], precision: Precision) -> None:
    """Raise ParityError, which names them, if rows violate the tolerance of the precision."""
    tolerance = TOLERANCES[precision]
    failures = [
        f"Res{row.depth} at batch {row.batch_size}: {words} cosine {value:.5f}, "
        f"at least {wanted} is needed"
        for row in rows
        for words, value, wanted in (
            ("least", row.least, tolerance.least),
            ("mean", row.mean, tolerance.mean),
            ("first percentile", row.first_percentile, tolerance.first_percentile),
        )
        # Negated, so that NaN fails.
        if not value >= wanted
    ]
    if failures:
        advice = (
            "Calibrate on more crops, from the cameras that the network will be used with, or "
            "export as fp32."
            if precision == "int8"
            else "The file was not written. Please report this with the versions of torch and onnx."
        )
        raise ParityError(
            f"outputs of the {precision} file differ from the network's: {'; '.join(failures)}. "
            f"{advice}"
        )


def measure_accuracy(
    reference: Embedder,
    candidate: Embedder,
    dataset: ReidDataset,
    *,
    on_progress: Callable[[int], None] | None = None,
) -> tuple[Accuracy, ...]:
    """Rank-1 and mAP of file and torch network, both without the flip test, at each depth.

    `on_progress` gets the number of pictures just embedded, by either of the two.

    Raises:
        EvaluationError: no query has a match.
        ImageError: a picture is missing or damaged.
    """
    before, after = (
        evaluate(embedder, dataset.query, dataset.gallery, on_progress=on_progress).results
        for embedder in (reference, candidate)
    )
    return tuple(
        Accuracy(
            dataset=dataset.name,
            depth=depth,
            rank1=after[depth].metrics.rank1,
            mean_ap=after[depth].metrics.mean_ap,
            torch_rank1=before[depth].metrics.rank1,
            torch_mean_ap=before[depth].metrics.mean_ap,
        )
        for depth in sorted(before)
    )


def require_accuracy(rows: Sequence[Accuracy]) -> None:
    """Raise ParityError, with all drops, if Rank-1 or mAP drops by more than half a point."""
    failures = [
        f"Res{row.depth} on {row.dataset}: {words} falls from {_PERCENT * before:.2f} "
        f"to {_PERCENT * after:.2f}"
        for row in rows
        for words, before, after in (
            ("Rank-1", row.torch_rank1, row.rank1),
            ("mAP", row.torch_mean_ap, row.mean_ap),
        )
        if not before - after <= LARGEST_FALL
    ]
    if failures:
        raise ParityError(
            f"the file is less accurate than the network: {'; '.join(failures)}; at most "
            f"{_PERCENT * LARGEST_FALL} points are allowed. Calibrate on other crops or export "
            "as fp32."
        )


def _cosines(
    expected: NDArray[np.float32], found: NDArray[np.float32], depth: int
) -> NDArray[np.float64]:
    lengths = np.linalg.norm(found.astype(np.float64), axis=1)
    if found.shape != expected.shape or not (np.abs(lengths - 1) <= _UNIT_TOLERANCE).all():
        raise ParityError(
            f"Res{depth}: the file's embeddings must be {expected.shape} of length 1; they are "
            f"{found.shape} with lengths from {lengths.min():.4f} to {lengths.max():.4f}."
        )
    cosines: NDArray[np.float64] = np.vecdot(expected.astype(np.float64), found / lengths[:, None])
    return cosines
