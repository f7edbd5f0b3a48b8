"""Seen and unseen data sets side by side."""

from collections.abc import Callable

import numpy as np
import pytest

import adln
from adln.embeddings import unit_length
from adln.errors import DatasetError
from adln.evaluation.open_set import tpr_at_fpr
from adln.evaluation.protocol import Evaluation, evaluate_embedded
from adln.evaluation.unseen import (
    SetRow,
    figures_of,
    measure_set,
    require_known,
    unseen_text,
    was_seen,
)

MakeEvaluation = Callable[..., Evaluation]


def rows_of(evaluation: Evaluation, **more: int) -> tuple[SetRow, ...]:
    return measure_set(evaluation, dataset="made up", seen="unseen", **more)


def pairs_across_cameras(evaluation: Evaluation, depth: int) -> tuple[list[float], list[float]]:
    """Cosines of pairs of one person and of two, as naive loops."""
    query, gallery, result = evaluation.query, evaluation.gallery, evaluation.results[depth]
    same: list[float] = []
    different: list[float] = []
    for q in range(len(query)):
        for g in range(len(gallery)):
            if query.camera_ids[q] != gallery.camera_ids[g]:
                is_one = query.person_ids[q] == gallery.person_ids[g]
                cosine = float(result.query_features[q] @ result.gallery_features[g])
                (same if is_one else different).append(cosine)
    return same, different


def test_figures_are_those_of_the_protocol_and_of_all_pairs_across_cameras(
    make_evaluation: MakeEvaluation,
) -> None:
    evaluation = make_evaluation(noises={1: 1.5, 2: 0.8})
    for row in rows_of(evaluation):
        metrics = evaluation.results[row.depth].metrics
        assert row.num_persons == 40
        assert row.rank1.value == pytest.approx(metrics.rank1)
        assert row.mean_ap.value == pytest.approx(metrics.mean_ap)
        same, different = map(np.array, pairs_across_cameras(evaluation, row.depth))
        for figure, rate in ((row.tpr_at_one_per_mille, 0.001), (row.tpr_at_one_percent, 0.01)):
            assert figure is not None
            expected = tpr_at_fpr(same, different, rate).true_share
            assert figure.value == pytest.approx(expected, abs=1 / len(same))


def test_intervals_hold_the_figure_and_shrink_with_more_persons(
    make_evaluation: MakeEvaluation,
) -> None:
    few, many = (
        rows_of(make_evaluation(noises={1: 1.5}, persons=persons))[0] for persons in (20, 160)
    )
    for row in (few, many):
        for figure in figures_of(row):
            assert figure is not None
            assert figure.low <= figure.value <= figure.high
    assert many.mean_ap.high - many.mean_ap.low < few.mean_ap.high - few.mean_ap.low


@pytest.mark.parametrize("common", [0.0, 5.0, 100.0])
def test_intervals_of_pairs_are_those_of_an_exact_bootstrap_however_alike_all_embeddings_are(
    make_evaluation: MakeEvaluation, common: float
) -> None:
    evaluation = make_evaluation(noises={1: 1.5})
    query, gallery, result = evaluation.query, evaluation.gallery, evaluation.results[1]
    shared = common * result.query_features[0]
    sides = [
        {1: unit_length(features + shared)}
        for features in (result.query_features, result.gallery_features)
    ]
    (row,) = rows_of(evaluate_embedded(query, gallery, *sides), draws=100)

    cosines = sides[0][1] @ sides[1][1].T
    across = query.camera_ids[:, None] != gallery.camera_ids
    is_one = query.person_ids[:, None] == gallery.person_ids
    persons, numbers = np.unique(query.person_ids, return_inverse=True)
    count = len(persons)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=100)
    best_first = np.argsort(-cosines, axis=None)
    owners = np.repeat(numbers, len(gallery))[best_first]
    same, different = ((across & each).ravel()[best_first] for each in (is_one, ~is_one))
    for figure, rate in ((row.tpr_at_one_per_mille, 0.001), (row.tpr_at_one_percent, 0.01)):
        shares = []
        for weights in draws:
            false = np.cumsum(weights[owners] * different)
            true = np.cumsum(weights[owners] * same)
            shares.append(true[false <= rate * false[-1]].max(initial=0) / true[-1])
        assert figure is not None
        assert figure.low <= figure.value <= figure.high
        assert (figure.low, figure.high) == pytest.approx(
            tuple(np.quantile(shares, (0.025, 0.975))), abs=0.02
        )


