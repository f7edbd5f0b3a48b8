"""The user's own data sets: a folder for each person, or a table of files.

Divides any pictures into the three splits of Sec. III.A.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adln.atomic import suffix_of
from adln.datasets import listing
from adln.datasets.split import JUNK_PERSON, ReidDataset, named_dataset
from adln.errors import DatasetError

SPLITS = ("train", "query", "gallery")
HALVING_SEED = 0
# Both parts of Occluded-REID, and of each half of P-DukeMTMC-reID; they state no cameras.
OCCLUDED = ("occluded_body_images", "whole_body_images")
# Parts of a data set; never a person, nor a camera.
_PARTS = frozenset(
    {*SPLITS, *OCCLUDED, "val", "test", "probe", "bounding_box_train", "bounding_box_test"}
)

_CAMERA = re.compile(r"(?:c|cam|camera)[-_ ]?(\d+)", re.IGNORECASE)
_LIKE_A_CAMERA = re.compile(r"(?:c|cam|camera)[-_ ]?(?:\d+|[a-z])", re.IGNORECASE)
_CAMERA_PREFIX = re.compile(rf"{_CAMERA.pattern}[-_ ]", re.IGNORECASE)
_COLUMNS = ("path", "person", "camera")
_TABLE_SUFFIX = ".csv"
_LONGEST_HEADER = 65_536  # characters; what goes on beyond is no table of pictures


class _Record(NamedTuple):
    """One picture with the names of its person and camera, before they become numbers."""

    path: Path
    person: str
    camera: str


def read_folder(root: Path) -> ReidDataset:
    """List a folder with one subfolder per person.

    One of these, or both mixed::

        train/anna/c1_0001.jpg          the file name starts with the camera: c1_, cam1_, camera1_
        train/anna/entrance/0001.jpg    a folder for each camera, with any name

    and the same under ``query`` and ``gallery``. For training only, ``train`` suffices; for
    evaluation only, ``query`` and ``gallery``. A missing part is an empty split.

    Person and camera names become ids: whole numbers are kept, other names are numbered from 1 in
    sorted order over the whole data set; "1" and "01" are different names. The person folder ``-1``
    is junk and left out. Pictures in other places are listed as stray.

    A folder that directly contains the persons' folders, ``anna/c1_0001.jpg``, is for evaluation:
    all pictures are the gallery, and queries are selected as in `read_csv`. The root may also be
    the parent of one of these.

    Raises:
        DatasetError: The folders are missing, or one of them has no picture; or the persons'
            folders state no cameras, or nobody is seen by two cameras.
    """
    if not any(is_folder(path) for path in (root, *listing.entries(root))):
        people = persons_folder(root) or root
        records, unreadable = _people(people)
        if records or unreadable:
            return _read_people(people, records, unreadable)
    expected = (
        "a folder train, or the folders query and gallery, each with a folder for every person "
        "(for example train/anna/c1_0001.jpg, or train/anna/entrance/0001.jpg)"
    )
    folder = listing.find_root(root, is_folder, expected=expected)
    unreadable = []
    parts: dict[str, list[_Record]] = {split: [] for split in SPLITS}
    there = [split for split in SPLITS if (folder / split).is_dir()]
    for split in there:
        parts[split] = _read_persons(folder / split, unreadable)
        if not parts[split]:
            raise DatasetError(
                f"{folder / split}: the {split} split is empty; expected a folder for every person "
                "with pictures named like c1_0001.jpg or lying in a folder for each camera, found "
                f"{listing.shown(entry.name for entry in listing.entries(folder / split))}."
            )
    known = [*(record.path for records in parts.values() for record in records), *unreadable]
    stray = [path for split in there for path in listing.stray_pictures(folder / split, known)]
    return named_dataset("folder", folder, parts, unreadable=unreadable, stray=stray)


def is_folder(folder: Path) -> bool:
    """Whether a folder has ``train``, or ``query`` and ``gallery``, with persons inside."""
    has_train, has_query, has_gallery = ((folder / split).is_dir() for split in SPLITS)
    return (has_train or (has_query and has_gallery)) and not is_occluded(folder)


def is_occluded(folder: Path) -> bool:
    """Whether a folder has the parts of Occluded-REID or of P-DukeMTMC-reID."""
    halves = (folder, folder / "train", folder / "test")
    return any((half / part).is_dir() for half in halves for part in OCCLUDED)


def persons_folder(root: Path) -> Path | None:
    """The folder of persons' folders with cameras: this one or its only subfolder; else None."""
    inside = [entry for entry in listing.entries(root) if entry.is_dir()]
    for folder in (root, *inside) if len(inside) == 1 else (root,):
        records, _ = _people(folder)
        if records and not people_problem(folder):
            return folder
    return None


