"""Explains why a folder has no known layout, and what to rename or write so that it has one.

Some public data sets are not read because they do not state cameras, between which
re-identification is measured: i-LIDS MCTS and 3DPeS (a flat folder of names such as
``0001001.png``), Occluded-REID and P-DukeMTMC-reID (queries ``occluded_body_images``, gallery
``whole_body_images``).
"""

from pathlib import Path

from adln.datasets.dukemtmc import NOTICE
from adln.datasets.folder import OCCLUDED, is_occluded, people_problem
from adln.datasets.listing import image_files
from adln.datasets.market1501 import GALLERY_FOLDER, QUERY_FOLDER, TRAIN_FOLDER
from adln.datasets.two_cameras import half_there


def why_unknown(root: Path) -> str:
    """Explain which layout a folder nearly has, and what is missing; "" if it resembles none.

    Raises:
        DatasetError: A folder in it cannot be read.
    """
    if is_occluded(root):
        texts = [
            f"{' and '.join(OCCLUDED)} state persons but no cameras, between which a search is "
            "measured; Occluded-REID and P-DukeMTMC-reID are not read."
        ]
        if (root / "train").is_dir():
            texts.append(f"P-DukeMTMC-reID was made from DukeMTMC. {NOTICE}")
    else:
        texts = [_missing_folders(root), *half_there(root), people_problem(root)]
        if not any(texts):
            texts = [_loose(root)]
    return "".join(f"{text}\n" for text in texts if text)


def _missing_folders(root: Path) -> str:
    """Name the missing ones of the three usual folders if some are there."""
    usual = (TRAIN_FOLDER, QUERY_FOLDER, GALLERY_FOLDER)
    missing = [name for name in usual if not (root / name).is_dir()]
    if len(missing) == len(usual):
        return ""
    if not missing:
        return (
            "The three folders of market1501 are there, but no picture in them has a name that "
            "gives person and camera."
        )
    return f"For market1501 or dukemtmc these folders are missing: {', '.join(missing)}."


def _loose(root: Path) -> str:
    """Explain what to do with pictures directly in the folder."""
    pictures = image_files(root)
    if not pictures:
        return ""
    name = pictures[0].name
    return (
        f"Pictures such as {name} are directly in this folder. If it is a part of a data set, name "
        "the parent folder. Otherwise (as for i-LIDS MCTS and 3DPeS, whose names give no camera), "
        "write a table here, say crops.csv, with a line for each picture that gives its person "
        f"and its camera:\n  path,person,camera\n  {name},anna,1"
    )
