"""Lists the picture files of a folder, and finds the folder that has a layout.

Shared by the readers of all layouts; Sec. III.A.
"""

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from adln.errors import DatasetError

# Formats of cameras and programs. Files that cannot be decoded (HEIC needs another program) are
# reported when they are read; files not listed here would be silently ignored.
_PHOTOS = {".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".heic", ".heif", ".jp2"}
IMAGE_SUFFIXES = frozenset(_PHOTOS | {".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff"})
_NAMES_SHOWN = 8


def is_image_name(name: str) -> bool:
    """Whether a file name is that of a picture; hidden files never are.

    macOS leaves a hidden ``._0002_c1s1_000451_03.jpg``, which is not a picture, beside each picture
    that it copies to a foreign disk.
    """
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def entries(folder: Path) -> list[Path]:
    """List a folder in the order of names.

    Returns:
        Its files and folders without the hidden ones.

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
    """List the picture files directly in a folder, in the order of their names.

    Raises:
        DatasetError: The folder is missing or cannot be read.
    """
    return [entry for entry in entries(folder) if is_image_name(entry.name)]


def pictures_below(folder: Path) -> list[Path]:
    """List all picture files in a folder and its subfolders, in the order of names.

    Raises:
        DatasetError: The folder is missing or cannot be read.
    """
    found: list[Path] = []
    for entry in entries(folder):
        if entry.is_dir():
            found += pictures_below(entry)
        elif is_image_name(entry.name):
            found.append(entry)
    return found


def stray_pictures(folder: Path, read: Collection[Path]) -> list[Path]:
    """List what is in a folder or its subfolders and was not read.

    Args:
        folder: The folder.
        read: The pictures that were read.

    Returns:
        Other picture files, and links to folders below which nothing was read, in sorted order.
        Links are not followed, because they may be circular. Hidden files and folders are ignored.
    """
    known = set(read)
    parents = {parent for path in known for parent in path.parents}
    found: list[Path] = []
    for name, folders, files in os.walk(folder):
        here = Path(name)
        folders[:] = [inside for inside in folders if not inside.startswith(".")]
        links = (here / inside for inside in folders if (here / inside).is_symlink())
        found += [link for link in links if link not in parents]
        pictures = (here / file for file in files if is_image_name(file))
        found += [picture for picture in pictures if picture not in known]
    return sorted(found)


def delimiter_of(header: str) -> str:
    """The separator of a CSV file, from its first line: a comma, a semicolon or a tab."""
    return next((mark for mark in ",;\t" if mark in header), ",")


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

    Args:
        root: The folder given by the user.
        has_layout: Whether a folder has the layout.
        expected: Description of the layout, for the error message.

    Returns:
        The folder that has the layout.

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
