"""CUHK01, CUHK02 and CUHK03 in the layouts of their mirrors, as small stand-ins."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.catalogue import open_dataset, recognise
from adln.datasets.checking import inspect_dataset
from adln.datasets.cuhk import read_cuhk01, read_cuhk02, read_cuhk03
from adln.errors import DatasetError

SavePicture = Callable[[Path], Path]


@pytest.fixture
def cuhk(tmp_path: Path, save_picture: SavePicture) -> Path:
    root = tmp_path / "CUHK"
    for person in (1, 2, 971):
        for crop in (1, 2, 3, 4):
            save_picture(root / f"CUHK01/campus/{person:04d}{crop:03d}.png")
    for boxes in ("labeled", "detected"):
        for part, persons in (("train", (0, 1, 742)), ("val", (0, 1))):
            for person in persons:
                for crop in (0, 4, 5, 9):
                    save_picture(root / f"{boxes}/{part}/{person:04d}_{crop:02d}.jpg")
                    save_picture(root / f"{boxes}/{part}_resized/{person:04d}_{crop:02d}.jpg")
    (root / "labeled" / "resize.py").touch()
    return root


@pytest.mark.parametrize("inside", ["CUHK01", "CUHK01/campus"])
def test_cuhk01_is_searched_from_the_first_camera_in_the_second(cuhk: Path, inside: str) -> None:
    dataset = open_dataset(cuhk / inside)
    assert dataset.name == "cuhk01"
    assert [len(split) for split in dataset.splits] == [0, 6, 6]
    assert dataset.query.person_ids.tolist() == [1, 1, 2, 2, 971, 971]
    assert set(dataset.query.camera_ids.tolist()) == {1}
    assert set(dataset.gallery.camera_ids.tolist()) == {2}
    assert [path.name for path in dataset.gallery.paths[:2]] == ["0001003.png", "0001004.png"]


@pytest.mark.parametrize("boxes", ["labeled", "detected"])
def test_cuhk03_learns_from_train_and_is_tested_on_the_other_people_of_val(
    cuhk: Path, boxes: str
) -> None:
    dataset = open_dataset(cuhk / boxes)
    assert dataset.name == f"cuhk03-{boxes}"
    assert [len(split) for split in dataset.splits] == [12, 4, 4]
    assert set(dataset.train.person_ids.tolist()) == {0, 1, 742}
    assert dataset.train.camera_ids.tolist()[:4] == [1, 1, 2, 2]
    # Both parts number people from 0, but they are others.
    assert set(dataset.query.person_ids.tolist()) == {743, 744}
    assert [path.name for path in dataset.query.paths[:2]] == ["0000_00.jpg", "0000_04.jpg"]
    assert [path.name for path in dataset.gallery.paths[:2]] == ["0000_05.jpg", "0000_09.jpg"]
    assert inspect_dataset(dataset).problems == ()


@pytest.fixture
def cuhk02(tmp_path: Path, save_picture: SavePicture) -> Path:
    root = tmp_path / "CUHK02"
    for pair in range(1, 6):
        for camera in (1, 2):
            for person in (1, 2):
                for crop in (1, 2):
                    save_picture(root / f"Dataset/P{pair}/cam{camera}/{person:03d}_{crop}.png")
    return root


def test_cuhk02_learns_from_four_pairs_of_cameras_and_is_tested_on_the_fifth(cuhk02: Path) -> None:
    dataset = open_dataset(cuhk02)
    assert dataset.name == "cuhk02"
    assert [len(split) for split in dataset.splits] == [32, 4, 4]
    # Every pair numbers its people from 1, but they are others.
    assert len(set(dataset.train.person_ids.tolist())) == 8
    assert set(dataset.train.camera_ids.tolist()) == set(range(1, 9))
    assert set(dataset.query.camera_ids.tolist()) == {9}
    assert set(dataset.gallery.camera_ids.tolist()) == {10}
    assert {path.parts[-3] for path in dataset.query.paths} == {"P5"}
    problems = inspect_dataset(dataset).problems
    assert not any("both the train and the test" in problem for problem in problems)


def test_a_missing_camera_of_cuhk02_is_named(cuhk02: Path) -> None:
    shutil.rmtree(cuhk02 / "Dataset/P3/cam2")
    with pytest.raises(DatasetError, match="missing folders of CUHK02: P3/cam2"):
        open_dataset(cuhk02)
    with pytest.raises(DatasetError, match=r"P1, P2, P3, P4, P5 of CUHK02.*found cam1"):
        read_cuhk02(cuhk02 / "Dataset/P3")


def test_the_folder_above_names_what_it_holds(cuhk: Path) -> None:
    with pytest.raises(DatasetError, match=r"CUHK01 \(cuhk01\), detected \(cuhk03\), labeled"):
        open_dataset(cuhk)


def test_names_that_tell_no_camera_are_collected(cuhk: Path, save_picture: SavePicture) -> None:
    odd = save_picture(cuhk / "CUHK01/campus/0001005.png")
    assert read_cuhk01(cuhk / "CUHK01").unreadable == (odd,)
    odd = save_picture(cuhk / "labeled/val/0001_10.jpg")
    assert read_cuhk03(cuhk / "labeled").unreadable == (odd,)


def test_a_set_of_ones_own_is_not_taken_for_it(tmp_path: Path, save_picture: SavePicture) -> None:
    save_picture(tmp_path / "train/anna/c1_0001.jpg")
    save_picture(tmp_path / "val/anna/c1_0001.jpg")
    assert recognise(tmp_path) == "folder"
    with pytest.raises(DatasetError, match="train and val of CUHK03"):
        read_cuhk03(tmp_path)
