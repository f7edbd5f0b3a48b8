from collections.abc import Callable
from pathlib import Path

import pytest

from adln.datasets.listing import (
    entries,
    find_root,
    image_files,
    is_image_name,
    shown,
    table_rows,
)
from adln.errors import DatasetError


def has_flag(folder: Path) -> bool:
    return (folder / "flag").exists()


def test_pictures_are_known_by_suffix_and_hidden_files_are_not_pictures() -> None:
    assert is_image_name("a.jpg")
    assert is_image_name("a.JPG.PNG")
    assert not is_image_name("Thumbs.db")
    assert not is_image_name("._a.jpg")


def test_listing_is_sorted_by_name(tmp_path: Path, save_picture: Callable[[Path], Path]) -> None:
    for name in ("b.jpg", "a.jpg", "c.txt"):
        save_picture(tmp_path / name)
    assert [path.name for path in entries(tmp_path)] == ["a.jpg", "b.jpg", "c.txt"]
    assert [path.name for path in image_files(tmp_path)] == ["a.jpg", "b.jpg"]


def test_missing_folder_and_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="absent: there is no such folder"):
        entries(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="cannot be read"):
        entries(tmp_path / "file")


def test_long_lists_are_shortened() -> None:
    assert shown([]) == "nothing"
    assert shown(["a", "b"]) == "a, b"
    assert shown(map(str, range(1_010))).endswith("7 and 1,002 more")


def test_root_may_be_the_folder_or_the_one_above(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "flag").touch()
    assert find_root(inner, has_flag, expected="a flag") == inner
    assert find_root(tmp_path, has_flag, expected="a flag") == inner


def test_several_fitting_folders_are_listed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "flag").touch()
    with pytest.raises(DatasetError, match=r"several data sets \(one, two\)"):
        find_root(tmp_path, has_flag, expected="a flag")


def test_no_fitting_folder_tells_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    with pytest.raises(DatasetError, match="expected a flag; found else"):
        find_root(tmp_path, has_flag, expected="a flag")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,person,camera\na.jpg,Smith, John,1\n", "line 2: 4 cells for 3 columns. Write"),
        ('path,person\n"a.jpg,1\nb.jpg,2\n"c.jpg",3\n', "a double quote that is not closed"),
        ('path,person\na.jpg,"Ann,1\nb.jpg,Bob"\n', "line 3: a cell reaches over several lines"),
        ('path,person\n"' + 140_000 * "a", "a double quote that is not closed"),
        ("path,person,person\na.jpg,1,2\n", "the column person twice"),
        ("p\0a\0t\0h\0", "save the table as UTF-8"),
    ],
)
def test_a_table_whose_cells_are_in_doubt_is_refused(text: str, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"^t\.csv.*{message}"):
        table_rows(Path("t.csv"), text, known=("path", "person", "camera"))


def test_a_table_may_have_quoted_cells_empty_lines_notes_and_marks_at_the_end_of_lines() -> None:
    text = 'path;note;note\r\n\r\n"a; b.jpg";"two\r\nlines";;;\r\nc.jpg\r\n'
    columns, rows = table_rows(Path("t.csv"), text, known=("path",))
    assert columns == ["path", "note", "note"]
    assert [(line, row["path"]) for line, row in rows] == [(4, "a; b.jpg"), (5, "c.jpg")]