def test_the_bootstrap_of_a_mean_has_the_spread_that_theory_gives(
    make_evaluation: MakeEvaluation,
) -> None:
    evaluation = make_evaluation(noises={1: 1.5}, persons=160)
    metrics = evaluation.results[1].metrics
    by_person = metrics.average_precision.reshape(160, 3).mean(axis=1)
    expected = 2 * 1.96 * by_person.std() / np.sqrt(160)
    figure = rows_of(evaluation, draws=1000)[0].mean_ap
    assert figure.high - figure.low == pytest.approx(expected, rel=0.1)


def test_rates_that_the_pairs_cannot_tell_are_left_out(make_evaluation: MakeEvaluation) -> None:
    # 8 persons under 3 cameras: 336 pairs of two persons across cameras.
    (row,) = rows_of(make_evaluation(noises={1: 0.5}, persons=8))
    assert row.tpr_at_one_per_mille is None
    assert row.tpr_at_one_percent is not None
    assert "–" in unseen_text([row])


def test_the_text_names_set_and_depth_and_fits_a_terminal(make_evaluation: MakeEvaluation) -> None:
    text = unseen_text(rows_of(make_evaluation(noises={1: 1.5, 2: 0.8})))
    assert "Res1  made up (unseen)" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("dataset", "trained_on", "also", "expected"),
    [
        ("market1501", "market1501", (), "seen"),
        ("cuhk01", "market1501", (), "unseen"),
        ("cuhk01", "cuhk02", (), "seen"),
        ("cuhk01", "market1501", ("cuhk02",), "seen"),
        ("cuhk02", "cuhk01", (), "unseen"),
        ("prid2011-tracks", "prid2011", (), "seen"),
        ("cuhk03-detected", "market1501, cuhk03-labeled", (), "seen"),
        ("cuhk01", "", (), "not stated"),
        ("cuhk01", "", ("CUHK01",), "seen"),
        ("cuhk01", "market1501", ("cuhk01",), "seen"),
        ("folder", "folder", (), "not stated"),
        ("folder", "market1501", (), "not stated"),
        ("cuhk01", "folder", (), "not stated"),
        ("market1501", "market1501 + folder", (), "seen"),
        ("cuhk01", "market1501 + unstated", (), "not stated"),
        ("cuhk01", "9 crops of 3 tracks of one site; started from a.onnx", (), "not stated"),
        ("market1501", "Market-1501", (), "seen"),
        ("market1501", "MSMT17, Market-1501", (), "seen"),
        ("market1501", "trained on Market 1501", (), "seen"),
        ("market1501", "MSMT17/DukeMTMC-reID", (), "unseen"),
        ("msmt17", "Market1501-MSMT17_V2", (), "seen"),
        ("dukemtmc", "MSMT17V2 and Market-1501-v15.09.15", (), "unseen"),
        ("prid2011", "PRID 2011", (), "seen"),
        ("ilids-vid", "i-LIDS-VID", (), "seen"),
        ("ilids-vid", "", ("iLIDS-VID",), "seen"),
        ("market1501", "", ("Market-1501",), "seen"),
        ("market1501-shop", "Market-1501", (), "seen"),
        ("folder-market1501", "market1501", (), "not stated"),
        ("market1501", "my own pictures", (), "not stated"),
        ("market1501", "cuhk03 + pictures of a shop", (), "not stated"),
        ("market1501", "holidays", (), "not stated"),
        ("viper", "viperfish", (), "not stated"),
        ("cuhk01", "CUHK010", (), "not stated"),
        ("market1501", "photographs", (), "unseen"),
        ("market1501", "drawn people", (), "unseen"),
        ("market1501", "photographs of Market", (), "not stated"),
        ("made up", "market1501", (), "not stated"),
        *(
            (name, "market1501 + cuhk03 + photographs", (), expected)
            for name, expected in (
                ("market1501", "seen"),
                ("cuhk03-labeled", "seen"),
                ("cuhk01", "unseen"),
                ("msmt17", "unseen"),
            )
        ),
    ],
)
def test_what_was_seen_is_told_from_names(
    dataset: str, trained_on: str, also: tuple[str, ...], expected: str
) -> None:
    assert was_seen(dataset, trained_on, also=also) == expected


def test_the_shipped_networks_say_what_they_have_seen() -> None:
    for known in (one for one in adln.networks() if one.shipped):
        assert known.manifest is not None
        labels = [
            was_seen(name, known.manifest.training_data)
            for name in ("market1501", "cuhk03", "cuhk01")
        ]
        assert labels == ["seen", "seen", "unseen"]


def test_a_name_that_is_no_data_set_cannot_have_been_seen() -> None:
    require_known(["Market-1501", "cuhk03-labeled", "folder"])
    with pytest.raises(DatasetError, match="there is no data set 'makret1501'"):
        require_known(["market1501", "makret1501"])
