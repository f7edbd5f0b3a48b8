"""How good a crop is for recognising the person in it.

Six numbers in 0..1, of which the product is the quality. The geometry (size, overlap, border,
shape) costs next to nothing and is judged of all boxes; sharpness needs pixels and is judged of
crops that could be chosen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.boxes import shared_areas
from adln.settings import settings

# Grey values of red, green and blue (ITU-R BT.601), as everywhere in imaging.
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# Width of the picture's margin, as part of the box, within which a box counts as cut off.
_MARGIN = 0.02


@settings
class QualitySettings:
    """What counts as good.

    Attributes:
        full_height_px: taller boxes are no better; the network sees 256 px.
        full_sharpness: sharper crops are no better. See `sharpness`.
        slim: height / width of the slimmest whole person.
        broad: height / width of the broadest whole person; below it, legs or head are missing.
    """

    full_height_px: float = 192.0
    full_sharpness: float = 0.03
    slim: float = 4.0
    broad: float = 1.7


@dataclass(frozen=True, eq=False)
class Geometry:
    """What the boxes of one frame say of each person's crop; each (N,) float64 in 0..1.

    Attributes:
        size: height, against the height from which on more does not help.
        visible: part of the box that no box in front of it covers; those behind count half.
        whole: below 1 if the box touches the picture's border, where a body is cut off.
        shape: whether height / width is that of a whole person.
        confidence: of the detection.
    """

    size: NDArray[np.float64]
    visible: NDArray[np.float64]
    whole: NDArray[np.float64]
    shape: NDArray[np.float64]
    confidence: NDArray[np.float64]

    @property
    def quality(self) -> NDArray[np.float64]:
        """(N,): the product; the most that the crop's quality can be."""
        return self.size * self.visible * self.whole * self.shape * self.confidence


def judge_boxes(
    boxes_xyxy: NDArray[np.floating],
    confidences: NDArray[np.floating],
    *,
    height_px: int,
    width_px: int,
    settings: QualitySettings,
) -> Geometry:
    """Judge the crops of one frame by their boxes.

    Args:
        boxes_xyxy: (N, 4) of all people in the frame, as they hide each other.
        confidences: (N,) in 0..1.
        height_px: of the frame.
        width_px: of the frame.
        settings: what counts as good.
    """
    boxes = boxes_xyxy.astype(np.float64)
    size = np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-9)
    width, height = size.T
    ratio = height / width
    shape = np.minimum(ratio / settings.broad, settings.slim / np.maximum(ratio, 1e-9))
    return Geometry(
        size=np.minimum(height / settings.full_height_px, 1),
        visible=visible_parts(boxes),
        whole=_whole(boxes, size, np.array([width_px, height_px])),
        shape=np.minimum(shape, 1) ** 2,
        confidence=np.minimum(np.maximum(confidences.astype(np.float64), 0), 1),
    )


def sharpness(crop: NDArray[np.uint8]) -> float:
    """How sharp a crop is: variance of its Laplacian over the variance of its grey values.

    The second makes it independent of contrast and light. Compare crops of one size only.

    Args:
        crop: (H, W, 3) uint8 RGB, at least 3 x 3 px.

    Returns:
        0 for a flat picture; about 0.003 for a blurred, 0.03 and more for a sharp person at
        256 x 128 px.
    """
    grey = crop.astype(np.float32) @ _GREY
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    # One grey value squared keeps the noise of a flat picture from looking sharp.
    return float(laplacian.var() / (grey.var() + 1.0))


def sharpness_quality(crop: NDArray[np.uint8], settings: QualitySettings) -> float:
    """Sharpness as a factor of the quality, 0.25..1.

    Not down to 0, because a blurred crop of a near person still shows the colours of the clothes.
    """
    return 0.25 + 0.75 * min(1.0, sharpness(crop) / settings.full_sharpness)


def visible_parts(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Part of each box that is the person's own, (N,) in 0..1.

    Whoever's feet are lower in the picture stands nearer and hides the other. Somebody behind
    hides nothing, but is in the crop as well.

    Args:
        boxes_xyxy: (N, 4) of all people in the frame.
    """
    boxes = boxes_xyxy.astype(np.float64)
    shared = shared_areas(boxes, boxes)
    own = np.maximum(shared.diagonal(), 1e-9)
    in_front = boxes[:, 3] > boxes[:, np.newaxis, 3]
    # With half of the box itself.
    lost = (shared * (0.5 + 0.5 * in_front)).sum(axis=1) / own
    visible: NDArray[np.float64] = np.minimum(np.maximum(1.5 - lost, 0), 1)
    return visible


def _whole(
    boxes: NDArray[np.float64], size: NDArray[np.float64], picture_wh: NDArray[np.int64]
) -> NDArray[np.float64]:
    margins = _MARGIN * size
    left, top = (boxes[:, :2] <= margins).T
    right, bottom = (boxes[:, 2:] >= picture_wh - margins).T
    # At a side half a body may be missing, at the bottom the legs, at the top the head.
    factor: NDArray[np.float64] = (1 - 0.7 * (left | right)) * (1 - 0.5 * bottom) * (1 - 0.4 * top)
    return factor
