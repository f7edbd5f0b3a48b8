import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from adln.errors import SettingsError
from adln.pipeline.plain_watch import settings_of
from adln.pipeline.roster import enter_cameras
from adln.pipeline.watch_settings import WatchSettings, read_watch_settings
from adln.settings import to_toml


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plain(sources: Sequence[str], **facts: Any) -> WatchSettings:
    found, folder = settings_of(sources, **facts)
    assert folder == Path.cwd()
    return found


def cameras(found: WatchSettings) -> list[tuple[str, int]]:
    return [(one.name, one.number) for one in found.cameras]


def test_cameras_are_called_after_what_they_are_and_never_by_their_passwords(
    tmp_path: Path,
) -> None:
    (tmp_path / "Tür#1.mp4").write_bytes(b"")
    sources = ["rtsp://me:s3cret@10.0.0.2/live", "0", "/dev/video2", "Tür#1.mp4"]
    sources += ["http://me:s3@cret@gate.lan/snapshot.jpg?pw=s3cret"]
    found = plain(sources)
    names = ["10.0.0.2", "usb 0", "usb 2", "Tür 1", "gate.lan"]
    assert cameras(found) == [(name, at) for at, name in enumerate(names, 1)]
    assert Path(found.gallery) == tmp_path / "adln-gallery"


def test_a_gallery_keeps_the_numbers_of_its_cameras(tmp_path: Path) -> None:
    gallery = tmp_path / "adln-gallery"
    gallery.mkdir()
    enter_cameras(gallery, {"usb 0": 7, "old": 1})
    found = plain(["rtsp://a/1", "0", "rtsp://a/2"])
    assert cameras(found) == [("a", 2), ("usb 0", 7), ("a 2", 3)]


def test_settings_that_are_written_are_read_again(tmp_path: Path) -> None:
    (tmp_path / 'a "b" \\c.mp4').write_bytes(b"")
    found = plain(
        ["rtsp://me:p@ss@h/x", 'a "b" \\c.mp4'],
        network="res1",
        detector=Path("d.onnx"),
        start="2020-05-01T10:00:00+02:00",
    )
    path = tmp_path / "w.toml"
    path.write_text(to_toml(found), encoding="utf-8")
    assert read_watch_settings(path) == found


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_berlin")
def test_a_local_time_that_the_clocks_skip_is_refused(tmp_path: Path) -> None:
    for skipped in ("2026-03-29T02:30", datetime(2026, 3, 29, 2, 30)):
        with pytest.raises(SettingsError, match=r"02:30.*set forward"):
            plain(["0"], start=skipped)
    plain(["0"], start="2026-03-29T02:30+01:00")


@pytest.mark.usefixtures("in_berlin")
def test_of_a_local_time_that_passes_twice_the_first_is_meant(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    for start, meant in (
        ("2026-10-25T02:30", "2026-10-25T02:30:00+02:00"),
        (datetime(2026, 10, 25, 2, 30, fold=1), "2026-10-25T02:30:00+01:00"),
        ("2026-10-25T01:30", "2026-10-25T01:30:00+02:00"),
    ):
        (camera,) = plain(["clip.mp4"], start=start).cameras
        assert camera.start == meant


def test_a_gallery_that_is_a_file_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.touch()
    with pytest.raises(SettingsError, match="file: is a file; expected the folder of a gallery"):
        plain(["0"], gallery=place)


def test_a_start_that_is_no_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="write it as 2026"):
        plain(["0"], start="yesterday")


def test_a_file_of_settings_takes_what_is_named_with_it(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    file = tmp_path / "watch.toml"
    file.write_text(to_toml(plain(["clip.mp4"])))
    found, folder = settings_of(
        [str(file)],
        ["load.budget_ms=500"],
        gallery=tmp_path / "seen",
        network="res1",
        quality="fast",
    )
    assert folder == tmp_path
    assert cameras(found) == [("clip", 1)]
    assert (found.gallery, found.network.files) == (str(tmp_path / "seen"), ("res1",))
    assert (found.quality, found.load.budget_ms) == ("fast", 500)


def test_a_file_of_settings_is_named_alone(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="name it alone"):
        settings_of(["watch.toml", "0"])
    with pytest.raises(SettingsError, match="write start into the settings"):
        settings_of(["watch.toml"], start="2026-11-22T14:30")


def test_a_network_named_beside_a_settings_file_is_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings").mkdir()
    (tmp_path / "clip.mp4").touch()
    file = tmp_path / "settings" / "watch.toml"
    file.write_text(to_toml(plain(["clip.mp4"])))
    (tmp_path / "mine.onnx").touch()
    for name, meant in (("mine.onnx", str(tmp_path / "mine.onnx")), ("res1", "res1")):
        assert settings_of([str(file)], network=name)[0].network.files == (meant,)