def people_problem(folder: Path) -> str:
    """Explain why a folder is not read as one of persons' folders, and what to do.

    "" if it can be read, or has no pictures in folders.
    """
    records, unreadable = _people(folder)
    problem = _camera_problem(folder, records, unreadable) if records or unreadable else ""
    if problem or not records:
        return problem
    named = {path.parent.name for path, _, _ in records if path.parent.parent != folder}
    persons = {record.person for record in records}
    if len(persons) > len(named) or all(_CAMERA.fullmatch(name) for name in named):
        return ""
    first = records[0].path.relative_to(folder).as_posix()
    return (
        f"There are {len(persons):,} outer folders and {len(named):,} inner ones, as in {first}. "
        "If the outer ones are persons and the inner ones cameras, add --layout folder. If "
        "the outer ones are cameras, swap them: anna/entrance/1.jpg."
    )


def read_csv(root: Path) -> ReidDataset:
    """List a table of pictures, or the only ``.csv`` file of a folder.

    The first line names the columns ``path``, ``person``, ``camera`` and optionally ``split``
    (train, query or gallery); other columns are ignored. Columns are separated by commas,
    semicolons or tabs. Paths are relative to the table. Names become ids as in `read_folder`; a
    part not in the table is an empty split.

    Without a column ``split``, the persons are divided in half by a fixed draw from their sorted
    names: one half is for training; of the other, all pictures are the gallery, and the first
    picture of each person in each camera is a query if a second camera saw the person. (A query
    that is also in the gallery does no harm: pictures of the same person by the same camera are
    excluded from its results.)

    Raises:
        DatasetError: The table is missing or empty, lacks a column, or has an invalid line; or
            there is no ``split`` and the persons cannot be divided in half.
    """
    table = _find_table(root)
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{table}: cannot be read as a UTF-8 table ({error}).") from error
    columns, rows = listing.table_rows(table, text, known=(*_COLUMNS, "split"))
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise DatasetError(
            f"{table}: the first line must name the columns path, person, camera and optionally "
            f"split; missing: {', '.join(missing)}; found: {listing.shown(columns)}."
        )
    has_split = "split" in columns
    parts: dict[str, list[_Record]] = {split: [] for split in SPLITS}
    for line, row in rows:
        where = f"{table}, line {line}"
        cells = {column: row[column].strip() for column in _COLUMNS}
        blank = [column for column, cell in cells.items() if not cell]
        if blank:
            raise DatasetError(f"{where}: nothing under {' and '.join(blank)}.")
        split = row["split"].strip() if has_split else "gallery"
        if split not in SPLITS:
            raise DatasetError(f"{where}: split must be train, query or gallery; found {split!r}.")
        parts[split].append(_Record(table.parent / cells["path"], cells["person"], cells["camera"]))
    if not any(parts.values()):
        raise DatasetError(f"{table}: the table lists no picture.")
    if not has_split:
        parts = _part_in_half(parts["gallery"], table)
    return named_dataset("csv", table, parts, unreadable=(), stray=())


def is_csv(path: Path) -> bool:
    """Whether a path is a table, or a folder with exactly one table of pictures."""
    if not path.is_dir():
        return path.is_file() and suffix_of(path) == _TABLE_SUFFIX
    tables = _tables(path)
    if len(tables) != 1:
        return False
    # The folder may contain a table of something else, or of somebody else.
    try:
        with tables[0].open(encoding="utf-8-sig", errors="replace") as lines:
            return set(_COLUMNS) <= set(_cells_of_header(lines.readline(_LONGEST_HEADER)))
    except OSError:
        return False


def _find_table(root: Path) -> Path:
    if not root.is_dir():
        if not root.is_file():
            raise DatasetError(f"{root}: there is no such table.")
        return root
    tables = _tables(root)
    if len(tables) != 1:
        raise DatasetError(
            f"{root}: expected one .csv file, found "
            f"{listing.shown(table.name for table in tables)}; name the file itself."
        )
    return tables[0]


def _tables(folder: Path) -> list[Path]:
    return [
        entry
        for entry in listing.entries(folder)
        if suffix_of(entry) == _TABLE_SUFFIX and entry.is_file()
    ]


def _cells_of_header(header: str) -> list[str]:
    cells = next(csv.reader([header], delimiter=listing.delimiter_of(header)), [])
    return [cell.strip() for cell in cells]


