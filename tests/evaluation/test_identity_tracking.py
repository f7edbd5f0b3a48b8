from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.errors import EvaluationError
from adln.evaluation.identity_tracking import (
    IdentityBoxes,
    count_id_switches,
    measure_identities,
    score_identities,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "identity_tracking.npz"
Rows = list[tuple[int, int, int]]


def boxes(rows: Rows, *, shift_px: float = 0.0) -> IdentityBoxes:
    """Rows of (frame, camera, identity); everybody keeps to a spot of their own."""
    places = [(20 * spot, 0, 20 * spot + 10, 30) for spot in range(len(rows))]
    return table([(*row, *place) for row, place in zip(rows, places, strict=True)], shift_px)


def table(rows: list[tuple[float, ...]], shift_px: float = 0.0) -> IdentityBoxes:
    values = np.array(rows, dtype=np.float64).reshape(-1, 7)
    whole = values[:, :3].astype(np.int64)
    return IdentityBoxes(
        frames=whole[:, 0],
        camera_ids=whole[:, 1],
        identities=whole[:, 2],
        boxes_xyxy=values[:, 3:] + np.array([shift_px, 0, shift_px, 0]),
    )


def test_the_truth_itself_is_perfect_under_any_names() -> None:
    rows = [(f, c, p) for f in range(5) for c in (1, 2) for p in (1, 2, 3)]
    renamed = [(f, c, 90 - p) for f, c, p in rows]
    measured = measure_identities(boxes(rows), boxes(renamed))
    assert measured.idf1 == measured.overall.idp == measured.overall.idr == 1.0
    assert measured.overall.pairs == {1: 89, 2: 88, 3: 87}
    assert measured.id_switches == {1: 0, 2: 0}


def test_a_new_id_under_each_camera_is_right_under_one_of_them_only() -> None:
    """6 frames under camera 1, 4 under camera 2: only the six count."""
    rows = [(f, 1, 7) for f in range(6)] + [(f, 2, 7) for f in range(4)]
    fresh = [(f, c, 10 + c) for f, c, _ in rows]
    measured = measure_identities(boxes(rows), boxes(fresh))
    assert measured.idf1 == pytest.approx(0.6)
    assert measured.by_camera[1].idf1 == measured.by_camera[2].idf1 == 1.0


def test_a_new_id_after_an_absence_counts_once() -> None:
    rows = [(f, 1, 1) for f in (*range(3), *range(50, 57))]
    cut = [(f, 1, 5 if f < 10 else 6) for f, _, _ in rows]
    score = score_identities(boxes(rows), boxes(cut))
    assert score.idf1 == pytest.approx(0.7)
    assert score.pairs == {1: 6}
    assert count_id_switches(boxes(rows), boxes(cut)) == 1


def test_two_people_under_one_id_cost_what_the_lesser_one_had() -> None:
    rows = [(f, 1, 1) for f in range(8)] + [(f, 2, 2) for f in range(2)]
    merged = [(f, c, 5) for f, c, _ in rows]
    score = score_identities(boxes(rows), boxes(merged))
    assert (score.agreeing_boxes, score.idp, score.idr) == (8, 0.8, 0.8)


def test_missed_people_lower_recall_and_invented_ones_precision() -> None:
    rows = [(f, 1, 1) for f in range(10)]
    half = score_identities(boxes(rows), boxes(rows[:5]))
    assert (half.idp, half.idr, half.idf1) == (1.0, 0.5, pytest.approx(2 / 3))
    twice = score_identities(boxes(rows[:5]), boxes(rows))
    assert (twice.idp, twice.idr) == (0.5, 1.0)


def test_boxes_must_overlap_by_half() -> None:
    rows = [(f, 1, 1) for f in range(4)]
    # Boxes 10 px wide, 3 apart: IoU 7/13; 4 apart: 6/14.
    assert score_identities(boxes(rows), boxes(rows, shift_px=3)).idf1 == 1.0
    assert score_identities(boxes(rows), boxes(rows, shift_px=4)).idf1 == 0.0
    assert score_identities(boxes(rows), boxes(rows, shift_px=4), min_iou=0.4).idf1 == 1.0


def test_nothing_predicted_scores_zero() -> None:
    measured = measure_identities(boxes([(0, 1, 1)]), table([]))
    assert (measured.idf1, measured.overall.idp, measured.overall.idr) == (0.0, 0.0, 0.0)


def test_a_swap_of_two_people_is_two_switches() -> None:
    spots = {1: (0, 0, 10, 30), 2: (50, 0, 60, 30)}
    rows = [(f, 1, p, *spots[p]) for f in range(6) for p in (1, 2)]
    swapped = [(f, c, p if f < 3 else 3 - p, *box) for f, c, p, *box in rows]
    assert count_id_switches(table(rows), table(swapped)) == 2


def test_a_pair_is_kept_while_it_fits_even_if_another_box_overlaps_more() -> None:
    truth = [(0, 1, 1, 0, 0, 10, 30), (1, 1, 1, 0, 0, 10, 30)]
    predicted = [
        (0, 1, 5, 0, 0, 10, 30),
        (1, 1, 5, 2, 0, 12, 30),
        (1, 1, 6, 0, 0, 10, 30),
    ]
    assert count_id_switches(table(truth), table(predicted)) == 0


def test_no_pairing_of_identities_is_better() -> None:
    """Against all pairings, one by one, with the definition written as loops."""
    rng = np.random.default_rng(0)
    for _ in range(25):
        spots = [(0, 0, 10, 10), (3, 0, 13, 10), (30, 0, 40, 10)]
        rows: dict[str, list[tuple[float, ...]]] = {"truth": [], "predicted": []}
        for name in rows:
            for frame in range(4):
                for camera in (1, 2):
                    for identity in range(4):
                        if rng.random() < 0.5:
                            spot = spots[rng.integers(3)]
                            rows[name].append((frame, camera, identity, *spot))
        truth, predicted = table(rows["truth"]), table(rows["predicted"])
        best = 0
        for chosen in permutations(range(4)):
            agreeing = 0
            for f, c, i, *box in rows["truth"]:
                for f2, c2, i2, *box2 in rows["predicted"]:
                    same_place = (f, c) == (f2, c2) and chosen[int(i)] == i2
                    agreeing += same_place and naive_iou(box, box2) >= 0.5
            best = max(best, agreeing)
        assert score_identities(truth, predicted).agreeing_boxes == best


def naive_iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.parametrize("case", range(4))
def test_numbers_are_those_of_motmetrics(case: int) -> None:
    """Values of motmetrics 1.4.0 for four made-up sites of three cameras."""
    with np.load(GOLDEN) as golden:
        truth = table([tuple(row) for row in golden[f"truth_{case}"]])
        predicted = table([tuple(row) for row in golden[f"predicted_{case}"]])
        overall: NDArray[np.float64] = golden[f"overall_{case}"]
        by_camera: NDArray[np.float64] = golden[f"by_camera_{case}"]
    measured = measure_identities(truth, predicted)
    score = measured.overall
    np.testing.assert_allclose(
        [score.idf1, score.idp, score.idr, score.agreeing_boxes], overall, rtol=1e-12
    )
    for camera in (1, 2, 3):
        idf1, switches = by_camera[camera - 1]
        assert measured.by_camera[camera].idf1 == pytest.approx(idf1, rel=1e-12)
        assert measured.id_switches[camera] == switches


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 1, 1, 0, 0, 5, 5), (0, 1, 1, 9, 9, 20, 20)], "expected at most one"),
        ([(0, 1, 1, 5, 0, 0, 5)], "left <= right"),
        ([(0, 1, 1, 0, 0, np.nan, 5)], "finite"),
    ],
)
def test_boxes_that_cannot_be_are_refused(rows: list[tuple[float, ...]], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        table(rows)


def test_wrong_arguments_are_refused() -> None:
    some = boxes([(0, 1, 1)])
    with pytest.raises(EvaluationError, match="no true boxes"):
        measure_identities(table([]), some)
    with pytest.raises(EvaluationError, match="min_iou"):
        score_identities(some, some, min_iou=0.0)
    with pytest.raises(EvaluationError, match="camera by camera"):
        count_id_switches(some, boxes([(0, 2, 1)]))
    with pytest.raises(EvaluationError, match="whole numbers"):
        IdentityBoxes(
            frames=np.zeros(1),  # type: ignore[arg-type]
            camera_ids=some.camera_ids,
            identities=some.identities,
            boxes_xyxy=some.boxes_xyxy,
        )


def test_one_kept_pair_goes_before_two_new_ones() -> None:
    # In the second frame, box 7 still fits person 1, whose it was; were it given to person 2,
    # person 1 could have box 8.
    truth = [(0, 1, 1, 0, 0, 10, 30), (1, 1, 1, 0, 0, 10, 30), (1, 1, 2, 4, 0, 14, 30)]
    predicted = [(0, 1, 7, 0, 0, 10, 30), (1, 1, 7, 2, 0, 12, 30), (1, 1, 8, -3, 0, 7, 30)]
    assert count_id_switches(table(truth), table(predicted)) == 0
