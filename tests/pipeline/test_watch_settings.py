"""What a camera may say for itself, and what follows for the gallery."""

from pathlib import Path

import pytest

from adln.errors import SettingsError
from adln.gallery.retention import DAY_S, Retention
from adln.pipeline.assembly import keep_by_camera
from adln.pipeline.watch_settings import CameraSettings, WatchSettings, read_watch_settings


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
