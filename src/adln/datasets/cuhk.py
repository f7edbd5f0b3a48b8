"""CUHK01, CUHK02 and CUHK03 in the layouts of public mirrors: test sets from another campus.

Follows Li, Zhao and Wang, "Human Reidentification with Transferred Metric Learning", ACCV 2012
(CUHK01: 971 persons, two cameras), Li and Wang, "Locally Aligned Feature Transforms across Views",
CVPR 2013 (CUHK02: five pairs of cameras, the first of them CUHK01), and Li, Zhao, Xiao and Wang,
"DeepReID", CVPR 2014 (CUHK03: 843 persons in the mirror, two cameras each; boxes drawn by hand,
"labeled", or by a detector, "detected"). The paper uses none of them.

A file name holds a person and a number, and the number determines the camera. All crops of the
first camera are queries, all crops of the second are the gallery.

- CUHK01: ``campus/0001003.png`` is person 1, crop 3; crops 3 and 4 are from the second camera.
- CUHK02: ``P5/cam1/001_1.png`` is person 1 of the fifth pair, first camera; each pair has other
  people. The usual protocol: ``P1`` to ``P4`` (1,577 persons) for training, ``P5`` (239) for
  testing.
- CUHK03: ``labeled/val/0007_05.jpg`` is person 7, crop 5; crops 5 to 9 are from the second camera.
  ``train`` has 743 persons, ``val`` 100 others for testing, numbered from 0 again. Copies in other
  folders (``val_resized``) are ignored.
"""

import re
from pathlib import Path

from adln.datasets import listing
from adln.datasets.split import ReidDataset, number_names, split_of
from adln.errors import DatasetError

CUHK01_FOLDER = "campus"
CUHK02_TRAIN, CUHK02_TEST = ("P1", "P2", "P3", "P4"), "P5"
CUHK02_CAMERAS = ("cam1", "cam2")
CUHK03_TRAIN, CUHK03_TEST = "train", "val"
CUHK03_BOXES = ("labeled", "detected")
FIRST_CAMERA, SECOND_CAMERA = 1, 2

_CUHK01_NAME = re.compile(r"(\d{4})00([1-4])\.", re.ASCII)
_CUHK02_NAME = re.compile(r"(\d+)_", re.ASCII)
_CUHK03_NAME = re.compile(r"(\d{4})_0([0-9])\.", re.ASCII)
_CUHK01_SECOND_FROM = 3
_CUHK03_SECOND_FROM = 5
_Row = tuple[Path, str, int]


def read_cuhk01(root: Path) -> ReidDataset:
    """List CUHK01 in ``campus``, its parent or the parent of that: all for testing.

    Raises:
        DatasetError: There is no such folder, or it has no picture of one of the cameras.
    """
    expected = f"the folder {CUHK01_FOLDER} of CUHK01, with pictures named like 0001003.png"
    found = (
        root
        if listing.has_named(root, _CUHK01_NAME)
        else listing.find_root(root, is_cuhk01, expected=expected)
    )
    folder = found / CUHK01_FOLDER if (found / CUHK01_FOLDER).is_dir() else found
    rows, unreadable = _read(folder, _CUHK01_NAME, _CUHK01_SECOND_FROM)
    ids = number_names({person for _, person, _ in rows})
    return _dataset("cuhk01", found, [], rows, ids, unreadable, [folder])


def read_cuhk02(root: Path) -> ReidDataset:
    """List CUHK02: the first four pairs of cameras are for training, the fifth for testing.

    The root has ``P1`` to ``P5``, or its only subfolder has. There are cameras 1 to 10 and distinct
    person ids across pairs.

    Raises:
        DatasetError: A folder is missing, or no picture in it has a name of CUHK02.
    """
    pairs = (*CUHK02_TRAIN, CUHK02_TEST)
    expected = (
        f"the folders {', '.join(pairs)} of CUHK02, each with {' and '.join(CUHK02_CAMERAS)}, "
        "with pictures named like 001_1.png"
    )
    root = listing.find_root(root, is_cuhk02, expected=expected)
    folders = [root / pair / camera for pair in pairs for camera in CUHK02_CAMERAS]
    missing = [str(folder.relative_to(root)) for folder in folders if not folder.is_dir()]
    if missing:
        raise DatasetError(f"{root}: missing folders of CUHK02: {', '.join(missing)}.")
    rows: dict[str, list[_Row]] = {pair: [] for pair in pairs}
    unreadable: list[Path] = []
    for camera, folder in enumerate(folders, start=FIRST_CAMERA):
        found, odd = _read(folder, _CUHK02_NAME, None)
        pair = folder.parent.name
        rows[pair] += [(path, f"{pair}/{person}", camera) for path, person, _ in found]
        unreadable += odd
    ids = number_names({person for part in rows.values() for _, person, _ in part})
    learned = [row for pair in CUHK02_TRAIN for row in rows[pair]]
    return _dataset(
        "cuhk02",
        root,
        [(path, ids[person], camera) for path, person, camera in learned],
        rows[CUHK02_TEST],
        ids,
        unreadable,
        folders,
    )


