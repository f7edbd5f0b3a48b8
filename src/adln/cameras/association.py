"""Association of boxes with tracks: the scores of all pairs, and the assignment.

Source: Yang et al., "Hybrid-SORT: Weak Cues Matter for Online Multi-Object Tracking", AAAI 2024,
for the IoU times the IoU of the heights.
Deviation: the latter is squared.
"""

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from adln.errors import CameraError, require_package

# A box touches a side of the picture if it is closer than this part of its height.
_AT_SIDE = 0.06
_SIDES = ("left", "top", "right", "bottom")


def overlaps(
    expected_xyxy: NDArray[np.floating], found_xyxy: NDArray[np.floating]
) -> NDArray[np.float64]:
    """How well boxes agree with those expected, in place and height.

    Of two people who occlude each other, one is usually nearer: taller in the picture.

    Returns:
        (R, C): IoU, times the square of the IoU of the vertical extents.
    """
    weighted = np.zeros((len(expected_xyxy), len(found_xyxy)))
    found = list(enumerate(found_xyxy.tolist()))
    for row, (left, top, right, bottom) in enumerate(expected_xyxy.tolist()):
        for column, (other_left, other_top, other_right, other_bottom) in found:
            # Most pairs are apart; the rest of the arithmetic is for the others.
            if other_left >= right or left >= other_right:
                continue
            height = min(bottom, other_bottom) - max(top, other_top)
            shared = (min(right, other_right) - max(left, other_left)) * height
            if height <= 0 or shared <= 0:
                continue
            union = (right - left) * (bottom - top) - shared
            union += (other_right - other_left) * (other_bottom - other_top)
            vertical = height / (max(bottom, other_bottom) - min(top, other_top))
            weighted[row, column] = shared / union * vertical**2
    return weighted


def assign(scores: NDArray[np.floating], *, least: float) -> list[tuple[int, int]]:
    """Assign rows to columns one to one, maximising the sum of the scores.

    Args:
        scores: (R, C); -inf for impossible pairs.
        least: pairs with a smaller score are not assigned.

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
    # Impossible pairs cost more than leaving both unassigned.
    costs = np.where(possible, 1 - scores, 1e6)
    _, found, _ = lap.lapjv(costs, extend_cost=True, cost_limit=1 - least)
    return [(row, column) for row, column in enumerate(found.tolist()) if column >= 0]


def _without_choice(possible: NDArray[np.bool_]) -> list[tuple[int, int]] | None:
    """The pairs (row, column) if each row and column is in at most one, as usual; else None."""
    rows, columns = (places.tolist() for places in possible.nonzero())
    is_plain = len(set(rows)) == len(set(columns)) == len(rows)
    return list(zip(rows, columns, strict=True)) if is_plain else None


def has_rivals(overlaps: NDArray[np.floating], *, least: float, near: float) -> NDArray[np.bool_]:
    """Columns whose row is ambiguous by the overlaps.

    Args:
        overlaps: (R, C) of tracks and boxes.
        least: smaller overlaps do not count.
        near: a pair rivals another if it has at least this part of its overlap.

    Returns:
        (C,): whether the column, or a row that it may belong to, has a rival pair.
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
    """Position of the best score (-inf: impossible) if all others are lower by the margin."""
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
    """Sides of the picture that each box (N, 4) px touches, where people come and go."""
    sides = []
    for left, top, right, bottom in boxes_xyxy.tolist():
        margin = _AT_SIDE * max(bottom - top, 1.0)
        gaps = left, top, width_px - right, height_px - bottom
        sides.append(frozenset(compress(_SIDES, [gap <= margin for gap in gaps])))
    return sides
