"""Which box belongs to which track, and how well each pair fits.

Source: Yang et al., "Hybrid-SORT: Weak Cues Matter for Online Multi-Object Tracking", AAAI 2024,
for the overlap that is weighed with the height that two boxes have in common.
Deviation: the common height counts twice.
"""

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from adln.boxes import areas
from adln.errors import CameraError, require_package

# A box ends at a side of the picture if it is this part of its height away.
_AT_SIDE = 0.06
_TINY = float(np.finfo(np.float64).tiny)


def overlaps(
    expected_xyxy: NDArray[np.floating], found_xyxy: NDArray[np.floating]
) -> NDArray[np.float64]:
    """How far boxes are where, and as high as, they are expected.

    Of two people who hide one another the boxes overlap for long, but mostly one of them is nearer:
    taller in the picture, with the feet further down.

    Args:
        expected_xyxy: (R, 4).
        found_xyxy: (C, 4).

    Returns:
        (R, C): intersection over union, times the square of the same in the vertical alone.
    """
    expected, found = expected_xyxy[:, np.newaxis], found_xyxy[np.newaxis]
    most, least = np.maximum(expected, found), np.minimum(expected, found)
    common = np.maximum(least[..., 2:] - most[..., :2], 0)
    shared = common[..., 0] * common[..., 1]
    union = areas(expected_xyxy)[:, np.newaxis] + areas(found_xyxy) - shared
    height = common[..., 1] / np.maximum(most[..., 3] - least[..., 1], _TINY)
    weighed: NDArray[np.float64] = shared / np.maximum(union, _TINY) * height**2
    return weighed


def assign(scores: NDArray[np.floating], *, least: float) -> list[tuple[int, int]]:
    """Pair rows with columns one to one so that the sum of the scores is largest.

    Args:
        scores: (R, C); -inf where a pair cannot be.
        least: pairs with a smaller score stay apart.

    Returns:
        (row, column) of each pair, by row.

    Raises:
        CameraError: `lap` is not installed.
    """
    if 0 in scores.shape:
        return []
    possible = scores >= least
    pairs = _without_choice(possible)
    if pairs is not None:
        return pairs
    lap = require_package("lap", extra="camera", purpose="following people", raises=CameraError)
    # What cannot be costs more than staying apart.
    costs = np.where(possible, 1 - scores, 1e6)
    _, found, _ = lap.lapjv(costs, extend_cost=True, cost_limit=1 - least)
    return [(row, column) for row, column in enumerate(found.tolist()) if column >= 0]


def _without_choice(possible: NDArray[np.bool_]) -> list[tuple[int, int]] | None:
    """The pairs (row, column), if each row and each column has at most one, as mostly."""
    rows, columns = (places.tolist() for places in possible.nonzero())
    is_plain = len(set(rows)) == len(set(columns)) == len(rows)
    return list(zip(rows, columns, strict=True)) if is_plain else None


def has_rivals(overlaps: NDArray[np.floating], *, least: float, near: float) -> NDArray[np.bool_]:
    """Columns for which the overlap does not tell which row they belong to.

    Args:
        overlaps: (R, C) of tracks and boxes.
        least: smaller overlaps do not count.
        near: a pair is a rival of another one with this part of its overlap.

    Returns:
        (C,): whether the column, or a row that it may belong to, has a second choice.
    """
    possible = overlaps >= least
    if 0 in overlaps.shape or _without_choice(possible) is not None:
        return np.zeros(overlaps.shape[1], np.bool_)
    in_column = possible & (overlaps >= near * overlaps.max(axis=0))
    in_row = possible & (overlaps >= near * overlaps.max(axis=1, keepdims=True))
    contested = in_row & (in_row.sum(axis=1, keepdims=True) > 1)
    rivals: NDArray[np.bool_] = (in_column.sum(axis=0) > 1) | contested.any(axis=0)
    return rivals


def best_with_margin(scores: NDArray[np.floating], *, margin: float) -> int | None:
    """Position of the best score, if every other one is lower by the margin; else None.

    Args:
        scores: (N,); -inf where something is out of the question.
        margin: how much lower the others must be.
    """
    if len(scores) == 0:
        return None
    best = int(np.argmax(scores))
    others = np.delete(scores, best)
    if not np.isfinite(scores[best]) or (others > scores[best] - margin).any():
        return None
    return best


def touched_sides(
    boxes_xyxy: NDArray[np.floating], *, height_px: int, width_px: int
) -> list[frozenset[str]]:
    """Sides of the picture at which each box ends, where people come and go.

    Args:
        boxes_xyxy: (N, 4) px.
        height_px: of the picture.
        width_px: of the picture.
    """
    margins = _AT_SIDE * np.maximum(boxes_xyxy[:, 3:] - boxes_xyxy[:, 1:2], 1.0)
    to_sides = np.concatenate([boxes_xyxy[:, :2], (width_px, height_px) - boxes_xyxy[:, 2:]], 1)
    return [
        frozenset(compress(("left", "top", "right", "bottom"), touched))
        for touched in (to_sides <= margins).tolist()
    ]
