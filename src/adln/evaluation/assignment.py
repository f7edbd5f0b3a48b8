"""The best one-to-one assignment of rows to columns, by `lap` (Jonker and Volgenant 1987)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import EvaluationError, require_package


def best_assignment(scores: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Assign rows to columns one to one with the largest sum of (R, C) finite scores.

    R and C may be 0. Returns min(R, C) rows, ascending, and the column of each.

    Raises:
        EvaluationError: Not a matrix, a score is NaN or infinite, or lap is not installed.
    """
    cost = -np.asarray(scores, dtype=np.float64)
    if cost.ndim != 2 or not np.isfinite(cost).all():
        raise EvaluationError(f"Scores must be a matrix of finite numbers, got shape {cost.shape}.")
    if cost.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    lap = require_package(
        "lap", extra="camera", purpose="comparing identities", raises=EvaluationError
    )
    columns = lap.lapjv(cost, extend_cost=True)[1].astype(np.int64)
    rows = np.flatnonzero(columns >= 0)
    return rows, columns[rows]
