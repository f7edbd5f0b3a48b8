"""Open-set figures against definitions written as naive loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import EvaluationError
from adln.evaluation.open_set import (
    OpenSetSearches,
    PersonScores,
    dir_at_far,
    evaluate_open_set,
    open_set_text,
    person_scores,
    searches_among,
    threshold_at,
    tpr_at_fpr,
)
from adln.evaluation.ranking import Side

# Few distinct values, so that equal scores are common.
score = st.integers(-8, 8).map(lambda value: np.float32(value / 8))
score_lists = st.lists(score, min_size=5, max_size=40).map(lambda s: np.array(s, np.float32))


def share(scores: NDArray[np.floating], threshold: float) -> float:
    return sum(1 for value in scores if value >= threshold) / len(scores)


@given(score_lists, st.floats(0.2, 0.95))
@settings(deadline=None)
def test_the_threshold_is_the_smallest_that_keeps_the_rate(
    scores: NDArray[np.float32], rate: float
) -> None:
    threshold = threshold_at(scores, rate)
    assert share(scores, threshold) <= rate + 1e-9
    looser = float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))
    assert share(scores, looser) > rate


@given(score_lists, score_lists, st.floats(0.2, 0.9))
@settings(deadline=None)
def test_pairs_are_counted_as_defined(
    same: NDArray[np.float32], different: NDArray[np.float32], rate: float
) -> None:
    point = tpr_at_fpr(same, different, rate)
    # The best of all thresholds that keep the rate, tried one by one.
    tried = [float(value) for value in np.concatenate([same, different])] + [2.0]
    best = max(share(same, t) for t in tried if share(different, t) <= rate + 1e-9)
    assert point.true_share == pytest.approx(best)
    assert point.false_share == pytest.approx(share(different, point.threshold))


@given(score_lists, score_lists, st.floats(0.2, 0.9))
@settings(deadline=None)
def test_scores_of_another_scale_give_the_same_shares(
    same: NDArray[np.float32], different: NDArray[np.float32], rate: float
) -> None:
    plain = tpr_at_fpr(same, different, rate)
    scaled = tpr_at_fpr(same * 4 + 1, different * 4 + 1, rate)
    assert (plain.true_share, plain.false_share) == (scaled.true_share, scaled.false_share)


def made_up(seed: int = 0, persons: int = 12, noise: float = 0.8) -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(persons, 16))
    split = {}
    for name, each in (("query", 4), ("gallery", 6)):
        ids = np.repeat(np.arange(persons), each)
        split[f"{name}_features"] = unit_length(
            centres[ids] + noise * rng.normal(size=(len(ids), 16))
        )
        split[f"{name}_person_ids"] = ids + 100
        split[f"{name}_camera_ids"] = rng.integers(1, 4, len(ids))
    return split


def sides(data: dict[str, NDArray[np.generic]]) -> tuple[Side, Side]:
    query, gallery = (
        (data[f"{name}_features"], data[f"{name}_person_ids"], data[f"{name}_camera_ids"])
        for name in ("query", "gallery")
    )
    return query, gallery


def naive_searches(data: dict[str, NDArray[np.generic]], enrolled: set[int]) -> OpenSetSearches:
    mated, ranks, strangers = [], [], []
    similarity = data["query_features"] @ data["gallery_features"].T
    for q, person in enumerate(data["query_person_ids"]):
        best: dict[int, float] = {}
        for g, other in enumerate(data["gallery_person_ids"]):
            own_camera = data["gallery_camera_ids"][g] == data["query_camera_ids"][q]
            if other not in enrolled or (other == person and own_camera):
                continue
            best[other] = max(best.get(other, -9.0), similarity[q, g])
        if person not in enrolled:
            strangers.append(max(best.values()))
        elif person in best:
            mated.append(best[person])
            ranks.append(sum(value >= best[person] for value in best.values()))
    return OpenSetSearches(len(enrolled), np.array(mated), np.array(ranks), np.array(strangers))


@pytest.mark.parametrize("seed", range(4))
def test_searches_are_those_of_the_naive_loops(seed: int) -> None:
    data = made_up(seed)
    compared = person_scores(*sides(data))
    enrolled = np.random.default_rng(seed).random(len(compared.person_ids)) < 0.5
    enrolled[0] = True
    found = searches_among(compared, enrolled)
    expected = naive_searches(data, set(compared.person_ids[enrolled].tolist()))
    assert found.num_enrolled == expected.num_enrolled
    np.testing.assert_allclose(found.mated_scores, expected.mated_scores, rtol=1e-6)
    np.testing.assert_array_equal(found.mated_ranks, expected.mated_ranks)
    np.testing.assert_allclose(found.stranger_scores, expected.stranger_scores, rtol=1e-6)


def test_dir_counts_people_found_in_time_and_above_the_threshold() -> None:
    searches = OpenSetSearches(
        num_enrolled=5,
        mated_scores=np.array([0.9, 0.8, 0.7, 0.2], np.float32),
        mated_ranks=np.array([1, 2, 1, 1]),
        stranger_scores=np.array([0.75, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0, -0.1, -0.2, -0.3]),
    )
    strict = dir_at_far(searches, 0.1)
    # One alarm in ten is allowed: the threshold lies just above the second best stranger.
    assert strict.threshold == np.nextafter(0.5, 1)
    assert (strict.true_share, strict.false_share) == (0.5, 0.1)
    assert dir_at_far(searches, 0.1, max_rank=2).true_share == 0.75


def test_a_looser_rate_never_finds_fewer() -> None:
    compared = person_scores(*sides(made_up(persons=30)))
    searches = searches_among(compared, np.arange(30) % 2 == 0)
    found = [dir_at_far(searches, rate).true_share for rate in (0.02, 0.05, 0.1, 0.3, 0.9)]
    assert found == sorted(found)


def test_a_pair_of_the_query_s_own_camera_is_junk() -> None:
    data = made_up()
    near = {**data, "gallery_features": data["gallery_features"].copy()}
    own = (data["query_person_ids"][0] == data["gallery_person_ids"]) & (
        data["query_camera_ids"][0] == data["gallery_camera_ids"]
    )
    near["gallery_features"][own] = data["query_features"][0]
    assert own.any()
    one = person_scores(*sides(data)).scores[0]
    np.testing.assert_array_equal(one, person_scores(*sides(near)).scores[0])
    with_own = person_scores(*sides(near), across_cameras=False).scores[0]
    assert with_own.max() == pytest.approx(1)


def test_people_who_are_well_apart_are_all_found() -> None:
    result = evaluate_open_set(*sides(made_up(persons=60, noise=0.01)))
    assert {point.asked for point in result.pairs} == {1e-4, 1e-3, 1e-2}
    assert all(point.true_share == 1 for point in result.pairs)
    assert all(point.true_share == 1 for point in result.searches)
    assert result.num_enrolled == 30
    # 120 searches for strangers cannot tell 0.1 % from zero.
    assert [point.asked for point in result.searches] == [0.01, 0.1]


def test_the_pairs_of_an_evaluation_are_those_of_all_pairs() -> None:
    data = made_up(persons=20)
    result = evaluate_open_set(*sides(data), pair_rates=(0.001, 0.01, 0.3))
    similarity = data["query_features"] @ data["gallery_features"].T
    one = data["query_person_ids"][:, None] == data["gallery_person_ids"]
    other_camera = data["query_camera_ids"][:, None] != data["gallery_camera_ids"]
    assert result.num_same_pairs == np.count_nonzero(one & other_camera)
    assert result.num_different_pairs == np.count_nonzero(~one)
    for point in result.pairs:
        expected = tpr_at_fpr(similarity[one & other_camera], similarity[~one], point.asked)
        assert point == expected


def test_the_table_names_every_figure() -> None:
    found = {depth: evaluate_open_set(*sides(made_up(seed))) for depth, seed in ((1, 0), (4, 1))}
    text = open_set_text(found)
    for word in ("TPR@0.1%", "DIR@10%", "Res1", "Res4", "6 persons enrolled", "10 random halves"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 90


def test_a_rate_that_cannot_be_told_from_zero_is_refused() -> None:
    with pytest.raises(EvaluationError, match="at least 1,000 are needed"):
        threshold_at(np.zeros(999), 0.001)
    with pytest.raises(EvaluationError, match="between 0 and 1"):
        threshold_at(np.zeros(9), 1.0)


def test_nan_and_missing_scores_are_refused() -> None:
    with pytest.raises(EvaluationError, match="NaN"):
        tpr_at_fpr(np.array([np.nan]), np.zeros(10), 0.1)
    with pytest.raises(EvaluationError, match="no scores of pairs of one person"):
        tpr_at_fpr(np.zeros(0), np.zeros(10), 0.1)
    compared = PersonScores(np.zeros((1, 2), np.float32), np.arange(2), np.arange(1), np.arange(1))
    with pytest.raises(EvaluationError, match="No one is enrolled"):
        searches_among(compared, np.zeros(2, np.bool_))
    with pytest.raises(EvaluationError, match="2 booleans"):
        searches_among(compared, np.ones(3, np.bool_))
    with pytest.raises(EvaluationError, match="same D"):
        person_scores(
            (np.zeros((1, 3)), np.zeros(1, int), np.zeros(1, int)),
            (np.zeros((1, 4)), np.zeros(1, int), np.zeros(1, int)),
        )
