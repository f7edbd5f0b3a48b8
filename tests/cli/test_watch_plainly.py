"""`adln watch SOURCE...` without a file of settings."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adln.cli.main import adln

MakeModel = Callable[..., Path]


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A YOLOX for frames of 64 px that always finds one person, at (16, 4) to (48, 60)."""
    kinds, helper = onnx.TensorProto, onnx.helper
    raw = np.zeros((1, 84, 85), np.float32)
    raw[0, 64 + 6, :6] = [0, 1, np.log(2), np.log(3.5), 0.95, 0.95]  # column 2, row 1, stride 16
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["sum", "nought"], ["zero"]),
            helper.make_node("Add", ["answer", "zero"], ["output"]),
        ],
        "yolox",
        [helper.make_tensor_value_info("images", kinds.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output", kinds.FLOAT, [1, 84, 85])],
        [
            helper.make_tensor("nought", kinds.FLOAT, [], [0.0]),
            onnx.numpy_helper.from_array(raw, "answer"),
        ],
    )
    path = tmp_path / "models" / "yolox.onnx"
    path.parent.mkdir()
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two folders of pictures with the same name, in which somebody stands for three seconds."""
    for parent in ("monday", "tuesday"):
        folder = tmp_path / parent / "Front door"
        folder.mkdir(parents=True)
        for index in range(30):
            rng = np.random.default_rng(index)
            image = rng.integers(90, 120, (256, 256, 3)).astype(np.uint8)
            grain = rng.integers(-25, 26, (224, 128, 1))
            image[16:240, 64:192] = (np.array((200, 30, 30)) + grain).clip(0, 255)
            Image.fromarray(image).save(folder / f"{index}.png")
    return tmp_path


@pytest.fixture
def options(make_model: MakeModel, detector: Path) -> list[str]:
    return ["--network", str(make_model()), "--detector", str(detector)]


def watch(*arguments: object) -> Result:
    return CliRunner().invoke(adln, ["watch", *map(str, arguments)])


def test_recordings_are_watched_with_nothing_but_their_names(
    clips: Path, options: list[str]
) -> None:
    sources = [clips / "monday" / "Front door", clips / "tuesday" / "Front door"]
    result = watch(*sources, *options, "--save", clips / "w.toml", "--report", clips / "page.html")
    assert result.exit_code == 0, result.output
    written = clips / "monday" / "adln-gallery" / "watch" / "sightings.jsonl"
    said = [json.loads(line) for line in written.read_text().splitlines()]
    assert {one["camera_name"] for one in said} == {"Front door", "Front door 2"}
    assert {one["camera_id"] for one in said} == {1, 2}
    for text in (
        "1 person in",
        "Person 1",
        str(written),
        "page.html",
        "w.toml",
        "adln-gallery",
    ):
        assert text in result.stdout
    assert "person 1" in (clips / "page.html").read_text()
    # What was saved does the same, and only its owner reads the addresses in it.
    assert stat.S_IMODE((clips / "w.toml").stat().st_mode) == 0o600
    again = watch(clips / "w.toml", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["frames"] == {"Front door": 30, "Front door 2": 30}


def test_a_recording_can_be_dated_and_changed_by_options(clips: Path, options: list[str]) -> None:
    result = watch(
        clips / "monday" / "Front door",
        *options,
        "--gallery",
        clips / "g",
        "--start",
        "2020-05-01T10:00+02:00",
        "--set",
        f"jsonl.path={clips / 'here.jsonl'}",
        "--quiet",
    )
    assert result.exit_code == 0, result.output
    first = json.loads((clips / "here.jsonl").read_text().splitlines()[0])
    assert first["first_time_s"] == pytest.approx(1_588_320_000, abs=5)
    assert result.stdout == ""


def test_a_missing_detector_is_not_fetched_unless_somebody_agrees(
    clips: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(clips / "cache"))
    monkeypatch.delenv("ADLN_DETECTOR", raising=False)
    result = watch(clips / "monday" / "Front door", "--network", make_model())
    assert result.exit_code == 1
    for advice in ("--yes", "--detector FILE", "ADLN_DETECTOR", "3.7 MB", "Apache-2.0"):
        assert advice in str(result.exception)
    assert not (clips / "cache").exists()
    assert not (clips / "monday" / "adln-gallery").exists()


def test_a_variable_names_the_detector(
    clips: Path, make_model: MakeModel, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clips / "monday" / "Front door"
    monkeypatch.setenv("ADLN_DETECTOR", str(clips / "none.onnx"))
    result = watch(source, "--network", make_model())
    assert "ADLN_DETECTOR names this file, which is not there" in str(result.exception)
    monkeypatch.setenv("ADLN_DETECTOR", str(detector))
    assert watch(source, "--network", make_model(), "--quiet").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name what to watch"),
        (["none.mp4"], "there is no such file or folder"),
        (["watch.toml", "0"], "name it alone"),
        (["watch.toml", "--start", "2020-01-01"], "write start into the settings"),
        (["rtsp://u:s3cret@h/x", "none.mp4"], "none.mp4"),
    ],
)
def test_what_cannot_be_watched_is_named(arguments: list[str], message: str) -> None:
    result = watch(*arguments)
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)
    assert "s3cret" not in result.output + str(result.exception)


@pytest.mark.parametrize("option", ["--video", "--report", "--save"])
def test_a_place_that_cannot_be_written_is_said_before_the_work(
    clips: Path, options: list[str], option: str
) -> None:
    (clips / "file").write_text("")
    result = watch(clips / "monday" / "Front door", *options, option, clips / "file" / "x")
    assert result.exit_code == 1
    assert "cannot be written" in str(result.exception)
    assert not (clips / "monday" / "adln-gallery").exists()


def test_quality_is_one_setting_for_the_shipped_networks(clips: Path, detector: Path) -> None:
    depths = {}
    for quality in ("fast", "balanced", "best"):
        gallery = clips / f"gallery-{quality}"
        options = ["--gallery", gallery, "--detector", detector, "--quality", quality]
        result = watch(clips / "monday" / "Front door", *options, "--json")
        assert result.exit_code == 0, result.output
        depths[quality] = json.loads(result.stdout)["crops_by_depth"]
    assert list(depths["fast"]) == ["res1"]
    assert list(depths["best"]) == ["res2"]
    # A new person is looked at by both.
    assert list(depths["balanced"]) == ["res1", "res2"]
