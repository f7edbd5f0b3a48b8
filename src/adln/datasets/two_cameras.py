"""VIPeR, PRID 2011, GRID and iLIDS-VID: small test sets of older work, not in the paper.

Each has a folder per camera (GRID: per side of the search) with a picture, or a folder of pictures,
of each person. Pictures of the first folder are queries, those of the second the gallery; there is
no training split.

The literature mostly trains on a random half of the persons, tests on the other half, and averages
ten such draws. Here everybody is a query once, in a gallery of twice as many persons: this is
harder, and such results must not be listed beside those of the literature. For the single pictures
of PRID 2011, the owners' protocol, without a draw, is used.

- VIPeR (Gray, Brennan and Tao, PETS 2007): ``cam_a/000_45.bmp`` is person 0, seen from 45 degrees.
  632 persons, one picture each in ``cam_a`` and in ``cam_b``.
- PRID 2011 (Hirzer et al., SCIA 2011): ``single_shot/cam_a/person_0001.png``. Persons 1 to 200 are
  seen by both cameras; from 201 on the same number means two persons. Queries are the first 200 of
  camera A, the gallery is all 749 of camera B. (Newer toolboxes use 100 of the 200, among 649.)
- GRID (Loy, Xiang and Gong, CVPR 2009): ``probe/0001_1_25004_107_32_106_221.jpeg`` is person 1,
  camera 1. 250 persons, and 775 others in ``gallery``, all numbered 0: distractors.
- iLIDS-VID (Wang et al., ECCV 2014): ``images/cam1/person001/`` has one picture. 300 persons.

PRID 2011 and iLIDS-VID also have tracks (``multi_shot``, ``sequences``), which are read if that
folder is named, or is the only one there. Each frame is then a separate picture, while the
literature compares tracks by their mean embeddings.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adln.datasets.cuhk import FIRST_CAMERA, SECOND_CAMERA
from adln.datasets.listing import entries, find_root, image_files, shown, stray_pictures
from adln.datasets.split import ReidDataset, number_names, split_of
from adln.errors import DatasetError

_DISTRACTOR = 0


@dataclass(frozen=True)
class _Layout:
    """The layout of one of these sets.

    `cameras` are the folders of queries and gallery, in the first of `parents` that has them.
    `picture` matches a path from there on, like `example`; groups ``person`` and, if stated,
    ``camera``. Persons above `shared` are seen by one camera only. With `distractors`, person 0 is
    one.
    """

    title: str
    cameras: tuple[str, str]
    picture: re.Pattern[str]
    example: str
    parents: tuple[str, ...] = ("",)
    shared: int | None = None
    distractors: bool = False

    @property
    def expected(self) -> str:
        return (
            f"the folders {' and '.join(self.cameras)} of {self.title}, with pictures named like "
            f"{self.example}"
        )

    def fits(self, folder: Path) -> bool:
        """Whether both folders are in a folder, or in one of the parents there."""
        return any(self.holds(folder / inside) for inside in self.parents)

    def holds(self, parent: Path) -> bool:
        """Whether both folders exist and a picture in one of them has a name of the set."""
        folders = [parent / camera for camera in self.cameras]
        return all(folder.is_dir() for folder in folders) and any(
            self.picture.match(path.relative_to(folder).as_posix())
            for folder in folders
            for path in _pictures(folder)
        )


_SETS = {
    "viper": _Layout(
        "VIPeR", ("cam_a", "cam_b"), re.compile(r"(?P<person>\d{3,})_\d+\."), "000_45.bmp"
    ),
    "prid2011": _Layout(
        "PRID 2011",
        ("cam_a", "cam_b"),
        re.compile(r"person_(?P<person>\d{4})(?:\.|/)"),
        "person_0001.png or person_0001/0001.png",
        parents=("", "single_shot", "multi_shot"),
        shared=200,
    ),
    "grid": _Layout(
        "GRID",
        ("probe", "gallery"),
        re.compile(r"(?P<person>\d{4})_(?P<camera>\d+)_\d+_\d+_\d+_\d+_\d+\."),
        "0001_1_25004_107_32_106_221.jpeg",
        distractors=True,
    ),
    "ilids-vid": _Layout(
        "iLIDS-VID",
        ("cam1", "cam2"),
        re.compile(r"person(?P<person>\d{3})/"),
        "person001/cam1_person001.png",
        parents=("", "images", "sequences", "i-LIDS-VID/images", "i-LIDS-VID/sequences"),
    ),
}


def read_two_cameras(name: str, root: Path) -> ReidDataset:
    """List the set of this name: queries from the first camera, gallery from the second.

    The root is the folder with the two folders, or one above it. The name ends in "-tracks" if a
    person has several pictures from one camera, in a folder per person.

    Raises:
        DatasetError: A folder is missing, or no picture in it has a name of this set.
    """
    layout = _SETS[name]
    root = find_root(root, layout.fits, expected=layout.expected)
    parent, *others = (root / inside for inside in layout.parents if layout.holds(root / inside))
    folders = [parent / camera for camera in layout.cameras]
    unreadable: list[Path] = []
    query, gallery = (
        _read(layout, folder, camera, unreadable)
        for folder, camera in zip(folders, (FIRST_CAMERA, SECOND_CAMERA), strict=True)
    )
    read = [path for path, _, _ in (*query, *gallery)]
    everyone = len(query)
    if layout.shared is not None:
        query = [row for row in query if int(row[1]) <= layout.shared]
    alone = everyone - len(query)
    if layout.distractors:
        unreadable += [path for path, person, _ in query if int(person) == _DISTRACTOR]
        query = [row for row in query if int(row[1]) != _DISTRACTOR]
    if not query:
        raise DatasetError(
            f"{folders[0]}: there is no query here; expected {layout.expected}, of "
            f"persons seen by both cameras, found {shown(path.name for path in read)}."
        )
    ids = number_names({person for _, person, _ in (*query, *gallery)})
    views = Counter((path.parent, person) for path, person, _ in (*query, *gallery))
    has_tracks = max(views.values()) > 1 and query[0][0].parent not in folders
    remarks = []
    if has_tracks:
        remarks.append("Each frame of a track is a separate picture of query or gallery.")
    if alone:
        remarks.append(
            f"Persons above {layout.shared} of {layout.cameras[0]} are not queries, because "
            f"{layout.cameras[1]} never saw them (pictures: {alone:,})."
        )
    if others:
        names = shown(str(other.relative_to(root)) for other in others)
        remarks.append(f"Only {parent.relative_to(root)} is read; name {names} to read that.")
    return ReidDataset(
        name=f"{name}-tracks" if has_tracks else name,
        root=root,
        train=split_of("train", []),
        query=split_of("query", [(path, ids[person], at) for path, person, at in query]),
        gallery=split_of("gallery", [(path, ids[person], at) for path, person, at in gallery]),
        unreadable=tuple(unreadable),
        stray=tuple(
            path for folder in folders for path in stray_pictures(folder, [*read, *unreadable])
        ),
        remarks=tuple(remarks),
    )


def half_there(folder: Path) -> Iterator[str]:
    """For each of these sets of which a folder has a part, explain what is missing."""
    for name, layout in _SETS.items():
        for inside in layout.parents:
            found = [camera for camera in layout.cameras if (folder / inside / camera).is_dir()]
            if len(found) == 1:
                (missing,) = set(layout.cameras) - set(found)
                yield f"For {name} this folder is missing: {Path(inside) / missing}."
            elif found:
                yield (
                    f"For {name} the folders {' and '.join(found)} are there, but no picture in "
                    f"them has a name like {layout.example}."
                )


def _pictures(folder: Path) -> Iterator[Path]:
    """Pictures in a folder and its subfolders."""
    yield from image_files(folder)
    for inside in entries(folder):
        if inside.is_dir():
            yield from image_files(inside)


def _read(
    layout: _Layout, folder: Path, camera: int, unreadable: list[Path]
) -> list[tuple[Path, str, int]]:
    """Pictures with person and camera; loose ones with other names go to `unreadable`."""
    rows: list[tuple[Path, str, int]] = []
    for path in _pictures(folder):
        match = layout.picture.match(path.relative_to(folder).as_posix())
        if match is not None:
            told = match.groupdict().get("camera")
            rows.append((path, match["person"], int(told) if told else camera))
        elif path.parent == folder:
            unreadable.append(path)
    if not rows:
        raise DatasetError(
            f"{folder}: no picture has a name of {layout.title}; expected names like "
            f"{layout.example}, found {shown(path.name for path in entries(folder))}."
        )
    return rows


LAYOUTS: dict[str, tuple[Callable[[Path], ReidDataset], Callable[[Path], bool]]] = {
    name: (partial(read_two_cameras, name), layout.fits) for name, layout in _SETS.items()
}