def read_cuhk03(root: Path) -> ReidDataset:
    """List CUHK03, with boxes drawn by hand or by a detector.

    The root has ``train`` and ``val`` (``labeled`` or ``detected``), or its only subfolder has. The
    name is "cuhk03-labeled" or "cuhk03-detected", or "cuhk03" for other folder names.

    Raises:
        DatasetError: There is no such folder, or it has no picture of one of the cameras.
    """
    expected = (
        f"the folders {CUHK03_TRAIN} and {CUHK03_TEST} of CUHK03, with pictures named like "
        "0007_05.jpg"
    )
    folder = listing.find_root(root, is_cuhk03, expected=expected)
    learned, odd_train = _read(folder / CUHK03_TRAIN, _CUHK03_NAME, _CUHK03_SECOND_FROM)
    tested, odd_test = _read(folder / CUHK03_TEST, _CUHK03_NAME, _CUHK03_SECOND_FROM)
    ids = number_names({person for _, person, _ in learned})
    first_test_id = max(ids.values(), default=-1) + 1
    test_ids = number_names({person for _, person, _ in tested})
    test_ids = {person: first_test_id + number for person, number in test_ids.items()}
    name = folder.resolve().name
    return _dataset(
        f"cuhk03-{name}" if name in CUHK03_BOXES else "cuhk03",
        folder,
        [(path, ids[person], camera) for path, person, camera in learned],
        tested,
        test_ids,
        odd_train + odd_test,
        [folder / CUHK03_TRAIN, folder / CUHK03_TEST],
    )


def is_cuhk01(folder: Path) -> bool:
    """Whether a folder has, or is, ``campus`` with names of CUHK01."""
    return listing.has_named(folder / CUHK01_FOLDER, _CUHK01_NAME) or (
        folder.name == CUHK01_FOLDER and listing.has_named(folder, _CUHK01_NAME)
    )


def is_cuhk02(folder: Path) -> bool:
    """Whether a folder has two or more pairs of cameras with names of CUHK02."""
    pairs = [
        all(listing.has_named(folder / pair / camera, _CUHK02_NAME) for camera in CUHK02_CAMERAS)
        for pair in (*CUHK02_TRAIN, CUHK02_TEST)
    ]
    return sum(pairs) > 1


def is_cuhk03(folder: Path) -> bool:
    """Whether a folder has ``train`` and ``val`` with names of CUHK03."""
    return all(
        listing.has_named(folder / part, _CUHK03_NAME) for part in (CUHK03_TRAIN, CUHK03_TEST)
    )


def _read(
    folder: Path, pattern: re.Pattern[str], second_from: int | None
) -> tuple[list[_Row], list[Path]]:
    """Pictures with person and camera (the first without ``second_from``), and others."""
    unreadable: list[Path] = []
    rows = []
    for path, match in listing.named_pictures(folder, pattern, unreadable):
        is_first = second_from is None or int(match[2]) < second_from
        rows.append((path, match[1], FIRST_CAMERA if is_first else SECOND_CAMERA))
    if not rows:
        raise DatasetError(
            f"{folder}: no picture has a name of this data set; found "
            f"{listing.shown(path.name for path in listing.entries(folder))}."
        )
    return rows, unreadable


def _dataset(
    name: str,
    root: Path,
    learned: list[tuple[Path, int, int]],
    tested: list[_Row],
    ids: dict[str, int],
    unreadable: list[Path],
    folders: list[Path],
) -> ReidDataset:
    # Cameras form pairs of an odd number and the next; queries are from the odd one.
    numbered = [(path, ids[person], camera) for path, person, camera in tested]
    known = [row[0] for row in [*learned, *numbered]] + unreadable
    return ReidDataset(
        name=name,
        root=root,
        train=split_of("train", learned),
        query=split_of("query", [row for row in numbered if row[2] % 2 == FIRST_CAMERA]),
        gallery=split_of("gallery", [row for row in numbered if row[2] % 2 != FIRST_CAMERA]),
        unreadable=tuple(unreadable),
        stray=tuple(path for folder in folders for path in listing.stray_pictures(folder, known)),
    )
