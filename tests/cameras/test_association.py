import numpy as np

from adln.cameras.association import are_short, assign, best_with_margin, has_rivals, touched_sides


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


def test_where_more_rows_than_columns_come_into_question_somebody_is_left_out() -> None:
    possible = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 1, 1]], bool)
    assert are_short(possible).tolist() == [True, False, False]
    assert are_short(np.zeros((2, 0), bool)).tolist() == []
    assert are_short(np.zeros((0, 2), bool)).tolist() == [False, False]
