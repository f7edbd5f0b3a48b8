from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adln.embeddings import cosine_distance, unit_length
from adln.errors import EvaluationError
from adln.evaluation import ranking
from adln.evaluation.ranking import (
    RankTally,
    RetrievalMetrics,
    evaluate_distance_matrix,
    evaluate_features,
    rows_per_block,
)

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "evaluation.npz")


@dataclass(frozen=True)
class Case:
    """A retrieval problem: distances, and who was seen where."""

    distances: NDArray[np.floating]
    query_persons: NDArray[np.int64]
    query_cameras: NDArray[np.int64]
    gallery_persons: NDArray[np.int64]
    gallery_cameras: NDArray[np.int64]

    def evaluate(self, *, max_rank: int = 50) -> RetrievalMetrics:
        return evaluate_distance_matrix(
            self.distances,
            (self.query_persons, self.query_cameras),
            (self.gallery_persons, self.gallery_cameras),
            max_rank=max_rank,
        )

    def with_gallery(self, columns: NDArray[np.integer] | NDArray[np.bool_]) -> "Case":
        return Case(
            self.distances[:, columns],
            self.query_persons,
            self.query_cameras,
            self.gallery_persons[columns],
            self.gallery_cameras[columns],
        )


def golden_case(*, junk: bool) -> Case:
    case = Case(
        GOLDEN["distmat"],
        GOLDEN["q_pids"],
        GOLDEN["q_camids"],
        GOLDEN["g_pids"],
        GOLDEN["g_camids"],
    )
    return case if junk else case.with_gallery(GOLDEN["keep_not_junk"])


def random_case(
    seed: int,
    *,
    num_query: int = 12,
    num_gallery: int = 60,
    num_persons: int = 6,
    levels: int | None = None,
) -> Case:
    """Random distances; with `levels`, only so many different values, hence many ties."""
    rng = np.random.default_rng(seed)
    shape = (num_query, num_gallery)
    distances = rng.random(shape) if levels is None else rng.integers(0, levels, shape) / 8
    return Case(
        distances.astype(np.float32),
        rng.integers(1, num_persons + 1, num_query),
        rng.integers(1, 4, num_query),
        rng.integers(0, num_persons + 1, num_gallery),
        rng.integers(1, 4, num_gallery),
    )


def naive_metrics(case: Case, max_rank: int) -> tuple[list[float], list[float], list[float]]:
    """CMC, and AP and INP per valid query, by sorting the gallery and walking down the list."""
    cmc_sum, precisions, penalties = [0.0] * max_rank, [], []
    for i, row in enumerate(case.distances):
        found, seen, precision_sum, first, last = 0, 0, 0.0, 0, 0
        for j in np.argsort(row, kind="stable"):
            same_person = case.gallery_persons[j] == case.query_persons[i]
            if same_person and case.gallery_cameras[j] == case.query_cameras[i]:
                continue
            seen += 1
            if same_person:
                found += 1
                precision_sum += found / seen
                first, last = first or seen, seen
        if found > 0:
            precisions.append(precision_sum / found)
            penalties.append(found / last)
            for k in range(first, max_rank + 1):
                cmc_sum[k - 1] += 1
    return [value / len(precisions) for value in cmc_sum], precisions, penalties


def assert_same_as_naive(case: Case, *, max_rank: int = 50) -> None:
    metrics = case.evaluate(max_rank=max_rank)
    cmc, precisions, penalties = naive_metrics(case, max_rank)
    np.testing.assert_allclose(metrics.cmc, cmc, atol=1e-12)
    np.testing.assert_allclose(metrics.average_precision, precisions, atol=1e-12)
    np.testing.assert_allclose(metrics.inverse_negative_penalty, penalties, atol=1e-12)
    assert metrics.mean_ap == pytest.approx(np.mean(precisions), abs=1e-12)
    assert metrics.minp == pytest.approx(np.mean(penalties), abs=1e-12)


def test_metrics_agree_with_the_public_evaluators() -> None:
    metrics = golden_case(junk=False).evaluate()
    np.testing.assert_allclose(metrics.cmc, GOLDEN["cmc50"], atol=1e-6)
    assert metrics.mean_ap == pytest.approx(float(GOLDEN["mAP"]), abs=1e-12)
    assert metrics.minp == pytest.approx(float(GOLDEN["mINP"]), abs=1e-12)
    np.testing.assert_allclose(metrics.average_precision, GOLDEN["AP_per_valid_query"], rtol=1e-9)
    np.testing.assert_allclose(
        metrics.inverse_negative_penalty, GOLDEN["INP_per_valid_query"], rtol=1e-9
    )
    assert metrics.num_valid_queries == int(GOLDEN["n_valid_queries"])
    assert metrics.num_queries == len(GOLDEN["q_pids"])


