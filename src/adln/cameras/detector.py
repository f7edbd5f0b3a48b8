"""Detects people in frames: the `Detector` interface, and YOLOX in ONNX.

Source: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", and the ONNX files of its release.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adln.boxes import areas, clip_to_picture, iou
from adln.cameras.captures import load_opencv
from adln.cameras.detections import Detections
from adln.cameras.frames import Frame
from adln.embedders.session import start_session
from adln.errors import CameraError, ModelFileError, SettingsError

STRIDES = (8, 16, 32)
"""Strides in px of YOLOX's three grids."""

# Of two boxes that overlap more than this, the one of lower confidence is dropped.
_MAX_IOU = 0.6
_PADDING = 114
_PERSON = 0  # of the 80 classes of COCO
_NUMBERS_BEFORE_CLASSES = 5  # centre x, centre y, log width, log height, objectness
# In rows without a person, raw centres are about half a cell from their cell's corner.
_FARTHEST_CENTRE = 3.0
# A low threshold for trackers lets thousands of boxes pass; only this many are kept.
_MOST_CANDIDATES = 300


class Detector(Protocol):
    """Anything that detects people in frames."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find the people in each frame, in their order."""


def require_detector(detector: object) -> None:
    """Refuse what is no detector.

    Raises:
        SettingsError: it has no method `detect`.
    """
    if not callable(getattr(detector, "detect", None)):
        raise SettingsError(
            "expected a detector as a YOLOX file, or an object with detect(frames), got "
            f"{type(detector).__name__}."
        )


def detect_with(detector: Detector, frames: Sequence[Frame]) -> list[Detections]:
    """What a detector of any make finds in each frame.

    Raises:
        CameraError: it does not give one set of detections per frame.
    """
    found: object = detector.detect(frames)
    if not (
        isinstance(found, Sequence)
        and len(found) == len(frames)
        and all(isinstance(one, Detections) for one in found)
    ):
        raise CameraError(
            f"detect(frames) gives one adln.cameras.detections.Detections of each of "
            f"{len(frames)} frames in a list, got {type(found).__name__}."
        )
    return list(found)


class RememberingDetector:
    """Detects people once, and returns the same results when frames are seen again."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector
        self._known: dict[tuple[str, int], Detections] = {}

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find the people in each frame."""
        new = [frame for frame in frames if (frame.camera_id, frame.index) not in self._known]
        for frame, found in zip(new, self._detector.detect(new) if new else [], strict=True):
            self._known[frame.camera_id, frame.index] = found
        return [self._known[frame.camera_id, frame.index] for frame in frames]


class YoloxDetector:
    """YOLOX as its release exports it: BGR 0..255 in, the raw grid or decoded boxes out.

    Raw and decoded exports are told apart by the output for a grey picture: centres of raw rows are
    near 0, those of decoded rows are near their cells.

    Args:
        min_confidence: boxes of lower confidence are dropped. Low, because a tracker can use weak
            boxes of people it already tracks.
        threads: cores to use.

    Raises:
        ModelFileError: the file is missing, damaged, or not an export of YOLOX.
        SettingsError: `min_confidence` is out of range.
    """

    def __init__(self, path: str | Path, *, min_confidence: float = 0.1, threads: int = 1) -> None:
        if not 0 < min_confidence < 1:
            raise SettingsError(f"min_confidence must be between 0 and 1, got {min_confidence}.")
        self._session = start_session(Path(path), threads=threads, expected="a YOLOX file in ONNX")
        self._min_confidence = min_confidence
        self._input_name, self._batch, self._size_hw = _shape_of(self._session, path)
        self._grid = grid_cells(*self._size_hw)
        grey = np.full((self._batch or 1, 3, *self._size_hw), _PADDING, np.float32)
        (answer,) = self._session.run(None, {self._input_name: grey})
        self._is_decoded = is_decoded(answer[0], self._grid, path)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find the people in each frame."""
        found: list[Detections] = []
        step = self._batch or max(1, len(frames))
        for start in range(0, len(frames), step):
            part = frames[start : start + step]
            prepared = [letterbox(frame.image, *self._size_hw) for frame in part]
            batch = np.zeros((self._batch or len(part), 3, *self._size_hw), np.float32)
            batch[: len(part)] = [pixels for pixels, _ in prepared]
            (raw,) = self._session.run(None, {self._input_name: batch})
            for frame, (_, scale), rows in zip(part, prepared, raw, strict=False):
                height_px, width_px = frame.image.shape[:2]
                boxes, confidences = decode_yolox(
                    rows, self._grid, self._min_confidence, decoded=self._is_decoded
                )
                boxes = clip_to_picture(boxes / scale, height_px=height_px, width_px=width_px)
                some = areas(boxes) > 0
                boxes, confidences = boxes[some], confidences[some]
                kept = suppress(boxes, confidences, max_iou=_MAX_IOU)
                found.append(
                    Detections(boxes[kept].astype(np.float32), confidences[kept].astype(np.float32))
                )
        return found


def letterbox(
    image: NDArray[np.uint8], height_px: int, width_px: int
) -> tuple[NDArray[np.float32], float]:
    """Resize a picture, (H, W, 3) uint8 RGB, to YOLOX's input, top left on a grey ground.

    Returns:
        (3, height_px, width_px) float32 BGR 0..255; and the scale: input px = picture px * scale.
    """
    cv2 = load_opencv()
    height, width = image.shape[:2]
    scale = min(height_px / height, width_px / width)
    inner_hw = max(1, int(height * scale)), max(1, int(width * scale))
    small = cv2.resize(image, inner_hw[::-1], interpolation=cv2.INTER_LINEAR)
    canvas = np.full((3, height_px, width_px), _PADDING, dtype=np.float32)
    canvas[:, : inner_hw[0], : inner_hw[1]] = small[..., ::-1].transpose(2, 0, 1)
    return canvas, scale


def grid_cells(height_px: int, width_px: int) -> NDArray[np.float32]:
    """(R, 3) float32: column, row and stride in px of the cell of each row of YOLOX's output."""
    grids = []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height_px // stride, : width_px // stride]
        strides = np.full(rows.size, stride)
        grids.append(np.stack([columns.ravel(), rows.ravel(), strides], axis=1))
    return np.concatenate(grids).astype(np.float32)


