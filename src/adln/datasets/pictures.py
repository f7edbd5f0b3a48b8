"""Finds the pictures given by a user as folders, files or lists.

Provides the crops of Sec. III.B to the device's embedder.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from adln.atomic import require_regular, suffix_of
from adln.datasets.listing import is_image_name, table_rows
from adln.errors import DatasetError

_LIST_SUFFIXES = frozenset({".csv", ".txt"})
PATH_COLUMNS = ("path", "image", "file", "filename")


def find_pictures(
    sources: Sequence[str | Path], *, on_left_out: Callable[[str], None] | None = None
) -> list[Path]:
    """List the picture files given by folders, files and lists, in this order.

    A folder is searched with its subfolders, in the order of names; hidden files are ignored. A
    file may have any name. A list is a CSV file with a column "path", or a .txt file with one path
    per line, relative to the list. `on_left_out` is called with a message for each entry of a
    folder that has a picture's name but is not a file, for each link to another folder, which is
    not followed, and for each subfolder that cannot be read.

    Raises:
        DatasetError: a source is missing or cannot be read, a folder has no pictures, or a list has
            no paths.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += _in_folder(source, on_left_out or (lambda _: None))
        elif not source.exists():
            raise DatasetError(f"{source}: there is no such folder or file.")
        elif suffix_of(source) in _LIST_SUFFIXES:
            found += _in_list(source)
        else:
            found.append(source)
    return found


def _in_folder(folder: Path, on_left_out: Callable[[str], None]) -> list[Path]:
    pictures: list[Path] = []
    left_out: list[str] = []

    def closed(error: OSError) -> None:
        text = f"{error.filename}: the folder cannot be read ({error.strerror or error})."
        if Path(error.filename) == folder:
            raise DatasetError(text) from error
        left_out.append(text)

    for name, folders, files in os.walk(folder, onerror=closed):
        here = Path(name)
        folders[:] = [inside for inside in folders if not inside.startswith(".")]
        left_out += [
            f"{here / inside}: links to folders are not followed; name that folder as well."
            for inside in folders
            if (here / inside).is_symlink()
        ]
        for path in (here / file for file in files if is_image_name(file)):
            if path.is_file():
                pictures.append(path)
            else:
                left_out.append(f"{path}: has a picture's name, but is not a file.")
    pictures.sort()
    for text in sorted(left_out):
        on_left_out(text)
    if not pictures:
        raise DatasetError(f"{folder}: there are no pictures in this folder or its subfolders.")
    return pictures


def _in_list(source: Path) -> list[Path]:
    require_regular(source, raises=DatasetError, expected="a list of pictures")
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{source}: the list cannot be read ({error}).") from error
    if suffix_of(source) == ".csv":
        names = _path_column(source, text)
    else:
        names = [line.strip() for line in text.splitlines()]
    paths = [source.parent / name for name in names if name]
    if not paths:
        raise DatasetError(f"{source}: the list contains no pictures.")
    return paths


def _path_column(source: Path, text: str) -> list[str]:
    columns, rows = table_rows(source, text, known=PATH_COLUMNS)
    for column in columns:
        if column.lower() in PATH_COLUMNS:
            return [row[column].strip() for _, row in rows]
    raise DatasetError(
        f"{source}: expected a column named path in the first line, found {columns}."
    )
