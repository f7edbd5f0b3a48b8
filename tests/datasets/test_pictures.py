from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.pictures import find_pictures
from adln.errors import DatasetError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.PNG", "sub/c.jpeg", "notes.txt", ".hidden.jpg", ".cache/d.jpg"):
        path = tmp_path / "people" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "people"


def test_a_folder_gives_its_pictures_and_those_below_but_nothing_hidden(folder: Path) -> None:
    names = [path.relative_to(folder).as_posix() for path in find_pictures([folder])]
    assert names == ["a.PNG", "b.jpg", "sub/c.jpeg"]


def test_sources_keep_their_order_and_a_file_may_have_any_name(folder: Path) -> None:
    odd = folder / "photo.dat"
    odd.touch()
    assert find_pictures([odd, folder / "sub", str(folder / "b.jpg")]) == [
        odd,
        folder / "sub" / "c.jpeg",
        folder / "b.jpg",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.csv", "person,Path\n1,b.jpg\n2,sub/c.jpeg\n"),
        ("list.csv", "\ufefffilename\r\nb.jpg\r\nsub/c.jpeg\r\n"),
        ("list.csv", "person;path\n1;b.jpg\n2;sub/c.jpeg\n"),
        ("list.csv", "person\tpath\n1\tb.jpg\n2\tsub/c.jpeg\n"),
        ("list.txt", "b.jpg\n\n  sub/c.jpeg  \n"),
    ],
)
def test_paths_of_a_list_count_from_the_list(folder: Path, name: str, text: str) -> None:
    (folder / name).write_bytes(text.encode())
    assert find_pictures([folder / name]) == [folder / "b.jpg", folder / "sub" / "c.jpeg"]


def test_absolute_paths_in_a_list_stay(folder: Path) -> None:
    (folder / "list.txt").write_text(f"{folder / 'b.jpg'}\n")
    assert find_pictures([folder / "list.txt"]) == [folder / "b.jpg"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("list.csv", "who,when\n1,2\n", r"expected a column named path .* found \['who', 'when'\]"),
        ("list.csv", "", "expected a column named path"),
        ("list.csv", "path\n", "contains no pictures"),
        ("list.txt", "\n", "contains no pictures"),
    ],
)
def test_a_list_without_paths_is_refused(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=complaint):
        find_pictures([tmp_path / name])


def test_missing_and_empty_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="gone: there is no such folder or file"):
        find_pictures([tmp_path / "gone"])
    with pytest.raises(DatasetError, match="there are no pictures in"):
        find_pictures([tmp_path])


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DatasetError, match="cannot be read"):
        find_pictures([tmp_path / "list.txt"])


def test_links_to_folders_and_what_is_no_file_are_told(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "gone.jpg").symlink_to(tmp_path / "missing.jpg")
    told: list[str] = []
    found = find_pictures([folder], on_left_out=told.append)
    assert len(found) == 3
    assert [text.split(":")[0] for text in told] == [str(folder / "gone.jpg"), str(folder / "link")]


def test_a_subfolder_that_cannot_be_read_is_told(
    folder: Path, close: Callable[[Path], None]
) -> None:
    close(folder / "sub")
    told: list[str] = []
    assert len(find_pictures([folder], on_left_out=told.append)) == 2
    assert told == [f"{folder / 'sub'}: the folder cannot be read (Permission denied)."]
    with pytest.raises(DatasetError, match="sub: the folder cannot be read"):
        find_pictures([folder / "sub"])


def test_newer_names_of_pictures_are_found(folder: Path) -> None:
    for name in ("d.jfif", "e.avif", "f.HEIC"):
        (folder / name).touch()
    assert [path.suffix for path in find_pictures([folder])][-4:-1] == [".jfif", ".avif", ".HEIC"]
