from pathlib import Path

import pytest

from adln.datasets.catalogue import open_dataset
from adln.datasets.msmt17 import read_msmt17
from adln.errors import DatasetError

LISTS = {
    "list_train.txt": "0000/0000_000_01_0303morning_0008_0.jpg 0\n"
    "0001/0001_000_15_0303noon_0008_0.jpg 1\n",
    "list_val.txt": "0001/0001_004_05_0303morning_0008_1.jpg 1\n\n",
    "list_query.txt": "0000/0000_000_07_0303morning_0008_0.jpg 0\n",
    "list_gallery.txt": "0000/0000_002_12_0303morning_0008_0.jpg 0\n",
}


def write(root: Path, train_folder: str = "train", test_folder: str = "test") -> Path:
    (root / train_folder).mkdir(parents=True)
    (root / test_folder).mkdir()
    for name, text in LISTS.items():
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_both_versions_are_read(tmp_path: Path, folders: tuple[str, str]) -> None:
    root = write(tmp_path / "MSMT17", *folders)
    dataset = read_msmt17(tmp_path)
    assert dataset.root == root
    assert dataset.train.paths[0] == root / folders[0] / "0000/0000_000_01_0303morning_0008_0.jpg"
    assert dataset.query.paths[0].is_relative_to(root / folders[1])


def test_training_is_the_lists_train_and_val_together(tmp_path: Path) -> None:
    dataset = read_msmt17(write(tmp_path / "MSMT17"))
    assert dataset.train.person_ids.tolist() == [0, 1, 1]


def test_camera_is_the_third_field_of_the_name(tmp_path: Path) -> None:
    dataset = read_msmt17(write(tmp_path / "MSMT17"))
    assert dataset.train.camera_ids.tolist() == [1, 15, 5]
    assert dataset.gallery.camera_ids.tolist() == [12]


def test_test_persons_do_not_share_numbers_with_training_persons(tmp_path: Path) -> None:
    dataset = read_msmt17(write(tmp_path / "MSMT17"))
    assert dataset.query.person_ids.tolist() == dataset.gallery.person_ids.tolist() == [2]


def test_missing_list_is_a_wrong_folder(tmp_path: Path) -> None:
    root = write(tmp_path / "MSMT17")
    (root / "list_val.txt").unlink()
    with pytest.raises(DatasetError, match=r"expected MSMT17: the lists .*list_val\.txt"):
        read_msmt17(root)


def test_empty_list_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "MSMT17")
    (root / "list_query.txt").write_text("\n")
    with pytest.raises(DatasetError, match=r"list_query\.txt list no picture"):
        read_msmt17(root)


@pytest.mark.parametrize("line", ["0000/0000_000.jpg 0", "just text", "0000/a_b_cc_d.jpg 0"])
def test_unreadable_line_is_named_with_its_number(tmp_path: Path, line: str) -> None:
    root = write(tmp_path / "MSMT17")
    (root / "list_gallery.txt").write_text(LISTS["list_gallery.txt"] + line)
    with pytest.raises(DatasetError, match=r"list_gallery\.txt, line 2: expected a line like"):
        read_msmt17(root)


def test_a_list_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    root = write(tmp_path / "MSMT17")
    text = LISTS["list_query.txt"]
    (root / "list_query.txt").write_text(text, encoding="utf-8-sig")
    assert read_msmt17(root).query.paths[0].name == "0000_000_07_0303morning_0008_0.jpg"


def test_an_id_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "MSMT17")
    line = f"0000/0000_000_07_0303morning_0008_0.jpg {10**20}\n"
    (root / "list_query.txt").write_text(line)
    with pytest.raises(DatasetError, match="does not fit into 64 bits"):
        read_msmt17(root)


@pytest.mark.parametrize("above", [False, True])
def test_the_lists_that_are_missing_are_named_whoever_asks(tmp_path: Path, above: bool) -> None:
    folder = tmp_path / "MSMT17_V1"
    for part in ("train", "test"):
        (folder / part / "0000").mkdir(parents=True)
    (folder / "list_train.txt").write_text("0000/0000_001_01_0303morning_0001_1.jpg 0\n")
    (folder / "list_query.txt").touch()
    for read in (open_dataset, read_msmt17):
        with pytest.raises(
            DatasetError, match=r"V1: there is no list_val\.txt, list_gallery\.txt;"
        ):
            read(tmp_path if above else folder)
