"""Why a folder has none of the known layouts, and what to rename or write so that it has one.

Serves `adln.datasets.catalogue`; no equation.

Some public sets cannot be read honestly, because re-identification is measured between cameras and
they do not tell the cameras: i-LIDS MCTS and 3DPeS (a flat folder of names such as
``0001001.png``), Occluded-REID and P-DukeMTMC-reID (``occluded_body_images`` are searched for in
``whole_body_images``).
"""

from pathlib import Path

from adln.datasets.dukemtmc import NOTICE
from adln.datasets.folder import OCCLUDED, is_occluded, people_problem
from adln.datasets.listing import image_files
from adln.datasets.market1501 import GALLERY_FOLDER, QUERY_FOLDER, TRAIN_FOLDER
from adln.datasets.two_cameras import half_there


def why_unknown(root: Path) -> str:
    """Say what keeps a folder from having a layout that it comes near to.

    Args:
        root: A folder that no layout fits.

    Returns:
        Lines, each with its line break; "" if it comes near to none.

    Raises:
        DatasetError: A folder in it may not be read.
    """
    if is_occluded(root):
        texts = [
            f"{' and '.join(OCCLUDED)} tell persons, but no cameras, between which a search is "
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
    """Say which of the three usual folders is missing when some are there."""
    usual = (TRAIN_FOLDER, QUERY_FOLDER, GALLERY_FOLDER)
    missing = [name for name in usual if not (root / name).is_dir()]
    if len(missing) == len(usual):
        return ""
    if not missing:
        return (
            "The three folders of market1501 are there, but no picture in them has a name that "
            "tells person and camera."
        )
    return f"For market1501 or dukemtmc these folders are missing: {', '.join(missing)}."


def _loose(root: Path) -> str:
    """Say what to do with pictures that lie in the folder itself."""
    pictures = image_files(root)
    if not pictures:
        return ""
    name = pictures[0].name
    return (
        f"Pictures such as {name} lie in this folder itself. If it is a part of a data set, name "
        "the folder above. If not (so it is with i-LIDS MCTS and 3DPeS, whose names tell no "
        "camera), write a table here, say crops.csv, with a line for each picture that tells its "
        f"person and its camera:\n  path,person,camera\n  {name},anna,1"
    )
