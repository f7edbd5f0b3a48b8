"""The people in a recording, cut out by boxes that somebody else has found.

For features of a video's people without a detector or tracker of this project.
"""

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
        time_s: of the frame, in s since the recording began.
        track_id: of the box; None if the boxes have none.
        crop: (h, w, 3) uint8 RGB; None if the box lies outside the picture.
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
        CameraError: there is no box for this camera.
    """
    if source.camera_id not in boxes.camera_ids:
        raise CameraError(
            f"the boxes are of {', '.join(boxes.camera_ids) or 'no camera'}, none of "
            f"{source.camera_id!r}; name the camera as the boxes do (--camera)."
        )
    while (frame := source.next_frame()) is not None:
        (found,) = boxes.detect([frame])
        for number, box in enumerate(found.boxes_xyxy):
            track_id = None if found.track_ids is None else int(found.track_ids[number])
            place = (frame.index, number, frame.time_s, track_id)
            try:
                yield BoxedCrop(*place, cut(frame.image, box.tolist()))
            except ImageError as error:
                yield BoxedCrop(*place, None, str(error))
