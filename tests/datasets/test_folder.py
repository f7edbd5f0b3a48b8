import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.catalogue import open_dataset
from adln.datasets.checking import inspect_dataset
from adln.datasets.folder import is_csv, is_folder, persons_folder, read_csv, read_folder
from adln.datasets.split import Split
from adln.errors import DatasetError

SavePicture = Callable[[Path], Path]


def rows(split: Split) -> list[tuple[str, int, int]]:
    ids = zip(split.paths, split.person_ids, split.camera_ids, strict=True)
    return [(path.name, int(person), int(camera)) for path, person, camera in ids]


@pytest.fixture
def people(tmp_path: Path, save_picture: SavePicture) -> Path:
    root = tmp_path / "people"
    save_picture(root / "train/anna/c1_0001.jpg")
    save_picture(root / "train/anna/cam2_0001.jpg")
    save_picture(root / "train/berta/Camera-3 0001.png")
    save_picture(root / "query/carl/c1_0001.jpg")
    save_picture(root / "gallery/carl/c2/0001.jpg")
    save_picture(root / "gallery/dora/3/0001.jpg")
    return root


def test_persons_are_numbered_in_sorted_order_and_cameras_taken_from_the_names(
    people: Path,
) -> None:
    dataset = read_folder(people)
    assert rows(dataset.train) == [
        ("c1_0001.jpg", 1, 1),
        ("cam2_0001.jpg", 1, 2),
        ("Camera-3 0001.png", 2, 3),
    ]
    assert rows(dataset.query) == [("c1_0001.jpg", 3, 1)]
    assert rows(dataset.gallery) == [("0001.jpg", 3, 2), ("0001.jpg", 4, 3)]


def test_camera_folders_may_have_any_name(tmp_path: Path, save_picture: SavePicture) -> None:
    save_picture(tmp_path / "train/anna/yard/0001.jpg")
    save_picture(tmp_path / "train/anna/entrance/0001.jpg")
    assert read_folder(tmp_path).train.camera_ids.tolist() == [1, 2]


