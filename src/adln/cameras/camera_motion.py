"""How the camera itself moved from one frame to the next.

A camera on a mast sways, and one in a hand pans; people then leap to where no filter of constant
speed expects them. Pixels of strong edges tell cheaply whether the camera moved at all: the change
of their brightness over their gradient is the way that they went. As long as it stands still the
edges are where they were, so that they are looked for now and then only. If most of them went
somewhere, points are followed from frame to frame. If they cannot be found again and the edges lie
elsewhere, this is another scene: recordings are put together from pieces, and cameras turn to
another view.
"""

import math
from dataclasses import dataclass
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import CameraError, how_to_install

# Frames are looked at this wide; a sway of a pixel there is three in a film of 960.
_WIDTH_PX = 320
# Below this way of the edges, in px of the small picture, the camera stands still.
_STILL_PX = 0.15
_EDGE_PART = 0.9
# Edges are looked for again after so many frames, and after fewer if people hide half of them.
_EDGES_FRAMES = 50
_MOST_POINTS = 200
_LEAST_POINTS = 12
_LEAST_AGREE = 0.4
# Frames of one scene have their edges in common, whatever the light; noise has no edges.
_SAME_SCENE = 0.3  # correlation
_BLUR_PX = 2.0
_LEAST_EDGES = 2.0  # levels a px, the standard deviation of the blurred picture's gradients
# Without frames: how far people are at most from where they should be, and how far apart the ways
# of those who agree, both in their heights; smaller ways are the jitter of boxes.
_FURTHEST_WAY = 0.5
_SAME_WAY = 0.06
_LEAST_WAY = 0.02
_SAME_PERSON = 0.85  # the lower of two boxes of one person is at least so high, beside the other
_LEAST_VOTERS = 3
_VOTING_PART = 0.35
_MOST_VOTES = 1500


def common_way(
    expected_xyxy: NDArray[np.floating], found_xyxy: NDArray[np.floating]
) -> NDArray[np.float64] | None:
    """How the camera moved, told by people alone: most of them are off by the same way.

    Whatever may be the same person, expected and found, votes for the way between the two. Nobody
    votes twice for about the same way, however many others are near.

    Args:
        expected_xyxy: (R, 4) px, boxes where people should be if the camera stood still.
        found_xyxy: (C, 4) px.

    Returns:
        (2,) px to the right and down; None where too few agree, or it is next to nothing.
    """
    if min(len(expected_xyxy), len(found_xyxy)) < _LEAST_VOTERS:
        return None
    heights, others = (
        np.maximum(boxes[:, 3] - boxes[:, 1], 1.0) for boxes in (expected_xyxy, found_xyxy)
    )
    alike = np.minimum(heights[:, np.newaxis], others) / np.maximum(heights[:, np.newaxis], others)
    ways = _middles(found_xyxy) - _middles(expected_xyxy)[:, np.newaxis]  # (R, C, 2)
    are_near = np.abs(ways).max(axis=2) <= _FURTHEST_WAY * heights[:, np.newaxis]
    voters, candidates = np.nonzero(are_near & (alike >= _SAME_PERSON))
    num_voters = len(expected_xyxy)
    if len(voters) > _MOST_VOTES:
        # In a crowd some tell as much as all: votes are compared in pairs.
        every = math.ceil(len(voters) / _MOST_VOTES)
        chosen = voters % every == 0
        voters, candidates = voters[chosen], candidates[chosen]
        num_voters = math.ceil(num_voters / every)
        if len(voters) > 2 * _MOST_VOTES:
            return None
    votes = ways[voters, candidates]  # (V, 2)
    apart = np.abs(votes[:, np.newaxis] - votes).max(axis=2)
    agree = apart <= _SAME_WAY * heights[voters]
    # Voters come in rows, one after the other; each counts once for each way.
    firsts = [at for at, voter in enumerate(voters.tolist()) if at == 0 or voter != voters[at - 1]]
    least_voters = max(_LEAST_VOTERS, _VOTING_PART * num_voters)
    if len(firsts) < least_voters:
        return None
    counts = np.logical_or.reduceat(agree, firsts, axis=1).sum(axis=1).tolist()
    # Of ways that as many agree on, the shortest.
    best = max(range(len(votes)), key=lambda at: (counts[at], -math.hypot(*votes[at])))
    if counts[best] < least_voters:
        return None
    # By the standard library: NumPy's median takes longer than all the rest.
    way = [median(ways_of_one) for ways_of_one in votes[agree[best]].T.tolist()]
    is_way = max(map(abs, way)) >= _LEAST_WAY * median(heights.tolist())
    return np.array(way) if is_way else None


