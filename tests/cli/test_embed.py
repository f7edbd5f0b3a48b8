import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adln.cli.embed import embed
from adln.datasets.columns import read_columns
from adln.errors import CameraError, DatasetError, ImageError, ModelFileError, SettingsError
from adln.features import read_features

MakeModel = Callable[..., Path]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(embed, [str(argument) for argument in arguments])


@pytest.fixture
def people(tmp_path: Path) -> Path:
    folder = tmp_path / "people"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (64, 128), (40 * number, 100, 50)).save(folder / f"{number}.png")
    return folder


def test_a_folder_becomes_a_feature_file(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "features.npz"
    result = run(people, "--model", make_model(), "--out", out)
    assert result.exit_code == 0, result.output
    assert "6 pictures, 3 numbers each, Res2 fp32" in result.stdout
    features = read_features(out)
    assert features.paths == tuple(str(people / f"{number}.png") for number in range(6))
    expected = np.array([[40 * number, 100, 50] for number in range(6)], dtype=np.float32)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features.embeddings, expected, atol=1e-5)
    assert (features.source.depth, features.source.flip) == (2, False)
    assert features.source.source_sha256 == "5" * 64
    assert len(features.source.model_sha256) == 64


def test_names_that_a_file_cannot_hold_are_left_out_of_it(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    odd = people / os.fsdecode(b"caf\xe9.png")
    (people / "0.png").rename(odd)
    model = make_model()
    result = run(people, "--model", model, "--out", tmp_path / "f.parquet")
    assert result.exit_code == 0, result.output
    assert "5 pictures, 1 left out" in result.stdout
    assert "caf\\udce9.png: its name is not UTF-8" in result.stderr
    assert len(read_features(tmp_path / "f.parquet").paths) == 5
    result = run(odd, "--model", model, "--out", tmp_path / "none.parquet")
    assert "none of the 1 pictures could be used" in str(result.exception)
    assert run(people, "--model", model, "--out", tmp_path / "f.npz").exit_code == 0
    assert str(odd) in read_features(tmp_path / "f.npz").paths
    (tmp_path / "boxes.jsonl").touch()
    video = tmp_path / os.fsdecode(b"caf\xe9")
    boxes = ("--boxes", tmp_path / "boxes.jsonl")
    result = run(video, "--model", model, "--out", tmp_path / "v.parquet", *boxes)
    assert "its name is not UTF-8" in str(result.exception)


def test_the_deepest_is_stored_unless_a_depth_is_asked_for(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / "features.npz", make_model(depths=(2, 3))
    assert run(people, "--model", model, "--out", out, "--flip").exit_code == 0
    assert read_features(out).source.depth == 3
    assert read_features(out).source.flip
    assert run(people, "--model", model, "--out", out, "--depth", "2").exit_code == 0
    assert read_features(out).source.depth == 2
    result = run(people, "--model", model, "--out", out, "--depth", "4")
    assert isinstance(result.exception, ModelFileError)
    assert "has no depth 4; it has: 2, 3" in str(result.exception)


def test_bad_pictures_are_named_on_stderr_and_left_out(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    (people / "2.png").write_bytes(b"no picture")
    out = tmp_path / "features.npz"
    result = run(people, "--model", make_model(), "--out", out, "--quiet")
    assert result.exit_code == 0
    assert f"left out: {people / '2.png'}: not a picture" in result.stderr
    assert "5 pictures, 1 left out" in result.stdout
    assert str(people / "2.png") not in read_features(out).paths


def test_only_bad_pictures_are_an_error_and_leave_no_file(
    make_model: MakeModel, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    result = run(tmp_path / "a.jpg", "--model", make_model(), "--out", tmp_path / "f.npz")
    assert isinstance(result.exception, ImageError)
    assert "none of the 1 pictures could be used" in str(result.exception)
    assert not (tmp_path / "f.npz").exists()


def test_a_list_and_files_are_sources_too(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("path\npeople/4.png\npeople/1.png\n")
    out = tmp_path / "f.npz"
    result = run(tmp_path / "list.csv", people / "0.png", "--model", make_model(), "--out", out)
    assert result.exit_code == 0, result.output
    assert [Path(path).name for path in read_features(out).paths] == ["4.png", "1.png", "0.png"]


def test_what_cannot_be_written_is_told_before_the_work(
    make_model: MakeModel, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "file").touch()
    for out in (tmp_path / "f.parquet", tmp_path / "f.csv", tmp_path / "file" / "f.npz"):
        result = run(people, "--model", make_model(), "--out", out)
        assert isinstance(result.exception, SettingsError)


def test_missing_model_and_source_are_told(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "f.npz"
    result = run(people, "--model", tmp_path / "gone.onnx", "--out", out)
    assert isinstance(result.exception, ModelFileError)
    result = run(tmp_path / "gone", "--model", make_model(), "--out", out)
    assert isinstance(result.exception, DatasetError)


def boxes_file(folder: Path, *, camera: str = "door") -> Path:
    """Two people in frame 0, one in frame 2, and one who stands outside the picture."""
    lines = [
        {"camera_id": camera, "frame": 0, "box_xyxy": [0, 0, 30, 100], "track_id": 7},
        {"camera_id": camera, "frame": 0, "box_xyxy": [30, 0, 64, 100], "track_id": 8},
        {"camera_id": camera, "frame": 2, "box_xywh": [0, 0, 30, 100], "track_id": 7},
        {"camera_id": camera, "frame": 2, "box_xyxy": [500, 0, 530, 100], "track_id": 9},
    ]
    path = folder / "boxes.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_the_people_of_a_video_come_with_camera_track_and_time(
    make_model: MakeModel, people: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"features{ending}"
    boxes = boxes_file(tmp_path)
    result = run(people, "--boxes", boxes, "--model", make_model(), "--out", out, "--quiet")
    assert result.exit_code == 0, result.output
    assert "3 pictures, 1 left out" in result.stdout
    assert "holds no pixel" in result.stderr
    features = read_features(out)
    assert features.paths == tuple(f"{people}#{name}" for name in ("0.0", "0.1", "2.0"))
    columns = read_columns(out, features.paths, None)
    assert columns["track"].tolist() == ["7", "8", "7"]
    assert columns["camera"].tolist() == ["door"] * 3
    np.testing.assert_allclose(columns["time_s"], [0, 0, 0.2])
    # The frame is of one colour, so its two people look alike; the later frame is redder.
    assert features.embeddings[0] @ features.embeddings[1] == pytest.approx(1, abs=1e-5)
    assert features.embeddings[0] @ features.embeddings[2] < 0.9


def test_a_table_beside_the_features_may_be_parted_by_semicolons(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path;camera;time_s\na.jpg;door;1.5\nb.jpg;yard;2\n")
    columns = read_columns(tmp_path / "f.npz", ("b.jpg", "a.jpg"), table)
    assert columns["camera"].tolist() == ["yard", "door"]
    assert columns["time_s"].tolist() == [2, 1.5]


def test_boxes_past_the_end_of_the_recording_are_told_with_its_length(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    boxes, out = boxes_file(tmp_path), tmp_path / "f.npz"
    length = len(list(people.iterdir()))
    common = ("--boxes", boxes, "--model", make_model(), "--out", out, "--quiet")
    with boxes.open("a") as file:
        line = {"camera_id": "door", "frame": 900, "box_xyxy": [0, 0, 30, 100], "track_id": 7}
        file.write("\n" + json.dumps(line))
    result = run(people, *common)
    assert result.exit_code == 0, result.output
    assert f"#900.0: the recording has {length} frames (0 to {length - 1})" in result.stderr
    lines = [{**line, "frame": frame} for frame in (900, 950)]
    boxes.write_text("\n".join(json.dumps(line) for line in lines))
    result = run(people, *common)
    assert isinstance(result.exception, CameraError)
    assert "2 frames from 900 to 950" in str(result.exception)
    assert f"the recording has {length} (0 to {length - 1})" in str(result.exception)


def test_boxes_of_another_camera_are_refused(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    boxes = boxes_file(tmp_path)
    common = ("--boxes", boxes, "--model", make_model(), "--out", tmp_path / "f.npz", "--quiet")
    result = run(people, *common, "--camera", "yard")
    assert isinstance(result.exception, CameraError)
    assert "the boxes are for door, none for 'yard'" in str(result.exception)
    result = run(people, people, *common)
    assert isinstance(result.exception, SettingsError)
    assert "belong to one video, 2 were named" in str(result.exception)


def test_pictures_whose_embeddings_are_no_numbers_are_left_out_and_named(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    # The feature of this model is the mean colour, and black has no direction.
    Image.new("RGB", (64, 128)).save(people / "black.png")
    result = run(people, "--network", make_model(), "--out", tmp_path / "f.npz", "--quiet")
    assert result.exception is None
    assert f"{people / 'black.png'}: the network gives only zeros" in result.stderr
    assert "black.png" not in read_features(tmp_path / "f.npz").paths


def test_pipes_are_refused_instead_of_waited_for(make_model: MakeModel, tmp_path: Path) -> None:
    for name in ("pipe.png", "pipe.txt"):
        os.mkfifo(tmp_path / name)
        result = run(tmp_path / name, "--network", make_model(), "--out", tmp_path / "f.npz")
        assert isinstance(result.exception, (ImageError, DatasetError))


def test_linked_folders_are_named_as_left_out(
    make_model: MakeModel, people: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (people / "link").symlink_to(tmp_path / "elsewhere")
    result = run(people, "--network", make_model(), "--out", tmp_path / "f.npz")
    assert f"left out: {people / 'link'}: links to folders are not followed" in result.stderr
    assert "6 pictures, 1 left out" in result.stdout


def test_help_shows_one_name_for_the_network() -> None:
    shown = run("--help").output
    assert "--network" in shown
    assert "--model" not in shown