def test_whole_number_names_are_kept_and_person_minus_one_is_junk(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    save_picture(tmp_path / "train/0042/c1_a.jpg")
    junk = save_picture(tmp_path / "train/-1/c1_a.jpg")
    dataset = read_folder(tmp_path)
    assert dataset.train.person_ids.tolist() == [42]
    assert dataset.junk == (junk,)


def test_a_part_without_a_folder_is_an_empty_split(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    save_picture(tmp_path / "train/anna/c1_a.jpg")
    dataset = read_folder(tmp_path)
    assert [len(split) for split in dataset.splits] == [1, 0, 0]


def test_pictures_that_do_not_tell_their_camera_are_collected(
    people: Path, save_picture: SavePicture
) -> None:
    odd = save_picture(people / "train/anna/holiday.jpg")
    assert read_folder(people).unreadable == (odd,)


def test_empty_split_is_named(people: Path, save_picture: SavePicture) -> None:
    for path in sorted((people / "query").rglob("*.jpg")):
        path.unlink()
    with pytest.raises(DatasetError, match=r"the query split is empty.*found carl"):
        read_folder(people)


def test_wrong_folder_tells_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "query").mkdir()
    assert not is_folder(tmp_path)
    with pytest.raises(DatasetError, match=r"expected a folder train.*found query"):
        read_folder(tmp_path)


def write_table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_table_with_splits_is_read_relative_to_itself(tmp_path: Path) -> None:
    table = write_table(
        tmp_path,
        "split,note,path,person,camera\n"
        'train,x,"a, b.jpg",anna,yard\n'
        "query,,q.jpg,berta,door\n"
        "gallery,,/data/g.jpg,berta,yard\n",
    )
    dataset = read_csv(table)
    assert dataset.name == "csv"
    assert dataset.root == table
    assert dataset.train.paths == (tmp_path / "a, b.jpg",)
    assert dataset.gallery.paths == (Path("/data/g.jpg"),)
    assert [rows(split)[0][1:] for split in dataset.splits] == [(1, 2), (2, 1), (2, 2)]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_and_a_byte_order_mark_are_read(tmp_path: Path, mark: str) -> None:
    lines = ["\ufeffpath,person,camera,split", "a.jpg,5,2,train"]
    table = write_table(tmp_path, "\r\n".join(lines).replace(",", mark))
    assert rows(read_csv(table).train) == [("a.jpg", 5, 2)]


def test_folder_with_one_table_of_pictures_is_recognised(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,person,camera,split\na.jpg,5,2,train\n")
    assert is_csv(tmp_path)
    assert read_csv(tmp_path).root == table
    table.write_text("epoch,loss\n1,2\n")
    assert not is_csv(tmp_path)
    (tmp_path / "second.csv").touch()
    with pytest.raises(DatasetError, match=r"one \.csv file, found second\.csv, table\.csv"):
        read_csv(tmp_path)


def test_only_regular_files_that_can_be_read_are_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert not is_csv(tmp_path)
    table = write_table(tmp_path, "path,person,camera,split\na.jpg,5,2,train\n")
    assert is_csv(tmp_path)
    assert read_csv(tmp_path).root == table

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert not is_csv(tmp_path)


def test_a_table_without_an_end_of_line_is_not_read_whole(tmp_path: Path) -> None:
    write_table(tmp_path, "path,person,camera," + "x" * 200_000)
    assert is_csv(tmp_path)


def test_without_splits_persons_are_parted_in_half_and_every_query_has_a_match(
    tmp_path: Path,
) -> None:
    lines = [
        f"{person}_{camera}_{shot}.jpg,person {person},camera {camera}"
        for person in range(10)
        for camera in range(2)
        for shot in range(3)
    ]
    table = write_table(tmp_path, "\n".join(["path,person,camera", *lines]))
    dataset = read_csv(table)
    learned, searched = set(dataset.train.person_ids), set(dataset.gallery.person_ids)
    assert len(learned) == len(searched) == 5
    assert not learned & searched
    assert len(dataset.query) == 5 * 2
    assert len(dataset.gallery) == 5 * 2 * 3
    for _, person, camera in rows(dataset.query):
        seen = (dataset.gallery.person_ids == person) & (dataset.gallery.camera_ids != camera)
        assert seen.any()


def test_parting_in_half_does_not_depend_on_the_order_of_lines(tmp_path: Path) -> None:
    lines = [f"{p}_{c}.jpg,{p},{c}" for p in range(1, 9) for c in range(1, 3)]
    forwards = read_csv(write_table(tmp_path, "\n".join(["path,person,camera", *lines])))
    backwards = read_csv(write_table(tmp_path, "\n".join(["path,person,camera", *lines[::-1]])))
    assert set(forwards.train.paths) == set(backwards.train.paths)
    assert set(forwards.query.paths) == set(backwards.query.paths)


def test_person_seen_by_one_camera_is_no_query_but_stays_in_the_gallery(tmp_path: Path) -> None:
    lines = [f"{p}_{c}.jpg,{p},{c}" for p in range(1, 5) for c in range(1, 3)]
    everyone = read_csv(write_table(tmp_path, "\n".join(["path,person,camera", *lines])))
    lonely = int(everyone.gallery.person_ids[0])
    fewer = [line for line in lines if line != f"{lonely}_2.jpg,{lonely},2"]
    dataset = read_csv(write_table(tmp_path, "\n".join(["path,person,camera", *fewer])))
    assert lonely not in dataset.query.person_ids
    assert lonely in dataset.gallery.person_ids


def test_table_of_one_camera_without_splits_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path, "path,person,camera\na.jpg,1,1\nb.jpg,2,1\n")
    with pytest.raises(DatasetError, match="seen by two cameras"):
        read_csv(table)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing: path, person, camera"),
        ("path,person\na.jpg,1\n", "missing: camera; found: path, person"),
        ("path,person,camera,split\n", "lists no picture"),
        ("path,person,camera,split\na.jpg,1,1,test\n", "line 2: split must be"),
        ("path,person,camera,split\na.jpg,1,1,train\nb.jpg,,1,train\n", "line 3: nothing under p"),
        ("path,person,camera,split\na.jpg,1\n", "line 2: nothing under camera"),
    ],
)
def test_bad_table_is_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"table\.csv.*{message}"):
        read_csv(write_table(tmp_path, text))


def test_missing_and_binary_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent\.csv: there is no such table"):
        read_csv(tmp_path / "absent.csv")
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(DatasetError, match="UTF-8"):
        read_csv(tmp_path / "table.csv")


@pytest.mark.parametrize("names", [("1", "01", "001", "2"), ("9" * 21, "8" * 21, "7" * 21, "1")])
def test_names_that_look_like_numbers_stay_different(
    tmp_path: Path, save_picture: SavePicture, names: tuple[str, ...]
) -> None:
    for name in names:
        save_picture(tmp_path / "train" / name / f"c{name}_a.jpg")
    dataset = read_folder(tmp_path)
    assert len(set(dataset.train.person_ids.tolist())) == 4
    assert len(set(dataset.train.camera_ids.tolist())) == 4


def test_names_that_differ_in_zeros_only_are_remarked_on(
    tmp_path: Path, save_picture: SavePicture
) -> None:
    for name in ("1", "01", "2"):
        save_picture(tmp_path / "train" / name / "c1_a.jpg")
    (remark,) = read_folder(tmp_path).remarks
    assert "different persons here: 01, 1" in remark


