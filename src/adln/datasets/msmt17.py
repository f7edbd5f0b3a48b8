"""MSMT17: 4,101 persons, fifteen cameras, listed in text files.

Follows Wei et al., "Person Transfer GAN to Bridge Domain Gap for Person Re-Identification",
CVPR 2018; not used by the paper, but the usual third data set beside those of Sec. III.A.

A line of ``list_train.txt`` is ``0000/0000_000_01_0303morning_0008_0.jpg 0``: the picture, whose
third field is the camera, and the person. Pictures are in ``train`` and ``test``, or, with blurred
faces (V2), in ``mask_train_v2`` and ``mask_test_v2``.
"""

from collections.abc import Sequence
from pathlib import Path

from adln.datasets.listing import find_root
from adln.datasets.split import ReidDataset, split_of
from adln.errors import DatasetError

_TRAIN_LISTS = ("list_train.txt", "list_val.txt")
_QUERY_LISTS = ("list_query.txt",)
_GALLERY_LISTS = ("list_gallery.txt",)
_LISTS = _TRAIN_LISTS + _QUERY_LISTS + _GALLERY_LISTS
_FOLDERS = (("mask_train_v2", "mask_test_v2"), ("train", "test"))
_EXAMPLE = "0000/0000_000_01_0303morning_0008_0.jpg 0"


def read_msmt17(root: Path) -> ReidDataset:
    """List MSMT17, V1 or V2.

    Training uses the lists ``train`` and ``val`` together: the 32,621 training images counted by
    the owners and most papers. Some toolboxes (fast-reid by default) train without ``val``; their
    results are not comparable.

    The lists number the persons of each part from 0. To keep ids distinct, test persons are
    numbered from the last training person on. Camera ids are those of the file names (from 1). It
    is not checked that each listed picture exists.

    The root has the four lists and the two picture folders, or its only subfolder has.

    Raises:
        DatasetError: Lists or folders are missing, a list is empty, or a line is invalid.
    """
    expected = (
        f"MSMT17: the lists {', '.join(_LISTS)} beside the picture folders train and test "
        "(V1) or mask_train_v2 and mask_test_v2 (V2)"
    )
    folder = find_root(root, resembles_msmt17, expected=expected)
    missing = [name for name in _LISTS if not (folder / name).is_file()]
    if missing or not is_msmt17(folder):
        raise DatasetError(
            f"{folder}: there is no {', '.join(missing) or 'pair of picture folders'}; "
            f"expected {expected}."
        )
    train_folder, test_folder = next(
        (folder / train, folder / test)
        for train, test in _FOLDERS
        if (folder / train).is_dir() and (folder / test).is_dir()
    )
    train_records = _read_lists(folder, _TRAIN_LISTS, train_folder)
    first_test_id = 1 + max(person for _, person, _ in train_records)

    query, gallery = (
        [
            (path, first_test_id + person, camera)
            for path, person, camera in _read_lists(folder, lists, test_folder)
        ]
        for lists in (_QUERY_LISTS, _GALLERY_LISTS)
    )
    return ReidDataset(
        name="msmt17",
        root=folder,
        train=split_of("train", train_records),
        query=split_of("query", query),
        gallery=split_of("gallery", gallery),
    )


def resembles_msmt17(folder: Path) -> bool:
    """Whether a folder has some of the lists or picture folders that only MSMT17 has."""
    return any((folder / name).is_file() for name in _LISTS) or any(
        (folder / name).is_dir() for name in _FOLDERS[0]
    )


def is_msmt17(folder: Path) -> bool:
    """Whether a folder has the lists and picture folders of MSMT17."""
    return all((folder / name).is_file() for name in _LISTS) and any(
        (folder / train).is_dir() and (folder / test).is_dir() for train, test in _FOLDERS
    )


def _read_lists(
    folder: Path, names: Sequence[str], picture_folder: Path
) -> list[tuple[Path, int, int]]:
    """Read lists into (path, person, camera)."""
    records: list[tuple[Path, int, int]] = []
    for name in names:
        try:
            lines = (folder / name).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{folder / name}: the list cannot be read ({error}).") from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                records.append(_read_line(line, f"{folder / name}, line {number}", picture_folder))
    if not records:
        raise DatasetError(
            f"{folder}: {' and '.join(names)} list no picture; expected lines like {_EXAMPLE!r}."
        )
    return records


def _read_line(line: str, where: str, picture_folder: Path) -> tuple[Path, int, int]:
    try:
        relative, person = line.split()
        camera = relative.rsplit("/", maxsplit=1)[-1].split("_")[2]
        return picture_folder / relative, int(person), int(camera)
    except (ValueError, IndexError) as error:
        raise DatasetError(f"{where}: expected a line like {_EXAMPLE!r}, got {line!r}.") from error
