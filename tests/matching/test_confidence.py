import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adln.errors import SettingsError
from adln.matching.confidence import confidence, expand_queries, threshold_for

GONE = -np.inf


def agreement(similarity: list[float], persons: list[int]) -> float:
    """The definition, answer by answer, without its tie-break."""
    weights = [math.exp((score - similarity[0]) / 0.1) for score in similarity[:10]]
    own = [
        weight
        for at, (weight, person) in enumerate(zip(weights, persons, strict=False))
        if at == 0 or (person == persons[0] and person >= 0)
    ]
    return sum(own) / sum(weights)


def test_confidence_is_the_weight_of_the_best_answers_person_among_ten() -> None:
    rng = np.random.default_rng(0)
    similarity = -np.sort(-rng.random((50, 14)), axis=1)
    persons = rng.integers(-1, 4, (50, 14))
    expected = [agreement(*row) for row in zip(similarity.tolist(), persons.tolist(), strict=True)]
    np.testing.assert_allclose(confidence(similarity, persons), expected, atol=1e-3)


def test_a_rival_near_the_best_answer_makes_unsure_and_a_far_one_does_not() -> None:
    persons = np.array([[1, 2]] * 3)
    near, far, farther = confidence(np.array([[0.8, 0.79], [0.8, 0.5], [0.8, 0.1]]), persons)
    assert near < far < farther


def test_people_whom_nobody_knows_are_rivals_of_each_other() -> None:
    scores = np.full((1, 4), 0.7)
    unknown, known = (confidence(scores, np.full((1, 4), person))[0] for person in (-1, 3))
    assert unknown == pytest.approx(0.25, abs=1e-2)
    assert known == pytest.approx(1.0, abs=1e-2)


def test_of_answers_that_all_agree_the_more_similar_are_surer() -> None:
    high, low = confidence(np.array([[0.9] * 10, [0.4] * 10]), np.ones((2, 10), int))
    assert high > low


def test_without_persons_it_is_the_height_of_the_best_ten_above_the_fifty() -> None:
    similarity = -np.sort(-np.random.default_rng(1).random((3, 60)), axis=1)
    expected = similarity[:, :10].mean(axis=1) - similarity[:, :50].mean(axis=1)
    np.testing.assert_allclose(confidence(similarity), expected, rtol=1e-12)


def test_missing_answers_have_no_weight() -> None:
    padded = np.array([[0.9, 0.8, GONE], [GONE, GONE, GONE]])
    persons = np.array([[1, 1, 2], [1, -1, -1]])
    found = confidence(padded, persons)
    assert found[0] == pytest.approx(confidence(padded[:1, :2], persons[:1, :2])[0])
    assert found[1] == GONE


def test_too_few_answers_without_persons_are_never_sure() -> None:
    few = np.full((1, 50), GONE)
    few[0, :4] = 0.9, 0.5, 0.3, 0.1
    assert confidence(few)[0] == 0
    assert confidence(np.full((1, 50), GONE))[0] == GONE


def test_impossible_answers_are_refused() -> None:
    with pytest.raises(SettingsError, match="none NaN"):
        confidence(np.array([[0.5, np.nan]]))
    with pytest.raises(SettingsError, match="request 50 answers, got 10"):
        confidence(np.zeros((2, 10)))
    with pytest.raises(SettingsError, match="at least one answer"):
        confidence(np.zeros((3, 0)))
    with pytest.raises(SettingsError, match=r"\(2, 3\) similarities came with \(2, 2\)"):
        confidence(np.zeros((2, 3)), np.zeros((2, 2), int))
    with pytest.raises(SettingsError, match="one for each answer"):
        expand_queries(np.zeros((2, 4, 8), np.float32), np.zeros((2, 3)))


@given(
    values=st.lists(st.floats(-1, 1), min_size=1, max_size=40, unique=True),
    share=st.floats(0, 1),
)
def test_the_share_asked_for_lies_below_the_threshold(values: list[float], share: float) -> None:
    threshold = threshold_for(values, share)
    assert sum(value < threshold for value in values) == round(share * len(values))


def test_the_ends_of_the_dial_let_none_and_all_go_deeper() -> None:
    assert threshold_for([0.1, 0.2], 0.0) == -math.inf
    assert threshold_for([0.1, 0.2], 1.0) == math.inf


@pytest.mark.parametrize(
    ("values", "share"), [([0.5], 1.1), ([0.5], -0.1), ([], 0.5), ([math.nan], 0.5)]
)
def test_a_threshold_needs_a_share_and_values(values: list[float], share: float) -> None:
    with pytest.raises(SettingsError):
        threshold_for(values, share)


def test_an_expanded_query_is_the_weighted_mean_of_ten_answers() -> None:
    rng = np.random.default_rng(2)
    answers = rng.standard_normal((4, 13, 6)).astype(np.float32)
    similarity = -np.sort(-rng.random((4, 13)), axis=1)
    similarity[3, 2:] = GONE
    for row, found in enumerate(expand_queries(answers, similarity)):
        total = np.zeros(6)
        for at in range(10):
            total += math.exp(similarity[row, at] / 0.1) * answers[row, at]
        np.testing.assert_allclose(found, total / np.linalg.norm(total), atol=1e-5)
