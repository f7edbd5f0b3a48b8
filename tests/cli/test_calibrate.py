"""`adln calibrate`: from a data set, from named pictures, from tracks; and what it refuses."""

import csv
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.api.conftest import MEAN, STD, write_foreign

import adln
from adln.cli.calibrate import calibrate
from adln.cli.gallery_cluster import cluster
from adln.embedders import session
from adln.embeddings import unit_length
from adln.errors import (
    AdlnError,
    DatasetError,
    EvaluationError,
    GalleryError,
    ModelFileError,
    SettingsError,
)
from adln.features import Features, FeatureSource, write_features
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import read_calibration

MakeModel = Callable[..., Path]
LOOSE = ("--match-rate", 0.1, "--candidate-rate", 0.3)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(calibrate, [str(argument) for argument in arguments])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifty persons, each a colour, twice before each of two cameras."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for person, colour in enumerate(rng.integers(0, 256, (50, 3)), start=1):
        for number, (folder, camera) in enumerate(
            (("query", 1), ("query", 2), ("bounding_box_test", 1), ("bounding_box_test", 2))
        ):
            (root / folder).mkdir(exist_ok=True)
            seen = (colour + rng.integers(-6, 7, 3)).clip(0, 255)
            picture = Image.new("RGB", (8, 16), tuple(int(value) for value in seen))
            picture.save(root / folder / f"{person:04d}_c{camera}s1_00000{number}_00.png")
    (root / "bounding_box_train").mkdir()
    picture.save(root / "bounding_box_train" / "0999_c1s1_000001_00.png")
    return root


def test_a_data_set_gives_thresholds_for_every_depth(make_model: MakeModel, colours: Path) -> None:
    model = make_model(depths=(2, 3))
    digest = sha256(model)
    result = run(model, "--data", colours, *LOOSE)
    assert result.exit_code == 0, result.output
    for text in ("Res2: 50 persons", "Res3", "matched", "candidate", "490*", "across cameras"):
        assert text in result.stdout
    assert sha256(model) == digest
    content = read_calibration(model, model_sha256=digest)
    assert content is not None
    assert [one.depth for one in content.calibrations] == [2, 3]
    assert (content.precision, content.source_sha256) == ("fp32", "5" * 64)
    fitted = content.of(2, flip=False)
    assert fitted is not None
    assert fitted.evidence.num_searches == 100
    assert fitted.decide(1.0, 49).verdict == "matched"
    assert fitted.decide(0.2, 49).verdict == "unknown"


def test_one_depth_of_several_can_be_fitted_alone(make_model: MakeModel, colours: Path) -> None:
    model = make_model(depths=(2, 3))
    (row,) = json.loads(run(model, "--data", colours, "--depth", 2, *LOOSE, "--json").stdout)[
        "calibrations"
    ]
    assert row["depth"] == 2


def test_depths_of_one_space_are_fitted_in_pairs_too(make_model: MakeModel, colours: Path) -> None:
    model = make_model(depths=(2, 3), spaces=("a" * 16, "a" * 16))
    result = run(model, "--data", colours, *LOOSE)
    assert result.exit_code == 0, result.output
    assert "Res2 in a gallery of Res3: 50 persons" in result.stdout
    content = read_calibration(model, model_sha256=sha256(model))
    assert content is not None
    pairs = [(one.depth, one.gallery_depth) for one in content.calibrations]
    assert pairs == [(2, None), (2, 3), (3, 2), (3, None)]
    # Both depths of this model say the same, so that all four were fitted to equal scores.
    assert len({one.match for one in content.calibrations}) == 1
    again = run(model, "--data", colours, "--depth", 2, "--depth", 3, *LOOSE, "--json")
    assert len(json.loads(again.stdout)["calibrations"]) == 4


def test_a_file_is_fitted_against_another_of_its_space(
    make_model: MakeModel, colours: Path
) -> None:
    model = make_model("shallow.onnx", depths=(2,), spaces=("a" * 16,))
    deep = make_model("deep.onnx", depths=(4,), spaces=("a" * 16,))
    result = run(model, "--data", colours, "--against", deep, *LOOSE)
    assert result.exit_code == 0, result.output
    content = read_calibration(model, model_sha256=sha256(model))
    assert content is not None
    scales = content.scales(flip=False)
    assert (set(scales.own), set(scales.pairs)) == ({2}, {(2, 4)})
    assert read_calibration(deep, model_sha256=sha256(deep)) is None
    foreign = make_model("foreign.onnx", depths=(4,), spaces=("b" * 16,))
    error = error_of(run(model, "--data", colours, "--against", foreign, *LOOSE))
    with pytest.raises(SettingsError, match="share no space"):
        raise error


