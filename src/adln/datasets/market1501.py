"""Market-1501: 1,501 persons, six cameras; and every data set with its layout.

The first data set of Sec. III.A (Zheng et al., "Scalable Person Re-identification: A Benchmark",
ICCV 2015).

The layout is three folders of pictures named ``0002_c1s1_000451_03.jpg``: person 2, camera 1,
sequence 1, frame 451, third box. Person -1 is *junk*: boxes that count neither as right nor as
wrong results, so they are left out. Person 0 is a *distractor*: never a query, and a wrong result
in the gallery.
"""

import re
from pathlib import Path

from adln.datasets import listing
from adln.datasets.split import JUNK_PERSON, ReidDataset, named_dataset
from adln.errors import DatasetError

TRAIN_FOLDER = "bounding_box_train"
QUERY_FOLDER = "query"
GALLERY_FOLDER = "bounding_box_test"

# Also "0002_c1_000451.jpg", without a sequence, as often used for own data sets; but not
# "0005_c2_f0046985.jpg", the names of DukeMTMC-reID.
_NAME = re.compile(r"(-1|\d+)_c(\d+)(?:s\d+_|_(?!f\d))")
_EXAMPLE = "0002_c1s1_000451_03.jpg"


def read_market1501(root: Path) -> ReidDataset:
    """List Market-1501 or a data set with the same layout (Sec. III.A), with ids of the file names.

    Files that are not pictures (each original folder has a ``Thumbs.db``) are ignored; names ending
    in ``.jpg.jpg`` (24 of the original files) are read like any other. Junk (person -1) is not in
    the splits but in ``junk``. The root has the three folders, or its only subfolder has.

    Raises:
        DatasetError: A folder is missing, or a split is empty.

    Deviation:
        The paper counts 19,364 gallery images. The folder has 19,732, of which 3,819 are junk; the
        remaining 15,913 are the gallery of every public evaluation.
    """
    folder = listing.find_root(
        root, is_market1501, expected=expected_folders("Market-1501", _EXAMPLE)
    )
    return read_three_folders(folder, "market1501", _NAME, _EXAMPLE)


def is_market1501(folder: Path) -> bool:
    """Whether a folder has the three folders and names of Market-1501."""
    return has_three_folders(folder, _NAME)


def has_three_folders(folder: Path, name_pattern: re.Pattern[str]) -> bool:
    """Whether the three folders exist and pictures in them match the pattern.

    One matching picture is enough; folders without any picture match too, so that the reader can
    report what is wrong with them.
    """
    folders = [folder / name for name in (TRAIN_FOLDER, QUERY_FOLDER, GALLERY_FOLDER)]
    return all(part.is_dir() for part in folders) and (
        any(listing.has_named(part, name_pattern) for part in folders)
        or not any(listing.image_files(part) for part in folders)
    )


def expected_folders(title: str, example: str) -> str:
    """What a data set of this title consists of, for messages."""
    return (
        f"the folders {TRAIN_FOLDER}, {QUERY_FOLDER} and {GALLERY_FOLDER} of {title}, "
        f"with pictures named like {example}"
    )


def read_three_folders(
    folder: Path, name: str, name_pattern: re.Pattern[str], example: str, notice: str = ""
) -> ReidDataset:
    """List the three folders that Market-1501 and DukeMTMC-reID share.

    The pattern matches the start of a file name, such as the example; its groups are person and
    camera.

    Raises:
        DatasetError: A split is empty.
    """
    unreadable: list[Path] = []
    stray: list[Path] = []

    def read(split: str, part: Path) -> list[tuple[Path, str, str]]:
        named = [
            (path, match[1], match[2])
            for path, match in listing.named_pictures(part, name_pattern, unreadable)
        ]
        if all(person == JUNK_PERSON for _, person, _ in named):
            found = listing.shown(
                path.name for path in listing.image_files(part) or listing.entries(part)
            )
            raise DatasetError(
                f"{part}: the {split} split is empty; expected pictures named like {example}, "
                f"found {found}."
            )
        stray.extend(listing.stray_pictures(part, listing.image_files(part)))
        return named

    parts = {
        "train": read("train", folder / TRAIN_FOLDER),
        "query": read("query", folder / QUERY_FOLDER),
        "gallery": read("gallery", folder / GALLERY_FOLDER),
    }
    return named_dataset(name, folder, parts, unreadable=unreadable, stray=stray, notice=notice)