def test_junk_must_be_dropped_when_the_data_set_is_listed() -> None:
    """The trap: junk (person -1) left in the gallery counts as wrong answers and costs mAP."""
    metrics = golden_case(junk=True).evaluate()
    assert metrics.mean_ap == pytest.approx(float(GOLDEN["WRONG_junk_kept_mAP"]), abs=1e-12)
    assert metrics.minp == pytest.approx(float(GOLDEN["WRONG_junk_kept_mINP"]), abs=1e-12)
    ranks = [metrics.rank(k) for k in (1, 5, 10)]
    np.testing.assert_allclose(ranks, GOLDEN["WRONG_junk_kept_cmc_1_5_10"], atol=1e-6)
    assert metrics.mean_ap < float(GOLDEN["mAP"])


def test_the_camera_rule_matters() -> None:
    """The other trap: pictures from the query's own camera are too easy to find."""
    case = golden_case(junk=False)
    no_camera = Case(
        case.distances,
        case.query_persons,
        np.full_like(case.query_cameras, -1),
        case.gallery_persons,
        case.gallery_cameras,
    )
    metrics = no_camera.evaluate()
    assert metrics.mean_ap == pytest.approx(float(GOLDEN["WRONG_no_camera_filter_mAP"]), abs=1e-12)
    assert metrics.rank1 == pytest.approx(float(GOLDEN["WRONG_no_camera_filter_cmc1"]), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_ranks_are_those_of_a_full_sort(seed: int) -> None:
    assert_same_as_naive(random_case(seed))
    assert_same_as_naive(random_case(seed, num_query=40, num_gallery=300, num_persons=25))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 6))
def test_ties_keep_the_order_of_the_gallery(seed: int, levels: int) -> None:
    assert_same_as_naive(random_case(seed, num_gallery=25, num_persons=3, levels=levels))


@pytest.mark.parametrize("position", [0, 3])
def test_a_tie_between_right_and_wrong_goes_to_the_earlier_picture(position: int) -> None:
    persons = np.full(4, 2)
    persons[position] = 1
    case = Case(np.full((1, 4), 0.5), np.array([1]), np.array([1]), persons, np.full(4, 2))
    assert case.evaluate().first_match_rank.tolist() == [position + 1]


def test_duplicated_gallery_pictures_share_no_rank() -> None:
    # Three copies of the match: ranks 1, 2, 3, so every measure is perfect.
    case = Case(
        np.array([[0.2, 0.2, 0.2, 0.9]]),
        np.array([7]),
        np.array([1]),
        np.array([7, 7, 7, 8]),
        np.array([2, 2, 2, 2]),
    )
    metrics = case.evaluate()
    assert metrics.mean_ap == metrics.minp == metrics.rank1 == 1


def test_queries_without_a_match_are_skipped_not_counted_as_zero() -> None:
    case = Case(
        np.array([[0.1, 0.5], [0.1, 0.5], [0.1, 0.5]]),
        np.array([1, 1, 9]),
        np.array([1, 2, 1]),
        np.array([1, 2]),
        np.array([2, 2]),
    )
    metrics = case.evaluate()
    assert metrics.num_queries == 3
    assert metrics.num_valid_queries == 1
    assert metrics.valid_queries.tolist() == [0]
    assert metrics.mean_ap == 1


def test_distractors_stay_as_wrong_answers() -> None:
    case = Case(
        np.array([[0.1, 0.2]]), np.array([1]), np.array([1]), np.array([0, 1]), np.array([1, 2])
    )
    assert case.evaluate().mean_ap == 0.5


def test_metrics_on_a_list_worked_out_by_hand() -> None:
    # Ranked list: junk, wrong, right, wrong, right. Without the junk, matches at ranks 2 and 4.
    case = Case(
        np.array([[0.1, 0.2, 0.3, 0.4, 0.5]]),
        np.array([1]),
        np.array([1]),
        np.array([1, 2, 1, 0, 1]),
        np.array([1, 1, 2, 1, 3]),
    )
    metrics = case.evaluate(max_rank=3)
    assert metrics.cmc.tolist() == [0, 1, 1]
    assert metrics.mean_ap == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert metrics.minp == pytest.approx(2 / 4)
    assert metrics.first_match_rank.tolist() == [2]


