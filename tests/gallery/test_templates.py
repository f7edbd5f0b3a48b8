import numpy as np

from adln.gallery.templates import choose_templates


def test_few_are_all_kept() -> None:
    assert choose_templates(np.eye(3, dtype=np.float32), np.ones(3), 5).tolist() == [0, 1, 2]


def test_the_best_and_the_different_are_kept_and_copies_are_not() -> None:
    rows = np.eye(4, dtype=np.float32)[[0, 0, 0, 1, 2, 2]]
    qualities = np.array([0.5, 0.9, 0.5, 0.4, 0.3, 0.6])
    assert choose_templates(rows, qualities, 3).tolist() == [1, 3, 5]


def test_among_equally_different_ones_the_better_is_kept() -> None:
    rows = np.eye(4, dtype=np.float32)
    assert choose_templates(rows, np.array([0.9, 0.2, 0.5, 0.1]), 2).tolist() == [0, 2]
