"""Quality of a crop for recognising the person in it: the product of six numbers in 0..1.

The geometry is judged for all boxes, in plain floats like `adln.cameras.motion`; sharpness needs
pixels and is judged for crops that may be chosen.
"""

from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adln.settings import require_between, settings

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

    def __post_init__(self) -> None:
        require_between(self, (1e-6, inf, ["full_height_px", "full_sharpness", "slim", "broad"]))


class Geometry(NamedTuple):
    """What the boxes of a frame say about one person's crop; each in 0..1.

    Attributes:
        size: height, relative to the height above which more does not help.
        visible: part of the box that no box in front of it covers; boxes behind count half.
        whole: below 1 if the box touches the picture's border, where a body is cut off.
        shape: whether height / width is that of a whole person.
    """

    size: float
    visible: float
    whole: float
    shape: float
    confidence: float

    @property
    def quality(self) -> float:
        """The product: upper limit of the crop's quality."""
        return self.size * self.clean

    @property
    def clean(self) -> float:
        """The product without the size."""
        return self.visible * self.whole * self.shape * self.confidence


def judge_boxes(
    boxes_xyxy: NDArray[np.floating],
    confidences: NDArray[np.floating],
    *,
    height_px: int,
    width_px: int,
    settings: QualitySettings,
) -> list[Geometry]:
    """Judge the crops of one frame by the boxes (N, 4) of all people in it.

    `confidences` (N,) are 0 to 1; height and width are the frame's. Returns one for each box.
    """
    boxes, found = boxes_xyxy.tolist(), []
    judged = zip(boxes, confidences.tolist(), _visible_parts(boxes), strict=True)
    for (left, top, right, bottom), confidence, visible in judged:
        width, height = max(right - left, 1e-9), max(bottom - top, 1e-9)
        ratio = height / width
        shape = min(ratio / settings.broad, settings.slim / max(ratio, 1e-9), 1.0) ** 2
        across, down = _MARGIN * width, _MARGIN * height
        whole = 1.0
        # At a side half a body may be missing, at the bottom the legs, at the top the head.
        if left <= across or right >= width_px - across:
            whole *= 0.3
        if bottom >= height_px - down:
            whole *= 0.5
        if top <= down:
            whole *= 0.6
        size = min(height / settings.full_height_px, 1.0)
        found.append(Geometry(size, visible, whole, shape, min(max(confidence, 0.0), 1.0)))
    return found


def sharpness(crop: NDArray[np.uint8]) -> float:
    """How sharp a crop is: variance of its Laplacian over the variance of its grey values.

    Args:
        crop: (H, W, 3) uint8 RGB, at least 3 x 3 px. Compare crops of one size only.

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


def _visible_parts(boxes: Sequence[Sequence[float]]) -> list[float]:
    """Part of each box that is the person's own; whose feet are lower is nearer and occludes."""
    lost = [0.0] * len(boxes)
    order = sorted(range(len(boxes)), key=lambda at: boxes[at][0])
    for place, one in enumerate(order, start=1):
        left, top, right, bottom = boxes[one]
        for other in order[place:]:
            other_left, other_top, other_right, other_bottom = boxes[other]
            if other_left >= right:
                break
            width = min(right, other_right) - other_left
            height = min(bottom, other_bottom) - max(top, other_top)
            if width <= 0 or height <= 0:
                continue
            own = (right - left) * (bottom - top)
            others = (other_right - other_left) * (other_bottom - other_top)
            lost[one] += width * height / own * (1.0 if other_bottom > bottom else 0.5)
            lost[other] += width * height / others * (1.0 if bottom > other_bottom else 0.5)
    return [max(1 - part, 0.0) for part in lost]
