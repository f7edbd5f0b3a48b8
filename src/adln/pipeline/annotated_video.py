"""Videos with boxes and identities drawn in, one for each camera, for a person to look at."""

import colorsys
from pathlib import Path
from typing import Any

import numpy as np

from adln.cameras.captures import load_opencv
from adln.errors import CameraError
from adln.pipeline.watch import SeenFrame

# Frames of video a second; where a camera gives fewer or more, the video runs faster or slower.
_FPS = 10.0
# Turns of the colour wheel from one person to the next: neighbours never look alike.
_GOLDEN = 0.618034


class VideoWriters:
    """Writes ``<camera>.mp4`` for each camera.

    Args:
        folder: made if it is missing. The videos show people, whatever other settings say.
        fps: of the videos.
    """

    def __init__(self, folder: Path, *, fps: float = _FPS) -> None:
        self._cv2 = load_opencv()
        self._folder = folder
        self._fps = fps
        self._open: dict[str, tuple[Any, tuple[int, int]]] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, seen: SeenFrame) -> None:
        """Write a frame.

        Raises:
            CameraError: the video cannot be written.
        """
        cv2 = self._cv2
        image = np.ascontiguousarray(seen.frame.image[..., ::-1])
        size = image.shape[1], image.shape[0]
        name = seen.frame.camera_id
        if name not in self._open:
            path = self._folder / f"{name}.mp4"
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), self._fps, size)
            if not writer.isOpened():
                raise CameraError(f"{path}: this video cannot be written.")
            self._open[name] = writer, size
        writer, first_size = self._open[name]
        for person in seen.people:
            colour = person_colour(person.person_id)[::-1]
            left, top, right, bottom = (round(side) for side in person.box_xyxy)
            cv2.rectangle(image, (left, top), (right, bottom), colour, 2)
            label = f"track {person.track_id}"
            if person.person_id is not None:
                doubt = "?" if person.verdict == "candidate" else ""
                label = f"person {person.person_id}{doubt}"
            place = (left, max(12, top - 5))
            cv2.putText(image, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3)
            cv2.putText(image, label, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1)
        if size != first_size:
            image = cv2.resize(image, first_size)
        writer.write(image)

    def close(self) -> None:
        """Finish the videos."""
        for writer, _ in self._open.values():
            writer.release()
        self._open.clear()


def person_colour(person_id: int | None) -> tuple[int, int, int]:
    """A colour for a person, RGB 0..255; grey for nobody."""
    if person_id is None:
        return 150, 150, 150
    red, green, blue = colorsys.hsv_to_rgb(person_id * _GOLDEN % 1.0, 0.65, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)
