"""What a camera may say for itself, and what follows for the gallery."""

from pathlib import Path

import pytest

from adln.errors import SettingsError
from adln.gallery.retention import DAY_S, Retention
from adln.pipeline.assembly import keep_by_camera
from adln.pipeline.watch_settings import CameraSettings, WatchSettings, read_watch_settings
from adln.settings import from_mapping


def cameras(*pictures: bool | None) -> tuple[CameraSettings, ...]:
    return tuple(
        CameraSettings(name=f"cam-{at}", number=at, source=f"usb:{at}", pictures=one)
        for at, one in enumerate(pictures)
    )


@pytest.mark.parametrize(("general", "expected"), [(False, {"cam-1"}), (True, {"cam-0", "cam-1"})])
def test_a_camera_says_whether_pictures_of_it_are_kept_or_the_watch_does(
    general: bool, expected: set[str]
) -> None:
    settings = WatchSettings(cameras=cameras(None, True, False), pictures=general)
    assert settings.pictured == expected


def test_a_camera_is_read_with_what_it_says_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    path.write_text(
        '[[cameras]]\nname = "yard"\nnumber = 1\nsource = "usb:0"\n'
        "pictures = false\nkeep_days = 7\n"
    )
    (camera,) = read_watch_settings(path).cameras
    assert (camera.pictures, camera.keep_days) == (False, 7)


@pytest.mark.parametrize("days", [-1.0, 1e6, float("nan")])
def test_days_that_cannot_be_are_refused(days: float) -> None:
    with pytest.raises(SettingsError, match="keep_days"):
        CameraSettings(name="yard", number=1, source="usb:0", keep_days=days)


def test_what_a_camera_states_takes_the_place_of_the_gallerys_rule_for_it() -> None:
    yard = CameraSettings(name="yard", number=1, source="usb:0", keep_days=7)
    hall = CameraSettings(name="hall", number=2, source="usb:1")
    rules = Retention(keep_s=30 * DAY_S, camera_keep_s={1: 1.0, 2: 2.0}, max_templates=5)
    assert keep_by_camera(rules, [yard, hall]) == Retention(
        keep_s=30 * DAY_S, camera_keep_s={1: 7 * DAY_S, 2: 2.0}, max_templates=5
    )


@pytest.mark.parametrize(
    ("table", "value", "message"),
    [
        ("tracker", "sure = 60", "sure must be 0 to 1, got 60"),
        ("tracker", "keep_s = -1", "keep_s must be 0 or more, got -1"),
        ("tracker", "confirm_hits = 0", "confirm_hits must be 1 or more, got 0"),
        ("tracker.appearance", "same = 60", "same must be -1 to 1, got 60"),
        ("tracker.appearance", "keep_s = -1", "keep_s must be 0 or more"),
        ("selection", "good = 35", "good must be 0 to 1, got 35"),
        ("selection", "apart_s = -1", "apart_s must be 0 or more"),
        ("selection.quality", "full_height_px = 0", "full_height_px must be"),
        ("identity", "enrol_quality = 20", "enrol_quality must be 0 to 1, got 20"),
        ("identity", "new_below = 50", "new_below must be 0 to 1, got 50"),
        ("identity", "enrol_crops = 0", "enrol_crops must be 1 or more"),
        ("mqtt", "port = 0", "port must be 1 to 65535, got 0"),
        ("mqtt", "port = 99999", "port must be 1 to 65535, got 99999"),
        ("mqtt", 'password_env = "HOME"', "needs mqtt.username"),
        ("metrics", "port = 99999", "port must be 0 to 65535, got 99999"),
    ],
)
def test_a_number_that_would_silently_see_nobody_is_refused(
    tmp_path: Path, table: str, value: str, message: str
) -> None:
    path = tmp_path / "watch.toml"
    path.write_text(
        f'[[cameras]]\nname = "yard"\nnumber = 1\nsource = "usb:0"\n[{table}]\n{value}\n'
    )
    with pytest.raises(SettingsError, match=message):
        read_watch_settings(path)


def test_the_start_of_a_recording_needs_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    path.write_text(
        '[[cameras]]\nname = "yard"\nnumber = 1\nsource = "a.mp4"\n'
        "start = 2026-05-01T12:00:00+02:00\n"
    )
    (camera,) = read_watch_settings(path).cameras
    assert camera.start_s == 1777629600.0


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, False),
        ({"jsonl": {"path": "sightings.jsonl"}}, True),
        ({"mqtt": {"host": "broker"}}, True),
        ({"mqtt": {"host": "broker", "sightings": False}}, False),
        (
            {"mqtt": {"host": "broker", "sightings": False}, "home_assistant": {"enabled": True}},
            False,
        ),
        ({"webhook": {"url": "https://hooks.example/x"}}, True),
        ({"alerts": [{"name": "night", "to": "command", "command": ["ring"]}]}, True),
    ],
)
def test_a_broker_for_home_assistant_alone_receives_no_sightings(
    more: dict[str, object], expected: bool
) -> None:
    settings = from_mapping(WatchSettings, {"jsonl": {"path": ""}, **more}, source="test")
    assert settings.has_receivers is expected
