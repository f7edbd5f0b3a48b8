"""Random mirror, shift and erasing, for a whole batch at once on the training device.

Sec. III.B of the paper: "random cropping, horizontal flipping, and erasing".
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adln.settings import settings

ERASING_TRIES = 100
# The official codes write (0.485, 0.456, 0.406) after normalisation: as pixels of 0..255, RGB.
ERASING_PIXEL = (152, 142, 127)


@settings
class Augmentation:
    """How crops are varied; the defaults are those of APNet and BoT.

    Attributes:
        flip_probability: of a mirrored crop.
        padding_px: black margin before a crop of the old size is cut at a random place.
        erase_probability: of erasing a rectangle.
        erase_area: least and largest part of the crop that is erased.
        erase_aspect: least height over width of the rectangle; the largest is its inverse.
    """

    flip_probability: float = 0.5
    padding_px: int = 10
    erase_probability: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    erase_aspect: float = 0.3


@dataclass(frozen=True)
class Draws:
    """What chance decided for B crops.

    Attributes:
        values: (B, 7) int64: mirrored (0 or 1), shift down and right in px (-padding to +padding),
            then the erased rectangle as top, left, height, width in px (all 0: nothing erased).
    """

    values: NDArray[np.int64]


def draw(
    batch_size: int,
    height_px: int,
    width_px: int,
    augmentation: Augmentation,
    seed: tuple[int, ...],
) -> Draws:
    """Let chance decide for a batch; the same seed decides the same."""
    rng = np.random.default_rng(seed)
    values = np.zeros((batch_size, 7), dtype=np.int64)
    values[:, 0] = rng.random(batch_size) < augmentation.flip_probability
    padding = augmentation.padding_px
    values[:, 1:3] = rng.integers(-padding, padding, (batch_size, 2), endpoint=True)
    rectangles = draw_rectangles(batch_size, height_px, width_px, augmentation, rng)
    erased = rng.random(batch_size) < augmentation.erase_probability
    values[:, 3:] = rectangles * erased[:, None]
    return Draws(values)


def draw_rectangles(
    count: int,
    height_px: int,
    width_px: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Rectangles for random erasing.

    Args:
        count: how many.
        height_px: height H of the crop.
        width_px: width W of the crop.
        augmentation: area and aspect.
        rng: source of chance.

    Returns:
        (count, 4) int64: top, left, height, width. All 0 where no try fitted.

    Source: RandomErasing of Zhong et al. as in APNet and BoT: area and aspect uniform, 100 tries.
    """
    shape = (count, ERASING_TRIES)
    least, largest = augmentation.erase_area
    area = height_px * width_px * rng.uniform(least, largest, shape)
    aspect = rng.uniform(augmentation.erase_aspect, 1 / augmentation.erase_aspect, shape)
    heights = np.rint(np.sqrt(area * aspect)).astype(np.int64)
    widths = np.rint(np.sqrt(area / aspect)).astype(np.int64)
    fits = (heights < height_px) & (widths < width_px)
    first = fits.argmax(axis=1)
    rows = np.arange(count)
    found = fits[rows, first]
    height, width = heights[rows, first] * found, widths[rows, first] * found
    top = rng.integers(0, height_px - height, endpoint=True) * found
    left = rng.integers(0, width_px - width, endpoint=True) * found
    return np.stack((top, left, height, width), axis=1)


def gather(data: Tensor, indices: Tensor, draws: Tensor) -> Tensor:
    """Pick crops out of the data set and vary them, in one go on the device of the data.

    Args:
        data: (N, H, W, 3) uint8 RGB, the whole training split.
        indices: (B,) int64, on the same device.
        draws: (B, 7) int64, `Draws.values` on the same device.

    Returns:
        (B, 3, H, W) uint8 in channels_last memory.

    Source: Sec. III.B. Order of the official codes: mirror, pad, cut, erase.
    Deviation: the erasing pixel is rounded to a whole value of 0..255 (at most 0.01 off after
        normalisation), so that pixels stay bytes until the network.
    """
    _, height, width, _ = data.shape
    row_range = torch.arange(height, device=data.device)
    column_range = torch.arange(width, device=data.device)
    mirrored, down, right, top, left, erased_height, erased_width = draws.unsqueeze(-1).unbind(1)
    rows = row_range + down  # (B, H), places in the source
    columns = column_range + right  # (B, W)
    inside = ((rows >= 0) & (rows < height)).unsqueeze(2) & (
        (columns >= 0) & (columns < width)
    ).unsqueeze(1)  # (B, H, W)
    rows = rows.clamp(0, height - 1)
    columns = columns.clamp(0, width - 1)
    columns = torch.where(mirrored.bool(), width - 1 - columns, columns)
    crops = data[indices[:, None, None], rows[:, :, None], columns[:, None, :]]  # (B, H, W, 3)
    crops = crops * inside.unsqueeze(3)
    erased = ((row_range >= top) & (row_range < top + erased_height)).unsqueeze(2) & (
        (column_range >= left) & (column_range < left + erased_width)
    ).unsqueeze(1)
    pixel = torch.tensor(ERASING_PIXEL, dtype=torch.uint8, device=data.device)
    crops = torch.where(erased.unsqueeze(3), pixel, crops)
    return crops.permute(0, 3, 1, 2)