def test_cmc_reaches_beyond_a_small_gallery() -> None:
    metrics = random_case(3, num_gallery=20).evaluate(max_rank=50)
    assert metrics.cmc.shape == (50,)
    assert metrics.cmc[-1] == 1


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_the_order_of_the_gallery_does_not_matter(seed: int) -> None:
    case = random_case(seed)
    shuffled = case.with_gallery(np.random.default_rng(seed).permutation(60))
    np.testing.assert_array_equal(
        case.evaluate().average_precision, shuffled.evaluate().average_precision
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_adding_distractors_never_raises_a_measure(seed: int) -> None:
    case = random_case(seed)
    kept = case.with_gallery((case.gallery_persons != 0) | (np.arange(60) % 2 == 0))
    more, fewer = case.evaluate(), kept.evaluate()
    assert np.all(more.average_precision <= fewer.average_precision)
    assert np.all(more.inverse_negative_penalty <= fewer.inverse_negative_penalty)
    assert np.all(more.cmc <= fewer.cmc)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_monotone_changes_of_distance_change_nothing(seed: int) -> None:
    case = random_case(seed)
    other = Case(
        np.exp(3 * case.distances.astype(np.float64)),
        case.query_persons,
        case.query_cameras,
        case.gallery_persons,
        case.gallery_cameras,
    )
    np.testing.assert_array_equal(
        case.evaluate().average_precision, other.evaluate().average_precision
    )


def test_measures_lie_between_zero_and_one_and_cmc_rises() -> None:
    metrics = random_case(8).evaluate()
    assert 0 <= metrics.minp <= metrics.mean_ap <= 1
    assert np.all(np.diff(metrics.cmc) >= 0)


def test_many_small_blocks_give_what_one_gives() -> None:
    case = random_case(4, num_query=1100, num_gallery=1000, num_persons=80)
    whole = case.evaluate()
    tally = RankTally(case.gallery_persons, case.gallery_cameras)
    for start in range(0, 1100, 77):
        block = slice(start, start + 77)
        tally.add(-case.distances[block], case.query_persons[block], case.query_cameras[block])
    pieces = tally.metrics()
    np.testing.assert_array_equal(pieces.average_precision, whole.average_precision)
    np.testing.assert_array_equal(pieces.cmc, whole.cmc)
    np.testing.assert_array_equal(pieces.valid_queries, whole.valid_queries)


def test_features_in_small_blocks_give_what_one_block_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = feature_case(2)
    whole = case.evaluate()
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 4 * 150 * 7)
    monkeypatch.setattr(ranking, "_GROUP_SIZE", 150 * 3)
    blocks = case.evaluate()
    np.testing.assert_array_equal(blocks.average_precision, whole.average_precision)
    np.testing.assert_array_equal(blocks.valid_queries, whole.valid_queries)


def test_blocks_are_of_nearly_equal_size_and_never_too_large() -> None:
    assert rows_per_block(3368, 4 * 15913) == 1684
    assert rows_per_block(10, 4) == 10
    assert rows_per_block(10, 2**30) == 1


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, np.float64])
def test_distances_may_have_any_number_type(dtype: type[np.number]) -> None:
    case = random_case(6, levels=9)
    counted = evaluate_distance_matrix(
        (8 * case.distances).astype(dtype),
        (case.query_persons, case.query_cameras),
        (case.gallery_persons, case.gallery_cameras),
    )
    np.testing.assert_array_equal(counted.average_precision, case.evaluate().average_precision)


def test_the_distance_matrix_is_left_as_it_is() -> None:
    case = random_case(5)
    before = case.distances.copy()
    case.evaluate()
    np.testing.assert_array_equal(case.distances, before)


@dataclass(frozen=True)
class FeatureCase:
    """Features, and who was seen where."""

    query: NDArray[np.floating]
    gallery: NDArray[np.floating]
    ids: Case

    def evaluate(self) -> RetrievalMetrics:
        return evaluate_features(
            (self.query, self.ids.query_persons, self.ids.query_cameras),
            (self.gallery, self.ids.gallery_persons, self.ids.gallery_cameras),
        )


def feature_case(seed: int = 0) -> FeatureCase:
    ids = random_case(seed, num_query=30, num_gallery=150, num_persons=10)
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(11, 16))
    return FeatureCase(
        (centres[ids.query_persons] + rng.normal(size=(30, 16))).astype(np.float32),
        (centres[ids.gallery_persons] + rng.normal(size=(150, 16))).astype(np.float32),
        ids,
    )


@pytest.mark.parametrize("seed", range(4))
def test_features_are_ranked_by_cosine_distance(seed: int) -> None:
    case = feature_case(seed)
    distances = cosine_distance(case.query.astype(np.float64), case.gallery.astype(np.float64))
    expected = evaluate_distance_matrix(
        distances,
        (case.ids.query_persons, case.ids.query_cameras),
        (case.ids.gallery_persons, case.ids.gallery_cameras),
    )
    metrics = case.evaluate()
    np.testing.assert_array_equal(metrics.average_precision, expected.average_precision)
    np.testing.assert_array_equal(metrics.cmc, expected.cmc)
    assert 0.1 < metrics.mean_ap < 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_length_of_features_does_not_matter(dtype: type[np.floating]) -> None:
    case = feature_case()
    rng = np.random.default_rng(1)
    # Powers of two change no digit of a float.
    query = case.query * 2.0 ** rng.integers(-3, 4, (30, 1))
    gallery = case.gallery * 2.0 ** rng.integers(-3, 4, (150, 1))
    scaled = FeatureCase(query.astype(dtype), gallery.astype(dtype), case.ids)
    plain = FeatureCase(case.query.astype(dtype), case.gallery.astype(dtype), case.ids)
    assert scaled.evaluate().mean_ap == pytest.approx(plain.evaluate().mean_ap, abs=1e-9)
    unit = FeatureCase(unit_length(plain.query), unit_length(plain.gallery), case.ids)
    assert unit.evaluate().mean_ap == pytest.approx(plain.evaluate().mean_ap, abs=1e-9)


