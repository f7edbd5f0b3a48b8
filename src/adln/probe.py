"""Draws crops by which a device is tried: the same bytes on every machine and in every release.

Made of whole numbers and SHA-256 only, because random generators and floating point may change.
They look a little like people; every second one in harsh light, which drives int8 arithmetic to its
limits.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

# Coarse and fine noise: so many patches from head to foot and from side to side.
_FOLDS, _NOISE = (9, 5), (48, 24)
# Parts of a figure, painted in this order: top, bottom, left, right in shares of 64.
_PARTS = ((10, 38, 18, 46), (34, 60, 20, 31), (34, 60, 33, 44), (12, 34, 13, 19), (12, 34, 45, 51))
_HEAD = (2, 11, 26, 38)
_GRID = 64


def draw_crops(seed: int, count: int, *, height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Draw crops (N, H, W, 3) uint8 RGB, H and W at least 2; other seeds give other crops."""
    crops = np.empty((count, height_px, width_px, 3), dtype=np.uint8)
    for index in range(count):
        is_harsh = index % 2 == 1
        name = f"{seed}/{index // 2}"
        colours = _numbers(f"{name}/c", (12, 3))
        folds = _enlarge(_numbers(f"{name}/f", (*_FOLDS, 3)), height_px, width_px)
        noise = _enlarge(_numbers(f"{name}/n", (*_NOISE, 3)), height_px, width_px)
        if is_harsh:
            # Nearly full or nearly no red, green and blue, in light and shadow.
            colours = np.where(colours > 127, 255 - (255 - colours) // 4, colours // 4)
            lit = _paint(colours, height_px, width_px) * (64 + folds[..., :1]) // 192
            crops[index] = np.clip(lit + (noise[..., :1] - 128) // 6, 0, 255)
        else:
            crops[index] = (5 * _paint(colours, height_px, width_px) + 2 * folds + noise) // 8
    return crops


def _paint(colours: NDArray[np.int64], height_px: int, width_px: int) -> NDArray[np.int64]:
    """A figure before a background that goes from the first colour to the second: (H, W, 3)."""
    rows = np.arange(height_px)[:, None] * _GRID // height_px
    columns = np.arange(width_px)[None, :] * _GRID // width_px
    share = rows[..., None]
    flat = (colours[0] * (_GRID - share) + colours[1] * share) // _GRID
    picture = np.broadcast_to(flat, (height_px, width_px, 3)).copy()
    for (top, bottom, left, right), colour in zip((*_PARTS, _HEAD), colours[2:], strict=False):
        inside = (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
        picture[inside] = colour
    return picture


def _numbers(name: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Numbers 0 to 255 that follow from a name: SHA-256 of the name and a counter."""
    size = int(np.prod(shape))
    blocks = [
        hashlib.sha256(f"{name}/{block}".encode("ascii")).digest()
        for block in range(size // 32 + 1)
    ]
    return np.frombuffer(b"".join(blocks), dtype=np.uint8)[:size].astype(np.int64).reshape(shape)


def _enlarge(patches: NDArray[np.int64], height_px: int, width_px: int) -> NDArray[np.int64]:
    """Bilinear, in whole numbers."""
    for axis, size in enumerate((height_px, width_px)):
        position = np.arange(size) * (patches.shape[axis] - 1) * 256 // (size - 1)
        first = np.minimum(position // 256, patches.shape[axis] - 2)
        share = np.expand_dims(position - 256 * first, (1, 2) if axis == 0 else (0, 2))
        before, after = (np.take(patches, first + step, axis=axis) for step in (0, 1))
        patches = (before * (256 - share) + after * share) // 256
    return patches
