from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from adln.errors import EvaluationError
from adln.evaluation.assignment import best_assignment


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 5), (5, 2), (4, 4), (1, 6)])
def test_no_permutation_is_better(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        scores = rng.integers(0, 6, shape)  # many ties
        rows, columns = best_assignment(scores)
        wide = scores if shape[0] <= shape[1] else scores.T
        best = max(
            sum(wide[row, column] for row, column in enumerate(chosen))
            for chosen in permutations(range(wide.shape[1]), wide.shape[0])
        )
        assert scores[rows, columns].sum() == best


@pytest.mark.parametrize("shape", [(30, 30), (12, 200), (200, 12), (57, 60)])
def test_sum_is_that_of_scipy(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(4)
    for scores in (rng.normal(size=shape), rng.integers(0, 50, shape), rng.random(shape) < 0.1):
        rows, columns = best_assignment(scores)
        theirs = linear_sum_assignment(scores, maximize=True)
        assert scores[rows, columns].sum() == pytest.approx(scores[theirs].sum(), abs=1e-9)
        assert (np.diff(rows) > 0).all()
        assert len(set(columns.tolist())) == min(shape)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_is_assigned_to_nothing(shape: tuple[int, int]) -> None:
    rows, columns = best_assignment(np.zeros(shape))
    assert len(rows) == len(columns) == 0


@pytest.mark.parametrize("scores", [np.zeros(3), np.array([[np.nan]]), np.array([[np.inf]])])
def test_what_is_no_matrix_of_numbers_is_refused(scores: np.ndarray) -> None:
    with pytest.raises(EvaluationError, match="finite"):
        best_assignment(scores)
