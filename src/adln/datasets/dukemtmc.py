"""DukeMTMC-reID: 1,404 persons, eight cameras. Withdrawn by its owners; only the layout is read.

The second data set of Sec. III.A (Ristani et al., ECCV 2016 workshops; Zheng et al., ICCV 2017), so
that those who rightfully hold the data can reproduce the paper's numbers.

Pictures are named ``0005_c2_f0046985.jpg``: person 5, camera 2, frame 46985.

Occluded-DukeMTMC (Miao et al., ICCV 2019) splits the same pictures differently, in the same layout,
and was therefore withdrawn, too. P-DukeMTMC-reID is not read: see `adln.datasets.explaining`.
"""

import re
from pathlib import Path

from adln.datasets.listing import find_root
from adln.datasets.market1501 import expected_folders, has_three_folders, read_three_folders
from adln.datasets.split import ReidDataset

NOTICE = (
    "DukeMTMC was withdrawn by its owners in 2019: people were filmed without their consent. "
    "adln neither provides nor recommends DukeMTMC-reID; it only reads its layout, so that "
    "published numbers can be reproduced. Do not use it for anything else."
)

_NAME = re.compile(r"(-1|\d+)_c(\d+)_f\d+")
_OCCLUDED = "occluded"
_EXAMPLE = "0005_c2_f0046985.jpg"


def read_dukemtmc(root: Path) -> ReidDataset:
    """List DukeMTMC-reID (Sec. III.A), with ids of the file names and the notice above.

    The root has the three folders, or its only subfolder has. It is named "dukemtmc-occluded" if
    its folder's name contains "occluded".

    Raises:
        DatasetError: A folder is missing, or a split is empty.
    """
    folder = find_root(root, is_dukemtmc, expected=expected_folders("DukeMTMC-reID", _EXAMPLE))
    is_occluded = _OCCLUDED in folder.resolve().name.lower()
    name = f"dukemtmc-{_OCCLUDED}" if is_occluded else "dukemtmc"
    return read_three_folders(folder, name, _NAME, _EXAMPLE, NOTICE)


def is_dukemtmc(folder: Path) -> bool:
    """Whether a folder has the three folders and names of DukeMTMC-reID."""
    return has_three_folders(folder, _NAME)
