"""`adln adapt ... --out`: what it says, stores, deletes and refuses."""

import importlib.util
import io
import json
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.site.conftest import DIM, HEIGHT, SPACE, WIDTH, draw_folder, make_bands

from adln.atomic import locked
from adln.cameras.detections import Detections, nobody
from adln.cameras.frames import Frame
from adln.cli.adapt_overnight import adapt_overnight
from adln.cli.main import adln
from adln.errors import AdlnError
from adln.model.checkpoint import save_network
from adln.model.network import Architecture, build_network
from adln.site.crops import SiteCrops
from adln.site.training import SiteOutcome, SiteRequest

__all__ = ["make_bands"]
MakeBands = Callable[..., Path]


class Nobody:
    """Finds nobody."""

    def detect(self, frames: list[Frame]) -> list[Detections]:
        return [nobody() for _ in frames]


class MovingBox:
    """Finds one person, who walks from left to right, for the first 20 frames."""

    def detect(self, frames: list[Frame]) -> list[Detections]:
        return [
            Detections(
                np.array([[4 * frame.index, 10, 4 * frame.index + 40, 110]], np.float32),
                np.array([0.9], np.float32),
            )
            if frame.index < 20
            else nobody()
            for frame in frames
        ]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return draw_recording(tmp_path / "Front door")


def draw_recording(folder: Path) -> Path:
    folder.mkdir()
    for index in range(50):
        rng = np.random.default_rng(index)
        picture = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Path:
    path = tmp_path / "start.safetensors"
    form = Architecture(
        num_classes=1, exits=(1,), embedding_dim=DIM, height_px=HEIGHT, width_px=WIDTH, space=SPACE
    )
    save_network(path, build_network(form, seed=0))
    return path


def adapt(*arguments: object) -> Result:
    return CliRunner().invoke(adln, ["adapt", *map(str, arguments)])


def test_options_of_a_training_without_out_are_refused(tmp_path: Path) -> None:
    result = adapt(tmp_path, "--teacher", "res2")
    assert result.exit_code == 2
    assert "--teacher goes with --out" in result.output
    assert "name one gallery" in adapt(tmp_path, tmp_path).output
    assert "--undo go with a gallery" in adapt(tmp_path, "--undo", "--out", "x.onnx").output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--out", "x.xml"), "must end in .onnx"),
        (("--out", "x.onnx"), "needs --teacher"),
        (("--out", "x.onnx", "--teacher", "res2"), "--start, weights to start from"),
        (("--out", "x.onnx", "--teacher", "none"), "--start, weights to start from"),
    ],
)
def test_what_is_missing_is_named(arguments: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    result = adapt(tmp_path, *arguments)
    assert isinstance(result.exception, AdlnError)
    assert problem in str(result.exception)


def test_without_the_packages_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "torch" else real(name)
    )
    result = adapt(tmp_path, "--out", tmp_path / "x.onnx")
    assert 'pip install ".[train,export]"' in str(result.exception)


def test_without_a_teacher_it_names_the_package_that_clusters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "sklearn" else real(name)
    )
    result = adapt(tmp_path, "--out", tmp_path / "x.onnx", "--teacher", "none")
    assert 'pip install ".[train,export,cluster]"' in str(result.exception)
    result = adapt(tmp_path, "--out", tmp_path / "x.onnx")
    assert "sklearn" not in str(result.exception)


def options(folder: Path, bands: Path, start: Path, **changes: Any) -> dict[str, Any]:
    return {
        "out": folder / "mine.onnx",
        "teacher": str(bands),
        "start": start,
        "network": str(bands),
        "hours": None,
        "minutes": 0.001,
        "depth": 1,
        "work": None,
        "collect": 60.0,
        "detector": None,
        "keep_crops": False,
        "new_space": False,
        "pictures": False,
        "yes": True,
        **changes,
    }


def test_nothing_is_stored_unless_somebody_agrees(
    recording: Path, start: Path, tmp_path: Path, make_bands: MakeBands
) -> None:
    chosen = options(tmp_path, make_bands("bands.onnx"), start, yes=False)
    with pytest.raises(AdlnError, match="nothing was stored"):
        adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    assert not (tmp_path / "mine.onnx.work" / "crops").exists()


def test_crops_that_tell_no_tracks_are_not_taken_for_the_frames_of_a_camera(
    start: Path, tmp_path: Path, make_bands: MakeBands
) -> None:
    crops = tmp_path / "crops"
    crops.mkdir()
    for number in range(3):
        Image.new("RGB", (48, 128)).save(crops / f"000{number}_c1s1_000151_01.jpg")
    chosen = options(tmp_path, make_bands("bands.onnx"), start)
    with pytest.raises(AdlnError, match="no crops with known tracks; expected camera/track"):
        adapt_overnight([str(crops)], **chosen, opened_detector=MovingBox())
    assert not (tmp_path / "mine.onnx.work").exists()


