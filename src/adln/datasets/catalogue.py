"""The known data set layouts, and their recognition.

Opens the data sets of Sec. III.A and the user's own.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from adln.datasets import cuhk, two_cameras
from adln.datasets.dukemtmc import is_dukemtmc, read_dukemtmc
from adln.datasets.explaining import why_unknown
from adln.datasets.folder import is_csv, is_folder, persons_folder, read_csv, read_folder
from adln.datasets.listing import entries, shown
from adln.datasets.market1501 import (
    GALLERY_FOLDER,
    QUERY_FOLDER,
    TRAIN_FOLDER,
    is_market1501,
    read_market1501,
)
from adln.datasets.msmt17 import read_msmt17, resembles_msmt17
from adln.datasets.split import ReidDataset
from adln.errors import DatasetError

# The reader of each layout, and whether a path has it. Order matters: MSMT17 and CUHK03 also have a
# folder train, so they come before "folder".
LAYOUTS: dict[str, tuple[Callable[[Path], ReidDataset], Callable[[Path], bool]]] = {
    "market1501": (read_market1501, is_market1501),
    "dukemtmc": (read_dukemtmc, is_dukemtmc),
    "msmt17": (read_msmt17, resembles_msmt17),
    "cuhk01": (cuhk.read_cuhk01, cuhk.is_cuhk01),
    "cuhk02": (cuhk.read_cuhk02, cuhk.is_cuhk02),
    "cuhk03": (cuhk.read_cuhk03, cuhk.is_cuhk03),
    **two_cameras.LAYOUTS,
    "folder": (read_folder, is_folder),
    "csv": (read_csv, is_csv),
}

NAMELESS = ("folder", "csv")
"""Layouts of one's own pictures, which do not identify the people in them."""


