"""Boxes in the text format of the MOTChallenge: reads `det.txt`, writes `result.txt`.

Each line is one box: ``frame,id,left,top,width,height,confidence,x,y,z``. Frames and ids count from
1, and so do pixels: the top left corner of the picture is 1,1, which is 0,0 everywhere else in this
project. Boxes without a track have the id -1; x, y and z are -1 in 2D files. Ground truth has class
and visibility in place of x and y.

Source: Milan et al., "MOT16: A Benchmark for Multi-Object Tracking", 2016, Sec. 4.1.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.atomic import atomic_write
from adln.boxes import require_pixels, xywh_to_xyxy, xyxy_to_xywh
from adln.errors import CameraError

_ORIGIN = np.array([1.0, 1.0, 0.0, 0.0])
_LEAST_FIELDS = 6
_MOST_FIELDS = 10
_MOST = 2.0**53  # a larger number may not be the one that was written
_NO_CONFIDENCE = -1.0


@dataclass(frozen=True, eq=False)
class MotBoxes:
    """N boxes of one sequence.

    Attributes:
        frames: (N,) int64, from 1.
        ids: (N,) int64, -1 for boxes without a track.
        boxes_xyxy: (N, 4) float64 in px, from 0.
        confidences: (N,) float64; 1 where the file has none, or -1 on every line.

    Raises:
        CameraError: the shapes are inconsistent.
    """

    frames: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    confidences: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.frames)
        shapes = (self.frames.shape, self.ids.shape, self.boxes_xyxy.shape, self.confidences.shape)
        if shapes != ((count,), (count,), (count, 4), (count,)):
            raise CameraError(
                "expected frames (N,), ids (N,), boxes (N, 4) and confidences (N,), got "
                f"{', '.join(map(str, shapes))}."
            )

    def __len__(self) -> int:
        return len(self.frames)

    def of_frame(self, frame: int) -> NDArray[np.intp]:
        """Positions of a frame's boxes, in the order of the file."""
        return np.flatnonzero(self.frames == frame)


def read_mot(path: str | Path) -> MotBoxes:
    """Read `det.txt`, `gt.txt` or a result; an empty file has no boxes.

    Raises:
        CameraError: the file cannot be read, or a line is malformed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CameraError(f"{path}: the boxes cannot be read ({error}).") from error
    rows = [
        _numbers(line, f"{path}, line {number}")
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip()
    ]
    table = np.array(rows, np.float64).reshape(-1, 7)
    if (table[:, 6] == _NO_CONFIDENCE).all():
        # The challenge's results have no confidences.
        table[:, 6] = 1.0
    boxes_xywh = table[:, 2:6] - _ORIGIN
    return MotBoxes(
        frames=table[:, 0].astype(np.int64),
        ids=table[:, 1].astype(np.int64),
        boxes_xyxy=xywh_to_xyxy(boxes_xywh).astype(np.float64),
        confidences=table[:, 6],
    )


def write_mot(path: str | Path, boxes: MotBoxes) -> None:
    """Write a result ordered by frames and ids, completely or not at all.

    Raises:
        CameraError: the file cannot be written.
    """
    boxes_xywh = xyxy_to_xywh(boxes.boxes_xyxy) + _ORIGIN
    lines = []
    for at in np.lexsort((boxes.ids, boxes.frames)).tolist():
        frame, sides = boxes.frames[at], ",".join(f"{side:.2f}" for side in boxes_xywh[at].tolist())
        lines.append(f"{frame},{boxes.ids[at]},{sides},{boxes.confidences[at]:.4f},-1,-1,-1\n")
    with atomic_write(Path(path), raises=CameraError) as file:
        file.write("".join(lines).encode("ascii"))


def _numbers(line: str, where: str) -> list[float]:
    fields = [field.strip() for field in line.split(",")]
    try:
        values = [float(field) for field in fields]
    except ValueError as error:
        raise CameraError(
            f"{where}: expected frame,id,left,top,width,height,confidence,-1,-1,-1, got "
            f"{line.strip()[:60]!r}."
        ) from error
    if not _LEAST_FIELDS <= len(values) <= _MOST_FIELDS:
        raise CameraError(
            f"{where}: expected {_LEAST_FIELDS} to {_MOST_FIELDS} numbers, got {len(values)}."
        )
    if not all(map(math.isfinite, values[:7])) or max(map(abs, values[2:7])) >= _MOST:
        raise CameraError(
            f"{where}: all numbers must be finite and below 2^53, got {line.strip()[:60]!r}."
        )
    frame, track_id, _, _, width, height = values[:6]
    if not 1 <= frame < _MOST or frame != int(frame):
        raise CameraError(f"{where}: frames are whole numbers from 1, got {frame:g}.")
    if not abs(track_id) < _MOST or track_id != int(track_id):
        raise CameraError(f"{where}: ids are whole numbers, got {track_id:g}.")
    if width <= 0 or height <= 0:
        raise CameraError(f"{where}: this box has no area: {width:g} x {height:g} px.")
    require_pixels(np.array(values[2:6]), raises=CameraError, what=f"{where}: ")
    return [*values[:6], values[6] if len(values) > _LEAST_FIELDS else 1.0]
