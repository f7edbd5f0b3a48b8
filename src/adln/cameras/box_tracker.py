"""Tracks the boxes of any detector: arrays in, track numbers out, without the rest of adln."""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adln.arguments import checked
from adln.boxes import as_array, as_boxes
from adln.cameras.appearance import Appearance
from adln.cameras.detections import Detections
from adln.cameras.frames import Source
from adln.cameras.mot_files import MotBoxes
from adln.cameras.tracker import ByteTracker, TrackerSettings
from adln.crops import require_picture
from adln.errors import CameraError, ImageError

# Longest time without people that is tracked; no track survives it.
_LONGEST_EMPTY_S = 300.0
_LATEST_S = 1e11
NO_TRACK = -1
"""Number of a box without a track."""


@runtime_checkable
class FoundPeople(Protocol):
    """The attributes used of an object like `supervision.Detections`.

    Attributes:
        xyxy: (N, 4) px.
        confidence: (N,), or None for confidences of 1.
        tracker_id: (N,), or None; set in the copy that is returned.
    """

    xyxy: Any
    confidence: Any
    tracker_id: Any


D = TypeVar("D", bound=FoundPeople)


@checked(CameraError)
class BoxTracker:
    """Tracks the people of one camera; use one tracker per camera.

    Args:
        frames_per_s: of the camera; each update is the next frame, unless it gives its time.
        appearance: embeds boxes for which motion is ambiguous, cut from the frames given; see
            `adln.cameras.appearance.crop_appearance`. Default: motion alone, unless embeddings
            are given.
        settings: thresholds.

    Raises:
        CameraError: `frames_per_s` is not above 0.

    Examples:
        >>> tracker = adln.Tracker(frames_per_s=10)
        >>> for step in range(5):  # two people who walk towards each other
        ...     boxes = [[100 + 5 * step, 50, 150, 200], [400 - 5 * step, 60, 450, 210]]
        ...     numbers = tracker.update(boxes, scores=[0.9, 0.8])
        >>> numbers
        array([1, 2])
    """

    def __init__(
        self,
        *,
        frames_per_s: float = 30.0,
        appearance: Appearance | None = None,
        settings: TrackerSettings | None = None,
    ) -> None:
        rate = as_array(frames_per_s, what="frames_per_s", raises=CameraError)
        if rate.ndim or rate.dtype.kind not in "iuf" or not 0 < rate < math.inf:
            raise CameraError(f"frames_per_s must be a number above 0, got {frames_per_s!r}.")
        self._tracker = ByteTracker(settings, appearance=appearance)
        self._frames_per_s = float(rate)
        self._next_s = 0.0
        self._length: int | None = None  # of embeddings

    @property
    def frames_per_s(self) -> float:
        """Of the camera."""
        return self._frames_per_s

    @property
    def next_s(self) -> float:
        """Time of the next frame, unless the update specifies it."""
        return self._next_s

    @property
    def embeddings_made(self) -> int:
        """Number of boxes embedded by the appearance so far."""
        return self._tracker.embeddings_made

    def update(
        self,
        xyxy: ArrayLike,
        scores: ArrayLike | None = None,
        frame: NDArray[np.uint8] | None = None,
        embeddings: NDArray[np.floating] | None = None,
        *,
        time_s: float | None = None,
    ) -> NDArray[np.int64]:
        """Process one frame.

        Args:
            xyxy: (N, 4) left, top, right, bottom in px, as an array or tensor.
            scores: (N,) confidences in 0..1; default: 1 for all.
            frame: (H, W, 3) uint8, with the colours in the order that the appearance expects: RGB
                for the networks of this project, where OpenCV gives BGR.
            embeddings: (N, D), if you have them already.
            time_s: of the frame, later than the frame before; below 1e11.

        Returns:
            (N,) the track number of each box, from 1; -1 for boxes without a track, or not seen
            often enough yet to be certain of a person.

        Raises:
            CameraError: the arrays do not belong together, a box is not finite or ends before it
                begins, or the time does not increase. The tracker is then unchanged.
        """
        # Everything is validated before the tracker changes, so that a later frame can continue.
        boxes = as_boxes(xyxy, raises=CameraError)
        is_inverted = boxes[:, 2:] < boxes[:, :2]
        if is_inverted.any():
            first = is_inverted.any(axis=1).argmax()
            raise CameraError(
                f"box {first} ends before it begins: {boxes[first].tolist()}. Expected "
                "left, top, right, bottom; of left, top, width, height the corner at the right is "
                "box[:2] + box[2:]."
            )
        sure = np.ones(len(boxes), np.float32)
        if scores is not None:
            sure = as_array(scores, np.float32, what="scores", raises=CameraError)
            sure = sure.reshape(-1) if sure.ndim == 0 or len(boxes) == 0 else sure
        # Some detectors give scores above 1.
        sure = np.minimum(np.maximum(sure, 0), 1)
        with np.errstate(over="ignore"):
            found = Detections(boxes.astype(np.float32), sure)
        if frame is not None:
            frame = _picture(frame)
        if embeddings is not None:
            embeddings = self._embeddings(embeddings, len(boxes))
        time = self._next_s if time_s is None else time_s
        now_s = as_array(time, np.float64, what="time_s", raises=CameraError)
        # No camera's clock says a later second; milliseconds since 1970 are above it.
        if now_s.ndim or not abs(now_s) < _LATEST_S:
            raise CameraError(
                f"time_s is a number of seconds below {_LATEST_S:.0e}, got {time_s!r}; a time in "
                "milliseconds or nanoseconds has to be divided."
            )
        update = self._tracker.update(found, float(now_s), frame, embeddings)
        if embeddings is not None and len(embeddings):
            self._length = embeddings.shape[1]
        self._next_s = float(now_s) + 1 / self._frames_per_s
        numbers = np.full(len(found), NO_TRACK, np.int64)
        for person in update.people:
            numbers[person.detection] = person.track_id
        return numbers

    def _embeddings(self, embeddings: ArrayLike, count: int) -> NDArray[np.float32]:
        given = as_array(embeddings, np.float32, what="embeddings", raises=CameraError)
        if count == 0 and given.size == 0:  # a list without any has no D
            return np.zeros((0, self._length or 1), np.float32)
        if given.ndim == 2 and len(given) and self._length not in (None, given.shape[1]):
            raise CameraError(
                f"expected embeddings (N, {self._length}) as before, got {given.shape}; "
                "embeddings of different networks cannot be compared."
            )
        return given

    def update_detections(
        self,
        detections: D,
        frame: NDArray[np.uint8] | None = None,
        embeddings: NDArray[np.floating] | None = None,
        *,
        time_s: float | None = None,
    ) -> D:
        """Process one frame given as `supervision.Detections`, or anything with these attributes.

        The other arguments and the errors are those of `update`.

        Returns:
            A copy of all of them, in the same order, with `tracker_id` set. Keep the tracked ones
            with `found[found.tracker_id >= 0]`.
        """
        followed, sure = copy.copy(detections), detections.confidence
        followed.tracker_id = self.update(detections.xyxy, sure, frame, embeddings, time_s=time_s)
        return followed


