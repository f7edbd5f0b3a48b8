"""Finds the pictures that a user means: a folder, files, or a list of files.

Serves the crops of Sec. III.B to the device's embedder.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from adln.datasets.listing import is_image_name
from adln.errors import DatasetError

_LIST_SUFFIXES = frozenset({".csv", ".txt"})
PATH_COLUMNS = ("path", "image", "file", "filename")


def find_pictures(sources: Sequence[str | Path]) -> list[Path]:
    """List the picture files that are meant by folders, files and lists.

    Args:
        sources: each a folder (searched with its sub-folders; hidden files are left out), a
            picture file (of any name), or a list: a CSV file with a column "path", or a .txt file
            with one path a line. Paths in a list count from where the list lies.

    Returns:
        Paths in the order of the sources; those of a folder in the order of their names.

    Raises:
        DatasetError: a source is missing, a folder holds no pictures, or a list has no paths.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if source.is_dir():
            found += _in_folder(source)
        elif not source.exists():
            raise DatasetError(f"{source}: there is no such folder or file.")
        elif source.suffix.lower() in _LIST_SUFFIXES:
            found += _in_list(source)
        else:
            found.append(source)
    return found


def _in_folder(folder: Path) -> list[Path]:
    pictures = sorted(
        path
        for path in folder.rglob("*")
        if is_image_name(path.name)
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not pictures:
        raise DatasetError(f"{folder}: this folder and those in it hold no pictures.")
    return pictures


def _in_list(source: Path) -> list[Path]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{source}: this list cannot be read ({error}).") from error
    if source.suffix.lower() == ".csv":
        names = _path_column(source, text)
    else:
        names = [line.strip() for line in text.splitlines()]
    paths = [source.parent / name for name in names if name]
    if not paths:
        raise DatasetError(f"{source}: this list names no pictures.")
    return paths


def _path_column(source: Path, text: str) -> list[str]:
    rows = csv.DictReader(text.splitlines())
    columns = rows.fieldnames or []
    for column in columns:
        if column.strip().lower() in PATH_COLUMNS:
            return [(row[column] or "").strip() for row in rows]
    raise DatasetError(
        f"{source}: expected a column named path in the first line, found {list(columns)}."
    )
