import numpy as np
import pytest
from numpy.typing import NDArray
from tests.matching.made_calibration import CALIBRATION

from adln.embeddings import unit_length
from adln.matching.calibration import Scales
from adln.matching.strangers import RaisedScale, Strangers
from adln.matching.thresholds import StatedThresholds

SCALES = Scales(own={2: CALIBRATION})


def people(count: int, *, common: float, seed: int = 0) -> NDArray[np.float32]:
    """(count, 400) of people whose cosines with each other are about `common`."""
    rng = np.random.default_rng(seed)
    apart = unit_length(rng.normal(size=(count + 1, 400)).astype(np.float32))
    return unit_length(np.sqrt(common) * apart[0] + np.sqrt(1 - common) * apart[1:])


def judged(count: int, *, common: float, scales: Scales = SCALES) -> Scales:
    strangers = Strangers()
    for person, embedding in enumerate(people(count, common=common)):
        strangers.saw(person, embedding, space="s")
    return strangers.judge(scales, space="s")


def match_of(scales: Scales) -> float:
    scale = scales.between(2, 2)
    assert scale is not None
    threshold = scale.decide(0.5, 100).match
    assert threshold is not None
    return threshold


def test_a_calibration_tells_how_alike_strangers_are() -> None:
    # 1 % of strangers reach 0.5 and 10 % reach 0.3: a normal curve around 0.055.
    assert CALIBRATION.strangers == pytest.approx(0.055, abs=0.001)


def test_people_who_look_alike_here_raise_the_thresholds() -> None:
    usual = match_of(SCALES)
    assert match_of(judged(20, common=0.4)) > usual + 0.05
    assert match_of(judged(20, common=0.6)) > match_of(judged(20, common=0.4))


def test_where_people_look_as_everywhere_or_less_alike_nothing_changes() -> None:
    for common in (0.0, 0.03):
        assert match_of(judged(20, common=common)) == match_of(SCALES)


def test_two_people_say_nothing_and_a_few_say_less_than_many() -> None:
    assert judged(2, common=0.5) is SCALES
    assert match_of(SCALES) < match_of(judged(3, common=0.5)) < match_of(judged(40, common=0.5))


def test_a_raised_scale_is_the_old_one_at_scores_that_stand_out_as_much() -> None:
    raised = RaisedScale(CALIBRATION, usual=0.1, here=0.4)
    assert raised.decide(0.4 + 0.5 * 0.6 / 0.9, 100).probability == pytest.approx(
        CALIBRATION.decide(0.6, 100).probability
    )
    assert raised.decide(1.0, 100).probability == CALIBRATION.decide(1.0, 100).probability
    for score in np.linspace(0, 1, 41):
        decision = raised.decide(float(score), 100)
        assert decision.match is not None
        assert (decision.verdict == "matched") == (score >= decision.match)
    assert raised.decide(None, 100).verdict == "unknown"


def test_stated_thresholds_and_other_spaces_are_left_alone() -> None:
    stated = Scales(own={2: StatedThresholds(match=0.6, candidate=0.5)})
    assert judged(20, common=0.5, scales=stated) == stated
    strangers = Strangers()
    for person, embedding in enumerate(people(20, common=0.5)):
        strangers.saw(person, embedding, space="s")
    assert strangers.judge(SCALES, space="another") is SCALES


def test_one_person_seen_often_is_one_and_who_was_merged_is_none() -> None:
    strangers = Strangers()
    for embedding in people(20, common=0.9):
        strangers.saw(1, embedding, space="s")
    assert strangers.judge(SCALES, space="s") is SCALES
    for person, embedding in enumerate(people(3, common=0.9)):
        strangers.saw(person, embedding, space="s")
    strangers.forget(2)
    assert strangers.judge(SCALES, space="s") is SCALES
