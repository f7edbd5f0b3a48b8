"""Random mirror, shift, zoom, colour, composition and erasing, batched on the device.

Sec. III.B of the paper: "random cropping, horizontal flipping, and erasing". Zoom, colour and
composition are not in the paper: they are for networks that must generalise to unseen people, and
are off by default.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adln.errors import SettingsError
from adln.settings import settings

ERASING_TRIES = 100
_CUT_RANGE = (0.35, 0.65)  # of the height: about where a person's clothes change
# RGB to the NTSC axes: grey, and two axes of colour.
_YIQ = np.array(((0.299, 0.587, 0.114), (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)))
# The official codes fill with (0.485, 0.456, 0.406) after normalisation: as RGB pixels of 0..255.
ERASING_PIXEL = (152, 142, 127)


@settings
class Augmentation:
    """Settings of the augmentation; the defaults are those of APNet and BoT.

    Attributes:
        flip_probability: probability of mirroring a crop.
        padding_px: black margin from which a crop of the original size is cut at a random position.
        erase_probability: probability of erasing a rectangle.
        erase_area: smallest and largest share of the crop's area that is erased.
        erase_aspect: smallest height / width of the rectangle; the largest is its inverse.
        zoom: a crop is scaled by a factor from 1 / (1 + zoom) to 1 + zoom, because a detector's
            boxes may be too large or too small; 0 is off.
        recolour_probability: probability that a crop's colours change, by the next six settings.
        brightness: colours are multiplied by a factor from 1 - brightness to 1 + brightness; 0 is
            off, also for the next three.
        contrast: distances of colours from the crop's mean grey are multiplied, likewise.
        saturation: distances of colours from their own grey are multiplied, likewise.
        hue: colours are rotated by an angle from -hue to +hue, as a share of the full circle,
            0 to 0.5.
        grey_probability: probability of turning a crop grey.
        shuffle_probability: probability of permuting a crop's three channels.
        compose_probability: probability of composing a crop of the upper part of one person and the
            lower part of another. Only for unlabelled crops (`Batch.unlabelled`).
        keep_labelled_colours: change the colours of unlabelled crops only. A teacher sees a crop's
            new colours, but a person who is known by label would be contradicted by them.
    """

    flip_probability: float = 0.5
    padding_px: int = 10
    erase_probability: float = 0.5
    erase_area: tuple[float, float] = (0.02, 0.4)
    erase_aspect: float = 0.3
    zoom: float = 0.0
    recolour_probability: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey_probability: float = 0.0
    shuffle_probability: float = 0.0
    compose_probability: float = 0.0
    keep_labelled_colours: bool = False

    def __post_init__(self) -> None:
        for name in ("flip", "erase", "recolour", "grey", "shuffle", "compose"):
            _require_share(f"{name}_probability", getattr(self, f"{name}_probability"), 1.0)
        for name in ("brightness", "contrast", "saturation"):
            _require_share(name, getattr(self, name), 1.0)
        _require_share("hue", self.hue, 0.5)
        _require_share("zoom", self.zoom, 1.0)
        if self.padding_px < 0:
            raise SettingsError(
                f"augmentation.padding_px must be at least 0, got {self.padding_px}"
            )
        smallest, largest = self.erase_area
        if not 0 <= smallest <= largest <= 1:
            raise SettingsError(
                "augmentation.erase_area must be two shares of the area, the smaller one first, "
                f"from 0 to 1, got {list(self.erase_area)}"
            )
        if not 0 < self.erase_aspect <= 1:
            raise SettingsError(
                "augmentation.erase_aspect must be more than 0 and at most 1, "
                f"got {self.erase_aspect}"
            )

    @property
    def recolours(self) -> bool:
        """Whether any setting changes colours."""
        return any(
            (
                self.brightness,
                self.contrast,
                self.saturation,
                self.hue,
                self.grey_probability,
                self.shuffle_probability,
            )
        )


@dataclass(frozen=True)
class Draws:
    """Random parameters of the augmentation of B crops; None where nothing of the kind changes.

    Attributes:
        values: (B, 7) int64: mirrored (0 or 1), shift down and right in px (-padding to +padding),
            then the erased rectangle as top, left, height, width in px (all 0: nothing erased).
        zooms: (B,) float32, scale factor.
        colours, contrasts: (B, 3, 3) and (B,) float32, matrix applied to RGB, and factor.
        cuts: (B,) float32, share of the height below which a crop is replaced by its partner; 1
            leaves it whole.
    """

    values: NDArray[np.int64]
    zooms: NDArray[np.float32] | None = None
    colours: NDArray[np.float32] | None = None
    contrasts: NDArray[np.float32] | None = None
    cuts: NDArray[np.float32] | None = None


def draw(
    batch_size: int,
    height_px: int,
    width_px: int,
    augmentation: Augmentation,
    seed: tuple[int, ...],
    *,
    unlabelled: int = 0,
) -> Draws:
    """Draw the random parameters of a batch; the same seed gives the same parameters.

    `height_px` and `width_px` are the size of the crops that are erased. The last `unlabelled`
    crops may be composed.
    """
    rng = np.random.default_rng(seed)
    values = np.zeros((batch_size, 7), dtype=np.int64)
    values[:, 0] = rng.random(batch_size) < augmentation.flip_probability
    padding = augmentation.padding_px
    values[:, 1:3] = rng.integers(-padding, padding, (batch_size, 2), endpoint=True)
    rectangles = draw_rectangles(batch_size, height_px, width_px, augmentation, rng)
    erased = rng.random(batch_size) < augmentation.erase_probability
    values[:, 3:] = rectangles * erased[:, None]
    zooms = colours = contrasts = cuts = None
    if augmentation.zoom:
        limit = np.log1p(augmentation.zoom)
        zooms = np.exp(rng.uniform(-limit, limit, batch_size)).astype(np.float32)
    if augmentation.recolours:
        colours = draw_colours(batch_size, augmentation, rng)
        spread = augmentation.contrast
        contrasts = rng.uniform(1 - spread, 1 + spread, batch_size).astype(np.float32)
        kept = rng.random(batch_size) >= augmentation.recolour_probability
        if augmentation.keep_labelled_colours:
            kept[: batch_size - unlabelled] = True
        colours[kept], contrasts[kept] = np.eye(3, dtype=np.float32), 1.0
    if augmentation.compose_probability and unlabelled:
        cuts = np.ones(batch_size, dtype=np.float32)
        chosen = rng.random(unlabelled) < augmentation.compose_probability
        places = rng.uniform(*_CUT_RANGE, unlabelled)
        cuts[batch_size - unlabelled :] = np.where(chosen, places, 1.0)
    return Draws(values, zooms, colours, contrasts, cuts)


def draw_colours(
    count: int, augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Random colour changes: (count, 3, 3) float32, to multiply RGB columns from the left.

    Source: hue and saturation as linear maps in YIQ, whose first axis is grey.
    """
    turn = rng.uniform(-augmentation.hue, augmentation.hue, count) * 2 * np.pi
    vivid = rng.uniform(1 - augmentation.saturation, 1 + augmentation.saturation, count)
    vivid *= rng.random(count) >= augmentation.grey_probability
    chroma = np.zeros((count, 3, 3))
    chroma[:, 0, 0] = 1.0
    chroma[:, 1, 1] = chroma[:, 2, 2] = vivid * np.cos(turn)
    chroma[:, 1, 2], chroma[:, 2, 1] = -vivid * np.sin(turn), vivid * np.sin(turn)
    matrices = np.linalg.inv(_YIQ) @ chroma @ _YIQ
    bright = rng.uniform(1 - augmentation.brightness, 1 + augmentation.brightness, count)
    matrices *= bright[:, None, None]
    orders = rng.permuted(np.tile(np.arange(3), (count, 1)), axis=1)
    shuffled = rng.random(count) < augmentation.shuffle_probability
    orders[~shuffled] = np.arange(3)
    return np.take_along_axis(matrices, orders[:, :, None], axis=1).astype(np.float32)


