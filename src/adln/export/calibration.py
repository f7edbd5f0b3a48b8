"""Selects crops for calibration and for the parity gate.

The gate never uses crops of the calibration: a file is validated on unseen crops.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.crops import resize
from adln.datasets.catalogue import names_of_pictures, open_dataset
from adln.datasets.listing import is_image_name
from adln.datasets.loading import load_crops
from adln.errors import DatasetError, ExportError
from adln.export.precision import MIN_CALIBRATION_CROPS

CALIBRATION_CROPS = 256
GATE_CROPS = 128
# Synthetic crops: number of colour patches vertically and horizontally.
_PATCHES = (24, 12)


@dataclass(frozen=True)
class ChosenCrops:
    """Crops, uint8 RGB, for calibration (N, H, W, 3) and for the gate (M, H, W, 3).

    Those for calibration are none if synthetic. `description` is their origin in words, `datasets`
    the names of the data sets that they are from.
    """

    calibration: NDArray[np.uint8]
    gate: NDArray[np.uint8]
    description: str
    datasets: tuple[str, ...] = ()


def choose_crops(
    path: Path | Sequence[Path] | None, *, height_px: int, width_px: int
) -> ChosenCrops:
    """Read crops from a folder of pictures or from a data set, or synthesise some for the gate.

    They are spaced evenly over the sorted names; every third is for the gate. The path is a data
    set (its training split is used, its gallery if it has none), a folder with pictures at any
    depth, or the pictures themselves. If None, coloured patches are synthesised, which exercise
    every part of the network but cannot calibrate.

    Raises:
        ExportError: there are too few pictures.
        ImageError: a picture is damaged; the message names it.
    """
    if path is None:
        made_up = _make_up(GATE_CROPS, height_px, width_px)
        return ChosenCrops(made_up[:0], made_up, "made-up pictures")
    paths, name, datasets = (
        _find(path)
        if isinstance(path, Path)
        else (sorted(path), "the pictures given", names_of_pictures(path))
    )
    least = MIN_CALIBRATION_CROPS * 3 // 2
    if len(paths) < least:
        raise ExportError(
            f"{path if isinstance(path, Path) else name}: {len(paths)} pictures of people are too "
            f"few to calibrate and check int8; "
            f"at least {least} are needed, a few hundred are better. Name a folder with crops "
            "from the cameras that the network will be used with."
        )
    wanted = min(len(paths), CALIBRATION_CROPS + GATE_CROPS)
    spread = np.linspace(0, len(paths) - 1, wanted).astype(int)
    crops = load_crops([paths[index] for index in spread], height_px=height_px, width_px=width_px)
    is_gate = np.arange(wanted) % 3 == 2
    count = int((~is_gate).sum())
    return ChosenCrops(crops[~is_gate], crops[is_gate], f"{count} crops of {name}", tuple(datasets))


def _make_up(count: int, height_px: int, width_px: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 256, (count, *_PATCHES, 3), dtype=np.uint8)
    return np.stack([resize(patch, height_px=height_px, width_px=width_px) for patch in patches])


def _find(path: Path) -> tuple[list[Path], str, list[str]]:
    try:
        dataset = open_dataset(path)
    except DatasetError:
        if not path.is_dir():
            raise ExportError(f"{path}: there is no such folder of crops.") from None
        files = sorted(file for file in path.rglob("*") if is_image_name(file.name))
        return files, path.name, names_of_pictures(files)
    split = dataset.train if len(dataset.train) else dataset.gallery
    return sorted(split.paths), f"{dataset.name} ({split.name})", [dataset.name]