def is_decoded(rows: NDArray[np.floating], grid: NDArray[np.float32], path: str | Path) -> bool:
    """Whether YOLOX's output contains boxes in px rather than raw grid values.

    Args:
        rows: (R, 5 + K), the output for a picture of one colour.
        grid: (R, 3), from `grid_cells`.
        path: for the message.

    Raises:
        ModelFileError: the values are neither.
    """
    cells, strides = grid[:, :2], grid[:, 2:]
    raw = float(np.median(np.abs(rows[:, :2] - 0.5)))
    decoded = float(np.median(np.abs(rows[:, :2] / strides - cells - 0.5)))
    least, most = float(rows[:, 4:].min()), float(rows[:, 4:].max())
    if not (min(raw, decoded) < _FARTHEST_CENTRE and least >= -0.01 and most <= 1.01):
        raise ModelFileError(
            f"{path}: has the output shape of a YOLOX export, but other values: expected centres "
            f"within {_FARTHEST_CENTRE:g} cells of their cells, or boxes in px, and confidences "
            f"0..1; found centres {min(raw, decoded):.3g} cells away and confidences "
            f"{least:.3g} to {most:.3g}. Export it with YOLOX's tools/export_onnx.py, whose input "
            "is BGR 0..255."
        )
    return decoded < raw


def decode_yolox(
    rows: NDArray[np.float32],
    grid: NDArray[np.float32],
    min_confidence: float,
    *,
    decoded: bool = False,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Decode the people from YOLOX's output.

    Args:
        rows: (R, 5 + K): centre x and y in cells from the cell's corner, logarithms of width and
            height in cells, objectness, K classes. Decoded: centre, width and height in px.
        grid: (R, 3), from `grid_cells`.
        min_confidence: lowest objectness times person probability.
        decoded: whether the rows are decoded.

    Returns:
        (N, 4) boxes xyxy in px of the input, and (N,) confidences.
    """
    confidences = rows[:, 4] * rows[:, _NUMBERS_BEFORE_CLASSES + _PERSON]
    strong = np.flatnonzero(confidences >= min_confidence)
    if len(strong) > _MOST_CANDIDATES:
        order = np.argsort(-confidences[strong], kind="stable")
        strong = strong[order[:_MOST_CANDIDATES]]
    rows, cells, strides = rows[strong], grid[strong, :2], grid[strong, 2:]
    centre, half = rows[:, :2], np.maximum(rows[:, 2:4], 0) / 2
    if not decoded:
        centre = (rows[:, :2] + cells) * strides
        # Clipped, so that a broken export does not give infinite boxes.
        half = np.exp(np.clip(rows[:, 2:4], -10, 10)) * strides / 2
    return np.concatenate([centre - half, centre + half], axis=1), confidences[strong]


def suppress(
    boxes_xyxy: NDArray[np.floating], confidences: NDArray[np.floating], *, max_iou: float
) -> NDArray[np.intp]:
    """Greedy non-maximum suppression of boxes (N, 4) that overlap more than `max_iou`.

    Returns:
        (M,) positions of the kept boxes, highest confidence first, ties in the given order.
    """
    order = np.argsort(-confidences, kind="stable")
    overlaps = iou(boxes_xyxy[order], boxes_xyxy[order]) > max_iou
    gone = np.zeros(len(order), dtype=bool)
    for at in range(len(order)):
        if not gone[at]:
            gone[at + 1 :] |= overlaps[at, at + 1 :]
    kept: NDArray[np.intp] = order[~gone]
    return kept


def _shape_of(session: Any, path: str | Path) -> tuple[str, int | None, tuple[int, int]]:
    """Name, batch size (None if free), height and width of the input of a YOLOX export."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shape = list(inputs[0].shape)
    sizes = [side for side in shape[2:] if isinstance(side, int) and side % STRIDES[-1] == 0]
    if (
        len(inputs) != 1
        or len(outputs) != 1
        or inputs[0].type != "tensor(float)"
        or len(shape) != 4
        or shape[1] != 3
        or len(sizes) != 2
    ):
        raise ModelFileError(
            f"{path}: not a YOLOX export: expected one float input (N, 3, H, W) with H and W "
            f"multiples of {STRIDES[-1]} and one output; found inputs "
            f"{[(node.name, node.type, node.shape) for node in inputs]} and outputs "
            f"{[node.name for node in outputs]}."
        )
    cells = sum((sizes[0] // stride) * (sizes[1] // stride) for stride in STRIDES)
    out = list(outputs[0].shape)
    if len(out) != 3 or (isinstance(out[1], int) and out[1] != cells):
        raise ModelFileError(
            f"{path}: not a YOLOX export: expected an output (N, {cells}, 5 + classes), "
            f"found {out}. Export it with YOLOX's tools/export_onnx.py."
        )
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    return inputs[0].name, batch, (sizes[0], sizes[1])
