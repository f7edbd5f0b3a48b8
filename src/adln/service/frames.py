"""Finds people in whole pictures: a photo, a screenshot, a frame of a camera."""

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from adln.cameras.fetching import default_detector
from adln.cameras.frames import Frame
from adln.errors import AdlnError, ImageError

LEAST_CONFIDENCE = 0.35
MOST_PEOPLE = 40
_LEAST_HEIGHT_PX = 24


@dataclass(frozen=True)
class FoundPerson:
    """Somebody in a picture.

    Attributes:
        box_xyxy: where, in px of the upright picture.
        confidence: that it is a person, 0 to 1.
    """

    box_xyxy: tuple[float, float, float, float]
    confidence: float


FindPeople = Callable[[bytes], list[FoundPerson]]
"""Content of a picture file -> who is in it, the clearest first; raises `ImageError`."""


def open_finder() -> FindPeople | None:
    """What finds people in pictures; None where no detector was fetched, or OpenCV is missing."""
    from adln.cameras.captures import load_opencv
    from adln.cameras.detector import YoloxDetector

    path = default_detector()
    if not path.is_file():
        return None
    try:
        load_opencv()
        detector = YoloxDetector(path, min_confidence=LEAST_CONFIDENCE)
    except AdlnError:
        # The cameras say what is wrong with it; people can still be marked by hand.
        return None
    turn = threading.Lock()

    def find(picture: bytes) -> list[FoundPerson]:
        try:
            with Image.open(io.BytesIO(picture)) as opened:
                upright = ImageOps.exif_transpose(opened.convert("RGB"))
            pixels = np.asarray(upright, dtype=np.uint8)
        except Exception as error:
            raise ImageError("The picture is damaged and cannot be read.") from error
        with turn:
            (found,) = detector.detect([Frame("", 0, 0.0, pixels)])
        people = [
            FoundPerson((left, top, right, bottom), confidence)
            for (left, top, right, bottom), confidence in zip(
                found.boxes_xyxy.tolist(), found.confidences.tolist(), strict=True
            )
            if bottom - top >= _LEAST_HEIGHT_PX
        ]
        return sorted(people, key=lambda one: -one.confidence)[:MOST_PEOPLE]

    return find
