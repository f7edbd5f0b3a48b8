"""Lists the picture files of a folder, and finds the folder that has a layout.

Shared by the readers of all layouts; Sec. III.A.
"""

import csv
import io
import os
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from adln.atomic import suffix_of
from adln.errors import DatasetError

# Formats of cameras and programs. Files that cannot be decoded (HEIC needs another program) are
# reported when they are read; files not listed here would be silently ignored.
_PHOTOS = {".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".heic", ".heif", ".jp2"}
IMAGE_SUFFIXES = frozenset(_PHOTOS | {".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"})
_NAMES_SHOWN = 8


def is_image_name(name: str) -> bool:
    """Whether a file name is that of a picture; hidden files never are.

    macOS leaves a hidden ``._0002_c1s1_000451_03.jpg`` beside each picture on a foreign disk.
    """
    return not name.startswith(".") and suffix_of(Path(name)) in IMAGE_SUFFIXES


def entries(folder: Path) -> list[Path]:
    """List files and folders of a folder in the order of names, without the hidden ones.

    Raises:
        DatasetError: The folder is missing, is a file, or cannot be read.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except FileNotFoundError as error:
        raise DatasetError(f"{folder}: there is no such folder.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"{folder}: the folder cannot be read ({reason}).") from error


def image_files(folder: Path) -> list[Path]:
    """List the picture files directly in a folder, in the order of names; see `entries`."""
    return [entry for entry in entries(folder) if is_image_name(entry.name)]


def named_pictures(
    folder: Path, name: re.Pattern[str], others: list[Path]
) -> list[tuple[Path, re.Match[str]]]:
    """Picture files in a folder whose names begin like this; the rest are added to `others`."""
    found = []
    for path in image_files(folder):
        match = name.match(path.name)
        if match is None:
            others.append(path)
        else:
            found.append((path, match))
    return found


def has_named(folder: Path, name: re.Pattern[str]) -> bool:
    """Whether a folder is there and has a picture file whose name begins like this."""
    return folder.is_dir() and any(name.match(path.name) for path in image_files(folder))


def pictures_below(folder: Path) -> list[Path]:
    """List the picture files in a folder and its subfolders, by name; see `entries`."""
    found: list[Path] = []
    for entry in entries(folder):
        if entry.is_dir():
            found += pictures_below(entry)
        elif is_image_name(entry.name):
            found.append(entry)
    return found


def stray_pictures(folder: Path, read: Collection[Path]) -> list[Path]:
    """List what is in a folder or its subfolders and is not among the pictures that were read.

    Other picture files, links to folders below which nothing was read, and folders that cannot be
    read, in sorted order. Links are not followed, because they may be circular. Hidden files and
    folders are ignored.
    """
    known = set(read)
    parents = {parent for path in known for parent in path.parents}
    found: list[Path] = []
    closed: list[OSError] = []
    for name, folders, files in os.walk(folder, onerror=closed.append):
        here = Path(name)
        folders[:] = [inside for inside in folders if not inside.startswith(".")]
        links = (here / inside for inside in folders if (here / inside).is_symlink())
        found += [link for link in links if link not in parents]
        pictures = (here / file for file in files if is_image_name(file))
        found += [picture for picture in pictures if picture not in known]
    return sorted([*found, *(Path(error.filename) for error in closed)])


def delimiter_of(header: str) -> str:
    """The separator of a CSV file, from its first line: a comma, a semicolon or a tab."""
    return next((mark for mark in ",;\t" if mark in header), ",")


def table_rows(
    table: Path, text: str, *, known: Collection[str]
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read the rows of a CSV file strictly, so that no cell ends up in another column.

    `known` names the columns that matter; the others are not checked. Returns the names of the
    columns; and for each row its line number, and its cells by column, "" where the row ends early.

    Raises:
        DatasetError: A quote is not closed, a row has more cells than columns, or a known column
            is named twice or has a line break in a cell.
    """
    separator = delimiter_of(text.partition("\n")[0])
    quote = f'Write a cell that contains {separator!r} in double quotes: "a{separator} b".'
    if "\0" in text:
        raise DatasetError(f"{table}: contains NUL bytes; save the table as UTF-8.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        columns = [name.strip() for name in next(reader, [])]
        twice = sorted({name for name in columns if columns.count(name) > 1} & set(known))
        if twice:
            raise DatasetError(
                f"{table}: the first line names the column {twice[0]} twice; remove or rename one."
            )
        for cells in reader:
            if not cells:
                continue
            where = f"{table}, line {reader.line_num}"
            if any(cell.strip() for cell in cells[len(columns) :]):
                raise DatasetError(
                    f"{where}: {len(cells)} cells for {len(columns)} columns. {quote}"
                )
            row = dict(zip(columns, cells + [""] * len(columns), strict=False))
            if any("\n" in row[name] or "\r" in row[name] for name in columns if name in known):
                raise DatasetError(
                    f"{where}: a cell reaches over several lines; a double quote is missing."
                )
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise DatasetError(
            f"{table}, line {reader.line_num}: cannot be read ({error}); look for a double quote "
            "that is not closed."
        ) from error
    return columns, rows


def shown(names: Iterable[str]) -> str:
    """A few names for a message: "a, b, c and 12 more"; "nothing" if there are none."""
    listed = list(names)
    if not listed:
        return "nothing"
    text = ", ".join(listed[:_NAMES_SHOWN])
    more = len(listed) - _NAMES_SHOWN
    return f"{text} and {more:,} more" if more > 0 else text


def find_root(root: Path, has_layout: Callable[[Path], bool], *, expected: str) -> Path:
    """Find a data set's folder: the given one, or its only subfolder with the layout.

    Raises:
        DatasetError: No folder has it, or several have it.
    """
    if has_layout(root):
        return root
    inside = entries(root)
    fitting = [entry for entry in inside if entry.is_dir() and has_layout(entry)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DatasetError(
            f"{root}: contains several data sets ({shown(entry.name for entry in fitting)}); "
            "name one of them."
        )
    raise DatasetError(
        f"{root}: expected {expected}; found {shown(entry.name for entry in inside)}. "
        "Name the folder that contains them, or its parent."
    )