def draw_rectangles(
    count: int,
    height_px: int,
    width_px: int,
    augmentation: Augmentation,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Rectangles to erase, (count, 4) int64: top, left, height, width; all 0 if no try fits.

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


def pick(data: Tensor, indices: Tensor, draws: Tensor, zooms: Tensor | None = None) -> Tensor:
    """Select crops from the data set; mirror, shift and scale them on the data's device.

    `data` (N, H, W, 3) uint8 RGB is the whole training split, `indices` (B,) int64; `draws` are
    `Draws.values`, `zooms` `Draws.zooms`. Returns (B, 3, H, W) uint8 in channels_last memory; black
    outside the source crop.
    """
    _, height, width, _ = data.shape
    mirrored, down, right = draws[:, :3].unsqueeze(-1).unbind(1)  # (B, 1) each
    rows = _places(height, down, zooms)  # (B, H), places in the source
    columns = _places(width, right, zooms)  # (B, W)
    inside = ((rows >= 0) & (rows < height)).unsqueeze(2) & (
        (columns >= 0) & (columns < width)
    ).unsqueeze(1)  # (B, H, W)
    rows = rows.clamp(0, height - 1)
    columns = columns.clamp(0, width - 1)
    columns = torch.where(mirrored.bool(), width - 1 - columns, columns)
    crops = data[indices[:, None, None], rows[:, :, None], columns[:, None, :]]  # (B, H, W, 3)
    return (crops * inside.unsqueeze(3)).permute(0, 3, 1, 2)


def recolour(crops: Tensor, colours: Tensor, contrasts: Tensor) -> Tensor:
    """Change the colours of (B, 3, H, W) uint8 RGB crops, by `Draws.colours` and `.contrasts`."""
    points = crops.flatten(2).float()  # (B, 3, H * W)
    points = torch.bmm(colours * contrasts[:, None, None], points)
    # Contrast is applied about the mean grey, which stays.
    mean = points.mean(dim=(1, 2), keepdim=True)
    points += mean * (1 / contrasts[:, None, None] - 1)
    return points.round_().clamp_(0, 255).to(torch.uint8).reshape(crops.shape)


def compose(crops: Tensor, cuts: Tensor, unlabelled: int) -> Tensor:
    """Compose people of two crops: above a row one crop, below it the next crop of the batch.

    A combination of clothes that nobody in the data set wears is an additional person, for a
    teacher that embeds the same composed crop. Of the (B, 3, H, W) uint8 crops, the last
    `unlabelled` are each other's partners, cut at `Draws.cuts`; the others stay whole.
    """
    start = len(crops) - unlabelled
    free = crops[start:]
    rows = torch.arange(crops.shape[2], device=crops.device)
    above = rows < (cuts[start:] * crops.shape[2])[:, None]  # (U, H)
    return torch.cat((crops[:start], torch.where(above[:, None, :, None], free, free.roll(1, 0))))


def erase(crops: Tensor, draws: Tensor) -> Tensor:
    """Erase a rectangle of each (B, 3, H, W) uint8 crop, if its `Draws.values` have one.

    Deviation: the erasing pixel is rounded to integers of 0..255 (at most 0.01 off after
        normalisation), so that pixels stay uint8 until the network.
    """
    height, width = crops.shape[2:]
    rows = torch.arange(height, device=crops.device)
    columns = torch.arange(width, device=crops.device)
    top, left, erased_height, erased_width = draws[:, 3:].unsqueeze(-1).unbind(1)
    erased = ((rows >= top) & (rows < top + erased_height)).unsqueeze(2) & (
        (columns >= left) & (columns < left + erased_width)
    ).unsqueeze(1)  # (B, H, W)
    pixel = torch.tensor(ERASING_PIXEL, dtype=torch.uint8, device=crops.device)
    return torch.where(erased.unsqueeze(1), pixel[:, None, None], crops)


def _places(side_px: int, shift: Tensor, zooms: Tensor | None) -> Tensor:
    points = torch.arange(side_px, device=shift.device)
    if zooms is None:
        return points + shift
    middle = (side_px - 1) / 2
    return ((points - middle) / zooms[:, None] + middle).round().long() + shift


def _require_share(name: str, value: float, limit: float) -> None:
    if not 0 <= value <= limit:
        raise SettingsError(f"augmentation.{name} must be 0 to {limit:g}, got {value}")
