"""Crops for trying a device are the same bytes everywhere."""

import hashlib

import numpy as np
import pytest

from adln.probe import draw_crops


def test_the_bytes_never_change() -> None:
    crops = draw_crops(0, 2, height_px=64, width_px=32)
    assert crops.shape == (2, 64, 32, 3)
    assert crops.dtype == np.uint8
    # Files that were exported before rely on it.
    assert (
        hashlib.sha256(crops.tobytes()).hexdigest()
        == "c7fa5146ccdaff14ff56f4b7e768039a16cccd84887ba923403feb705e38f871"
    )


def test_more_crops_begin_with_the_same() -> None:
    few, many = (draw_crops(3, count, height_px=32, width_px=16) for count in (1, 3))
    np.testing.assert_array_equal(few[0], many[0])
    assert (many[0] != many[1]).any()
    assert (draw_crops(4, 1, height_px=32, width_px=16) != few).any()


@pytest.mark.parametrize(("height_px", "width_px"), [(2, 2), (33, 17), (256, 128)])
def test_any_size_uses_the_whole_range(height_px: int, width_px: int) -> None:
    crops = draw_crops(0, 4, height_px=height_px, width_px=width_px)
    assert crops.shape[1:] == (height_px, width_px, 3)
    assert crops.min() < 40
    assert crops.max() > 200
