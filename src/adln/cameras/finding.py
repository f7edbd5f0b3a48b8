"""Detects people in whole pictures: a photo, a screenshot, a frame of a camera."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.atomic import is_there
from adln.cameras.detector import Detector, YoloxDetector, detect_with, require_detector
from adln.cameras.fetching import DETECTOR_VARIABLE, default_detector
from adln.cameras.frames import Frame
from adln.errors import ModelFileError

LEAST_CONFIDENCE = 0.35
MOST_PEOPLE = 40
_LEAST_HEIGHT_PX = 24


@dataclass(frozen=True)
class FoundPerson:
    """A person in a picture.

    Attributes:
        box_xyxy: in px of the upright picture.
        confidence: that it is a person, 0 to 1.
    """

    box_xyxy: tuple[float, float, float, float]
    confidence: float


class PeopleFinder:
    """Detects people in pictures; thread-safe.

    Args:
        detector: a YOLOX file in ONNX, or a detector; if left out, the file fetched by
            `adln watch --fetch-detector`.

    Raises:
        ModelFileError: there is no such file, or it is not YOLOX.
        SettingsError: the object is no detector.
        CameraError: OpenCV is not installed.
    """

    def __init__(self, detector: Detector | str | Path | None = None) -> None:
        if detector is None:
            detector = default_detector()
            if not is_there(detector):
                raise ModelFileError(
                    f"{detector}: finding people needs a detector, but this file does not exist. "
                    "`adln watch --fetch-detector` fetches one; or name a YOLOX file in ONNX here "
                    f"or in the variable {DETECTOR_VARIABLE}."
                )
        if isinstance(detector, str | Path):
            detector = YoloxDetector(Path(detector), min_confidence=LEAST_CONFIDENCE)
        require_detector(detector)
        self._detector = detector
        self._turn = threading.Lock()

    def find(self, image: NDArray[np.uint8]) -> list[FoundPerson]:
        """The people in a picture, (H, W, 3) uint8 RGB: highest confidence first, at most 40."""
        with self._turn:
            (found,) = detect_with(self._detector, [Frame("", 0, 0.0, image)])
        people = [
            FoundPerson((left, top, right, bottom), confidence)
            for (left, top, right, bottom), confidence in zip(
                found.boxes_xyxy.tolist(), found.confidences.tolist(), strict=True
            )
            if bottom - top >= _LEAST_HEIGHT_PX
        ]
        return sorted(people, key=lambda one: -one.confidence)[:MOST_PEOPLE]