def _plain(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


_BY_PLAIN_NAME = {_plain(name): name for name in LAYOUTS if name not in NAMELESS}
_ANY_NAME = "|".join("[-_. ]?".join(name) for name in _BY_PLAIN_NAME)
# A name with what is written to it, which says the part or edition: "cuhk03-labeled".
_NAME = re.compile(
    rf"(?<![a-z0-9])({_ANY_NAME})(?:reid|v\d)?(?![a-z0-9])(?:[-_.](?!{_ANY_NAME})[a-z0-9]+)*",
    re.IGNORECASE,
)

_EXPECTED = f"""Expected one of:
  market1501  folders {TRAIN_FOLDER}, {QUERY_FOLDER}, {GALLERY_FOLDER}
              with pictures named like 0002_c1s1_000451_03.jpg
  dukemtmc    the same folders with pictures named like 0005_c2_f0046985.jpg
  msmt17      list_train.txt, list_val.txt, list_query.txt, list_gallery.txt beside
              the folders train and test (V1) or mask_train_v2 and mask_test_v2 (V2)
  cuhk01      campus, with pictures named like 0001003.png
  cuhk02      P1 to P5, each with cam1 and cam2, with pictures named like 001_1.png
  cuhk03      train and val, with pictures named like 0007_05.jpg
  viper       cam_a and cam_b, with pictures named like 000_45.bmp
  prid2011    single_shot, or multi_shot, with cam_a and cam_b, with pictures like
              person_0001.png or person_0001/0001.png
  grid        probe and gallery, with names like 0001_1_25004_107_32_106_221.jpeg
  ilids-vid   images, or sequences, with cam1 and cam2, each with person001 and so on
  folder      train, or query and gallery, each with a folder for every person:
              train/anna/c1_0001.jpg or train/anna/entrance/0001.jpg;
              or, to evaluate only, those folders right inside: anna/c1_0001.jpg
  csv         a table with the columns path, person, camera and, if wanted, split"""


def open_dataset(root: Path, layout: str = "auto") -> ReidDataset:
    """Open a data set: its folder, the parent of that folder, or a CSV table.

    `layout` is a key of ``LAYOUTS``, or "auto".

    Raises:
        DatasetError: The path or layout does not exist, the layout is not recognised (the message
            lists what was found and what was expected), or the data set is incomplete.
    """
    root = Path(root).expanduser()
    if layout not in ("auto", *LAYOUTS):
        raise DatasetError(f"There is no layout {layout!r}; known: auto, {', '.join(LAYOUTS)}.")
    if not root.exists():
        raise DatasetError(f"{root}: there is no such file or folder.")
    known = recognise(root) if layout == "auto" else layout
    if known is not None:
        return LAYOUTS[known][0](root)
    if not root.is_dir():
        raise DatasetError(f"{root}: is neither a folder nor a .csv table.\n{_EXPECTED}")
    inside = entries(root)
    fitting = [
        (entry, found)
        for entry in inside
        if entry.is_dir() and (found := recognise(entry)) is not None
    ]
    if len(fitting) == 1:
        only, found = fitting[0]
        return LAYOUTS[found][0](only)
    if fitting:
        names = shown(f"{entry.name} ({found})" for entry, found in fitting)
        raise DatasetError(f"{root}: contains several data sets: {names}. Name one of them.")
    # Last, because any folder of folders resembles it.
    if (people := persons_folder(root)) is not None:
        return read_folder(people)
    raise DatasetError(
        f"{root}: no known layout.\n"
        f"Found: {shown(entry.name for entry in inside)}.\n{why_unknown(root)}{_EXPECTED}"
    )


def open_datasets(roots: Sequence[Path], layout: str = "auto") -> list[ReidDataset]:
    """Open data sets to be used together, each with people of its own; see `open_dataset`.

    Raises:
        DatasetError: See `open_dataset`; or two of them show the same people.
    """
    datasets: list[ReidDataset] = []
    for root in roots:
        dataset = open_dataset(root, layout)
        for other in datasets:
            if dataset.root.resolve() == other.root.resolve():
                raise DatasetError(
                    f"{root}: this data set is named twice, and each of its persons would count as "
                    "two people. Name it once."
                )
            if _show_same_people(dataset.name, other.name):
                raise DatasetError(
                    f"{root}: {dataset.name} and {other.name} show the same people, each of whom "
                    "would count as two. Name one of them; where a teacher's embeddings are "
                    "imitated, the pictures of the other can be given by --unlabelled."
                )
        datasets.append(dataset)
    return datasets


def family(name: str) -> str:
    """The data set whose people are shown, however its name is spelt: mostly a key of `LAYOUTS`.

    "cuhk03-labeled" and "CUHK03-detected" are one. Of names that are not known it is the part
    before a hyphen.
    """
    found = _NAME.match(name.strip())
    return _BY_PLAIN_NAME[_plain(found[1])] if found else name.strip().lower().split("-")[0]


def names_in(text: str) -> tuple[set[str], str]:
    """The known data sets that a text names, however spelt, as keys of `LAYOUTS`; and the rest."""
    return {_BY_PLAIN_NAME[_plain(found[1])] for found in _NAME.finditer(text)}, _NAME.sub("", text)


def names_of_pictures(paths: Iterable[Path]) -> list[str]:
    """The data sets that pictures without labels belong to, by the folders above them.

    Or above what they link to. Each name once: a key of `LAYOUTS`, "folder" where no layout names
    its people.
    """

    @cache
    def name_of(folder: Path) -> str:
        # A folder above may be one that cannot be listed, or whose folders cannot be looked into.
        with suppress(DatasetError, OSError):
            found = recognise(folder)
            if found is not None and found not in NAMELESS:
                return found
        return name_of(folder.parent) if folder != folder.parent else NAMELESS[0]

    def name(path: Path) -> str:
        here = name_of(path.absolute().parent)
        return name_of(path.resolve().parent) if here in NAMELESS else here

    return list(dict.fromkeys(map(name, paths)))


def _show_same_people(one: str, other: str) -> bool:
    # Two sets of one name need not: people lay out their own pictures like Market-1501's.
    families = {family(one), family(other)}
    return families == {"cuhk01", "cuhk02"} or (len(families) == 1 and one != other)


def recognise(path: Path) -> str | None:
    """The layout of exactly this folder or table: a key of ``LAYOUTS``, or None."""
    return next((layout for layout, (_, fits) in LAYOUTS.items() if fits(path)), None)