def test_a_table_keeps_names_apart_too(tmp_path: Path) -> None:
    lines = [f"{person}.jpg,{person},{camera},train" for person in ("7", "07") for camera in "12"]
    table = write_table(tmp_path, "\n".join(["path,person,camera,split", *lines]))
    assert len(set(read_csv(table).train.person_ids.tolist())) == 2


def test_deeper_and_loose_pictures_and_links_are_listed_as_stray(
    people: Path, save_picture: SavePicture, tmp_path: Path
) -> None:
    deep = save_picture(people / "train/anna/cam9/2024/1.jpg")
    loose = save_picture(people / "train/c1_loose.jpg")
    save_picture(tmp_path / "elsewhere/1.jpg")
    link = people / "train/anna/cam9/more"
    link.symlink_to(tmp_path / "elsewhere")
    dataset = read_folder(people)
    assert set(dataset.stray) == {deep, loose, link}
    assert len(dataset.train) == 3
    assert dataset.left_out.startswith("3 pictures")


def test_a_person_s_folder_may_be_a_link(
    people: Path, save_picture: SavePicture, tmp_path: Path
) -> None:
    save_picture(tmp_path / "elsewhere/c1_a.jpg")
    (people / "train/dora").symlink_to(tmp_path / "elsewhere")
    dataset = read_folder(people)
    assert len(dataset.train) == 4
    assert dataset.stray == ()


@pytest.mark.parametrize("suffix", [".jfif", ".avif", ".HEIC", ".jpe"])
def test_newer_names_of_pictures_are_read(
    tmp_path: Path, save_picture: SavePicture, suffix: str
) -> None:
    picture = save_picture(tmp_path / f"train/anna/c1_a{suffix}")
    assert read_folder(tmp_path).train.paths == (picture,)


@pytest.fixture
def crops(tmp_path: Path, save_picture: SavePicture) -> Path:
    """Persons' folders, with cameras in names, in folders, and not at all."""
    root = tmp_path / "crops"
    for name in (
        "anna/entrance/1.jpg",
        "anna/entrance/2.jpg",
        "anna/yard/1.jpg",
        "ben/entrance/1.jpg",
        "carl/c2_0001.jpg",
        "carl/yard/1.jpg",
    ):
        save_picture(root / name)
    return root


@pytest.mark.parametrize("above", [False, True])
def test_a_folder_of_persons_is_searched_between_its_cameras(crops: Path, above: bool) -> None:
    dataset = open_dataset(crops.parent if above else crops)
    assert dataset.name == "folder"
    assert dataset.root == crops
    assert len(dataset.train) == 0
    # Cameras in sorted order: 2, entrance, yard. Ben was seen by one camera only.
    assert rows(dataset.gallery) == [
        ("1.jpg", 1, 2),
        ("2.jpg", 1, 2),
        ("1.jpg", 1, 3),
        ("1.jpg", 2, 2),
        ("c2_0001.jpg", 3, 1),
        ("1.jpg", 3, 3),
    ]
    assert [row[1:] for row in rows(dataset.query)] == [(1, 2), (1, 3), (3, 1), (3, 3)]
    report = inspect_dataset(dataset)
    assert report.problems == ()
    assert any("3 persons, 3 cameras (2, entrance, yard)" in text for text in report.remarks)


@pytest.mark.parametrize("layout", ["auto", "folder"])
def test_the_folder_above_persons_is_not_taken_for_a_person(
    tmp_path: Path, save_picture: SavePicture, layout: str
) -> None:
    for name in ("anna/c1_1.jpg", "anna/c2_1.jpg", "ben/c1_1.jpg"):
        save_picture(tmp_path / "crops" / name)
    dataset = open_dataset(tmp_path, layout)
    assert dataset.gallery.person_ids.tolist() == [1, 1, 2]
    assert len(dataset.query) == 2


def test_pictures_of_persons_that_tell_no_camera_are_left_out_and_named(
    crops: Path, save_picture: SavePicture
) -> None:
    odd = save_picture(crops / "anna/holiday.jpg")
    loose = save_picture(crops / "group.jpg")
    junk = save_picture(crops / "-1/c1_a.jpg")
    dataset = open_dataset(crops)
    assert dataset.unreadable == (odd,)
    assert dataset.stray == (loose,)
    assert junk in dataset.junk
    assert len(dataset.gallery) == 6


def test_parts_of_a_data_set_are_never_persons(tmp_path: Path, save_picture: SavePicture) -> None:
    for name in ("query/carl/1.jpg", "a/val/1.jpg", "b/val/1.jpg", "b/test/1.jpg"):
        save_picture(tmp_path / name)
    assert persons_folder(tmp_path) is None
