import numpy as np
from tests.matching.drawn_site import draw_site, with_switches

from adln.matching.adaptation import TrackedCrops
from adln.matching.adaptation_gate import decide


def chosen(decision):
    return None if decision.adaptation is None else decision.adaptation.method


def test_a_camera_bias_is_taken_off():
    decision = decide(draw_site(camera_bias=1.0, nuisance=0.1).crops, space="abc")
    assert decision.adaptation is not None, decision.reason
    assert decision.adaptation.cameras.tolist() == [0, 1]
    assert decision.adaptation.space == "abc"
    (means,) = (one for one in decision.comparisons if one.method == "camera means")
    assert means.is_better
    assert means.own_camera < decision.own_camera_before


def test_whitening_is_chosen_where_few_directions_spread_within_tracks():
    decision = decide(draw_site(nuisance=0.6).crops)
    assert decision.adaptation is not None, decision.reason
    assert decision.adaptation.matrix is not None


def test_nothing_is_switched_on_where_there_is_nothing_to_gain():
    crops = draw_site(camera_bias=0, nuisance=0, common=0, noise=0.35).crops
    decision = decide(crops)
    assert chosen(decision) is None
    assert "no candidate is better" in decision.reason
    assert not any(one.is_better for one in decision.comparisons)
    assert all(one.reason for one in decision.comparisons)


def test_whitening_is_refused_where_all_pairs_are_told_apart_already():
    decision = decide(draw_site(camera_bias=1.0, nuisance=0.0, noise=0.02).crops)
    assert decision.adaptation is None or decision.adaptation.matrix is None
    refused = [one for one in decision.comparisons if "whitening" in one.method]
    assert [one.is_better for one in refused] == [False, False]


def test_tracks_that_switch_persons_are_refused():
    crops = draw_site(camera_bias=1.0).crops
    assert decide(crops).switched < 0.05
    decision = decide(with_switches(crops, 0.3))
    assert chosen(decision) is None
    assert "look like two people each" in decision.reason
    assert 0.2 < decision.switched < 0.4


def test_too_few_tracks_are_refused():
    decision = decide(draw_site(tracks=10).crops)
    assert chosen(decision) is None
    assert decision.reason.startswith("too few tracks: 20 ")


def test_two_tracks_of_each_of_many_cameras_are_too_few():
    # Each half has one track of each camera, which nobody can be confused with there.
    decision = decide(draw_site(tracks=2, cameras=24, nuisance=0.1, common=0.3).crops)
    assert chosen(decision) is None
    assert decision.num_tracks == 48
    assert decision.reason.startswith("too few tracks: half of each camera's")
    assert decide(draw_site(tracks=4, cameras=24, nuisance=0.1, common=0.3).crops).comparisons


def test_a_half_whose_tracks_are_of_one_moment_is_refused():
    crops = draw_site(nuisance=0.1, common=0.3).crops
    tracks = np.arange(len(crops)) // 4 % 60
    # The later ones are of a single crop each.
    decision = decide(crops.part(np.flatnonzero((tracks < 30) | (np.arange(len(crops)) % 4 == 0))))
    assert decision.reason.startswith("too few tracks: half of each camera's")


def test_no_track_at_all_is_refused():
    crops = draw_site().crops
    assert chosen(decide(crops.part(np.zeros(0, np.int64)))) is None


def test_crops_of_one_moment_are_no_evidence():
    crops = draw_site().crops
    at_once = np.zeros_like(crops.time_s)
    decision = decide(TrackedCrops(crops.embeddings, crops.cameras, crops.tracks, at_once))
    assert decision.reason.startswith("too few tracks: 0 ")


def test_a_crowd_of_one_is_refused():
    for persons in (1, 3):
        decision = decide(draw_site(persons=persons).crops)
        assert chosen(decision) is None
        assert "too few different people" in decision.reason


def test_one_camera_gets_the_mean_of_all():
    decision = decide(draw_site(tracks=120, cameras=1, common=2.0, nuisance=0.3).crops)
    assert decision.adaptation is not None, decision.reason
    assert decision.adaptation.cameras.tolist() == []
    assert decision.own_camera_before is None
    assert {one.method.split(" and ")[0] for one in decision.comparisons} == {"mean of all cameras"}


def test_a_hundred_crops_of_each_camera_are_enough():
    crops = draw_site(tracks=25, camera_bias=1.0).crops
    assert np.bincount(crops.cameras).tolist() == [100, 100]
    decision = decide(crops)
    assert decision.adaptation is not None, decision.reason
    assert decision.adaptation.cameras.tolist() == [0, 1]


def test_people_seen_together_count_as_the_only_certain_strangers():
    crops = draw_site(camera_bias=1.0).crops
    # All of a camera's people stand in view at the same time.
    at_once = crops.time_s % 100
    decision = decide(TrackedCrops(crops.embeddings, crops.cameras, crops.tracks, at_once))
    assert decision.num_together == 2 * 60 * 59 // 2
    assert decision.adaptation is not None, decision.reason


def test_times_may_be_missing():
    crops = draw_site(camera_bias=1.0).crops
    decision = decide(TrackedCrops(crops.embeddings, crops.cameras, crops.tracks))
    assert decision.adaptation is not None, decision.reason


def test_the_same_tracks_give_the_same_decision():
    crops = draw_site().crops
    one, other = decide(crops, seed=3), decide(crops, seed=3)
    assert one.comparisons == other.comparisons
    assert chosen(one) == chosen(other)
