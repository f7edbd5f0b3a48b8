"""What scores mean, and the file beside the model that says so."""

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.matching.made_calibration import CALIBRATION

from adln.embedders.shipped import find_network
from adln.errors import ModelFileError, SettingsError
from adln.matching.calibration import (
    CalibrationFile,
    Level,
    Scales,
    calibration_path,
    read_calibration,
    write_calibration,
)

FILE = CalibrationFile(
    model_sha256="a" * 64,
    source_sha256="b" * 64,
    precision="int8",
    adln_version="0.1.0",
    created_utc="2026-01-01T00:00:00Z",
    calibrations=(CALIBRATION,),
)
sizes = st.integers(1, 10**7)
scores = st.floats(-1, 1)


@pytest.mark.parametrize(
    ("score", "verdict"),
    [(0.56, "matched"), (0.55, "matched"), (0.41, "candidate"), (0.39, "unknown")],
)
def test_a_score_is_held_against_the_thresholds_of_the_gallery_s_size(
    score: float, verdict: str
) -> None:
    assert CALIBRATION.decide(score, 2).verdict == verdict


def test_an_empty_gallery_knows_nobody() -> None:
    assert CALIBRATION.decide(None, 8).verdict == "unknown"
    assert CALIBRATION.decide(0.99, 0).verdict == "unknown"
    assert CALIBRATION.decide(None, 0).probability == 0


def test_thresholds_between_sizes_follow_the_logarithm() -> None:
    between = CALIBRATION.threshold(CALIBRATION.match, 3)
    assert between == pytest.approx(0.55 + 0.05 * math.log(1.5) / math.log(2))


def test_beyond_the_largest_size_the_steepest_rise_goes_on() -> None:
    assert CALIBRATION.threshold(CALIBRATION.match, 16) == pytest.approx(0.63 + 0.05)
    assert CALIBRATION.threshold(CALIBRATION.candidate, 32) == pytest.approx(0.5 + 0.2)


@given(scores, scores, sizes, sizes)
def test_a_higher_score_or_a_smaller_gallery_is_never_less_sure(
    score: float, other: float, size: int, other_size: int
) -> None:
    order = ["unknown", "candidate", "matched"]
    low, high = sorted((score, other))
    small, large = sorted((size, other_size))
    for worse, better in (
        (CALIBRATION.decide(low, size), CALIBRATION.decide(high, size)),
        (CALIBRATION.decide(score, large), CALIBRATION.decide(score, small)),
    ):
        assert 0 <= worse.probability <= better.probability <= 1
        assert order.index(worse.verdict) <= order.index(better.verdict)


def test_the_probability_is_the_logistic_of_its_formula() -> None:
    odds = -9 + 20 * 0.6 - 0.8 * math.log(5)
    assert CALIBRATION.probability(0.6, 5) == pytest.approx(1 / (1 + math.exp(-odds)))
    steep = replace(CALIBRATION, slope=1e5)
    assert steep.probability(1.0, 1) == 1
    assert steep.probability(-1.0, 1) == 0


def test_no_probability_without_a_score_or_a_gallery() -> None:
    with pytest.raises(SettingsError, match="gallery of one person"):
        CALIBRATION.probability(math.nan, 3)
    with pytest.raises(SettingsError, match="gallery of one person"):
        CALIBRATION.probability(0.5, 0)
    with pytest.raises(SettingsError, match="gallery size must be at least 1"):
        CALIBRATION.threshold(CALIBRATION.match, 0)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    model = tmp_path / "res2.onnx"
    path = write_calibration(FILE, model)
    assert path == tmp_path / "res2.onnx.calibration.json"
    assert read_calibration(model, model_sha256="a" * 64) == FILE
    assert FILE.of(2, flip=False) == CALIBRATION
    assert FILE.of(2, flip=True) is None
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_without_calibration_has_none(tmp_path: Path) -> None:
    assert read_calibration(tmp_path / "res2.onnx", model_sha256="a" * 64) is None


def test_a_calibration_of_another_model_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "res2.onnx"
    write_calibration(FILE, model)
    with pytest.raises(ModelFileError, match=r"made for network aaaaaaaaaaaa, but res2.onnx is c"):
        read_calibration(model, model_sha256="c" * 64)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.pop("precision"), "should have the keys"),
        (lambda v: v.update(more=1), "should have the keys"),
        (lambda v: v.update(format="adln-calibration-9"), "adln-calibration-9"),
        (lambda v: v["calibrations"][0].update(depth=True), "expected int"),
        (lambda v: v["calibrations"][0].update(slope=-1.0), "slope must be positive"),
        (lambda v: v["calibrations"][0].update(slope=math.inf), "finite"),
        (lambda v: v["calibrations"][0].update(sizes=[1, 2, 2, 8]), "sizes must increase"),
        (lambda v: v["calibrations"][0].update(sizes=[]), "sizes must"),
        (lambda v: v["calibrations"][0]["match"].update(thresholds=[0.5]), "each size"),
        (lambda v: v["calibrations"][0]["match"].update(thresholds=[1, 1, 1, 0]), "not decrease"),
        (lambda v: v["calibrations"][0]["candidate"].update(rate=0.001), "rates must"),
        (lambda v: v["calibrations"][0].update(evidence="none"), "should have the keys"),
        (lambda v: v.update(calibrations={}), "expected a list"),
    ],
)
def test_an_altered_file_is_refused_with_the_reason(
    tmp_path: Path, change: object, reason: str
) -> None:
    model = tmp_path / "res2.onnx"
    path = write_calibration(FILE, model)
    values = json.loads(path.read_text())
    change(values)  # type: ignore[operator]
    path.write_text(json.dumps(values))
    with pytest.raises(ModelFileError, match=reason):
        read_calibration(model, model_sha256="a" * 64)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    model = tmp_path / "res2.onnx"
    path = write_calibration(FILE, model)
    path.write_text(path.read_text()[:100])
    with pytest.raises(ModelFileError, match="adln calibrate"):
        read_calibration(model, model_sha256="a" * 64)


