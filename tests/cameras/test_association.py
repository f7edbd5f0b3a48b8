import numpy as np
import pytest

from adln.cameras.association import (
    assign,
    best_with_margin,
    has_rivals,
    overlaps,
    touched_sides,
)


def test_pairs_are_chosen_for_the_largest_sum() -> None:
    # Taking the best pair first would leave 0.1 for the other.
    scores = np.array([[0.9, 0.8], [0.85, 0.1]])
    assert assign(scores, least=0.2) == [(0, 1), (1, 0)]


def test_pairs_below_the_least_score_stay_apart() -> None:
    scores = np.array([[0.9, -np.inf], [-np.inf, 0.1]])
    assert assign(scores, least=0.2) == [(0, 0)]
    assert assign(np.zeros((0, 3)), least=0.2) == []
    assert assign(np.zeros((3, 0)), least=0.2) == []


def test_scores_beyond_one_are_still_the_better_ones() -> None:
    assert assign(np.array([[1.6, 1.1], [1.5, 0.3]]), least=0.2) == [(0, 1), (1, 0)]


def test_a_box_with_one_track_of_its_own_has_no_rivals() -> None:
    overlaps = np.array([[0.8, 0.0, 0.0], [0.0, 0.7, 0.6]])
    assert has_rivals(overlaps, least=0.2, near=0.5).tolist() == [False, True, True]
    assert has_rivals(overlaps.T, least=0.2, near=0.5).tolist() == [False, True]
    assert has_rivals(np.zeros((0, 2)), least=0.2, near=0.5).tolist() == [False, False]


def test_a_far_weaker_overlap_is_no_rival() -> None:
    assert has_rivals(np.array([[0.9], [0.3]]), least=0.2, near=0.5).tolist() == [False]


def test_the_best_needs_its_margin_over_every_other_one() -> None:
    assert best_with_margin(np.array([0.5, 0.9, 0.6]), margin=0.1) == 1
    assert best_with_margin(np.array([0.5, 0.9, 0.85]), margin=0.1) is None
    assert best_with_margin(np.array([-np.inf, -np.inf]), margin=0.1) is None
    assert best_with_margin(np.array([0.2]), margin=0.1) == 0
    assert best_with_margin(np.zeros(0), margin=0.1) is None


def test_boxes_touch_the_sides_at_which_they_end() -> None:
    boxes = np.array([[0, 50, 40, 150], [300, 50, 340, 150], [605, 250, 640, 358]], np.float32)
    assert touched_sides(boxes, height_px=360, width_px=640) == [
        frozenset({"left"}),
        frozenset(),
        frozenset({"right", "bottom"}),
    ]


def test_overlaps_weigh_the_area_in_common_with_the_square_of_the_height_in_common() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 60, (7, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 60, (7, 2))], axis=1)
    found = overlaps(boxes[:3], boxes[3:])
    for row, one in enumerate(boxes[:3].tolist()):
        for column, other in enumerate(boxes[3:].tolist()):
            width = max(min(one[2], other[2]) - max(one[0], other[0]), 0)
            height = max(min(one[3], other[3]) - max(one[1], other[1]), 0)
            areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
            area = width * height / (sum(areas) - width * height)
            common = height / (max(one[3], other[3]) - min(one[1], other[1]))
            assert found[row, column] == pytest.approx(area * common**2, abs=1e-6)


def test_boxes_of_no_height_have_nothing_in_common() -> None:
    flat = np.array([[0.0, 5.0, 10.0, 5.0]])
    assert overlaps(flat, flat).tolist() == [[0.0]]