def test_features_are_left_as_they_are() -> None:
    case = feature_case()
    query, gallery = case.query.copy(), case.gallery.copy()
    case.evaluate()
    np.testing.assert_array_equal(case.query, query)
    np.testing.assert_array_equal(case.gallery, gallery)


def test_perfect_features_reach_one_everywhere() -> None:
    case = feature_case()
    one_hot = np.eye(11)
    # Distractors (person 0) have a direction of their own.
    perfect = FeatureCase(
        one_hot[case.ids.query_persons], one_hot[case.ids.gallery_persons], case.ids
    )
    metrics = perfect.evaluate()
    assert metrics.mean_ap == metrics.minp == metrics.rank1 == 1


def test_no_match_at_all_is_explained() -> None:
    case = Case(np.zeros((2, 1)), np.array([1, 5]), np.array([1, 1]), np.array([1]), np.array([1]))
    with pytest.raises(EvaluationError, match=r"None of the 2 queries has a match") as caught:
        case.evaluate()
    assert "1 of the queries show a person who is not in the gallery at all" in str(caught.value)
    assert "1 one who is there only from the query's own camera" in str(caught.value)
    assert "two cameras or more" in str(caught.value)


def test_a_tally_without_matches_is_refused() -> None:
    tally = RankTally(np.array([1]), np.array([1]))
    tally.add(np.zeros((1, 1)), np.array([2]), np.array([1]))
    with pytest.raises(EvaluationError, match="None of the 1 queries"):
        tally.metrics()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused(value: float) -> None:
    case = feature_case()
    case.gallery[7, 3] = value
    with pytest.raises(EvaluationError, match=r"1 of 150 gallery features .* position 7"):
        case.evaluate()


def test_a_feature_of_zeros_is_refused() -> None:
    case = feature_case()
    case.query[2] = 0
    with pytest.raises(EvaluationError, match=r"1 of 30 query features .* all zero"):
        case.evaluate()


def test_distances_that_are_no_numbers_are_refused() -> None:
    case = random_case(0)
    case.distances[5, 5] = np.nan
    with pytest.raises(EvaluationError, match="NaN"):
        case.evaluate()


def test_features_of_different_lengths_are_refused() -> None:
    case = feature_case()
    with pytest.raises(EvaluationError, match=r"same D, got \(30, 16\) and \(150, 15\)"):
        FeatureCase(case.query, case.gallery[:, :15], case.ids).evaluate()


def test_ids_that_do_not_fit_the_features_are_refused() -> None:
    case = feature_case()
    with pytest.raises(EvaluationError, match=r"gallery has 149 pictures.*\(150,\)"):
        FeatureCase(case.query, case.gallery[1:], case.ids).evaluate()


def test_an_empty_split_is_refused() -> None:
    case = random_case(0)
    with pytest.raises(EvaluationError, match="gallery is empty"):
        case.with_gallery(np.zeros(0, np.int64)).evaluate()


def test_ids_must_be_whole_numbers() -> None:
    case = random_case(0)
    with pytest.raises(EvaluationError, match="whole numbers, got float64"):
        evaluate_distance_matrix(
            case.distances,
            (case.query_persons.astype(np.float64), case.query_cameras),
            (case.gallery_persons, case.gallery_cameras),
        )


def test_a_distance_matrix_must_be_a_matrix() -> None:
    case = random_case(0)
    with pytest.raises(EvaluationError, match=r"must be \(Q, G\), got \(60,\)"):
        evaluate_distance_matrix(
            case.distances[0],
            (case.query_persons, case.query_cameras),
            (case.gallery_persons, case.gallery_cameras),
        )


@pytest.mark.parametrize("k", [0, 51])
def test_a_rank_outside_the_cmc_is_refused(k: int) -> None:
    with pytest.raises(EvaluationError, match=f"Rank-{k} is unknown"):
        random_case(0).evaluate().rank(k)


def test_max_rank_below_one_is_refused() -> None:
    with pytest.raises(EvaluationError, match="max_rank must be at least 1"):
        random_case(0).evaluate(max_rank=0)
