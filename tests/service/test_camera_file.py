"""The file of the cameras, changed from the page."""

import io
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adln.cameras import captures
from adln.cameras.captures import Picture
from adln.errors import CameraError, SettingsError
from adln.pipeline.alert_settings import AlertSettings
from adln.pipeline.watch_settings import CameraSettings, read_watch_settings
from adln.service.camera_file import (
    add_alert,
    add_camera,
    camera_of,
    edit_camera,
    read_cameras_of,
    remove_alerts,
    remove_camera,
    rename_in_alerts,
    try_camera,
)

WRITTEN = """\
# Written by hand.
pictures = true   # everybody agreed

[[cameras]]
name = "yard"     # behind the house
number = 1
source = "rtsp://eve:geheim@10.0.0.7/stream"

[[cameras]]
name = "gate"
number = 4
source = "usb:0"

[jsonl]
path = ""         # nowhere

[[travel]]
cameras = ["yard", "gate"]
least_s = 20

[[alerts]]
name = "night"
cameras = ["yard"]
hours = "22:00-06:00"
to = "webhook"
url = "https://example.org/hook/secret"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "watch.toml"
    file.write_text(WRITTEN)
    file.chmod(0o640)
    return file


def test_those_who_change_it_at_once_lose_nothing(path: Path) -> None:
    def add(name: str) -> None:
        add_camera(path, name, "usb:1", numbers={})

    names = [f"camera {number}" for number in range(8)]
    threads = [threading.Thread(target=add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cameras = read_watch_settings(path).cameras
    assert sorted(one.name for one in cameras) == sorted([*names, "yard", "gate"])
    assert len({one.number for one in cameras}) == len(cameras)


def test_without_a_file_nothing_is_watched(tmp_path: Path) -> None:
    assert read_cameras_of(tmp_path / "none.toml").cameras == ()


def test_the_first_camera_makes_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "service" / "watch.toml"
    camera = add_camera(path, "  hall ", 'http://10.0.0.7/a"b.jpg', numbers={})
    assert camera == CameraSettings(name="hall", number=0, source='http://10.0.0.7/a"b.jpg')
    written = read_watch_settings(path)
    assert written.cameras == (camera,)
    # Nobody has asked for a file that nothing is ever erased from.
    assert written.jsonl.path == ""
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["watch.toml"]


def test_cameras_are_added_and_what_was_written_stays_as_it_is(path: Path) -> None:
    before = read_watch_settings(path)
    hall = add_camera(path, "hall", "usb:1", numbers={"yard": 1, "gate": 4, "old": 7})
    cellar = add_camera(path, "cellar", "usb:2", numbers={"cellar": 3})
    # A new one gets a number that nobody had; one that comes back has its own.
    assert (hall.number, cellar.number) == (8, 3)
    after = read_watch_settings(path)
    assert after == replace(before, cameras=(*before.cameras, hall, cellar))
    text = path.read_text()
    for line in WRITTEN.splitlines():
        assert line in text.splitlines(), line
    assert "\n\n\n" not in text
    assert '\n[[cameras]]\nname = "hall"' in text
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_lists_its_cameras_in_a_line_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    path.write_text('cameras = [{ name = "yard", number = 1, source = "usb:0" }] # all\n')
    add_camera(path, "hall", "usb:1", numbers={})
    assert [one.name for one in read_watch_settings(path).cameras] == ["yard", "hall"]
    edit_camera(path, CameraSettings(name="court", number=1, source="usb:0"))
    remove_camera(path, 2)
    assert [one.name for one in read_watch_settings(path).cameras] == ["court"]
    assert "# all" in path.read_text()


@pytest.mark.parametrize(
    "source",
    ["/etc/passwd", "file:///etc/passwd", "rtsp://a b", "usb:x", "rtsp://a/\n[jsonl]", "concat:a"],
)
def test_what_is_no_address_is_refused_and_changes_nothing(path: Path, source: str) -> None:
    with pytest.raises(SettingsError, match="begins with rtsp://"):
        add_camera(path, "hall", source, numbers={})
    with pytest.raises(SettingsError, match="begins with rtsp://"):
        edit_camera(path, CameraSettings(name="yard", number=1, source=source))
    assert path.read_text() == WRITTEN


@pytest.mark.parametrize("name", ["gate", "", "a/b", "a\x00b"])
def test_a_name_that_cannot_be_is_refused_and_changes_nothing(path: Path, name: str) -> None:
    yard = camera_of(read_cameras_of(path), 1)
    assert yard is not None
    with pytest.raises(SettingsError):
        edit_camera(path, replace(yard, name=name))
    with pytest.raises(SettingsError):
        add_camera(path, name, "usb:1", numbers={})
    assert path.read_text() == WRITTEN


def test_a_camera_is_changed_and_whoever_names_it_names_it_anew(path: Path) -> None:
    before = read_watch_settings(path)
    yard = before.cameras[0]
    edit_camera(path, replace(yard, name="court", pictures=False, keep_days=7))
    after = read_watch_settings(path)
    assert after.cameras[0] == replace(yard, name="court", pictures=False, keep_days=7)
    assert after.alerts[0].cameras == ("court",)
    assert after.travel[0].cameras == ("court", "gate")
    assert after.pictured == {"gate"}
    text = path.read_text()
    assert "# behind the house" in text
    edit_camera(path, yard)
    assert read_watch_settings(path) == before
    assert "pictures = false" not in path.read_text()
    assert "keep_days" not in path.read_text()


def test_a_recording_keeps_its_path_and_what_else_is_said_of_it(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    path.write_text('[[cameras]]\nname = "yard"\nnumber = 1\nsource = "a.mp4"\nfps = 5.0\n')
    (camera,) = read_cameras_of(path).cameras
    edit_camera(path, replace(camera, name="court"))
    assert read_cameras_of(path).cameras == (replace(camera, name="court"),)


def test_a_camera_that_an_alert_is_about_stays_until_that_is_gone(path: Path) -> None:
    with pytest.raises(SettingsError, match="night uses yard"):
        remove_camera(path, 1)
    assert path.read_text() == WRITTEN
    assert remove_alerts(path, lambda one: one.name == "night") == 1
    assert remove_camera(path, 1).name == "yard"
    left = read_watch_settings(path)
    assert [one.name for one in left.cameras] == ["gate"]
    # A way needs two ends.
    assert left.travel == ()
    assert "geheim" not in path.read_text()
    assert "# nowhere" in path.read_text()


def test_a_way_between_three_goes_on_without_one(path: Path) -> None:
    hall = add_camera(path, "hall", "usb:1", numbers={})
    text = path.read_text().replace('["yard", "gate"]', '["yard", "gate", "hall"]')
    path.write_text(text)
    remove_camera(path, hall.number)
    assert read_watch_settings(path).travel[0].cameras == ("yard", "gate")


def test_the_last_camera_can_go_and_another_come(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    add_camera(path, "hall", "usb:1", numbers={})
    remove_camera(path, 0)
    assert read_cameras_of(path).cameras == ()
    add_camera(path, "yard", "usb:0", numbers={"hall": 0})
    assert [(one.name, one.number) for one in read_cameras_of(path).cameras] == [("yard", 1)]


def test_who_is_no_camera_cannot_be_changed_or_removed(path: Path) -> None:
    with pytest.raises(SettingsError, match="no camera 9"):
        remove_camera(path, 9)
    with pytest.raises(SettingsError, match="no camera 9"):
        edit_camera(path, CameraSettings(name="x", number=9, source="usb:0"))


def test_alerts_are_added_and_removed(path: Path) -> None:
    before = read_watch_settings(path)
    rule = AlertSettings(
        name="anna", person='Anna "A" Berg', to="webhook", url="https://a.example/"
    )
    add_alert(path, rule)
    assert read_watch_settings(path) == replace(before, alerts=(*before.alerts, rule))
    assert remove_alerts(path, lambda one: one.person == rule.person) == 1
    assert read_watch_settings(path) == before
    text = path.read_text()
    assert remove_alerts(path, lambda one: one.name == "nobody") == 0
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (AlertSettings(name="night", to="webhook", url="https://a/"), "2 alerts have the name"),
        (AlertSettings(name="b", to="mqtt"), "mqtt.host"),
        (AlertSettings(name="c", to="webhook"), "needs a url"),
        (AlertSettings(name="d", to="webhook", url="https://a/", cameras=("moon",)), "'moon'"),
    ],
)
def test_a_rule_that_the_watch_would_refuse_is_refused(
    path: Path, rule: AlertSettings, why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        add_alert(path, rule)
    assert path.read_text() == WRITTEN


def test_rules_follow_somebody_who_is_called_otherwise(path: Path) -> None:
    add_alert(
        path, AlertSettings(name="anna", person="Anna", to="webhook", url="https://a.example/")
    )
    assert rename_in_alerts(path, "Anna", "Anna Berg") == 1
    assert [one.person for one in read_watch_settings(path).alerts] == ["anybody", "Anna Berg"]
    assert "# nowhere" in path.read_text()
    before = path.read_text()
    assert rename_in_alerts(path, "Anna", "Ada") == 0
    assert path.read_text() == before


def test_who_is_never_reported_stays_so_under_another_name_and_leaves_no_name(path: Path) -> None:
    # As some programs write é.
    path.write_text('ignore = ["Ben", "Zoe\u0301"]  # family\n' + path.read_text())
    assert rename_in_alerts(path, "Zo\u00e9", "Zo\u00e9 Berg") == 1
    assert read_watch_settings(path).ignore == ("Ben", "Zo\u00e9 Berg")
    assert remove_alerts(path, lambda _: False, ignored="Zo\u00e9 Berg") == 1
    assert read_watch_settings(path).ignore == ("Ben",)
    assert "Zo" not in path.read_text()
    assert "# family" in path.read_text()


def test_a_file_that_is_damaged_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    path.write_text("cameras = [\n")
    with pytest.raises(SettingsError):
        add_camera(path, "hall", "usb:1", numbers={})
    assert path.read_text() == "cameras = [\n"


class FakeCapture:
    """A camera that sends what it is told."""

    def __init__(self, picture: Picture | None) -> None:
        self.picture = picture
        self.is_closed = False

    def read(self) -> Picture | None:
        return self.picture

    def close(self) -> None:
        self.is_closed = True


def test_a_camera_is_asked_for_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = FakeCapture(Picture(np.full((1500, 4000, 3), 90, np.uint8), None))
    asked = []

    def open_it(source: str, *, timeout_s: float) -> FakeCapture:
        asked.append((source, timeout_s))
        return capture

    monkeypatch.setattr(captures, "open_capture", open_it)
    jpeg = try_camera("rtsp://eve:geheim@10.0.0.7/")
    assert jpeg.startswith(b"\xff\xd8\xff")
    assert asked == [("rtsp://eve:geheim@10.0.0.7/", 5.0)]
    assert capture.is_closed


def test_a_camera_that_sends_nothing_is_told_so_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    capture = FakeCapture(None)
    monkeypatch.setattr(captures, "open_capture", lambda source, timeout_s: capture)
    with pytest.raises(CameraError, match="sends no picture") as raised:
        try_camera("rtsp://eve:geheim@10.0.0.7/")
    assert "geheim" not in str(raised.value)
    assert capture.is_closed


def test_what_is_no_address_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "open_capture", lambda source, timeout_s: pytest.fail("opened"))
    with pytest.raises(SettingsError):
        try_camera("/etc/passwd")


class Snapshots(BaseHTTPRequestHandler):
    """A camera that gives one large picture for each request."""

    def do_GET(self) -> None:
        stream = io.BytesIO()
        Image.fromarray(np.full((1080, 2560, 3), 90, np.uint8)).save(stream, "JPEG")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(stream.getvalue())

    def log_message(self, *_: object) -> None:
        pass


def test_a_camera_that_gives_single_pictures_is_asked_over_http() -> None:
    with HTTPServer(("127.0.0.1", 0), Snapshots) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        jpeg = try_camera(f"http://127.0.0.1:{server.server_port}/snapshot.jpg")
        server.shutdown()
        thread.join()
    # In full, but not larger than a screen.
    assert Image.open(io.BytesIO(jpeg)).size == (1920, 810)