def test_a_second_run_in_the_same_folder_is_refused_and_takes_nothing_from_the_first(
    recording: Path, start: Path, tmp_path: Path, make_bands: MakeBands
) -> None:
    chosen = options(tmp_path, make_bands("bands.onnx"), start)
    work = tmp_path / "mine.onnx.work"
    crop = work / "crops" / "door" / "1" / "0.000s.jpg"
    crop.parent.mkdir(parents=True)
    crop.write_bytes(b"of the first run")
    with locked(work), pytest.raises(AdlnError, match="another run is at work here"):
        adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    assert crop.is_file()


@pytest.mark.parametrize("keep", [False, True])
def test_crops_of_a_recording_are_stored_and_deleted_with_the_answer(
    keep: bool,
    recording: Path,
    start: Path,
    tmp_path: Path,
    make_bands: MakeBands,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = options(tmp_path, make_bands("bands.onnx"), start, keep_crops=keep)
    with pytest.raises(AdlnError, match="too few tracks: 1 in all"):
        adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    crops = tmp_path / "mine.onnx.work" / "crops"
    said = capsys.readouterr().err
    assert "This stores pictures of people, cut out of 1 camera(s) or recording(s)" in said
    assert str(crops) in said
    assert ("kept: pictures of people" if keep else "deleted: the crops") in said
    found = sorted(crops.rglob("*.jpg"))
    assert (len(found) >= 2) == keep
    if keep:
        assert found[0].parent.parent.name == "Front door"
        assert crops.stat().st_mode & 0o077 == 0
        with Image.open(found[0]) as picture:
            assert picture.size == (128, 256)
    assert not (tmp_path / "mine.onnx").exists()


@pytest.mark.parametrize("keep", [False, True])
def test_what_found_nobody_or_too_few_is_harvested_again(
    keep: bool,
    recording: Path,
    start: Path,
    tmp_path: Path,
    make_bands: MakeBands,
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = options(tmp_path, make_bands("bands.onnx"), start, keep_crops=keep)
    with pytest.raises(AdlnError, match=r"nobody was followed in .*Front door"):
        adapt_overnight([str(recording)], **chosen, opened_detector=Nobody())
    for _ in range(2):
        with pytest.raises(AdlnError, match="too few tracks: 1 in all"):
            adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    assert capsys.readouterr().err.count("This stores pictures of people") == 3


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> list[SiteCrops]:
    """Trainings stop at once; these are the crops that they got."""
    learned: list[SiteCrops] = []

    def stop(_request: SiteRequest, crops: SiteCrops, **_: object) -> SiteOutcome:
        learned.append(crops)
        return SiteOutcome("asked to stop")

    monkeypatch.setattr("adln.site.training.train_for_site", stop)
    return learned


def test_a_harvest_is_taken_for_the_recordings_that_it_is_of(
    recording: Path,
    start: Path,
    tmp_path: Path,
    make_bands: MakeBands,
    interrupted: list[SiteCrops],
    capsys: pytest.CaptureFixture[str],
) -> None:
    chosen = options(tmp_path, make_bands("bands.onnx"), start)
    second = draw_recording(tmp_path / "Back door")
    adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    adapt_overnight([str(recording), str(second)], **chosen, opened_detector=MovingBox())
    assert capsys.readouterr().err.count("This stores pictures of people") == 2
    assert [crops.camera_names for crops in interrupted] == [
        ("Front door",),
        ("Back door", "Front door"),
    ]
    # The same ones in another order, though they are no longer there, and a harvest of before.
    shutil.rmtree(second)
    adapt_overnight([str(second), str(recording)], **chosen, opened_detector=MovingBox())
    done = tmp_path / "mine.onnx.work" / "crops" / "harvested.json"
    done.write_text('{"tracks": 2, "frames": 100}')
    adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    assert "This stores pictures of people" not in capsys.readouterr().err
    assert len(interrupted[-1].camera_names) == 2


def test_other_recordings_are_refused_before_the_harvest_once_a_training_has_begun(
    recording: Path,
    start: Path,
    tmp_path: Path,
    make_bands: MakeBands,
    interrupted: list[SiteCrops],
) -> None:
    chosen = options(tmp_path, make_bands("bands.onnx"), start)
    adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    (tmp_path / "mine.onnx.work" / "plan.json").write_text("{}")
    second = draw_recording(tmp_path / "Back door")
    with pytest.raises(AdlnError, match="belongs to a run with other recordings or cameras"):
        adapt_overnight([str(recording), str(second)], **chosen, opened_detector=MovingBox())
    adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    assert len(interrupted) == 2


def test_the_recordings_of_settings_are_those_of_a_harvest(
    recording: Path,
    start: Path,
    tmp_path: Path,
    make_bands: MakeBands,
    interrupted: list[SiteCrops],
) -> None:
    chosen = options(tmp_path, make_bands("bands.onnx"), start)
    config = tmp_path / "watch.toml"
    camera = '[[cameras]]\nname = "{}"\nnumber = {}\nsource = "{}"\n'
    # As a harvest reads it, the network of a watch is opened as well.
    network = f'[network]\nfiles = ["{make_bands("bands.onnx")}"]\n'
    config.write_text(network + camera.format("front", 1, recording.name))
    adapt_overnight([str(config)], **chosen, opened_detector=MovingBox())
    second = draw_recording(tmp_path / "Back door")
    config.write_text(config.read_text() + camera.format("back", 2, second.name))
    adapt_overnight([str(config)], **chosen, opened_detector=MovingBox())
    assert [len(crops.camera_names) for crops in interrupted] == [1, 2]


def test_the_time_to_collect_ends_live_cameras_and_no_recordings(
    recording: Path,
    start: Path,
    tmp_path: Path,
    make_bands: MakeBands,
    interrupted: list[SiteCrops],
) -> None:
    done = tmp_path / "mine.onnx.work" / "crops" / "harvested.json"
    chosen = options(tmp_path, make_bands("bands.onnx"), start, collect=0.0)
    adapt_overnight([str(recording)], **chosen, opened_detector=MovingBox())
    assert json.loads(done.read_text())["frames"] == 50
    assert interrupted
    jpeg = io.BytesIO()
    Image.new("RGB", (160, 120)).save(jpeg, "JPEG")

    class Camera(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(jpeg.getvalue())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            camera = f"http://127.0.0.1:{server.server_port}/snapshot.jpg"
            chosen["work"] = tmp_path / "live"
            with pytest.raises(AdlnError, match=r"nobody was followed in http://127\.0"):
                adapt_overnight([camera], **chosen, opened_detector=Nobody())
        finally:
            server.shutdown()
            thread.join()


def test_from_crops_to_a_report_and_a_second_call_says_it_is_done(
    start: Path, tmp_path: Path, make_bands: MakeBands, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = draw_folder(tmp_path / "crops")
    chosen = options(tmp_path, make_bands("bands.onnx"), start)
    adapt_overnight([str(folder)], **chosen)
    said = capsys.readouterr().err
    assert "nothing is copied" in said
    assert "no new network" in said
    page = (tmp_path / "mine.html").read_text()
    assert "No new network for this site" in page
    assert "<img" not in page
    facts = json.loads((tmp_path / "mine.onnx.work" / "outcome.json").read_text())
    assert not facts["written"]
    assert len(list(folder.rglob("*.png"))) == 720
    adapt_overnight([str(folder)], **chosen)
    assert "finished before" in capsys.readouterr().err


def test_teacher_none_learns_without_a_teacher_and_says_why_it_cannot(
    start: Path, tmp_path: Path, make_bands: MakeBands
) -> None:
    folder = draw_folder(tmp_path / "crops", cameras=1)
    chosen = options(tmp_path, make_bands("bands.onnx"), start, teacher="none")
    with pytest.raises(AdlnError, match="one camera only: without a teacher"):
        adapt_overnight([str(folder)], **chosen)
    said = CliRunner().invoke(adln, ["adapt", "--help"]).output
    assert "none learns without one" in " ".join(said.split())


def test_pictures_stand_in_the_page_only_if_they_are_asked_for(tmp_path: Path) -> None:
    from adln.site.page import most_gained, page

    paths = sorted(draw_folder(tmp_path / "crops", tracks=2, cameras=1).rglob("*.png"))
    rows = (np.array([0, 1]), np.array([4, 5]))
    compared = SimpleNamespace(track_gains=np.array([0.1, 0.7]), track_rows=rows)
    tracks = most_gained(compared, paths)  # type: ignore[arg-type]
    assert tracks == [[paths[4], paths[5]], [paths[0], paths[1]]]
    numbers = ("rate", "recognised_before", "recognised", "gain", "gain_least", "log_gain")
    comparison: dict[str, Any] = dict.fromkeys((*numbers, "log_gain_least"), 0.1)
    comparison |= {"own_camera": None, "recognised_stored": 0.2, "num_tracks": 4}
    names = ("reason", "crops", "learned_from", "calibration", "created_utc", "adln_version")
    facts = dict.fromkeys((*names, "terms"), "<a>")
    files = {key: {"name": "n", "file": "f"} for key in ("start", "teacher", "network_in_use")}
    facts |= files | {"written": True, "same_space": True}  # type: ignore[operator]
    facts["comparison"] = comparison | {"num_together": 3}
    text = page(facts, tracks)
    assert text.count("<img") == 4
    assert "&lt;a&gt;" in text
    assert "<a>" not in text
    assert "<img" not in page(facts)
