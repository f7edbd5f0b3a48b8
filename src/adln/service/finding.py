"""Finds the people in a picture, so that somebody can say whom they mean."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from adln.boxes import clip_to_picture
from adln.cameras.detector import Detector
from adln.cameras.frames import Frame
from adln.crops import decode_image
from adln.errors import AdlnError, CameraError, ModelFileError, SettingsError
from adln.matching.framing import why_not_a_crop
from adln.service.network import check_picture

# Weaker boxes are of use to a tracker, which has seen the person before; nobody has here.
_LEAST_CONFIDENCE = 0.35
_LEAST_HEIGHT_PX, _LEAST_WIDTH_PX = 32, 12
_MOST_PEOPLE = 30


class NoDetectorError(AdlnError):
    """There is nothing here that finds people in pictures."""


@dataclass(frozen=True, kw_only=True)
class FoundPeople:
    """Who is in a picture.

    Attributes:
        width_px: of the upright picture.
        height_px: of the same.
        boxes_xyxy: where, from left to right, in px.
        is_crop: whether the picture as a whole may be one person, cut out.
    """

    width_px: int
    height_px: int
    boxes_xyxy: tuple[tuple[float, float, float, float], ...]
    is_crop: bool


class PeopleFinder:
    """Finds people with a detector that is opened when it is first needed.

    Several threads may use it; one picture is looked at at a time.

    Args:
        open_detector: opens it; raises what `adln.pipeline.detecting.open_detector` does.
        max_pixels: of a picture, before it is decoded.
    """

    def __init__(self, open_detector: Callable[[], Detector], *, max_pixels: int) -> None:
        self._open = open_detector
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self._detector: Detector | None = None

    def find(self, picture: bytes) -> FoundPeople:
        """Find people.

        Args:
            picture: content of a JPEG, PNG or WebP file.

        Raises:
            ImageError: it is no picture that can be used.
            NoDetectorError: there is no detector; in words for whoever looks at the page.
        """
        width, height = check_picture(picture, max_pixels=self._max_pixels)
        image = decode_image(picture, name="picture")
        with self._lock:
            (found,) = self._opened().detect([Frame("picture", 0, 0.0, image)])
        sure = found.only(found.confidences >= _LEAST_CONFIDENCE).boxes_xyxy
        inside = clip_to_picture(sure, height_px=height, width_px=width)
        boxes = [(float(x1), float(y1), float(x2), float(y2)) for x1, y1, x2, y2 in inside]
        large = [box for box in boxes if _is_large_enough(box)]
        return FoundPeople(
            width_px=width,
            height_px=height,
            boxes_xyxy=tuple(sorted(large[:_MOST_PEOPLE])),
            is_crop=why_not_a_crop(width, height) is None,
        )

    def _opened(self) -> Detector:
        if self._detector is None:
            try:
                self._detector = self._open()
            except (CameraError, ModelFileError, SettingsError) as error:
                raise NoDetectorError(
                    "Nothing here finds people in pictures yet: `adln watch --fetch-detector` "
                    "fetches a detector, once. Until then, mark the person by hand."
                ) from error
        return self._detector


def _is_large_enough(box_xyxy: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = box_xyxy
    return bottom - top >= _LEAST_HEIGHT_PX and right - left >= _LEAST_WIDTH_PX
