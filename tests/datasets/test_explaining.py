"""What is said about folders that have no known layout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.catalogue import open_dataset, recognise
from adln.datasets.explaining import why_unknown
from adln.datasets.folder import read_folder
from adln.errors import DatasetError

SavePicture = Callable[[Path], Path]


def test_a_flat_folder_without_cameras_is_told_the_table_to_write(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    save_picture(tmp_path / "0001001.png")
    save_picture(tmp_path / "0001002.png")
    with pytest.raises(DatasetError, match="i-LIDS MCTS and 3DPeS") as caught:
        open_dataset(tmp_path)
    assert "path,person,camera\n  0001001.png,anna,1\n" in str(caught.value)


def test_the_table_that_is_asked_for_is_then_read(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    lines = []
    for person in (1, 2):
        for shot in (1, 2):
            name = save_picture(tmp_path / f"{person:04d}{shot:03d}.png").name
            lines.append(f"{name},{person},{shot}")
    (tmp_path / "crops.csv").write_text("\n".join(["path,person,camera", *lines]))
    assert open_dataset(tmp_path).name == "csv"


def test_persons_without_cameras_are_told_what_to_rename(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    save_picture(tmp_path / "anna/1.jpg")
    save_picture(tmp_path / "ben/2.jpg")
    for read in (open_dataset, read_folder):
        with pytest.raises(DatasetError, match=r"No camera is given for anna/1\.jpg") as e:
            read(tmp_path)
        for text in ("anna/c1_1.jpg", "anna/entrance/1.jpg", "anna/1.jpg,anna,1", "train/anna/"):
            assert text in str(e.value)


def test_persons_under_one_camera_are_told_to_add_another(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    save_picture(tmp_path / "anna/c1_1.jpg")
    save_picture(tmp_path / "ben/c2_1.jpg")
    with pytest.raises(DatasetError, match="Nobody is seen by two cameras"):
        open_dataset(tmp_path)


def test_camera_folders_outside_are_not_taken_for_persons(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    for camera in ("cam1", "cam2"):
        for person in ("anna", "ben", "carl"):
            save_picture(tmp_path / camera / person / "1.jpg")
    for read in (open_dataset, read_folder):
        with pytest.raises(DatasetError, match="outer folders are named like cameras"):
            read(tmp_path)


def test_what_may_be_cameras_outside_is_read_only_when_the_layout_is_named(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    for outer in ("entrance", "yard"):
        for inner in ("anna", "ben"):
            save_picture(tmp_path / outer / inner / "1.jpg")
    with pytest.raises(DatasetError, match="2 outer folders and 2 inner ones, as in entrance/anna"):
        open_dataset(tmp_path)
    assert len(open_dataset(tmp_path, "folder").gallery) == 4


@pytest.mark.parametrize("halves", [("",), ("train/", "test/")])
def test_sets_of_occluded_people_are_refused_since_they_tell_no_cameras(
    tmp_path: Path, save_picture: SavePicture, halves: tuple[str, ...]
) -> None:
    for half in halves:
        for part in ("occluded_body_images", "whole_body_images"):
            for person in ("0001", "0002"):
                save_picture(tmp_path / f"{half}{part}/{person}/{person}_01.jpg")
    assert recognise(tmp_path) is None
    with pytest.raises(DatasetError, match="persons but no cameras") as caught:
        open_dataset(tmp_path)
    assert ("withdrawn by its owners in 2019" in str(caught.value)) == (len(halves) > 1)
    with pytest.raises(DatasetError, match="expected a folder train"):
        read_folder(tmp_path)


def test_nothing_is_said_about_an_empty_folder(tmp_path: Path) -> None:
    assert why_unknown(tmp_path) == ""
