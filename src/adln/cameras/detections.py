"""People found in a frame, as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.boxes import require_pixels
from adln.errors import CameraError


@dataclass(frozen=True, eq=False)
class Detections:
    """The N people detected in one frame.

    Attributes:
        boxes_xyxy: (N, 4) float32, in px of the frame; may extend beyond its border.
        confidences: (N,) float32 in 0..1.
        track_ids: (N,) int64 if the boxes come with tracks, otherwise None.

    Raises:
        CameraError: the shapes are inconsistent, a box is not finite, or boxes are not in px.
    """

    boxes_xyxy: NDArray[np.float32]
    confidences: NDArray[np.float32]
    track_ids: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        count = len(self.confidences)
        ids = "none" if self.track_ids is None else str(self.track_ids.shape)
        if (
            self.boxes_xyxy.shape != (count, 4)
            or self.confidences.shape != (count,)
            or ids not in ("none", f"({count},)")
        ):
            raise CameraError(
                "expected boxes (N, 4), confidences (N,) and track ids (N,) or none, got "
                f"{self.boxes_xyxy.shape}, {self.confidences.shape} and {ids}."
            )
        if not (np.isfinite(self.boxes_xyxy).all() and np.isfinite(self.confidences).all()):
            raise CameraError("boxes and confidences must be finite numbers.")
        require_pixels(self.boxes_xyxy, raises=CameraError)

    def __len__(self) -> int:
        return len(self.confidences)


def nobody() -> Detections:
    """The detections of an empty frame."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
