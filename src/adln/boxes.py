"""Boxes around people as arrays: their formats, their overlap, their cut at the picture's border.

A box is four numbers in pixels of its picture, with x to the right and y down:

- ``xyxy``: left, top, right, bottom; right and bottom are exclusive, so width is right - left;
- ``xywh``: left, top, width, height, as COCO and MOT files have them.
"""

import numpy as np
from numpy.typing import NDArray


def xywh_to_xyxy(boxes_xywh: NDArray[np.floating]) -> NDArray[np.floating]:
    """Left, top, width, height -> left, top, right, bottom.

    Args:
        boxes_xywh: (..., 4).

    Returns:
        (..., 4), of the same type.
    """
    start, size = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return np.concatenate([start, start + size], axis=-1)


def xyxy_to_xywh(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Left, top, right, bottom -> left, top, width, height.

    Args:
        boxes_xyxy: (..., 4).

    Returns:
        (..., 4), of the same type.
    """
    start, end = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return np.concatenate([start, end - start], axis=-1)


def clip_to_picture(
    boxes_xyxy: NDArray[np.floating], *, height_px: int, width_px: int
) -> NDArray[np.floating]:
    """Cut boxes at the picture's border.

    Args:
        boxes_xyxy: (..., 4).
        height_px: height of the picture.
        width_px: width of the picture.

    Returns:
        (..., 4), of the same type. A box that lies outside has no area.
    """
    limits = np.array([width_px, height_px, width_px, height_px], dtype=boxes_xyxy.dtype)
    clipped: NDArray[np.floating] = np.minimum(np.maximum(boxes_xyxy, 0), limits)
    return clipped


def areas(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Area of each box.

    Args:
        boxes_xyxy: (..., 4).

    Returns:
        (...,) in px²; 0 where right is not beyond left or bottom not below top.
    """
    size: NDArray[np.floating] = np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0)
    return size[..., 0] * size[..., 1]


def shared_areas(
    a_xyxy: NDArray[np.floating], b_xyxy: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Area that each box of a shares with each box of b.

    Args:
        a_xyxy: (N, 4).
        b_xyxy: (M, 4).

    Returns:
        (N, M) in px².
    """
    start = np.maximum(a_xyxy[:, np.newaxis, :2], b_xyxy[:, :2])
    end = np.minimum(a_xyxy[:, np.newaxis, 2:], b_xyxy[:, 2:])
    size: NDArray[np.floating] = np.maximum(end - start, 0)
    return size[..., 0] * size[..., 1]


def iou(a_xyxy: NDArray[np.floating], b_xyxy: NDArray[np.floating]) -> NDArray[np.floating]:
    """Intersection over union of each box of a with each box of b.

    Args:
        a_xyxy: (N, 4).
        b_xyxy: (M, 4).

    Returns:
        (N, M) in 0..1; two boxes without area have 0.
    """
    shared = shared_areas(a_xyxy, b_xyxy)
    union = areas(a_xyxy)[:, np.newaxis] + areas(b_xyxy)[np.newaxis, :] - shared
    overlap: NDArray[np.floating] = np.divide(
        shared, union, out=np.zeros_like(shared), where=union > 0
    )
    return overlap
