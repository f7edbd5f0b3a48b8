"""Motion of the camera from frame to frame.

A few pixels at strong edges show cheaply whether the camera moved at all: the change of their
brightness divided by their gradient is their displacement. If most of them moved, the motion is
estimated by sparse optical flow. If the points cannot be found again and the edges differ, this is
another scene.
"""

import math
from importlib import import_module
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import CameraError, how_to_install

# Width to which frames are reduced; 1 px there is 3 px in a video that is 960 px wide.
_WIDTH_PX = 320
# With smaller displacements, in px of the reduced frame, the camera stands still.
_STILL_PX = 0.15
# Least part of the edges that do not move, if the camera stands still; people move the others.
_STILL_PART = 0.65
_EDGE_PART = 0.9
# Edges are detected again after so many frames, or when people hide half of them.
_EDGES_FRAMES = 50
_MOST_EDGES = 128
_MOST_POINTS = 60
_APART_PX = 14
_WINDOW_PX = 13
_LEAST_POINTS = 12
_LEAST_AGREE = 0.4
# Frames of one scene share their edges, whatever the light; noise has no edges.
_SAME_SCENE = 0.3  # correlation
_BLUR_PX = 2.0
_LEAST_EDGES = 2.0  # levels a px, the standard deviation of the blurred picture's gradients
# Without frames, in body heights: largest displacement of people, and largest difference between
# displacements that agree; smaller displacements are jitter of the boxes.
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
    """Motion of the camera estimated from boxes alone: the displacement that most people share.

    Args:
        expected_xyxy: (R, 4) px, boxes predicted for a camera that stands still.
        found_xyxy: (C, 4) px.

    Returns:
        (2,) px to the right and down; None if too few agree or it is negligible.
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
    # Each pair that may be one person votes; a person has one vote for about the same way.
    num_voters = len(expected_xyxy)
    if len(voters) > _MOST_VOTES:
        # Votes are compared in pairs; in a crowd, a part of the people is enough.
        every = math.ceil(len(voters) / _MOST_VOTES)
        chosen = voters % every == 0
        voters, candidates = voters[chosen], candidates[chosen]
        num_voters = math.ceil(num_voters / every)
        if len(voters) > 2 * _MOST_VOTES:
            return None
    votes = ways[voters, candidates]  # (V, 2)
    apart = np.abs(votes[:, np.newaxis] - votes).max(axis=2)
    agree = apart <= _SAME_WAY * heights[voters]
    # Votes are sorted by voter; each voter counts once for each displacement.
    firsts = [at for at, voter in enumerate(voters.tolist()) if at == 0 or voter != voters[at - 1]]
    least_voters = max(_LEAST_VOTERS, _VOTING_PART * num_voters)
    if len(firsts) < least_voters:
        return None
    counts = np.logical_or.reduceat(agree, firsts, axis=1).sum(axis=1).tolist()
    # Of displacements with as many votes, the shortest.
    best = max(range(len(votes)), key=lambda at: (counts[at], -math.hypot(*votes[at])))
    if counts[best] < least_voters:
        return None
    # statistics.median, because NumPy's takes longer than everything else here.
    way = [median(ways_of_one) for ways_of_one in votes[agree[best]].T.tolist()]
    is_way = max(map(abs, way)) >= _LEAST_WAY * median(heights.tolist())
    return np.array(way) if is_way else None


def _middles(boxes_xyxy: NDArray[np.floating]) -> NDArray[np.float64]:
    boxes = boxes_xyxy.astype(np.float64)
    return (boxes[:, :2] + boxes[:, 2:]) / 2


class CameraMotion:
    """Compares each frame of one camera with the one before.

    Attributes:
        cut: whether the latest frame shows another scene than the previous one.

    Raises:
        CameraError: OpenCV is not installed.
    """

    def __init__(self) -> None:
        self._cv2 = _load_cv2()
        self._reference: NDArray[np.uint8] | None = None
        self._edges: _Edges | None = None
        self._shape: tuple[int, ...] = ()
        self._moves = False
        self.cut = False

    def update(
        self, image: NDArray[np.uint8], people_xyxy: NDArray[np.floating]
    ) -> NDArray[np.float64] | None:
        """Process one frame.

        Args:
            image: (H, W, 3) uint8.
            people_xyxy: (N, 4) px, boxes of the previous frame, which are left out.

        Returns:
            (2, 3), maps points of the previous frame to this one, `A @ (x, y) + b`; None if the
            camera stood still, if the scene changed, see `cut`, or if the motion is unknown.
        """
        self.cut = False
        before, has_changed = self._reference, image.shape != self._shape
        if before is None or has_changed:
            self.cut = before is not None
            self._refer_to(image)
            return None
        scale = before.shape[1] / image.shape[1]
        boxes = (people_xyxy * scale).astype(int)
        # A camera that moved probably still moves, which flow shows.
        if not self._moves:
            if self._edges is None:
                self._edges = self._edges_of(before, _ground(before, boxes), image.shape)
            if self._edges.stand_still(image, boxes):
                if self._edges.frames_left <= 0:
                    self._refer_to(image)
                return None
        now = self._refer_to(image)
        grey, grey_now = (
            self._cv2.cvtColor(one, self._cv2.COLOR_RGB2GRAY) for one in (before, now)
        )
        affine = self._follow(grey, grey_now, _ground(now, boxes))
        self._moves = affine is not None and _moves(affine, now)
        if affine is None:
            self.cut = self._is_another_scene(grey, grey_now)
            return None
        affine[:, 2] /= scale
        return affine

    def _refer_to(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Make a reduced frame (h, w, 3) the reference for the next ones."""
        cv2 = self._cv2
        scale = min(1.0, _WIDTH_PX / image.shape[1])
        size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        # INTER_AREA takes up to ten times as long and gives the same motion.
        small: NDArray[np.uint8] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        self._reference, self._edges, self._shape = small, None, image.shape
        return small

    def _follow(
        self, before: NDArray[np.uint8], now: NDArray[np.uint8], ground: NDArray[np.uint8]
    ) -> NDArray[np.float64] | None:
        cv2 = self._cv2
        points = cv2.goodFeaturesToTrack(before, _MOST_POINTS, 0.01, _APART_PX, mask=ground)
        if points is None or len(points) < _LEAST_POINTS:
            return None
        moved, found, _ = cv2.calcOpticalFlowPyrLK(
            before, now, points, None, maxLevel=3, winSize=(_WINDOW_PX, _WINDOW_PX)
        )
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

    def _edges_of(
        self, small: NDArray[np.uint8], ground: NDArray[np.uint8], shape: tuple[int, ...]
    ) -> "_Edges":
        # Green carries most of the brightness.
        picture = np.ascontiguousarray(small[..., 1])
        # A third of the pixels is enough; as rows have 320, no two are below one another.
        across, down = self._gradients(picture)
        steep = np.hypot(across.ravel()[::3], down.ravel()[::3])
        is_ground = ground.ravel()[::3] > 0
        if not is_ground.any():
            return _Edges(picture, np.zeros(0, np.int64), np.zeros(0, np.float32), shape)
        least = np.quantile(steep[is_ground], _EDGE_PART, method="higher")
        at = np.flatnonzero(is_ground & (steep >= max(float(least), 2.0)))
        at = at[:: math.ceil(len(at) / _MOST_EDGES) or 1]
        return _Edges(picture, 3 * at, steep[at], shape)


