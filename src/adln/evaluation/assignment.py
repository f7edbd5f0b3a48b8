"""The best one-to-one assignment of rows to columns (Kuhn 1955, Munkres 1957).

Identity measures need it on a device, too, where scipy (35 MB) is not installed; the tests hold
it against scipy's.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import EvaluationError


def best_assignment(scores: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Assign rows to columns one to one so that the sum of the scores is as large as possible.

    Takes time in proportion to the square of the shorter side times the longer one.

    Args:
        scores: (R, C) finite numbers; either may be 0.

    Returns:
        min(R, C) rows, ascending, and the column of each.

    Raises:
        EvaluationError: Not a matrix, or a score is NaN or infinite.
    """
    cost = -np.asarray(scores, dtype=np.float64)
    if cost.ndim != 2 or not np.isfinite(cost).all():
        raise EvaluationError(
            f"Scores to assign must be a matrix of finite numbers, got shape {cost.shape}."
        )
    if cost.shape[0] > cost.shape[1]:
        columns, rows = _assign_rows(cost.T)
        order = np.argsort(rows)
        return rows[order], columns[order]
    return _assign_rows(cost)


def _assign_rows(cost: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Add one row after the other along shortest augmenting paths; no more rows than columns."""
    num_rows, num_columns = cost.shape
    row_price = np.zeros(num_rows)
    # One further column, the last, stands for "the row that is being added".
    column_price = np.zeros(num_columns + 1)
    row_of = np.full(num_columns + 1, -1, np.int64)
    for new_row in range(num_rows):
        row_of[num_columns] = new_row
        column = num_columns
        distance = np.full(num_columns, np.inf)
        came_from = np.full(num_columns, num_columns, np.int64)
        visited = np.zeros(num_columns + 1, bool)
        while row_of[column] >= 0:
            visited[column] = True
            row = row_of[column]
            reduced = cost[row] - row_price[row] - column_price[:num_columns]
            is_open = ~visited[:num_columns]
            is_nearer = is_open & (reduced < distance)
            distance[is_nearer] = reduced[is_nearer]
            came_from[is_nearer] = column
            nearest = int(np.argmin(np.where(is_open, distance, np.inf)))
            step = distance[nearest]
            row_price[row_of[visited]] += step
            column_price[visited] -= step
            distance[is_open] -= step
            column = nearest
        while column != num_columns:
            row_of[column] = row_of[came_from[column]]
            column = int(came_from[column])
    columns = np.flatnonzero(row_of[:num_columns] >= 0)
    rows = row_of[columns]
    order = np.argsort(rows)
    return rows[order], columns[order]
