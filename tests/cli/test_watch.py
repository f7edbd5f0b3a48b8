"""`adln watch` and `adln doctor` on pictures of coloured figures, with real files all along."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adln.cameras.live import LiveCamera
from adln.cli.doctor import _EXAMINED
from adln.cli.main import adln
from adln.cli.watch import run_watch
from adln.gallery.records import Filter
from adln.gallery.retention import Retention
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.assembly import assemble
from adln.pipeline.home_assistant import HomeAssistant
from adln.pipeline.outbox import Outbox
from adln.pipeline.timeline import Timeline
from adln.pipeline.watch import SeenFrame, WatchProgress
from adln.pipeline.watch_settings import WatchSettings, read_watch_settings

MakeModel = Callable[..., Path]
RED, GREEN = (200, 30, 30), (30, 200, 30)


def draw_camera(
    folder: Path, walks: list[tuple[tuple[int, int, int], range, int]], *, frames: int
) -> list[dict[str, object]]:
    """Pictures of figures before a camera, and their boxes."""
    folder.mkdir(parents=True)
    boxes: list[dict[str, object]] = []
    for index in range(frames):
        rng = np.random.default_rng(index)
        image = rng.integers(90, 120, (160, 240, 3)).astype(np.uint8)
        for colour, seen, left in walks:
            if index in seen:
                # Grain, because a flat figure counts as blurred.
                grain = rng.integers(-25, 26, (140, 50, 1))
                image[10:150, left : left + 50] = (np.array(colour) + grain).clip(0, 255)
                box = [left, 10, left + 50, 150]
                boxes.append({"camera_id": folder.name, "frame": index, "box_xyxy": box})
        Image.fromarray(image).save(folder / f"{index:04d}.png")
    return boxes


@pytest.fixture
def config(tmp_path: Path, make_model: MakeModel) -> Path:
    """Settings of two cameras: red is before both, green before one, beside red."""
    boxes = draw_camera(
        tmp_path / "door", [(RED, range(25), 20), (GREEN, range(25), 150)], frames=40
    )
    boxes += draw_camera(tmp_path / "yard", [(RED, range(12, 38), 90)], frames=40)
    (tmp_path / "boxes.jsonl").write_text("".join(json.dumps(box) + "\n" for box in boxes))
    model = make_model(depths=(1, 2))
    path = tmp_path / "watch.toml"
    path.write_text(
        f"""
        [[cameras]]
        name = "door"
        number = 1
        source = "door"

        [[cameras]]
        name = "yard"
        number = 2
        source = "yard"

        [detector]
        boxes = "boxes.jsonl"

        [network]
        files = ["{model}"]

        [thresholds]
        match = 0.95
        candidate = 0.9
        """
    )
    return path


def watch(*arguments: object) -> str:
    result = CliRunner().invoke(adln, ["watch", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def sightings(config: Path) -> list[dict[str, object]]:
    text = (config.parent / "sightings.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_watching_finds_the_same_person_under_two_cameras(config: Path) -> None:
    summary = json.loads(watch(config, "--json"))
    assert summary["identities"] == 2
    assert summary["tracks"] == {"door": 2, "yard": 1}
    assert summary["frames"] == {"door": 40, "yard": 40}
    by_camera: dict[object, set[object]] = {}
    for one in sightings(config):
        by_camera.setdefault(one["camera_name"], set()).add(one["person_id"])
    assert by_camera["yard"] < by_camera["door"]


def test_depth_may_change_on_one_gallery_where_depths_share_a_space(
    config: Path, make_model: MakeModel
) -> None:
    make_model(depths=(1, 2), spaces=("a" * 16, "a" * 16))
    for depth in (1, 2):
        watch(
            config,
            "--quiet",
            f"--set=network.depth={depth}",
            f"--set=outbox='{depth}.db'",
            f"--set=jsonl.path='{depth}.jsonl'",
        )
    first, second = (
        {json.loads(line)["person_id"] for line in (config.parent / name).read_text().splitlines()}
        for name in ("1.jsonl", "2.jsonl")
    )
    assert second == first
    assert len(first) == 2
    with SqliteGallery(config.parent / "gallery") as gallery:
        assert len(gallery.persons()) == 2
        assert {model.space for model in gallery.models} == {"a" * 16}
        # One template a track, at the depth of its time.
        assert [gallery.count(Filter(depth=depth)) for depth in (1, 2)] == [3, 3]


def test_two_runs_say_the_same(config: Path) -> None:
    for name in "ab":
        watch(
            config,
            "--quiet",
            *(f"--set={key}='{name}{ending}'" for key, ending in FILES.items()),
        )
    first, second = ((config.parent / f"{name}.jsonl").read_bytes() for name in "ab")
    assert first == second
    assert first.count(b"\n") >= 3


FILES = {"gallery": "-gallery", "outbox": "-outbox.db", "jsonl.path": ".jsonl"}


def test_the_report_shows_identities_and_no_picture(config: Path, tmp_path: Path) -> None:
    output = CliRunner().invoke(adln, ["watch", str(config), "--report", str(tmp_path / "out")])
    page = (tmp_path / "out" / "identities.html").read_text()
    assert "identities.html" in output.stderr
    assert "person 1" in page
    assert "<img" not in page
    assert "http" not in page
    visits = json.loads((tmp_path / "out" / "identities.json").read_text())["visits"]
    assert len(visits) == 3


def test_the_report_shows_pictures_where_they_are_wanted(config: Path, tmp_path: Path) -> None:
    watch(config, "--quiet", "--set=pictures=true", "--report", tmp_path / "out")
    page = (tmp_path / "out" / "identities.html").read_text()
    assert "data:image/jpeg;base64," in page


@pytest.mark.parametrize("is_wanted", [True, False])
def test_pictures_are_kept_for_a_report_only(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_wanted: bool
) -> None:
    made: list[Timeline] = []

    class Kept(Timeline):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            made.append(self)

    monkeypatch.setattr("adln.cli.watch.Timeline", Kept)
    settings = read_watch_settings(config, ("pictures=true",))
    run_watch(settings, config.parent, report=tmp_path / "out" if is_wanted else None)
    (timeline,) = made
    assert {bool(one.picture) for one in timeline.visits} == {is_wanted}


def test_whoever_is_forgotten_meanwhile_is_not_in_the_report(config: Path, tmp_path: Path) -> None:
    watch(config)
    folder = config.parent / "gallery"
    with SqliteGallery(folder) as gallery:
        gallery.name_person(1, "Anna Berg")
    forgotten: list[int] = []

    def forget(now: WatchProgress) -> None:
        if now.verdicts.total() and not forgotten:
            with SqliteGallery(folder) as gallery:
                forgotten.extend(person.person_id for person in gallery.persons())
                for person_id in forgotten:
                    gallery.forget(person_id)

    report = tmp_path / "report"
    settings = read_watch_settings(
        config, ("tracker.keep_s=0.3", "tracker.appearance.keep_s=0.3", "pictures=true")
    )
    run_watch(settings, config.parent, report=report, on_progress=forget)
    assert 1 in forgotten
    page, found = (report / "identities.html").read_text(), report / "identities.json"
    assert "Anna Berg" not in page + found.read_text()
    visits = json.loads(found.read_text())["visits"]
    assert not {one["person_id"] for one in visits} & {*forgotten}


def test_the_annotated_video_has_every_frame(config: Path, tmp_path: Path) -> None:
    import cv2

    watch(config, "--quiet", "--video", tmp_path / "videos")
    video = cv2.VideoCapture(str(tmp_path / "videos" / "door.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 40
    video.release()


@pytest.mark.parametrize("name", ["Front door", "Tür", "t\u0075\u0308r 2", "门 1"])
def test_a_camera_may_be_called_anything_sensible(config: Path, tmp_path: Path, name: str) -> None:
    for path in (config, tmp_path / "boxes.jsonl"):
        path.write_text(
            path.read_text().replace('"door"', f'"{name}"', 1 if path == config else -1)
        )
    watch(config, "--quiet", "--video", tmp_path / "videos")
    assert unicodedata.normalize("NFC", name) in {one["camera_name"] for one in sightings(config)}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('name = "door"', 'name = "a/b"', "cannot be called"),
        ('name = "door"', 'name = "a\\nb\\u0007"', "cannot be called"),
        ('name = "door"', 'name = "yard "', "2 cameras have the name"),
        ("number = 1", "number = 2147483648", "number must be 0 to"),
        ("number = 1", "number = 2", "2 cameras have the number"),
    ],
)
def test_a_camera_that_could_not_be_stored_is_refused_at_the_start(
    config: Path, before: str, after: str, message: str
) -> None:
    config.write_text(config.read_text().replace(before, after))
    result = CliRunner().invoke(adln, ["watch", str(config)])
    assert result.exit_code == 1
    assert message in str(result.exception)
    assert not (config.parent / "gallery").exists()


def test_a_wrong_camera_is_named_without_its_password(config: Path) -> None:
    config.write_text(config.read_text().replace('source = "yard"', 'source = "rtsp://a:b@c/d"'))
    config.write_text(config.read_text().replace("number = 2", "number = -2"))
    result = CliRunner().invoke(adln, ["watch", str(config)])
    assert "rtsp://***@c/d" in str(result.exception)


def test_a_recording_without_start_is_dated_by_its_files(config: Path) -> None:
    for path in config.parent.rglob("*.png"):
        os.utime(path, (1.6e9, 1.6e9))
    result = CliRunner().invoke(adln, ["watch", str(config)], catch_exceptions=False)
    assert "dated by the time of its file: 2020-09-13" in result.stderr
    assert all(1.6e9 <= float(str(one["first_time_s"])) < 1.6e9 + 5 for one in sightings(config))


def test_a_recording_that_a_rule_would_erase_at_once_is_refused_until_somebody_dates_it(
    config: Path,
) -> None:
    for path in config.parent.rglob("*.png"):
        os.utime(path, (1.6e9, 1.6e9))
    with SqliteGallery(config.parent / "gallery", create=True) as gallery:
        gallery.set_retention(Retention(keep_s=30 * 86400.0))
    result = CliRunner().invoke(adln, ["watch", str(config)])
    assert result.exit_code == 1
    assert 'Set start = "2020-09-13' in str(result.exception)
    dated = 'source = "{0}"\n        start = "2020-09-13T00:00:00Z"'
    for name in ("door", "yard"):
        text = config.read_text().replace(f'source = "{name}"', dated.format(name))
        config.write_text(text)
    watch(config, "--quiet")


def test_a_second_watch_on_one_outbox_is_told_what_to_do(config: Path) -> None:
    outbox = Outbox(config.parent / "outbox.db", ["jsonl"])
    result = CliRunner().invoke(adln, ["watch", str(config)])
    assert result.exit_code == 1
    assert 'outbox = "second.db"' in str(result.exception)
    assert "space" not in str(result.exception)
    outbox.close()
    other = ("--set=outbox='second.db'", "--set=jsonl.path='second.jsonl'")
    watch(config, "--quiet", *other)


def test_the_terminal_gets_a_table_at_the_end(config: Path) -> None:
    result = CliRunner().invoke(adln, ["watch", str(config)])
    assert "door    ended" in result.stderr
    assert "2 people known" in result.stderr
    assert "no calibration" in result.stderr


def test_a_camera_may_not_change_its_number(config: Path) -> None:
    watch(config, "--quiet")
    config.write_text(config.read_text().replace("number = 2", "number = 3"))
    result = CliRunner().invoke(adln, ["watch", str(config)])
    assert result.exit_code == 1
    assert "but 2 in the gallery" in str(result.exception)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("load.budgett=3", "unknown key"),
        ("network.depth=4", "network.depth is 4"),
        ("jsonl.path=''", "there is no output for sightings"),
        ("detector.model='x.onnx'", "not both"),
        ("detector.boxes='none.jsonl'", "none.jsonl"),
    ],
)
def test_wrong_settings_are_named(config: Path, setting: str, message: str) -> None:
    result = CliRunner().invoke(adln, ["watch", str(config), "--set", setting])
    assert result.exit_code == 1
    assert message in str(result.exception)


def test_home_assistant_may_be_the_only_receiver(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[SeenFrame] = []
    monkeypatch.setattr(HomeAssistant, "saw", lambda _, frame: seen.append(frame))
    options = ["--set=jsonl.path=''", "--set=mqtt={host='127.0.0.1', port=1, sightings=false}"]
    result = CliRunner().invoke(adln, ["watch", str(config), *options])
    assert "mqtt.sightings" in str(result.exception)
    options.append("--set=home_assistant.enabled=true")
    result = CliRunner().invoke(adln, ["watch", str(config), *options], catch_exceptions=False)
    assert result.exit_code == 0
    assert "2 people known" in result.stderr
    assert "sightings:" not in result.stderr
    assert len(seen) == 80
    assert not (config.parent / "outbox.db").exists()


def start(config: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "adln", "watch", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def lengthen(config: Path, frames: int) -> None:
    """More frames, so that a signal meets the watch at work."""
    for name in ("door", "yard"):
        last = sorted((config.parent / name).iterdir())[-1].read_bytes()
        for index in range(40, frames):
            (config.parent / name / f"{index:04d}.png").write_bytes(last)


def wait_for_sightings(config: Path, running: "subprocess.Popen[str]") -> None:
    path = config.parent / "sightings.jsonl"
    until = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size > 0):
        assert running.poll() is None, running.stderr and running.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_sigterm_ends_it_in_good_order(config: Path) -> None:
    lengthen(config, 1500)
    running = start(config)
    wait_for_sightings(config, running)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert "people known" in errors


def test_live_and_recorded_cameras_can_be_watched_together(config: Path) -> None:
    more = '[[cameras]]\nname = "gate"\nnumber = 5\nsource = "rtsp://u:s3cret@127.0.0.1:1/x"\n'
    config.write_text(more + config.read_text())
    running = start(config)
    wait_for_sightings(config, running)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert {"door"} <= {one["camera_name"] for one in sightings(config)}
    assert "s3cret" not in errors


def test_live_cameras_have_one_clock(config: Path) -> None:
    """With their own, one that is away while the clock is set back would lag behind for hours."""
    live = "".join(
        f'[[cameras]]\nname = "live {number}"\nnumber = {number}\n'
        f'source = "http://127.0.0.1:1/{number}.jpg"\n'
        for number in (5, 6)
    )
    config.write_text(live + config.read_text())
    assembly = assemble(read_watch_settings(config), config.parent)
    clocks = [one._clock for one in assembly.cameras._sources if isinstance(one, LiveCamera)]
    assembly.close()
    assert len(clocks) == 2
    assert clocks[0] is clocks[1]


@pytest.mark.parametrize(
    ("quality", "is_split", "least"),
    [("best", False, 2), ("balanced", False, 1), ("best", True, 1), ("fast", False, 1)],
)
def test_under_load_the_depth_falls_only_to_one_that_all_crops_share(
    config: Path, make_model: MakeModel, quality: str, is_split: bool, least: int
) -> None:
    files = [
        make_model("1.onnx", depths=(1,), maps=(1,) if is_split else ()),
        make_model("2.onnx", depths=(2,), starts_after=int(is_split)),
    ]
    overrides = (
        f"quality='{quality}'",
        f"network.files={[str(path) for path in files]}",
        "costs={frame_ms=1.0, crop_ms=[1.0, 2.0]}",
        "load.budget_ms=1.0",
    )
    depths: list[int] = []
    summary = run_watch(
        read_watch_settings(config, overrides),
        config.parent,
        on_progress=lambda now: depths.append(now.depth),
    )
    assert summary["level_changes"] > 0
    assert min(depths) == least
    with SqliteGallery(config.parent / "gallery") as gallery:
        assert gallery.persons()


def test_after_a_kill_ids_are_the_same_and_nothing_acknowledged_is_lost(config: Path) -> None:
    lengthen(config, 1500)
    running = start(config)
    wait_for_sightings(config, running)
    running.kill()
    running.communicate(timeout=60)
    before = sightings(config)
    for name in ("door", "yard"):
        for path in sorted((config.parent / name).iterdir())[40:]:
            path.unlink()
    watch(config, "--quiet")
    after = sightings(config)
    assert after[: len(before)] == before
    known = {one["person_id"] for one in after if one["person_id"] is not None}
    assert len(known) == 2


def test_doctor_says_what_it_found(config: Path) -> None:
    result = CliRunner().invoke(adln, ["doctor", str(config)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "3 tracks with usable crops" in result.stdout
    assert "Too few to judge" in result.stdout
    assert "With it: 2 identities" in result.stdout
    assert "ms a frame" in result.stdout
    assert not (config.parent / "gallery").exists()
    assert "finding and following people: " in result.stderr
    assert "of 80 frames" in result.stderr
    assert "watching with re-identification: " in result.stderr
    assert "dated" not in result.stderr


def test_doctor_takes_a_plain_recording(config: Path) -> None:
    folder = config.parent
    model = next(folder.rglob("*.onnx"))
    lines = (folder / "boxes.jsonl").read_text().splitlines(keepends=True)
    boxes = [line for line in lines if '"yard"' in line]
    (folder / "yard.jsonl").write_text("".join(boxes))
    arguments = ["doctor", str(folder / "yard"), "--network", str(model), "--camera", "yard"]
    arguments += ["--boxes", str(folder / "yard.jsonl")]
    result = CliRunner().invoke(adln, arguments, catch_exceptions=False)
    assert "1 tracks with usable crops" in result.stdout


def test_doctor_examines_what_its_options_name_instead_of_the_settings(
    config: Path, make_model: MakeModel
) -> None:
    one = make_model("other.onnx", depths=(1,))
    (config.parent / "none.jsonl").touch()

    def doctor(*options: object) -> Result:
        return CliRunner().invoke(adln, ["doctor", str(config), *map(str, options)])

    assert "Res2" in doctor().stdout
    assert "Res2" not in doctor("--network", one).stdout
    assert "0 tracks with usable crops" in doctor("--boxes", config.parent / "none.jsonl").stdout
    assert doctor("--camera", "door").exit_code == 2


def test_doctor_says_of_one_picture_that_it_tells_no_speed(config: Path) -> None:
    folder = config.parent
    (folder / "one").mkdir()
    sorted((folder / "yard").iterdir())[0].rename(folder / "one" / "frame.png")
    (folder / "none.jsonl").touch()
    arguments = ["doctor", str(folder / "one"), "--boxes", str(folder / "none.jsonl")]
    arguments += ["--network", str(next(folder.rglob("*.onnx")))]
    result = CliRunner().invoke(adln, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "1 frames" in result.stdout
    assert "One moment does not tell" in result.stdout
    assert "real time" not in result.stdout


@pytest.mark.parametrize("kind", ["command", "webhook", "mqtt", "home assistant"])
def test_doctor_tells_nobody_what_happens_in_a_recording(kind: str, config: Path) -> None:
    code = "open('alerts', 'a')"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        broker = f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        alert = f'[[alerts]]\nname = "all"\nto = "{kind}"\n'
        text = {
            "command": f"{alert}command = {json.dumps([sys.executable, '-c', code])}\n",
            "webhook": f'{alert}url = "http://127.0.0.1:{port}/"\n',
            "mqtt": alert + broker,
            "home assistant": broker + "[home_assistant]\nenabled = true\n",
        }[kind]
        text += "[webhook]\nallow_plain_http = true\n"
        config.write_text('ignore = ["Anna"]\n' + config.read_text() + text)
        result = CliRunner().invoke(adln, ["doctor", str(config)], catch_exceptions=False)
        assert "With it: 2 identities" in result.stdout
        server.settimeout(0.2)
        with pytest.raises(TimeoutError):
            server.accept()
    assert not (config.parent / "alerts").exists()


def test_doctor_knows_of_every_setting_whether_it_is_an_output() -> None:
    outputs = {"gallery", "outbox", "pictures", "jsonl", "mqtt", "webhook", "metrics"}
    outputs |= {"home_assistant", "alerts", "ignore"}
    assert {one.name for one in fields(WatchSettings)} == {*_EXAMINED, *outputs}


def test_an_alert_is_raised_and_who_is_ignored_is_not_reported(config: Path) -> None:
    code = "import sys; open('alerts', 'a').write(sys.stdin.read() + chr(10))"
    alert = (
        '[[alerts]]\nname = "all"\nto = "command"\nnot_again_within = "0s"\n'
        f"command = {json.dumps([sys.executable, '-c', code])}\n"
    )
    config.write_text(config.read_text() + alert)
    watch(config, "--quiet")
    alerts = [json.loads(line) for line in (config.parent / "alerts").read_text().splitlines()]
    assert {one["person_id"] for one in alerts} == {one["person_id"] for one in sightings(config)}
    # Red is before both cameras; once they have a name they may be left out.
    (red,) = {one["person_id"] for one in sightings(config) if one["camera_name"] == "yard"}
    with SqliteGallery(config.parent / "gallery") as gallery:
        gallery.name_person(int(str(red)), "Anna")
    for name in ("alerts", "sightings.jsonl", "outbox.db"):
        (config.parent / name).unlink()
    config.write_text('ignore = ["Anna"]\n' + config.read_text())
    watch(config, "--quiet")
    assert red not in {one["person_id"] for one in sightings(config)}
    assert str(red) not in {
        str(json.loads(line)["person_id"])
        for line in (config.parent / "alerts").read_text().splitlines()
    }