class _Edges:
    """Pixels at strong edges of a reduced frame; of later frames, only these are read."""

    def __init__(
        self,
        picture: NDArray[np.uint8],
        at: NDArray[np.int64],
        steep: NDArray[np.float32],
        shape: tuple[int, ...],
    ) -> None:
        self.frames_left = _EDGES_FRAMES
        y, x = np.divmod(at, picture.shape[1])
        self._places = np.stack([x, y])
        self._values = picture.ravel()[at].astype(np.float32)
        self._most = _STILL_PX * steep
        # The pixels that a bilinear resize reads, two rows by two columns, and their weights.
        rows, row_shares = _neighbours(y, shape[0] / picture.shape[0], shape[0])
        columns, column_shares = _neighbours(x, shape[1] / picture.shape[1], shape[1])
        self._rows, self._columns = rows[[0, 0, 1, 1]], columns[[0, 1, 0, 1]]
        self._shares = row_shares[[0, 0, 1, 1]] * column_shares[[0, 1, 0, 1]]

    def stand_still(self, image: NDArray[np.uint8], boxes_xyxy: NDArray[np.int64]) -> bool:
        """Whether most of them outside the people's boxes (in the reduced frame) have not moved."""
        self.frames_left -= 1
        inside = self._places >= boxes_xyxy[:, :2, np.newaxis]
        inside &= self._places <= boxes_xyxy[:, 2:, np.newaxis]
        is_ground = np.logical_not(inside.all(axis=1).any(axis=0))
        num_ground = int(np.count_nonzero(is_ground))
        if 2 * num_ground <= len(is_ground):
            self.frames_left = 0
        found = np.einsum("pk,pk->k", image[self._rows, self._columns, 1], self._shares)
        num_still = int(np.count_nonzero((np.abs(found - self._values) < self._most) & is_ground))
        return num_ground == 0 or num_still > _STILL_PART * num_ground


def _neighbours(
    places: NDArray[np.int64], scale: float, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Indices (2, K) in the larger picture around those in the small one, and their weights."""
    middle = np.clip((places + 0.5) * scale - 0.5, 0, size - 1)
    first = np.minimum(middle.astype(np.int64), max(size - 2, 0))
    share = middle - first
    both = np.stack([first, np.minimum(first + 1, size - 1)])
    return both, np.stack([1 - share, share]).astype(np.float32)


def _moves(affine: NDArray[np.float64], picture: NDArray[np.uint8]) -> bool:
    """Whether a corner of the picture moves."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]])
    return bool(np.abs(corners @ affine.T - corners[:, :2]).max() >= _STILL_PX)


def _ground(picture: NDArray[np.uint8], boxes_xyxy: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Mask (h, w): 0 inside the boxes, 255 elsewhere."""
    ground = np.full(picture.shape[:2], 255, np.uint8)
    for left, top, right, bottom in boxes_xyxy.tolist():
        ground[max(top, 0) : max(bottom + 1, 0), max(left, 0) : max(right + 1, 0)] = 0
    return ground


def _load_cv2() -> Any:
    try:
        return import_module("cv2")
    except ImportError as error:
        raise CameraError(
            f"compensating camera motion needs OpenCV, which cannot be loaded ({error}); "
            f"{how_to_install('camera')}; or set tracker.camera_motion to false."
        ) from error