def _middles(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    boxes = boxes_xyxy.astype(np.float64)
    return (boxes[:, :2] + boxes[:, 2:]) / 2


class CameraMotion:
    """Compares each frame of one camera with the one before.

    Attributes:
        cut: whether the latest frame shows another scene than the one before.

    Raises:
        CameraError: OpenCV is not installed.
    """

    def __init__(self) -> None:
        self._cv2 = _load_cv2()
        self._last: NDArray[np.uint8] | None = None
        self._edges: _Edges | None = None
        self.cut = False

    def update(
        self, image: NDArray[np.uint8], people_xyxy: NDArray[np.floating]
    ) -> NDArray[np.float64] | None:
        """Take in one frame.

        Args:
            image: (H, W, 3) uint8.
            people_xyxy: (N, 4) px, boxes of the frame before; what moves in them is not the
                camera.

        Returns:
            (2, 3): where points of the frame before are in this one, `A @ (x, y) + b`; None if the
            camera stood still, if the scene is another one, see `cut`, or if it cannot be told.
        """
        self.cut = False
        cv2 = self._cv2
        scale = min(1.0, _WIDTH_PX / image.shape[1])
        size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        # A mean over all pixels (INTER_AREA) takes up to ten times as long and finds the same ways.
        small = cv2.cvtColor(
            cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2GRAY
        )
        before, self._last = self._last, small
        if before is None:
            return None
        if before.shape != small.shape:
            self.cut, self._edges = True, None
            return None
        ground = np.full(small.shape, 255, np.uint8)
        for left, top, right, bottom in (people_xyxy * scale).astype(int).tolist():
            ground[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = 0
        if self._stands_still(before, small, ground):
            return None
        self._edges = None
        affine = self._follow(before, small, ground)
        if affine is None:
            self.cut = self._is_another_scene(before, small)
            return None
        affine[:, 2] /= scale
        return affine

    def _follow(
        self, before: NDArray[np.uint8], now: NDArray[np.uint8], ground: NDArray[np.uint8]
    ) -> NDArray[np.float64] | None:
        cv2 = self._cv2
        points = cv2.goodFeaturesToTrack(before, _MOST_POINTS, 0.01, 7, mask=ground)
        if points is None or len(points) < _LEAST_POINTS:
            return None
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, now, points, None, maxLevel=3)
        found = found.ravel() == 1
        if found.sum() < _LEAST_POINTS:
            return None
        affine, agree = cv2.estimateAffinePartial2D(
            points[found], moved[found], method=cv2.RANSAC, ransacReprojThreshold=1.0
        )
        if affine is None or agree.mean() < _LEAST_AGREE:
            return None
        result: NDArray[np.float64] = affine.astype(np.float64)
        return result

    def _is_another_scene(self, before: NDArray[np.uint8], now: NDArray[np.uint8]) -> bool:
        cv2 = self._cv2
        edges = []
        for picture in (before, now):
            smooth = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), _BLUR_PX)
            steep = cv2.magnitude(*self._gradients(smooth))
            if steep.std() < _LEAST_EDGES:
                return False
            edges.append(steep.ravel())
        return bool(np.corrcoef(edges)[0, 1] < _SAME_SCENE)

    def _gradients(
        self, picture: NDArray[np.uint8] | NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Levels a px, across and down."""
        cv2 = self._cv2
        across = cv2.Sobel(picture, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
        return across, cv2.Sobel(picture, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)

    def _stands_still(
        self, before: NDArray[np.uint8], now: NDArray[np.uint8], ground: NDArray[np.uint8]
    ) -> bool:
        edges = self._edges
        if edges is None or edges.frames_left == 0:
            edges = self._edges = self._edges_of(before, ground)
        shown = ground.ravel()[edges.at] > 0
        if 2 * np.count_nonzero(shown) <= len(shown):
            edges = self._edges = self._edges_of(before, ground)
            shown = np.ones(len(edges.at), np.bool_)
        edges.frames_left -= 1
        change = np.abs(now.ravel()[edges.at].astype(np.float32) - before.ravel()[edges.at])
        # The median way, without sorting.
        num_still = np.count_nonzero((change < _STILL_PX * edges.steep) & shown)
        num_shown = int(np.count_nonzero(shown))
        return num_shown == 0 or 2 * int(num_still) > num_shown

    def _edges_of(self, picture: NDArray[np.uint8], ground: NDArray[np.uint8]) -> "_Edges":
        # A third of the pixels tells as much; 320 in a row put no two below one another.
        across, down = self._gradients(picture)
        steep = np.hypot(across.ravel()[::3], down.ravel()[::3])
        is_ground = ground.ravel()[::3] > 0
        if not is_ground.any():
            return _Edges(np.zeros(0, np.int64), np.zeros(0, np.float32))
        least = np.quantile(steep[is_ground], _EDGE_PART, method="higher")
        at = np.flatnonzero(is_ground & (steep >= max(float(least), 2.0)))
        return _Edges(3 * at, steep[at])


@dataclass(eq=False)
class _Edges:
    """Pixels of strong edges.

    Attributes:
        at: (K,) places in the flat picture.
        steep: (K,) levels a px.
        frames_left: for which they are used.
    """

    at: NDArray[np.int64]
    steep: NDArray[np.float32]
    frames_left: int = _EDGES_FRAMES


def _load_cv2() -> Any:
    try:
        return import_module("cv2")
    except ImportError as error:
        raise CameraError(
            f"compensating camera motion needs OpenCV, which cannot be loaded ({error}); "
            f"{how_to_install('camera')}; or set tracker.camera_motion to false."
        ) from error