def test_files_of_a_split_export_are_calibrated_together(
    make_model: MakeModel, colours: Path
) -> None:
    first = make_model("net-1.onnx", depths=(1,), maps=(1,), spaces=("a" * 16,))
    second = make_model("net-3.onnx", depths=(3,), starts_after=1, spaces=("a" * 16,))
    result = run(first, "--deeper", second, "--data", colours, "--flip", *LOOSE)
    assert result.exit_code == 0, result.output
    for path, depth, other in ((first, 1, 3), (second, 3, 1)):
        content = read_calibration(path, model_sha256=sha256(path))
        assert content is not None
        scales = content.scales(flip=True)
        assert (set(scales.own), set(scales.pairs)) == ({depth}, {(depth, other)})
        assert f"Res{depth} in a gallery of Res{other}, with the mirrored crop" in result.stdout
    features = run(first, "--deeper", second, "--features", colours / "x.npz")
    with pytest.raises(SettingsError, match="need pictures"):
        raise error_of(features)


@pytest.mark.parametrize("depths", [(), ("--depth", 1)])
def test_each_file_is_opened_once(
    make_model: MakeModel,
    colours: Path,
    monkeypatch: pytest.MonkeyPatch,
    depths: tuple[object, ...],
) -> None:
    first = make_model("net-1.onnx", depths=(1,), maps=(1,), spaces=("a" * 16,))
    second = make_model("net-3.onnx", depths=(3,), starts_after=1, spaces=("a" * 16,))
    opened: list[Path] = []
    start = session.start_session

    def counted(path: Path, **options: Any) -> Any:
        opened.append(path)
        return start(path, **options)

    monkeypatch.setattr(session, "start_session", counted)
    result = run(first, "--deeper", second, "--data", colours, *depths, *LOOSE)
    assert result.exit_code == 0, result.output
    assert opened == [first, second]


