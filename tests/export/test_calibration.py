"""Crops for calibration and gate."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from adln.errors import ExportError, ImageError
from adln.export.calibration import choose_crops

SIZE = {"height_px": 64, "width_px": 32}


def test_calibration_and_gate_share_no_crop(picture_folder: Path) -> None:
    chosen = choose_crops(picture_folder, **SIZE)
    assert chosen.calibration.shape == (40, 64, 32, 3)
    assert chosen.gate.shape == (20, 64, 32, 3)
    seen = {crop.tobytes() for crop in chosen.calibration}
    assert not any(crop.tobytes() in seen for crop in chosen.gate)
    assert chosen.description == f"40 crops of {picture_folder.name}"


def test_without_pictures_the_gate_has_made_up_ones() -> None:
    chosen = choose_crops(None, **SIZE)
    assert len(chosen.calibration) == 0
    assert np.ptp(chosen.gate) > 200
    np.testing.assert_array_equal(chosen.gate, choose_crops(None, **SIZE).gate)


@pytest.mark.parametrize("count", [0, 47])
def test_too_few_pictures_are_refused(count: int, picture_folder: Path, tmp_path: Path) -> None:
    for path in sorted(picture_folder.rglob("*.png"))[:count]:
        shutil.copy(path, tmp_path / path.name)
    with pytest.raises(ExportError, match=f"{count} pictures of people are too few"):
        choose_crops(tmp_path, **SIZE)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nowhere"):
        choose_crops(tmp_path / "nowhere", **SIZE)


def test_a_damaged_picture_is_named(picture_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(picture_folder, folder)
    victim = sorted(folder.rglob("*.png"))[10]
    victim.write_bytes(victim.read_bytes()[:60])
    with pytest.raises(ImageError, match=victim.name):
        choose_crops(folder, **SIZE)
