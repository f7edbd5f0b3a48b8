import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.checking import inspect_dataset
from adln.datasets.market1501 import is_market1501, read_market1501
from adln.errors import DatasetError

SavePicture = Callable[[Path], Path]


def test_persons_and_cameras_are_those_of_the_names(market: Path) -> None:
    dataset = read_market1501(market)
    assert dataset.name == "market1501"
    assert dataset.root == market
    assert dataset.train.person_ids.tolist() == [2, 2, 7, 7]
    assert dataset.train.camera_ids.tolist() == [1, 2, 3, 6]
    assert dataset.train.paths[0] == market / "bounding_box_train" / "0002_c1s1_000451_03.jpg"


def test_junk_is_left_out_and_distractors_stay(market: Path) -> None:
    dataset = read_market1501(market)
    assert dataset.gallery.person_ids.tolist() == [0, 1, 1, 1488]
    assert [path.name for path in dataset.junk] == ["-1_c1s1_000401_03.jpg"]


def test_doubled_suffix_is_read_and_files_that_are_no_pictures_are_passed_over(
    market: Path,
) -> None:
    dataset = read_market1501(market)
    assert [path.name for path in dataset.query.paths] == [
        "0001_c1s1_001051_00.jpg",
        "1488_c2s3_065527_00.jpg.jpg",
    ]
    assert dataset.unreadable == ()


def test_root_may_be_the_folder_above(market: Path) -> None:
    assert read_market1501(market.parent).root == market


def test_names_without_a_sequence_are_read(market: Path) -> None:
    folder = market / "query"
    (folder / "0001_c1s1_001051_00.jpg").rename(folder / "0001_c12_000001.jpg")
    assert read_market1501(market).query.camera_ids.tolist() == [12, 2]


def test_names_that_tell_nothing_are_collected(
    market: Path, save_picture: Callable[[Path], Path]
) -> None:
    odd = save_picture(market / "query" / "holiday.jpg")
    dataset = read_market1501(market)
    assert dataset.unreadable == (odd,)
    assert len(dataset.query) == 2


def test_wrong_folder_tells_what_was_expected_and_found(market: Path) -> None:
    (market / "query").rename(market / "queries")
    with pytest.raises(DatasetError, match=r"(?s)expected .*query.*found .*queries"):
        read_market1501(market)


def test_empty_split_is_named_with_what_lies_there(market: Path) -> None:
    shutil.rmtree(market / "query")
    (market / "query").mkdir()
    (market / "query" / "Thumbs.db").touch()
    with pytest.raises(DatasetError, match=r"the query split is empty.*found Thumbs\.db"):
        read_market1501(market)


def test_three_folders_without_pictures_are_called_empty(tmp_path: Path) -> None:
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / name).mkdir()
    assert is_market1501(tmp_path)
    with pytest.raises(DatasetError, match=r"the train split is empty.*found nothing"):
        read_market1501(tmp_path)


def test_persons_with_and_without_zeros_are_two(market: Path, save_picture: SavePicture) -> None:
    save_picture(market / "bounding_box_train/2_c1s1_000001_01.jpg")
    save_picture(market / "bounding_box_train/002_c1s1_000001_01.jpg")
    assert len(set(read_market1501(market).train.person_ids.tolist())) == 4


def test_ids_beyond_64_bits_are_numbered_anew(market: Path, save_picture: SavePicture) -> None:
    save_picture(market / f"bounding_box_train/{10**20}_c1s1_000001_01.jpg")
    assert len(set(read_market1501(market).train.person_ids.tolist())) == 3


def test_pictures_in_deeper_folders_are_stray(market: Path, save_picture: SavePicture) -> None:
    deep = save_picture(market / "bounding_box_train/more/0002_c1s1_000001_01.jpg")
    assert read_market1501(market).stray == (deep,)


def test_a_folder_in_it_that_cannot_be_read_is_told(
    market: Path, close: Callable[[Path], None]
) -> None:
    inside = market / "query" / "more"
    inside.mkdir()
    close(inside)
    dataset = read_market1501(market)
    assert dataset.stray == (inside,)
    (said,) = (text for text in inspect_dataset(dataset).problems if "such places" in text)
    assert "query/more/ (cannot be read)" in said
