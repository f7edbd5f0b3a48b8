"""The fit of thresholds and probability, against counting by brute force and on known persons."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import EvaluationError
from adln.evaluation.calibrating import (
    Material,
    Trials,
    alarm_share,
    calibrate,
    person_material,
    track_material,
)
from adln.evaluation.open_set import PersonScores, person_scores


def people(
    seed: int = 0, *, persons: int = 80, noise: float = 1.0, queries: int = 14
) -> PersonScores:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(persons, 32))

    def seen(each: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        ids = np.repeat(np.arange(persons), each)
        return unit_length(centres[ids] + noise * rng.normal(size=(len(ids), 32))), ids

    (query, query_ids), (gallery, gallery_ids) = seen(queries), seen(3)
    cameras = np.ones_like(query_ids), np.full_like(gallery_ids, 2)
    return person_scores((query, query_ids, cameras[0]), (gallery, gallery_ids, cameras[1]))


def material(seed: int = 0, **how: float) -> Material:
    return person_material(people(seed, **how), across_cameras=True)  # type: ignore[arg-type]


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=5, max_size=5), min_size=1, max_size=4),
    st.integers(0, 5),
    st.integers(1, 5),
)
@settings(deadline=None)
def test_alarms_are_counted_over_all_galleries_that_can_be_drawn(
    rows: list[list[int]], threshold: int, size: int
) -> None:
    galleries = [any(v >= threshold for v in g) for row in rows for g in combinations(row, size)]
    share = alarm_share(np.array(rows, np.float32), threshold, size)
    assert share == pytest.approx(np.mean(galleries))


def test_alarms_beyond_what_a_probe_met_are_bounded_from_above() -> None:
    others = np.array([[1.0, 0, 0, 0], [0, 0, np.nan, np.nan]], np.float32)
    # The first probe met four others, one of them too alike: in half of the galleries of two.
    assert alarm_share(others, 0.5, 2) == pytest.approx(0.25)
    assert alarm_share(others, 0.5, 6) == pytest.approx((6 / 4 + 0) / 2)
    assert alarm_share(others[1:], 0.5, 6) == 0


def test_rates_hold_on_persons_who_were_not_seen() -> None:
    fitted = calibrate(
        material(persons=300, noise=0.6), depth=1, flip=False, data="made up", match_rate=0.01
    )
    fresh = people(seed=9, persons=300, noise=0.6)
    strangers = person_material(fresh, across_cameras=True).whole.others
    for size in (1, 16, 100, 299):
        for level in (fitted.match, fitted.candidate):
            share = alarm_share(strangers, fitted.threshold(level, size), size)
            assert level.rate / 2 < share < 2 * level.rate
    # One half holds 150 persons, and a few of them raise most of the alarms.
    assert fitted.reliability.matched_strangers < 0.04
    assert fitted.reliability.brier < 0.2 * fitted.reliability.base_brier
    assert fitted.reliability.calibration_error < 0.05


def test_the_probability_says_how_often_the_best_answer_is_right() -> None:
    fitted = calibrate(material(persons=200, noise=0.9), depth=1, flip=False, data="made up")
    fresh = people(seed=5, persons=200, noise=0.9)
    right, said = [], []
    rng = np.random.default_rng(0)
    for row, mate in zip(fresh.scores, fresh.mates, strict=True):
        gallery = rng.choice(200, 50, replace=False)
        if rng.random() < 0.5:
            gallery = np.union1d(gallery[gallery != mate][:49], [mate])
        else:
            gallery = gallery[gallery != mate]
        best = gallery[np.argmax(row[gallery])]
        right.append(best == mate)
        said.append(fitted.decide(float(row[best]), len(gallery)).probability)
    for low, high in ((0, 0.3), (0.3, 0.7), (0.7, 1)):
        chosen = (np.array(said) >= low) & (np.array(said) <= high)
        assert np.mean(np.array(said)[chosen]) == pytest.approx(
            np.mean(np.array(right)[chosen]), abs=0.06
        )


def test_a_larger_gallery_needs_a_higher_score() -> None:
    fitted = calibrate(material(), depth=3, flip=True, data="made up")
    assert fitted.sizes == (1, 2, 4, 8, 16, 32, 64, 79)
    assert np.all(np.diff(fitted.match.thresholds) > 0)
    assert np.all(np.array(fitted.candidate.thresholds) < fitted.match.thresholds)
    assert fitted.size_slope > 0
    assert (fitted.depth, fitted.flip) == (3, True)
    assert fitted.evidence.num_persons == 80
    assert fitted.evidence.num_comparisons == 80 * 14 * 79


def test_the_same_data_gives_the_same_calibration() -> None:
    first, second = (calibrate(material(), depth=1, flip=False, data="made up") for _ in range(2))
    assert first == second


def test_perfectly_separate_persons_give_a_finite_fit() -> None:
    fitted = calibrate(material(noise=0.01), depth=1, flip=False, data="made up")
    assert fitted.reliability.matched_enrolled == 1
    assert fitted.probability(0.99, 79) > 0.99
    assert fitted.probability(0.5, 79) < 0.9


def test_scores_that_say_nothing_are_refused() -> None:
    with pytest.raises(EvaluationError, match="do not separate persons"):
        calibrate(material(noise=60.0), depth=1, flip=False, data="made up")


def test_scores_that_say_the_opposite_are_refused() -> None:
    turned = people()
    turned = replace(turned, scores=-turned.scores)
    with pytest.raises(EvaluationError, match="do not separate persons"):
        calibrate(person_material(turned, across_cameras=True), depth=1, flip=False, data="made up")


def test_too_little_data_is_refused_with_what_would_do() -> None:
    with pytest.raises(EvaluationError, match="12 persons are too few"):
        calibrate(material(persons=12), depth=1, flip=False, data="made up")
    with pytest.raises(
        EvaluationError, match=r"from 160 probes .*1,000 are needed.*6\.3 % .*--match-rate 0\.063\)"
    ):
        calibrate(material(queries=2), depth=1, flip=False, data="made up")
    with pytest.raises(EvaluationError, match="0 < match rate <= candidate rate"):
        calibrate(material(), depth=1, flip=False, data="made up", match_rate=0.5)


def test_people_seen_by_one_camera_only_are_no_evidence() -> None:
    compared = people()
    compared.scores[np.arange(len(compared.mates)), compared.mates] = -np.inf
    with pytest.raises(EvaluationError, match="a match of a probe is from another camera"):
        calibrate(
            person_material(compared, across_cameras=True), depth=1, flip=False, data="made up"
        )


def walks(seed: int = 0, *, tracks: int = 400) -> dict[str, NDArray[np.generic]]:
    """Tracks of ten pictures, a second apart, four at a time before each of two cameras."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(tracks, 32))
    track = np.repeat(np.arange(tracks), 10)
    return {
        "embeddings": unit_length(centres[track] + rng.normal(size=(len(track), 32))),
        "cameras": np.where(track % 8 < 4, "door", "yard"),
        "tracks": track // 8 * 8 + track % 4,  # numbers that both cameras use
        "time_s": (track // 8) * 100.0 + np.tile(np.arange(10.0), tracks),
    }


def test_tracks_need_no_names() -> None:
    evidence = track_material(**walks())
    whole = evidence.whole
    assert whole.num_persons == 400
    assert whole.others.shape == (1600, 3)
    assert not np.isnan(whole.own).any()
    fitted = calibrate(evidence, depth=2, flip=False, data="yard")
    assert fitted.evidence.kind == "tracks"
    assert not fitted.evidence.across_cameras
    # 4,800 comparisons show ten errors at 1 % / 4.
    assert fitted.largest_size == 4
    assert fitted.reliability.matched_strangers < 0.03
    assert fitted.reliability.matched_enrolled > 0.8


def naive_track_trials(data: dict[str, NDArray[np.generic]], gap_s: float) -> tuple[set, set]:
    rows = range(len(data["embeddings"]))
    key = [(data["cameras"][i], data["tracks"][i]) for i in rows]
    frame = [(data["cameras"][i], data["time_s"][i]) for i in rows]
    own, others = set(), set()
    for one in set(key):
        mine = [i for i in rows if key[i] == one]
        met = {key[j] for i in mine for j in rows if frame[i] == frame[j]} - {one}
        for i in mine[:: len(mine) - 1] if len(mine) > 1 else mine:
            far = [j for j in mine if abs(data["time_s"][i] - data["time_s"][j]) >= gap_s]
            scores = data["embeddings"] @ data["embeddings"][i]
            own.add(round(float(max((scores[j] for j in far), default=-9)), 4))
            others |= {
                round(float(max(scores[j] for j in rows if key[j] == other)), 4) for other in met
            }
    return own, others


def test_trials_of_tracks_are_those_of_the_naive_loops() -> None:
    rng = np.random.default_rng(1)
    data = walks(tracks=24)
    # Two pictures a track, so that both are probes; some tracks meet nobody.
    kept = np.isin(np.arange(240) % 10, (2, 7)) & (rng.random(240) < 0.8)
    data = {name: column[kept] for name, column in data.items()}
    trials = track_material(**data, gap_s=2.0).whole
    own, others = naive_track_trials(data, 2.0)
    found = {round(float(v), 4) for v in trials.own if not np.isnan(v)}
    assert found == own - {-9}
    assert {round(float(v), 4) for v in trials.others.flat if not np.isnan(v)} == others


def test_tracks_that_never_meet_are_refused() -> None:
    data = walks()
    data["time_s"] = data["time_s"] + np.arange(len(data["time_s"])) * 1e-4
    with pytest.raises(EvaluationError, match="met another track in a frame"):
        calibrate(track_material(**data), depth=2, flip=False, data="yard")


def test_tracks_without_times_are_refused() -> None:
    data = walks(tracks=8)
    with pytest.raises(EvaluationError, match=r"need \d+ cameras, tracks and times"):
        track_material(**{**data, "time_s": data["time_s"][:3]})
    data["time_s"][3] = np.nan
    with pytest.raises(EvaluationError, match="some are missing"):
        track_material(**data)


def test_no_pictures_at_all_are_refused() -> None:
    data = {name: column[:0] for name, column in walks(tracks=8).items()}
    with pytest.raises(EvaluationError, match="too few"):
        calibrate(track_material(**data), depth=2, flip=False, data="yard")
    empty = Trials(np.zeros(0, np.float32), np.zeros((0, 0), np.float32), 0)
    assert empty.num_comparisons == 0
