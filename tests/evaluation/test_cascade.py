from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from adln.embeddings import unit_length
from adln.errors import EvaluationError, SettingsError
from adln.evaluation.cascade import CascadeResult, StageCosts, cascade_text, evaluate_cascade
from adln.evaluation.protocol import DepthResult, Evaluation
from adln.evaluation.ranking import evaluate_features
from adln.matching.confidence import confidence, expand_queries, threshold_for

MakeEvaluation = Callable[..., Evaluation]
NOISES = {2: 0.9, 4: 0.45}


@pytest.fixture
def evaluation(make_evaluation: MakeEvaluation) -> Evaluation:
    return make_evaluation(noises=NOISES)


@pytest.fixture
def result(evaluation: Evaluation) -> CascadeResult:
    return evaluate_cascade(evaluation)


def searched(
    evaluation: Evaluation, query_depth: int, gallery_depth: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Similarities, persons and positions of all answers, best first; one query at a time."""
    query, gallery = evaluation.query, evaluation.gallery
    features = evaluation.results[gallery_depth].gallery_features
    rows = []
    for at, feature in enumerate(evaluation.results[query_depth].query_features):
        scores = features @ feature
        for other in range(len(gallery)):
            same_person = gallery.person_ids[other] == query.person_ids[at]
            if same_person and gallery.camera_ids[other] == query.camera_ids[at]:
                scores[other] = -np.inf
        order = np.argsort(-scores, kind="stable")[:50]
        rows.append((scores[order], gallery.person_ids[order], order))
    similarity, persons, positions = (np.stack(column) for column in zip(*rows, strict=True))
    return similarity, persons, positions


def test_the_ends_of_the_dial_are_the_two_networks(
    result: CascadeResult, evaluation: Evaluation
) -> None:
    shallow, deep = (evaluation.results[depth].metrics for depth in (2, 4))
    points = result.curve("own", persons_known=True, expanded=False).points
    assert (points[0].deeper, points[-1].deeper) == (0, 1)
    assert (points[0].rank1, points[0].mean_ap) == pytest.approx((shallow.rank1, shallow.mean_ap))
    assert (points[-1].rank1, points[-1].mean_ap) == pytest.approx((deep.rank1, deep.mean_ap))
    assert (points[0].threshold, points[-1].threshold) == (None, None)


def test_in_a_shared_space_shallow_queries_search_the_deep_gallery(
    result: CascadeResult, evaluation: Evaluation
) -> None:
    query, gallery = evaluation.query, evaluation.gallery
    crossed = evaluate_features(
        (evaluation.results[2].query_features, *query.ids),
        (evaluation.results[4].gallery_features, *gallery.ids),
    )
    point = result.curve("shared", persons_known=True, expanded=False).points[0]
    assert point.mean_ap == pytest.approx(crossed.mean_ap)
    assert crossed.mean_ap > evaluation.results[2].metrics.mean_ap
    assert result.better_gallery == "shared"


@pytest.mark.parametrize("known", [True, False])
def test_going_deeper_where_it_is_unsure_beats_going_deeper_anywhere(
    result: CascadeResult, known: bool
) -> None:
    points = result.curve("own", persons_known=known, expanded=False).points
    ends = points[0].mean_ap, points[-1].mean_ap
    for point in points[3:8]:
        assert point.deeper == pytest.approx(point.asked, abs=0.15)
        assert point.mean_ap > ends[0] + point.deeper * (ends[1] - ends[0])


def test_a_threshold_is_judged_on_people_it_was_not_fitted_on(evaluation: Evaluation) -> None:
    (point,) = evaluate_cascade(evaluation, shares=[0.3]).curves[0].points
    similarity, persons, _ = searched(evaluation, 2, 2)
    sure = confidence(similarity, persons)
    query = evaluation.query
    shuffled = np.random.default_rng(0).permutation(np.unique(query.person_ids))
    first = set(shuffled[: len(shuffled) // 2].tolist())
    is_first = np.array([person in first for person in query.person_ids])
    thresholds = threshold_for(sure[~is_first], 0.3), threshold_for(sure[is_first], 0.3)
    deeper = [
        value < thresholds[0 if in_first else 1]
        for value, in_first in zip(sure, is_first, strict=True)
    ]
    assert point.deeper == pytest.approx(np.mean(deeper))
    shallow, deep = (evaluation.results[depth].metrics for depth in (2, 4))
    expected = [(deep if goes else shallow).average_precision[at] for at, goes in enumerate(deeper)]
    assert point.mean_ap == pytest.approx(np.mean(expected))
    assert point.threshold == pytest.approx(threshold_for(sure, 0.3))


def test_query_expansion_searches_the_deep_gallery_by_its_own_pictures(
    result: CascadeResult, evaluation: Evaluation
) -> None:
    query, gallery = evaluation.query, evaluation.gallery
    features = evaluation.results[4].gallery_features
    for end, depth in ((0, 2), (-1, 4)):
        similarity, _, positions = searched(evaluation, depth, depth)
        expected = evaluate_features(
            (expand_queries(features[positions], similarity), *query.ids), (features, *gallery.ids)
        )
        point = result.curve("own", persons_known=False, expanded=True).points[end]
        assert point.mean_ap == pytest.approx(expected.mean_ap)


def test_spaces_of_their_own_are_told_apart(evaluation: Evaluation) -> None:
    deep = evaluation.results[4]
    turned = DepthResult(
        unit_length(deep.query_features[:, ::-1]),
        unit_length(deep.gallery_features[:, ::-1]),
        deep.metrics,
        None,
    )
    apart = replace(evaluation, results={2: evaluation.results[2], 4: turned})
    assert evaluate_cascade(apart, shares=[0.0]).better_gallery == "own"


def test_depths_between_are_left_out_unless_asked_for(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(noises={1: 1.2, 2: 0.9, 4: 0.4})
    whole = evaluate_cascade(evaluation, shares=[0.5])
    part = evaluate_cascade(evaluation, from_depth=2, shares=[0.5])
    assert [(r.from_depth, r.to_depth) for r in (whole, part)] == [(1, 4), (2, 4)]
    with pytest.raises(EvaluationError, match=r"got 3 and 4 of \[1, 2, 4\]"):
        evaluate_cascade(evaluation, from_depth=3)
    with pytest.raises(EvaluationError, match="got 4 and 2"):
        evaluate_cascade(evaluation, from_depth=4, to_depth=2)


def test_a_gallery_of_a_few_pictures_will_do(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(noises=NOISES, persons=3)
    points = evaluate_cascade(evaluation).curve("own", persons_known=False, expanded=True).points
    assert all(0 <= point.mean_ap <= 1 for point in points)


def test_a_query_without_any_answer_counts_nowhere(make_evaluation: MakeEvaluation) -> None:
    evaluation = make_evaluation(noises=NOISES, persons=3)
    only = np.flatnonzero(evaluation.gallery.person_ids == 0)[:1]
    gallery = evaluation.gallery.select(only)
    query = evaluation.query
    results = {}
    for depth, found in evaluation.results.items():
        features = found.gallery_features[only]
        metrics = evaluate_features((found.query_features, *query.ids), (features, *gallery.ids))
        results[depth] = DepthResult(found.query_features, features, metrics, None)
    for curve in evaluate_cascade(Evaluation(query, gallery, results)).curves:
        assert all(point.mean_ap == 1 for point in curve.points)


def test_impossible_dials_are_refused(make_evaluation: MakeEvaluation) -> None:
    with pytest.raises(SettingsError, match=r"between 0 and 1, got 1\.5"):
        evaluate_cascade(make_evaluation(noises=NOISES), shares=[1.5])
    with pytest.raises(EvaluationError, match="at least two persons, got 1"):
        evaluate_cascade(make_evaluation(noises=NOISES, persons=1))


def test_the_text_has_a_line_for_each_position_and_its_mean_cost(result: CascadeResult) -> None:
    costs = StageCosts((2, 4), 10**9, 2 * 10**9, shallow_ms=4.0, deeper_ms=10.0)
    lines = cascade_text(result, costs).splitlines()
    cells = [line.split() for line in lines if " % " in line]
    assert len(cells) == 11
    assert cells[0][:5] == ["0", "%", "–", "1.00", "4.00"]
    assert cells[-1][:5] == ["100", "%", "–", "3.00", "14.00"]
    assert max(map(len, lines)) <= 100
    assert "GMACs" not in cascade_text(result)