def _read_persons(folder: Path, unreadable: list[Path]) -> list[_Record]:
    """Pictures in the persons' folders of a folder; those without a camera go to `unreadable`."""
    records: list[_Record] = []
    for person in (entry for entry in listing.entries(folder) if entry.is_dir()):
        records += [
            _Record(path, person.name, match[1])
            for path, match in listing.named_pictures(person, _CAMERA_PREFIX, unreadable)
        ]
        for camera in (entry for entry in listing.entries(person) if entry.is_dir()):
            match = _CAMERA.fullmatch(camera.name)
            name = match[1] if match else camera.name
            records += [_Record(path, person.name, name) for path in listing.image_files(camera)]
    return records


def _people(folder: Path) -> tuple[list[_Record], list[Path]]:
    """Pictures in persons' folders directly in a folder, and pictures without a camera."""
    unreadable: list[Path] = []
    records = _read_persons(folder, unreadable)
    folders = {record.person for record in records} | {path.parent.name for path in unreadable}
    if _PARTS & (folders | {record.camera for record in records}):
        return [], []
    return records, unreadable


def _camera_problem(folder: Path, records: Sequence[_Record], unreadable: Sequence[Path]) -> str:
    """Explain what is missing to search between cameras; "" if nothing."""
    cameras_of: dict[str, set[str]] = {}
    for record in records:
        cameras_of.setdefault(record.person, set()).add(record.camera)
    paths = [*(record.path for record in records), *unreadable]
    outer = {path.relative_to(folder).parts[0] for path in paths}
    if all(_LIKE_A_CAMERA.fullmatch(name) for name in outer):
        first = paths[0].relative_to(folder).as_posix()
        return (
            f"The outer folders are named like cameras, as in {first}. The outer folder must be "
            "the person, the inner one the camera: anna/cam1/0001.jpg."
        )
    if any(len(cameras) > 1 for cameras in cameras_of.values()):
        return ""
    if cameras_of:
        return (
            "Nobody is seen by two cameras, and a search is measured between cameras. Add pictures "
            "of these people from another camera. To train on them as they are, move their folders "
            "into one named train."
        )
    picture = unreadable[0].relative_to(folder).as_posix()
    person, name = picture.split("/")
    return (
        f"No camera is given for {picture}, and a search is measured between cameras. Put "
        f"the camera before the name, {person}/c1_{name}; or make a folder for each camera, "
        f"{person}/entrance/{name}; or write a table here, say crops.csv, with a line for each "
        f"picture:\n  path,person,camera\n  {picture},{person},1\n"
        f"To train on people seen by one camera only: train/{person}/c1_{name}, and so on."
    )


def _read_people(root: Path, records: list[_Record], unreadable: list[Path]) -> ReidDataset:
    problem = _camera_problem(root, records, unreadable)
    if problem:
        raise DatasetError(f"{root}: {problem}")
    cameras = {record.camera for record in records}
    persons = {record.person for record in records} - {JUNK_PERSON}
    remark = (
        f"Read as person/camera: {len(persons):,} persons, {len(cameras):,} cameras "
        f"({listing.shown(sorted(cameras))}). There is no training split; for one, move the "
        "folders of persons into one named train."
    )
    stray = listing.stray_pictures(root, [*(record.path for record in records), *unreadable])
    parts = _search_all(records)
    return named_dataset(
        "folder", root, parts, unreadable=unreadable, stray=stray, remarks=[remark]
    )


def _part_in_half(records: Sequence[_Record], table: Path) -> dict[str, list[_Record]]:
    persons = sorted({record.person for record in records} - {JUNK_PERSON})
    drawn = np.random.default_rng(HALVING_SEED).permutation(len(persons))
    learned = {persons[index] for index in drawn[: len(persons) // 2]}
    parts = _search_all([record for record in records if record.person not in learned])
    if not learned or not parts["query"]:
        raise DatasetError(
            f"{table}: has no column split, so its {len(persons)} persons are divided in half; "
            "that needs two or more persons, and one in the test half who is seen by two "
            "cameras. Add a column split with train, query or gallery on every line."
        )
    return {**parts, "train": [record for record in records if record.person in learned]}


def _search_all(records: Sequence[_Record]) -> dict[str, list[_Record]]:
    """All as the gallery; the first of each person in each of several cameras also as a query."""
    cameras_of: dict[str, set[str]] = {}
    first: dict[tuple[str, str], _Record] = {}
    for record in records:
        cameras_of.setdefault(record.person, set()).add(record.camera)
        first.setdefault((record.person, record.camera), record)
    queries = [
        record
        for (person, _), record in first.items()
        if person != JUNK_PERSON and len(cameras_of[person]) > 1
    ]
    return {"train": [], "query": queries, "gallery": list(records)}
