import numpy as np
import pytest

from adln.errors import SettingsError
from adln.pipeline.doctor import Examination, Separation, thresholds_of


def scores(*, apart: float, different: int = 5000, same: int = 200) -> Separation:
    rng = np.random.default_rng(0)
    return Separation(
        same=rng.normal(0.2 + apart, 0.1, same), different=rng.normal(0.2, 0.1, different)
    )


def test_scores_that_stand_apart_are_in_order() -> None:
    assert scores(apart=1.0).in_order == 1.0
    assert scores(apart=0.0).in_order == pytest.approx(0.5, abs=0.05)


def test_the_threshold_lets_as_many_strangers_pass_as_asked() -> None:
    found = scores(apart=0.5)
    threshold = found.threshold(0.1, 10)
    searches = np.random.default_rng(1).normal(0.2, 0.1, (4000, 10)).max(axis=1)
    assert np.mean(searches > threshold) == pytest.approx(0.1, abs=0.02)


def test_a_rarer_mistake_or_a_larger_gallery_asks_for_a_higher_score() -> None:
    found = scores(apart=0.5, different=300)
    rates = [found.threshold(rate, 100) for rate in (0.5, 0.1, 0.01)]
    sizes = [found.threshold(0.1, size) for size in (1, 10, 100, 1000)]
    assert rates == sorted(rates)
    assert sizes == sorted(sizes)


def test_a_threshold_from_few_pairs_is_refused() -> None:
    with pytest.raises(SettingsError, match="too few"):
        scores(apart=0.5, different=19).threshold(0.1, 10)


def test_thresholds_go_with_the_number_of_tracks() -> None:
    examination = Examination(
        tracks=50,
        without_crop=0,
        most_together=3,
        depths={2: scores(apart=0.5)},
        stage_ms={},
        crop_ms={},
        frames=1,
        video_s=1.0,
    )
    found = thresholds_of(examination, 2)
    assert 0.2 < found.candidate < found.match < 0.98
