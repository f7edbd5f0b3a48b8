"""Boxes around people as arrays: their formats, their overlap, their cut at the picture's border.

A box is four numbers in pixels of its picture, with x to the right and y down:

- ``xyxy``: left, top, right, bottom; right and bottom are exclusive, so width is right - left;
- ``xywh``: left, top, width, height, as COCO and MOT files have them.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from adln.errors import AdlnError


def as_array(
    values: Any, dtype: DTypeLike | None = None, *, what: str, raises: type[AdlnError]
) -> NDArray[Any]:
    """An array of lists, arrays or tensors, also of tensors on a GPU or with gradients.

    Raises:
        AdlnError: of the class `raises`, about `what`: it cannot be an array of that type.
    """
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # a tensor of torch
        values = values.detach().cpu()
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise raises(
            f"{what}: expected an array, or what can be one, got {type(values).__name__} ({error})."
        ) from error


def as_boxes(boxes: Any, *, raises: type[AdlnError]) -> NDArray[np.float64]:
    """Boxes of any detector as an array (N, 4): left, top, right, bottom in px.

    `boxes` are such an array, one box (4,), or an object with such an `xyxy`; an empty array of any
    shape holds no box.

    Raises:
        AdlnError: of the class `raises`: another shape, such as (N, 6) with confidence and class;
            or see `require_pixels`.
    """
    found = as_array(getattr(boxes, "xyxy", boxes), np.float64, what="boxes", raises=raises)
    if found.ndim and found.size == 0:
        return np.zeros((0, 4))
    if found.shape == (4,):
        found = found[np.newaxis]
    if found.ndim != 2 or found.shape[1] != 4:
        more = ""
        if found.ndim == 2 and found.shape[1] > 4:
            more = " If these are box, confidence and class, hand in boxes[:, :4]."
        raise raises(
            f"expected boxes (N, 4), left, top, right, bottom in px, got shape {found.shape}.{more}"
        )
    require_pixels(found, raises=raises)
    return found


def require_pixels(boxes: NDArray[np.floating], *, raises: type[AdlnError], what: str = "") -> None:
    """Refuse boxes (..., 4) in shares of the picture, of which each would be a pixel in its corner.

    Raises:
        AdlnError: of the class `raises`, beginning with `what`: all numbers are in 0..1, and not
            all are whole.
    """
    if boxes.size and boxes.min() >= 0 and boxes.max() <= 1 and (boxes % 1).any():
        first = boxes.reshape(-1, 4)[0].tolist()
        raise raises(
            f"{what}expected boxes in px, got numbers from 0 to 1, such as {first}. Multiply "
            "left and right by the width of the picture, top and bottom by its height."
        )


def xywh_to_xyxy(boxes_xywh: NDArray[np.floating]) -> NDArray[np.floating]:
    """Left, top, width, height (..., 4) -> left, top, right, bottom, of the same type."""
    start, size = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return np.concatenate([start, start + size], axis=-1)


def xyxy_to_xywh(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Left, top, right, bottom (..., 4) -> left, top, width, height, of the same type."""
    start, end = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return np.concatenate([start, end - start], axis=-1)


def clip_to_picture(
    boxes_xyxy: NDArray[np.floating], *, height_px: int, width_px: int
) -> NDArray[np.floating]:
    """Cut boxes (..., 4) at the picture's border; one that lies outside has no area then."""
    limits = np.array([width_px, height_px, width_px, height_px], dtype=boxes_xyxy.dtype)
    clipped: NDArray[np.floating] = np.minimum(np.maximum(boxes_xyxy, 0), limits)
    return clipped


def areas(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Areas in px² of boxes (..., 4); 0 where right is not beyond left, bottom not below top."""
    size: NDArray[np.floating] = np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0)
    return size[..., 0] * size[..., 1]


def shared_areas(
    a_xyxy: NDArray[np.floating], b_xyxy: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Area in px² that each box of a (N, 4) shares with each of b (M, 4), (N, M)."""
    start = np.maximum(a_xyxy[:, np.newaxis, :2], b_xyxy[:, :2])
    end = np.minimum(a_xyxy[:, np.newaxis, 2:], b_xyxy[:, 2:])
    return areas(np.concatenate([start, end], axis=-1))


def iou(a_xyxy: NDArray[np.floating], b_xyxy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Intersection over union of each box of a (N, 4) with each of b (M, 4).

    Returns:
        (N, M) in 0..1; two boxes without area have 0.
    """
    shared = shared_areas(a_xyxy, b_xyxy)
    union = areas(a_xyxy)[:, np.newaxis] + areas(b_xyxy)[np.newaxis, :] - shared
    overlap: NDArray[np.floating] = np.divide(
        shared, union, out=np.zeros_like(shared), where=union > 0
    )
    return overlap