def test_a_disk_that_refuses_leaves_what_was_there(tmp_path: Path) -> None:
    model = tmp_path / "res2.onnx"
    write_calibration(FILE, model)
    # A folder in the place of the temporary file: nothing can be written there.
    (tmp_path / f".{calibration_path(model).name}.partial").mkdir()
    with pytest.raises(SettingsError, match="untouched"):
        write_calibration(replace(FILE, precision="fp32"), model)
    assert read_calibration(model, model_sha256="a" * 64) == FILE


PAIR = replace(CALIBRATION, gallery_depth=4, slope=15.0)


def test_a_pair_of_depths_is_kept_beside_the_depths_own(tmp_path: Path) -> None:
    model = tmp_path / "res2.onnx"
    file = replace(FILE, calibrations=(PAIR, CALIBRATION, replace(PAIR, flip=True)))
    write_calibration(file, model)
    found = read_calibration(model, model_sha256="a" * 64)
    assert found == file
    assert found.of(2, flip=False) == CALIBRATION
    scales = found.scales(flip=False)
    assert (scales.own, scales.pairs) == ({2: CALIBRATION}, {(2, 4): PAIR})
    with pytest.raises(ModelFileError, match="another depth"):
        replace(PAIR, gallery_depth=2)


def test_files_from_before_there_were_pairs_are_read(tmp_path: Path) -> None:
    model = tmp_path / "res2.onnx"
    path = write_calibration(FILE, model)
    values = json.loads(path.read_text())
    del values["calibrations"][0]["gallery_depth"]
    path.write_text(json.dumps(values))
    assert read_calibration(model, model_sha256="a" * 64) == FILE


def test_a_pair_that_nothing_was_fitted_to_is_judged_by_the_more_cautious_depth() -> None:
    strict = replace(
        CALIBRATION, depth=3, match=Level(rate=0.01, thresholds=(0.7, 0.75, 0.8, 0.83)), slope=30
    )
    scales = Scales(own={2: CALIBRATION, 3: strict}, pairs={(2, 4): PAIR})
    assert scales.between(2, 2) == CALIBRATION
    assert scales.between(2, 4) == PAIR
    assert scales.between(4, 2) == CALIBRATION
    assert scales.between(1, 4) is None
    for pair in ((2, 3), (3, 2)):
        between = scales.between(*pair)
        assert between is not None
        for score in (None, 0.2, 0.45, 0.62, 0.7, 0.9):
            decisions = [one.decide(score, 8) for one in (CALIBRATION, strict)]
            found = between.decide(score, 8)
            assert found.probability == min(one.probability for one in decisions)
            order = ["unknown", "candidate", "matched"]
            assert order.index(found.verdict) == min(order.index(d.verdict) for d in decisions)
        assert (found.match, found.candidate) == (0.83, 0.5)
    by_default = replace(scales, otherwise=PAIR)
    assert by_default.between(1, 4) == PAIR
    assert by_default.between(2, 2) == CALIBRATION


def test_a_decision_tells_its_thresholds_and_a_candidate_never_needs_more_than_a_match() -> None:
    decision = CALIBRATION.decide(0.5, 2)
    assert (decision.match, decision.candidate) == (0.55, 0.4)
    steep = replace(
        CALIBRATION,
        match=Level(rate=0.01, thresholds=(0.5, 0.55, 0.6, 0.6)),
        candidate=Level(rate=0.1, thresholds=(0.3, 0.4, 0.5, 0.59)),
    )
    far = steep.decide(0.7, 10_000)
    assert far.candidate == far.match == steep.threshold(steep.match, 10_000)


def test_beyond_what_was_measured_a_candidate_s_threshold_stays_below_a_match_s() -> None:
    # The candidate's threshold rises more steeply at the end.
    steep = replace(
        CALIBRATION,
        match=Level(rate=0.01, thresholds=(0.5, 0.55, 0.6, 0.61)),
        candidate=Level(rate=0.1, thresholds=(0.3, 0.4, 0.45, 0.6)),
    )
    for size in (8, 16, 310, 10_000):
        assert steep.threshold(steep.candidate, size) <= steep.threshold(steep.match, size)


def test_a_network_that_comes_with_adln_keeps_its_own_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = find_network("res2")
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    shipped = network.with_name(network.name + ".calibration.json")
    before = shipped.read_bytes()
    came_with_it = read_calibration(network, model_sha256=digest)
    own = replace(FILE, model_sha256=digest)
    path = write_calibration(own, network)
    assert path == tmp_path / "adln" / "calibrations" / f"res2-{digest[:12]}.onnx.calibration.json"
    assert read_calibration(network, model_sha256=digest) == own != came_with_it
    assert shipped.read_bytes() == before
    path.unlink()
    assert read_calibration(network, model_sha256=digest) == came_with_it


def test_a_calibration_may_be_written_elsewhere(tmp_path: Path) -> None:
    path = write_calibration(FILE, tmp_path / "res2.onnx", path=tmp_path / "sub" / "a.json")
    assert path == tmp_path / "sub" / "a.json"
    assert [each.name for each in tmp_path.iterdir()] == ["sub"]
