"""The gate for a new network: certain gains pass, chance and lost galleries do not."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.matching.drawn_site import draw_site, with_switches

from adln.embeddings import unit_length
from adln.errors import SettingsError, TracksError
from adln.matching.adaptation import TrackedCrops
from adln.matching.network_gate import compare_networks, require_learnable


def noisy(crops: TrackedCrops, noise: float, seed: int) -> TrackedCrops:
    """The same crops as a poorer network embeds them."""
    rng = np.random.default_rng(seed)
    rows = crops.embeddings + rng.standard_normal(crops.embeddings.shape) * noise
    return replace(crops, embeddings=unit_length(rows))


def turned(crops: TrackedCrops) -> TrackedCrops:
    """The same crops in another space: all angles stay."""
    dim = crops.embeddings.shape[1]
    rotation, _ = np.linalg.qr(np.random.default_rng(3).standard_normal((dim, dim)))
    rows: NDArray[np.float32] = (crops.embeddings @ rotation).astype(np.float32)
    return replace(crops, embeddings=unit_length(rows))


GOOD = draw_site(nuisance=0.1, common=0.3).crops
POOR = noisy(GOOD, 0.2, seed=1)


def test_a_better_network_passes_and_finds_what_is_stored() -> None:
    found = compare_networks(POOR, GOOD, same_space=True)
    assert found.is_better
    assert found.gain_least > 0
    assert found.recognised_stored is not None
    assert found.recognised_before < found.recognised_stored < found.recognised
    assert len(found.track_gains) == len(found.track_rows) == found.num_tracks


def test_a_network_that_lost_the_space_is_refused_only_where_the_space_matters() -> None:
    found = compare_networks(POOR, turned(GOOD), same_space=True)
    assert not found.is_better
    assert "among the stored embeddings" in found.reason
    assert compare_networks(POOR, turned(GOOD), same_space=False).is_better


def test_chance_is_no_gain() -> None:
    other = noisy(GOOD, 0.2, seed=2)
    for before, after in ((POOR, other), (other, POOR), (GOOD, GOOD), (GOOD, POOR)):
        assert not compare_networks(before, after, same_space=True).is_better


def test_pairs_found_anew_are_a_gain_where_most_were_found_before() -> None:
    """Those that were found lie a little nearer to the false ones, and are found all the same."""
    easy = draw_site(tracks=100, nuisance=0.02, common=0.1, noise=0.02, camera_bias=0.2).crops
    numbers = easy.track_numbers()
    hard = np.isin(numbers, np.unique(numbers)[::6])
    rng = np.random.default_rng(4)
    before, after = easy.embeddings.copy(), easy.embeddings.copy()
    before[hard] += rng.standard_normal(before[hard].shape) * 0.12
    after[~hard] += rng.standard_normal(after[~hard].shape) * 0.08
    old, new = (replace(easy, embeddings=unit_length(rows)) for rows in (before, after))
    found = compare_networks(old, new, same_space=True)
    assert found.log_gain_least < 0 < found.log_gain
    assert found.gain_least > 0
    assert found.is_better
    assert not compare_networks(new, old, same_space=True).is_better


def test_the_later_tracks_of_each_camera_judge() -> None:
    later = require_learnable(draw_site(tracks=100, nuisance=0.1, common=0.3).crops)
    assert later.sum() == len(later) // 2
    tracks = np.arange(len(later)) // 4 % 100
    assert tracks[later].min() == 50


def test_a_quarter_judges_where_that_is_many_and_the_rest_is_learned_from() -> None:
    later = require_learnable(draw_site(tracks=400, nuisance=0.1, common=0.3).crops)
    assert later.sum() == len(later) // 4
    tracks = np.arange(len(later)) // 4 % 400
    assert tracks[later].min() == 300


def test_tracks_that_cannot_judge_do_not_count_as_many() -> None:
    crops = draw_site(tracks=400, nuisance=0.1, common=0.3).crops
    positions = np.arange(len(crops))
    whole = positions // 4 % 400 % 5 == 0  # the others were seen once
    later = require_learnable(crops.part(positions[whole | (positions % 4 == 0)]))
    assert 0.45 < later.mean() < 0.55


@pytest.mark.parametrize(
    ("crops", "problem"),
    [
        (draw_site(tracks=30).crops, "too few tracks: 30 in the half"),
        (draw_site(tracks=100, persons=1).crops, "too few different people"),
        (with_switches(draw_site(tracks=100, nuisance=0.1).crops, 0.4), "two people each"),
        (GOOD.part(np.arange(4)), "too few tracks: 1 in all"),
        (
            draw_site(tracks=2, cameras=48, nuisance=0.1, common=0.3).crops,
            "too few tracks: half of each",
        ),
    ],
)
def test_tracks_that_teach_nothing_are_refused(crops: TrackedCrops, problem: str) -> None:
    with pytest.raises(TracksError, match=problem):
        require_learnable(crops)


def test_crops_without_two_tracks_of_one_camera_are_refused() -> None:
    few = draw_site(tracks=1, cameras=48).crops
    with pytest.raises(TracksError, match="too few tracks"):
        compare_networks(few, few, same_space=False)


def test_other_crops_are_refused() -> None:
    with pytest.raises(SettingsError, match="same crops"):
        compare_networks(GOOD, GOOD.part(np.arange(8)), same_space=False)