def test_a_second_run_keeps_the_calibration_of_the_other_kind(
    make_model: MakeModel, colours: Path
) -> None:
    model = make_model()
    assert run(model, "--data", colours, *LOOSE).exit_code == 0
    result = run(model, "--data", colours, "--flip", *LOOSE, "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["calibrations"]
    assert [(row["depth"], row["flip"]) for row in rows] == [(2, False), (2, True)]


def features_of(model: Path, count: int, seed: int = 0) -> tuple[Features, np.ndarray]:
    """Ten pictures each of `count` persons."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(count), 10)
    embeddings = rng.normal(size=(count, 16))[person] + 0.6 * rng.normal(size=(len(person), 16))
    source = FeatureSource(
        depth=3,
        flip=False,
        model_sha256=sha256(model),
        source_sha256="5" * 64,
        precision="fp32",
        adln_version="0.1.0",
    )
    paths = tuple(f"crops/{number:05d}.jpg" for number in range(len(person)))
    return Features(paths, unit_length(embeddings), source), person


def write_table(target: Path, /, **columns: object) -> Path:
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))  # type: ignore[arg-type]
    return target


def num_comparisons(model: Path) -> int:
    """Of how many comparisons the calibration of Res3 was fitted to."""
    content = read_calibration(model, model_sha256=sha256(model))
    assert content is not None
    fitted = content.of(3, flip=False)
    assert fitted is not None
    return fitted.evidence.num_comparisons


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_tracks_from_a_feature_file_and_a_table(
    make_model: MakeModel, tmp_path: Path, suffix: str
) -> None:
    model = make_model()
    features, track = features_of(model, 120)
    write_features(features, tmp_path / f"f{suffix}")
    table = write_table(
        tmp_path / "tracks.csv",
        path=features.paths,
        camera=["door"] * len(track),
        track=track,
        time_s=track // 4 * 100.0 + np.tile(np.arange(10.0), 120),
    )
    result = run(model, "--features", tmp_path / f"f{suffix}", "--table", table, *LOOSE)
    assert result.exit_code == 0, result.output
    assert f"Res3: 120 tracks of f{suffix}, 480 searches" in result.stdout
    assert "searches were within one camera" in result.stdout
    assert num_comparisons(model) == 480 * 3


def test_tracks_of_a_gallery(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model(depths=(3,))
    features, track = features_of(model, 120)
    time_s = track // 4 * 100.0 + np.tile(np.arange(10.0), 120)
    key = ModelKey(sha256(model), 3, features.embeddings.shape[1])
    foreign = ModelKey("f" * 64, 3, features.embeddings.shape[1])
    rows = zip(features.embeddings, track.tolist(), time_s.tolist(), strict=True)
    with SqliteGallery(tmp_path / "people", create=True) as gallery:
        gallery.add(
            [
                Sighting(embedding=one, model=key, camera_id=1, time_s=at, track_id=number)
                for one, number, at in rows
            ]
        )
        # Enrolled by a picture: no track.
        gallery.add([Sighting(embedding=features.embeddings[0], model=key, camera_id=1, time_s=0)])
    result = run(model, "--gallery", tmp_path / "people", *LOOSE)
    assert result.exit_code == 0, result.output
    assert "Res3: 120 tracks of people, 480 searches" in result.stdout
    assert num_comparisons(model) == 480 * 3
    with SqliteGallery(tmp_path / "other", create=True) as gallery:
        gallery.add(
            [
                Sighting(
                    embedding=features.embeddings[0],
                    model=foreign,
                    camera_id=1,
                    time_s=1.0,
                    track_id=1,
                )
            ]
        )
    error = error_of(run(model, "--gallery", tmp_path / "other"))
    assert isinstance(error, GalleryError)
    assert "f" * 12 in str(error)
    error = error_of(run(model, "--gallery", tmp_path / "people", "--flip"))
    assert isinstance(error, SettingsError)


def test_named_pictures_from_a_feature_file_with_columns(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    features, person = features_of(model, 40)
    write_features(features, tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as content:
        columns = dict(content)
    np.savez(tmp_path / "f.npz", **columns, person=person, camera=np.arange(len(person)) % 3)
    result = run(model, "--features", tmp_path / "f.npz", *LOOSE)
    assert result.exit_code == 0, result.output
    assert "40 persons of f.npz, 400 searches" in result.stdout
    assert "searches across cameras" in result.stdout


def test_a_network_of_another_make_calibrates_from_its_own_features_and_clusters_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    model = write_foreign(tmp_path / "means.onnx")
    adln.describe_network(model, mean=MEAN, std=STD, name="means")
    key = adln.load("means").key
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 10)
    rows = rng.normal(size=(40, key.dim))[person] + 0.01 * rng.normal(size=(400, key.dim))
    source = FeatureSource(
        depth=key.depth,
        flip=False,
        model_sha256=key.digest,
        source_sha256="",
        precision="fp32",
        adln_version="0.1.0",
        space=key.space,
    )
    paths = tuple(f"{number}.jpg" for number in range(400))
    features = Features(paths, unit_length(rows.astype(np.float32)), source)
    write_features(features, tmp_path / "f.npz")
    table = write_table(tmp_path / "t.csv", path=paths, person=person, camera=["a"] * 400)
    result = run("means", "--features", tmp_path / "f.npz", "--table", table, *LOOSE)
    assert result.exit_code == 0, result.output
    assert read_calibration(model, model_sha256=key.digest) is not None
    assert "means: 40 persons of f.npz" in result.stdout
    assert "Res4" not in result.stdout
    with SqliteGallery(tmp_path / "people", create=True) as gallery:
        gallery.add(
            [
                Sighting(embedding=row, model=key, camera_id=at, time_s=float(at))
                for at, row in enumerate(features.embeddings[:20])
            ]
        )
    grouped = CliRunner().invoke(cluster, [str(tmp_path / "people"), "--network", "means"])
    assert grouped.exit_code == 0, grouped.output
    assert "20 of them in 2 groups" in grouped.output


def test_one_camera_alone_calibrates_too_and_says_so(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    features, person = features_of(model, 40)
    write_features(features, tmp_path / "f.npz")
    table = write_table(
        tmp_path / "t.csv", path=features.paths, person=person, camera=["a"] * len(person)
    )
    result = run(model, "--features", tmp_path / "f.npz", "--table", table, *LOOSE)
    assert result.exit_code == 0, result.output
    assert "searches were within one camera" in result.stdout
    assert "across cameras" not in result.stdout


def error_of(result: Result) -> AdlnError:
    assert isinstance(result.exception, AdlnError), result.output
    return result.exception


def test_what_cannot_be_used_is_refused_and_nothing_is_stored(
    make_model: MakeModel, colours: Path, tmp_path: Path
) -> None:
    model = make_model()
    features, person = features_of(model, 40)
    write_features(features, tmp_path / "f.npz")
    other = make_model("other.onnx", depths=(1,))
    table = write_table(tmp_path / "t.csv", path=features.paths[1:], camera=person[1:])
    cases: list[tuple[tuple[object, ...], type[AdlnError], str]] = [
        ((model,), SettingsError, "one of --data, --features and --gallery"),
        ((tmp_path / "gone.onnx", "--data", colours), ModelFileError, "cannot be opened"),
        ((model, "--data", colours), EvaluationError, "1,000 are needed"),
        ((model, "--features", tmp_path / "f.npz"), DatasetError, "found none of them"),
        ((other, "--features", tmp_path / "f.npz"), ModelFileError, "embed again"),
        (
            (model, "--features", tmp_path / "f.npz", "--table", table),
            DatasetError,
            "1 of 400 pictures .* crops/00000.jpg",
        ),
    ]
    for arguments, kind, reason in cases:
        error = error_of(run(*arguments))
        assert isinstance(error, kind)
        with pytest.raises(kind, match=reason):
            raise error
    assert not list(tmp_path.glob("*.calibration.json"))


def test_a_table_that_is_wrong_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    features, person = features_of(model, 40)
    write_features(features, tmp_path / "f.npz")
    table = tmp_path / "t.csv"
    twice = [features.paths[0], *features.paths]
    for columns, reason in (
        ({"file_no": person}, "column named path"),
        ({"path": twice, "camera": [1] * len(twice)}, "listed twice"),
        (
            {"path": features.paths, "camera": person, "track": person, "time_s": ["noon"] * 400},
            "not a number of seconds",
        ),
    ):
        write_table(table, **columns)
        error = error_of(run(model, "--features", tmp_path / "f.npz", "--table", table))
        with pytest.raises(DatasetError, match=reason):
            raise error


def test_a_calibration_of_a_model_that_was_replaced_is_replaced_too(
    make_model: MakeModel, colours: Path
) -> None:
    model = make_model()
    assert run(model, "--data", colours, *LOOSE).exit_code == 0
    make_model(depths=(3,))
    result = run(model, "--data", colours, *LOOSE)
    assert result.exit_code == 0, result.output
    assert "replaced: " in result.stderr
    content = read_calibration(model, model_sha256=sha256(model))
    assert content is not None
    assert [one.depth for one in content.calibrations] == [3]


def test_too_little_data_is_refused_before_the_work(make_model: MakeModel, colours: Path) -> None:
    result = run(make_model(), "--data", colours)
    error = error_of(result)
    assert "10 % could be stated (--match-rate 0.1)" in str(error)
    assert "embedding" not in result.stderr


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    make_model: MakeModel, colours: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = run(make_model(), "--data", colours, "--out", tmp_path / "file" / "c.json", *LOOSE)
    assert "cannot be written" in str(error_of(result))
    assert "embedding" not in result.stderr


def test_the_result_can_be_written_elsewhere(
    make_model: MakeModel, colours: Path, tmp_path: Path
) -> None:
    model = make_model()
    result = run(model, "--data", colours, "--out", tmp_path / "c.json", *LOOSE)
    assert result.exit_code == 0, result.output
    assert f"stored: {tmp_path / 'c.json'}" in result.stdout
    assert read_calibration(model, model_sha256=sha256(model)) is None


def test_feature_files_and_networks_that_are_pipes_are_refused(
    make_model: MakeModel, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    assert "a pipe or a device" in str(
        error_of(run(make_model(), "--features", tmp_path / "pipe.npz"))
    )
    assert "a pipe or a device" in str(
        error_of(run(tmp_path / "pipe.npz", "--features", tmp_path / "f.npz"))
    )
