"""Cuts the people out of a recording by given boxes, without a detector of this project."""

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
    """A person cut out of a frame.

    Attributes:
        frame: its number.
        number: of the box within its frame, from 0.
        time_s: of the frame, since the start of the recording; NaN if there is no such frame.
        track_id: None if the boxes have none.
        crop: (h, w, 3) uint8 RGB, or None.
        problem: why there is no crop; empty if there is one.
    """

    frame: int
    number: int
    time_s: float
    track_id: int | None
    crop: NDArray[np.uint8] | None
    problem: str = ""


def boxed_crops(source: Source, boxes: BoxesFile) -> Iterator[BoxedCrop]:
    """Cut all boxes of this camera out of a recording, which is read to its end.

    Raises:
        CameraError: there is no box for this camera, or all boxes are in frames beyond the end of
            the recording.
    """
    if source.camera_id not in boxes.camera_ids:
        raise CameraError(
            f"the boxes are for {', '.join(boxes.camera_ids) or 'no camera'}, none for "
            f"{source.camera_id!r}; give the camera the name used in the boxes (--camera)."
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
            f"the boxes are for {_named(wanted)}, but the recording has {length:,}"
            f"{f' (0 to {length - 1})' if length else ''}. Count frames from 0, and name the "
            "recording in which the boxes were found."
        )
    for number in beyond:
        problem = f"the recording has {length:,} frames (0 to {length - 1}), none with this number"
        yield BoxedCrop(number, 0, math.nan, None, None, problem)


def _named(frames: list[int]) -> str:
    first, last = frames[0], frames[-1]
    return f"frame {first}" if first == last else f"{len(frames):,} frames from {first} to {last}"