def _picture(frame: Any) -> NDArray[np.uint8]:
    pixels = as_array(frame, what="frame", raises=CameraError)
    try:
        require_picture(pixels, name="frame")
    except ImageError as error:
        raise CameraError(str(error)) from error
    return pixels


def numbered_frames(source: Source) -> Callable[[int], NDArray[np.uint8] | None]:
    """Access to the frames of a folder or a video by number, from 1, in ascending order."""
    waiting = source.next_frame()

    def frame(number: int) -> NDArray[np.uint8] | None:
        nonlocal waiting
        while waiting is not None and waiting.index + 1 < number:
            waiting = source.next_frame()
        return waiting.image if waiting is not None and waiting.index + 1 == number else None

    return frame


def _worth_following(found: MotBoxes, last: int, frames_per_s: float) -> Iterator[int]:
    """Frame numbers from 1 to the last, of long times without people only the beginning.

    Otherwise, numbers that are times, such as milliseconds, would take billions of steps.
    """
    most_empty = math.ceil(_LONGEST_EMPTY_S * frames_per_s)
    before = 0
    for number in [*np.unique(found.frames[found.frames <= last]).tolist(), last + 1]:
        yield from range(before + 1, min(number, before + 1 + most_empty))
        if number <= last:
            yield number
        before = number


def follow_mot(
    found: MotBoxes,
    tracker: BoxTracker,
    *,
    frame: Callable[[int], NDArray[np.uint8] | None] | None = None,
    num_frames: int | None = None,
) -> MotBoxes:
    """Track the people in a sequence of the MOTChallenge; returns only the tracked boxes.

    Args:
        found: as `read_mot` reads `det.txt`.
        tracker: new, with the frame rate of the sequence.
        frame: number of a frame, from 1, ascending -> (H, W, 3) uint8, or None if there is none.
        num_frames: of the sequence; default: up to the last frame with a box.

    Raises:
        CameraError: the number of a frame is a time since 1970.
    """
    last = num_frames if num_frames is not None else int(found.frames.max(initial=0))
    if last / tracker.frames_per_s >= _LATEST_S:
        raise CameraError(f"Frame {last} is no number of a frame but a time; frames count from 1.")
    ids = np.full(len(found), NO_TRACK, np.int64)
    before = 0
    for number in _worth_following(found, last, tracker.frames_per_s):
        at = found.of_frame(number)
        picture = None if frame is None else frame(number)
        time_s = tracker.next_s + (number - before - 1) / tracker.frames_per_s
        boxes = found.boxes_xyxy[at]
        ids[at] = tracker.update(boxes, found.confidences[at], picture, time_s=time_s)
        before = number
    kept = ids != NO_TRACK
    return MotBoxes(found.frames[kept], ids[kept], found.boxes_xyxy[kept], found.confidences[kept])
