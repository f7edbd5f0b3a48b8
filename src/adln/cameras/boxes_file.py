"""Boxes from a JSONL file, in place of a detector, or of detector and tracker.

Each line is one person in one frame:

    {"camera_id": "door", "frame": 17, "box_xyxy": [310, 42, 388, 250],
     "confidence": 0.91, "track_id": 4}

`camera_id` (text), `frame` (number of the frame, from 0) and the box are required; the box is
`box_xyxy` (left, top, right, bottom) or `box_xywh` (left, top, width, height), in pixels of the
frame. `confidence` (0..1) is 1 if left out. `track_id` (whole number from 0, unique within its
camera) must be on all lines of a camera or on none. Lines may come in any order; empty ones are
skipped. Anything else is an error that names the line.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adln.boxes import require_pixels, xywh_to_xyxy
from adln.cameras.detections import Detections, nobody
from adln.cameras.frames import Frame
from adln.cameras.names import tidy_name
from adln.errors import CameraError
from adln.strict import parse_json

_KEYS = {"camera_id", "frame", "box_xyxy", "box_xywh", "confidence", "track_id"}
_LARGEST_ID = 2**63 - 1


# Box, confidence, track id.
_Row = tuple[list[float], float, int | None]


class BoxesFile:
    """A `Detector` that looks boxes up by camera and frame number.

    Raises:
        CameraError: the file cannot be read or a line is malformed.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._has_tracks: dict[str, bool] = {}
        rows: dict[tuple[str, int], list[_Row]] = {}
        try:
            with self._path.open(encoding="utf-8-sig") as file:
                for number, line in enumerate(file, 1):
                    if line.strip():
                        self._take(line, number, rows)
        except (OSError, UnicodeDecodeError) as error:
            raise CameraError(f"{path}: the file of boxes cannot be read ({error}).") from error
        self._found = {key: _detections(group) for key, group in rows.items()}

    @property
    def camera_ids(self) -> tuple[str, ...]:
        """Cameras that have boxes, in the order of the file."""
        return tuple(self._has_tracks)

    def has_tracks(self, camera_id: str) -> bool:
        """Whether the boxes of a camera come with track ids."""
        return self._has_tracks.get(camera_id, False)

    def count(self, camera_id: str) -> int:
        """Number of boxes of a camera."""
        return sum(len(found) for (name, _), found in self._found.items() if name == camera_id)

    def frames(self, camera_id: str) -> list[int]:
        """Numbers of the frames with boxes of a camera, ascending."""
        return sorted(frame for name, frame in self._found if name == camera_id)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """The boxes of each frame; no people if the file has none."""
        return [self._found.get((frame.camera_id, frame.index), nobody()) for frame in frames]

    def _take(self, line: str, number: int, rows: dict[tuple[str, int], list[_Row]]) -> None:
        where = f"{self._path}, line {number}"
        try:
            values = parse_json(line)
        except ValueError as error:
            raise CameraError(f"{where}: not JSON ({error}).") from error
        if not isinstance(values, dict):
            raise CameraError(f"{where}: expected an object {{...}}, got {line.strip()[:60]}.")
        unknown = sorted(set(values) - _KEYS)
        if unknown:
            raise CameraError(
                f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(_KEYS))}."
            )
        camera_id = values.get("camera_id")
        if not isinstance(camera_id, str) or not camera_id:
            raise CameraError(f"{where}: camera_id must be a text, got {camera_id!r}.")
        camera_id = tidy_name(camera_id)
        frame = _whole_number(values, "frame", where)
        confidence = values.get("confidence", 1.0)
        if not _is_number(confidence) or not 0 <= confidence <= 1:
            raise CameraError(f"{where}: confidence must be a number 0..1, got {confidence!r}.")
        group = rows.setdefault((camera_id, frame), [])
        tracked, track_id = "track_id" in values, None
        if self._has_tracks.setdefault(camera_id, tracked) != tracked:
            raise CameraError(
                f"{where}: track_id must be on all lines of camera {camera_id!r} or on none."
            )
        if tracked:
            track_id = _whole_number(values, "track_id", where)
            if any(track_id == other for _, _, other in group):
                raise CameraError(
                    f"{where}: track {track_id} of camera {camera_id!r} already has a box in frame "
                    f"{frame}; a person is in one place at a time."
                )
        group.append((_box_of(values, where), float(confidence), track_id))


def _detections(rows: Sequence[_Row]) -> Detections:
    boxes, confidences, track_ids = zip(*rows, strict=True)
    return Detections(
        np.array(boxes, np.float32),
        np.array(confidences, np.float32),
        None if track_ids[0] is None else np.array(track_ids, np.int64),
    )


def _box_of(values: Mapping[str, Any], where: str) -> list[float]:
    names = [name for name in ("box_xyxy", "box_xywh") if name in values]
    if len(names) != 1:
        raise CameraError(f"{where}: expected either box_xyxy or box_xywh.")
    box = values[names[0]]
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        raise CameraError(f"{where}: {names[0]} must be four numbers, got {box!r}.")
    sides = np.array(box, dtype=np.float64)
    require_pixels(sides, raises=CameraError, what=f"{where}: ")
    xyxy = xywh_to_xyxy(sides) if names[0] == "box_xywh" else sides
    left, top, right, bottom = (float(side) for side in xyxy)
    if right <= left or bottom <= top:
        raise CameraError(f"{where}: this box has no area: {names[0]} {box!r}.")
    return [left, top, right, bottom]


def _is_number(value: object) -> bool:
    # Python's True is an int, and json accepts NaN and Infinity; none is a number here.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and abs(value) < 1e9


def _whole_number(values: Mapping[str, Any], key: str, where: str) -> int:
    value = values.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_ID:
        raise CameraError(f"{where}: {key} must be a whole number from 0, got {value!r}.")
    return value
