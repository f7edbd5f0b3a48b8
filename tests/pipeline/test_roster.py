import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from adln.errors import SettingsError
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.roster import (
    FILE_NAME,
    enter_cameras,
    read_cameras,
    rename_camera,
    track_number,
)


def test_starts_are_counted_and_cameras_remembered(tmp_path: Path) -> None:
    assert enter_cameras(tmp_path, {"door": 1}) == 1
    assert enter_cameras(tmp_path, {"yard": 2}) == 2
    assert read_cameras(tmp_path) == {"door": 1, "yard": 2}


_START = """
import sys
from pathlib import Path
from adln.pipeline.roster import enter_cameras
print("ready", flush=True)
sys.stdin.readline()
for _ in range(20):
    print(enter_cameras(Path(sys.argv[1]), {sys.argv[2]: int(sys.argv[3])}))
"""


def test_two_processes_that_start_in_the_same_instant_are_counted_as_two(tmp_path: Path) -> None:
    cameras = {"door": 1, "yard": 2}
    pipe = subprocess.PIPE
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", _START, str(tmp_path), name, str(number)],
            stdin=pipe,
            stdout=pipe,
            text=True,
        )
        for name, number in cameras.items()
    ]
    for start in starts:
        assert start.stdout is not None
        assert start.stdout.readline() == "ready\n"
    for start in starts:
        assert start.stdin is not None
        start.stdin.write("go\n")
        start.stdin.flush()
    runs = [int(line) for start in starts for line in start.communicate()[0].split()]
    assert [start.returncode for start in starts] == [0, 0]
    assert sorted(runs) == list(range(1, 41))
    assert read_cameras(tmp_path) == cameras
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_name_with_another_number_is_refused(tmp_path: Path) -> None:
    enter_cameras(tmp_path, {"door": 1})
    with pytest.raises(SettingsError, match="'door' has number 2"):
        enter_cameras(tmp_path, {"door": 2})
    assert read_cameras(tmp_path) == {"door": 1}


def test_a_number_with_another_name_is_refused(tmp_path: Path) -> None:
    enter_cameras(tmp_path, {"door": 1})
    with pytest.raises(SettingsError, match="camera 'door'"):
        enter_cameras(tmp_path, {"gate": 1})


def test_two_new_cameras_with_one_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="number 1"):
        enter_cameras(tmp_path, {"door": 1, "gate": 1})


@pytest.mark.parametrize("text", ["{", "[" * 100_000])
def test_a_damaged_file_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=FILE_NAME):
        enter_cameras(tmp_path, {"door": 1})
    assert (tmp_path / FILE_NAME).read_text(encoding="utf-8") == text


def test_tracks_of_two_starts_have_different_numbers() -> None:
    assert track_number(1, 7) != track_number(2, 7)
    with pytest.raises(SettingsError):
        track_number(1, 10**9)


def test_a_restored_gallery_s_tracks_get_no_further_sightings(tmp_path: Path) -> None:
    before = track_number(3, 7)
    with SqliteGallery(tmp_path, create=True) as gallery:
        assert enter_cameras(tmp_path, {"door": 1}, last_track=gallery.last_track) == 1
        model = ModelKey("a" * 64, 2, 4)
        row = np.array([1, 0, 0, 0], np.float32)
        for track_id in (before, None):
            gallery.add(
                [Sighting(embedding=row, model=model, camera_id=1, time_s=1.0, track_id=track_id)]
            )
        (tmp_path / FILE_NAME).unlink()
        assert enter_cameras(tmp_path, {"door": 1}, last_track=gallery.last_track) == 4
        assert enter_cameras(tmp_path, {"door": 1}, last_track=gallery.last_track) == 5


def test_a_camera_that_is_called_otherwise_keeps_its_number(tmp_path: Path) -> None:
    enter_cameras(tmp_path, {"door": 1, "yard": 2})
    rename_camera(tmp_path, 1, "hall")
    assert read_cameras(tmp_path) == {"hall": 1, "yard": 2}
    # Starts go on being counted, and the name that is free may be given to another one.
    assert enter_cameras(tmp_path, {"hall": 1, "door": 3}) == 2


def test_the_name_of_another_camera_is_refused_and_its_own_changes_nothing(tmp_path: Path) -> None:
    enter_cameras(tmp_path, {"door": 1, "yard": 2})
    with pytest.raises(SettingsError, match="'yard'"):
        rename_camera(tmp_path, 1, "yard")
    rename_camera(tmp_path, 1, "door")
    # Never watched, so nothing is known of it.
    rename_camera(tmp_path, 7, "attic")
    assert read_cameras(tmp_path) == {"door": 1, "yard": 2}


@pytest.mark.parametrize("first", ["the gallery", "the cameras"])
def test_only_its_owner_reads_which_cameras_there_are(tmp_path: Path, first: str) -> None:
    path = tmp_path / FILE_NAME
    if first == "the gallery":
        SqliteGallery(tmp_path, create=True).close()
    enter_cameras(tmp_path, {"door": 1})
    assert path.stat().st_mode & 0o777 == 0o600
    # As earlier versions left it.
    path.chmod(0o644)
    SqliteGallery(tmp_path, create=True).close()
    assert path.stat().st_mode & 0o007 == 0


def test_what_cannot_be_read_is_not_to_be_written_again(tmp_path: Path) -> None:
    # A folder, because tests may be run by root, who may read all files.
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(SettingsError, match=r"Let this user read .*folder"):
        enter_cameras(tmp_path, {"door": 1})
