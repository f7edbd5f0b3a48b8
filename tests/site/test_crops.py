from pathlib import Path

import numpy as np
import pytest

from adln.errors import DatasetError
from adln.site.crops import has_tracks, list_crops


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_folders_of_cameras_and_tracks_are_read_with_times(tmp_path: Path) -> None:
    folder = touch(tmp_path, "door/7/1.500s.jpg", "door/7/3s.jpg", "hall/7/0.25s.png")
    crops = list_crops([folder])
    assert crops.camera_names == ("door", "hall")
    assert crops.cameras.tolist() == [0, 0, 1]
    assert len(np.unique(crops.tracks)) == crops.num_tracks == 2
    assert crops.time_s is not None
    assert crops.time_s.tolist() == [1.5, 3.0, 0.25]
    assert crops.describe() == "3 crops of 2 tracks under 2 cameras"


def test_folders_of_tracks_are_of_one_camera(tmp_path: Path) -> None:
    crops = list_crops([touch(tmp_path, "1/a.jpg", "1/b.jpg", "2/a.jpg")])
    assert len(crops.camera_names) == 1
    assert crops.num_tracks == 2
    assert crops.time_s is None


def test_names_of_files_say_camera_track_and_time(tmp_path: Path) -> None:
    names = ("c1_t12_3.5s.jpg", "c2_t12_4s.jpg", "camera1_track_12_9s.jpg")
    crops = list_crops([touch(tmp_path, *names)])
    assert crops.camera_names == ("1", "2")
    assert crops.num_tracks == 2
    assert crops.time_s is not None


def test_tracks_of_two_folders_are_never_one(tmp_path: Path) -> None:
    folders = [touch(tmp_path / name, "door/1/0s.jpg") for name in ("a", "b")]
    crops = list_crops(folders)
    assert crops.camera_names == ("door",)
    assert crops.num_tracks == 2


def test_frames_of_a_camera_are_no_crops(tmp_path: Path) -> None:
    folder = touch(tmp_path, "0001.jpg", "0002.jpg")
    assert not has_tracks(folder)
    assert not has_tracks(folder / "0001.jpg")
    with pytest.raises(DatasetError, match="no crops with known tracks"):
        list_crops([folder])
