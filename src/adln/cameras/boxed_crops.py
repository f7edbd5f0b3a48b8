"""The people in a recording, cut out by boxes that somebody else has found.

For features of a video's people without a detector or tracker of this project.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.cameras.boxes_file import BoxesFile
from adln.cameras.frames import Source
from adln.crops import cut
from adln.errors import CameraError, ImageError


@dataclass(frozen=True, eq=False)
class BoxedCrop:
    """A person as cut out of a frame.

    Attributes:
        frame: number of the frame.
        number: of the box within its frame, from 0.
        time_s: of the frame, in s since the recording began; NaN where there is no such frame.
        track_id: of the box; None if the boxes have none.
        crop: (h, w, 3) uint8 RGB; None if the box lies outside the picture, or the frame behind the
            recording's end.
        problem: why there is no crop; empty if there is one.
    """

    frame: int
    number: int
    time_s: float
    track_id: int | None
    crop: NDArray[np.uint8] | None
    problem: str = ""


def boxed_crops(source: Source, boxes: BoxesFile) -> Iterator[BoxedCrop]:
    """Cut all boxes out of a recording, frame by frame.

    Args:
        source: a recording, not a live camera; read to its end.
        boxes: with boxes of the source's camera.

    Raises:
        CameraError: there is no box for this camera, or all are of frames that the recording
            does not have.
    """
    if source.camera_id not in boxes.camera_ids:
        raise CameraError(
            f"the boxes are of {', '.join(boxes.camera_ids) or 'no camera'}, none of "
            f"{source.camera_id!r}; name the camera as the boxes do (--camera)."
        )
    wanted = boxes.frames(source.camera_id)
    length = 0
    while (frame := source.next_frame()) is not None:
        length = frame.index + 1
        (found,) = boxes.detect([frame])
        for number, box in enumerate(found.boxes_xyxy):
            track_id = None if found.track_ids is None else int(found.track_ids[number])
            place = (frame.index, number, frame.time_s, track_id)
            try:
                yield BoxedCrop(*place, cut(frame.image, box.tolist()))
            except ImageError as error:
                yield BoxedCrop(*place, None, str(error))
    beyond = [number for number in wanted if number >= length]
    if len(beyond) == len(wanted):
        raise CameraError(
            f"the boxes are of {_named(wanted)}, but the recording has {length:,}"
            f"{f' (0 to {length - 1})' if length else ''}. Count frames from 0, and name the "
            "recording that the boxes were found in."
        )
    for number in beyond:
        problem = f"the recording has {length:,} frames (0 to {length - 1}), none of this number"
        yield BoxedCrop(number, 0, math.nan, None, None, problem)


def _named(frames: list[int]) -> str:
    first, last = frames[0], frames[-1]
    return f"frame {first}" if first == last else f"{len(frames):,} frames from {first} to {last}"
