from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.dukemtmc import is_dukemtmc, read_dukemtmc
from adln.datasets.market1501 import is_market1501, read_market1501
from adln.errors import DatasetError


@pytest.fixture
def duke(tmp_path: Path, save_picture: Callable[[Path], Path]) -> Path:
    root = tmp_path / "duke"
    save_picture(root / "bounding_box_train/0001_c2_f0046182.jpg")
    save_picture(root / "query/0005_c2_f0046985.jpg")
    save_picture(root / "bounding_box_test/0005_c8_f0000001.jpg")
    return root


def test_persons_and_cameras_are_those_of_the_names(duke: Path) -> None:
    dataset = read_dukemtmc(duke)
    assert dataset.name == "dukemtmc"
    assert [split.person_ids.tolist() for split in dataset.splits] == [[1], [5], [5]]
    assert [split.camera_ids.tolist() for split in dataset.splits] == [[2], [2], [8]]


def test_notice_says_that_the_owners_withdrew_it(duke: Path) -> None:
    notice = read_dukemtmc(duke).notice
    assert "withdrawn by its owners in 2019" in notice
    assert "neither provides nor recommends" in notice


def test_the_occluded_division_has_its_own_name_and_the_same_notice(duke: Path) -> None:
    dataset = read_dukemtmc(duke.rename(duke.parent / "Occluded_Duke"))
    assert dataset.name == "dukemtmc-occluded"
    assert "withdrawn by its owners in 2019" in dataset.notice


def test_market_and_duke_are_told_apart_by_their_names(duke: Path, market: Path) -> None:
    assert is_dukemtmc(duke)
    assert not is_market1501(duke)
    assert is_market1501(market)
    assert not is_dukemtmc(market)


def test_data_in_market_layout_is_not_read_as_duke_nor_the_other_way(
    duke: Path, market: Path
) -> None:
    with pytest.raises(DatasetError, match=r"0005_c2_f0046985\.jpg"):
        read_dukemtmc(market)
    with pytest.raises(DatasetError, match=r"0002_c1s1_000451_03\.jpg"):
        read_market1501(duke)
