"""Splits of a re-identification data set: pictures with person and camera.

The division into train, query and gallery of Sec. III.A.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.errors import DatasetError

JUNK_PERSON = "-1"
_LARGEST_ID = np.iinfo(np.int64).max
_MOST_DIGITS = len(str(_LARGEST_ID))


@dataclass(frozen=True)
class Split:
    """One part of a data set, such as "train", "query" or "gallery": N pictures.

    `person_ids` and `camera_ids` are (N,) int64, any integers; equal ids are the same.

    Raises:
        DatasetError: The lengths differ, or the ids are not int64 vectors.
    """

    name: str
    paths: tuple[Path, ...]
    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]

    def __post_init__(self) -> None:
        for word, ids in (("person_ids", self.person_ids), ("camera_ids", self.camera_ids)):
            if not isinstance(ids, np.ndarray) or ids.dtype != np.int64 or ids.ndim != 1:
                came = f"{getattr(ids, 'dtype', type(ids).__name__)}, shape {np.shape(ids)}"
                raise DatasetError(
                    f"Split {self.name!r}: {word} must be a vector of int64, got {came}."
                )
        counts = len(self.paths), len(self.person_ids), len(self.camera_ids)
        if len(set(counts)) != 1:
            raise DatasetError(
                f"Split {self.name!r}: paths, person_ids and camera_ids must have equal lengths, "
                f"got {counts[0]}, {counts[1]} and {counts[2]}."
            )

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def ids(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Persons and cameras."""
        return self.person_ids, self.camera_ids

    def select(self, indices: Sequence[int] | NDArray[np.integer] | NDArray[np.bool_]) -> "Split":
        """Select pictures by positions in the desired order, or by a boolean mask (N,).

        Raises:
            DatasetError: A position is out of range, or the mask has another length.
        """
        try:
            # Without a type, an empty list becomes floats, which numpy refuses as positions.
            positions = np.asarray(indices, dtype=None if len(indices) else np.int64)
            chosen = np.arange(len(self), dtype=np.int64)[positions]
        except IndexError as error:
            raise DatasetError(
                f"Split {self.name!r} has {len(self)} pictures; cannot select from it: {error}."
            ) from error
        return Split(
            name=self.name,
            paths=tuple(self.paths[index] for index in chosen),
            person_ids=self.person_ids[chosen],
            camera_ids=self.camera_ids[chosen],
        )


@dataclass(frozen=True)
class ReidDataset:
    """A data set: training pictures, queries and gallery.

    Attributes:
        name: The layout or the name of the data set, such as "market1501".
        root: The folder (or CSV file) that was read.
        train: Training pictures; their persons should not occur in the other splits.
        gallery: Gallery pictures, including distractors, without junk.
        notice: A notice for users; empty if none.
        junk: Pictures left out because the layout defines them as junk (person -1).
        unreadable: Pictures left out because their name does not give person and camera.
        stray: Pictures, links to folders, and folders that cannot be read, left out because the
            layout has none in such places.
        remarks: Facts about how it was read, a sentence each.
    """

    name: str
    root: Path
    train: Split
    query: Split
    gallery: Split
    notice: str = ""
    junk: tuple[Path, ...] = ()
    unreadable: tuple[Path, ...] = ()
    stray: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        """Train, query and gallery, in this order."""
        return self.train, self.query, self.gallery

    @property
    def left_out(self) -> str:
        """A sentence about pictures that could not be used; empty if all were."""
        count = len(self.unreadable) + len(self.stray)
        if count == 0:
            return ""
        return (
            f"{count:,} picture{'s' if count > 1 else ''} of {self.root} left out; "
            "`adln data check` lists them and the reasons."
        )


def make_split(
    name: str, paths: Sequence[Path], person_ids: Sequence[int], camera_ids: Sequence[int]
) -> Split:
    """Build a split from plain lists; see :class:`Split`.

    Raises:
        DatasetError: See :class:`Split`; or an id does not fit into 64 bits.
    """
    for word, ids in (("person", person_ids), ("camera", camera_ids)):
        too_large = next((number for number in ids if abs(number) > _LARGEST_ID), None)
        if too_large is not None:
            raise DatasetError(
                f"Split {name!r}: the {word} id {too_large} does not fit into 64 bits; "
                "renumber them."
            )
    return Split(
        name=name,
        paths=tuple(paths),
        person_ids=np.asarray(person_ids, dtype=np.int64),
        camera_ids=np.asarray(camera_ids, dtype=np.int64),
    )


def split_of(name: str, rows: Sequence[tuple[Path, int, int]]) -> Split:
    """Build a split from rows of path, person id and camera id; see `make_split`."""
    paths, persons, cameras = zip(*rows, strict=True) if rows else ((), (), ())
    return make_split(name, paths, persons, cameras)


def named_dataset(
    name: str,
    root: Path,
    parts: Mapping[str, Sequence[tuple[Path, str, str]]],
    *,
    unreadable: Sequence[Path],
    stray: Sequence[Path],
    notice: str = "",
    remarks: Sequence[str] = (),
) -> ReidDataset:
    """A data set of names, which become ids across all splits; the person -1 is junk.

    `parts` are "train", "query" and "gallery" -> rows of path, person's name and camera's name;
    remarks about nearly equal names are added. For the rest see `ReidDataset`.
    """
    rows = [row for part in parts.values() for row in part]
    persons = number_names({person for _, person, _ in rows if person != JUNK_PERSON})
    cameras = number_names({camera for _, person, camera in rows if person != JUNK_PERSON})
    splits = {
        wanted: split_of(
            wanted,
            [
                (path, persons[person], cameras[camera])
                for path, person, camera in part
                if person != JUNK_PERSON
            ],
        )
        for wanted, part in parts.items()
    }
    return ReidDataset(
        name=name,
        root=root,
        **splits,
        notice=notice,
        junk=tuple(path for path, person, _ in rows if person == JUNK_PERSON),
        unreadable=tuple(unreadable),
        stray=tuple(stray),
        remarks=(
            *remarks,
            *nearly_equal_names("persons", persons),
            *nearly_equal_names("cameras", cameras),
        ),
    )


def number_names(names: Collection[str]) -> dict[str, int]:
    """Number names so that different names get different numbers.

    Each gets its own number if all names are distinct integers of at most 64 bits; otherwise ("1"
    beside "01", or a word) they get 1, 2, ... in the order of the names.
    """
    if all(name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS for name in names):
        numbers = {name: int(name) for name in names}
        if len(set(numbers.values())) == len(numbers) and max(numbers.values(), default=0) <= (
            _LARGEST_ID
        ):
            return numbers
    return {name: number for number, name in enumerate(sorted(names), start=1)}


def nearly_equal_names(word: str, names: Collection[str]) -> list[str]:
    """Report "persons" or "cameras" that differ only in leading zeros; they are different ones."""
    by_number: dict[str, list[str]] = {}
    for name in sorted(names):
        if name.isascii() and name.isdigit():
            by_number.setdefault(name.lstrip("0"), []).append(name)
    alike = [same for same in by_number.values() if len(same) > 1]
    if not alike:
        return []
    listed = "; ".join(", ".join(same) for same in alike[:4])
    return [f"Names that differ only in leading zeros are different {word} here: {listed}."]


def identity_labels(
    person_ids: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the persons of a training split from 0, for a classifier.

    Returns labels (N,) int64 in 0..K-1, and the K ids in ascending order: ``ids[labels] ==
    person_ids``.
    """
    ids, labels = np.unique(person_ids, return_inverse=True)
    return labels.astype(np.int64).reshape(-1), ids.astype(np.int64)
