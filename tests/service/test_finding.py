"""People are found in pictures, so that somebody can say whom they mean."""

import io
from collections.abc import Sequence

import numpy as np
import pytest
from fake_service import FindsColours, Served, person_picture
from PIL import Image

from adln.cameras.detections import Detections
from adln.cameras.frames import Frame
from adln.errors import ImageError, SettingsError
from adln.service.finding import NoDetectorError, PeopleFinder


def frame(*people: int, width: int = 800, orientation: int = 0) -> bytes:
    """People side by side on grey, 100 px apart."""
    scene = Image.new("RGB", (width, 160), "grey")
    for at, number in enumerate(people):
        person = Image.open(io.BytesIO(person_picture(number, size=40))).resize((80, 160))
        scene.paste(person, (100 + 200 * at, 0))
    stream = io.BytesIO()
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
        scene = scene.transpose(Image.Transpose.ROTATE_90)
    scene.save(stream, "PNG", exif=exif)
    return stream.getvalue()


def finder(detector: object = None) -> PeopleFinder:
    return PeopleFinder(lambda: detector or FindsColours(), max_pixels=10**6)  # type: ignore[arg-type,return-value]


def test_everybody_is_found_from_left_to_right() -> None:
    found = finder().find(frame(1, 2, 3))
    assert (found.width_px, found.height_px) == (800, 160)
    assert [box[0] for box in found.boxes_xyxy] == [100, 300, 500]
    assert [box[2] for box in found.boxes_xyxy] == [180, 380, 580]
    assert not found.is_crop


def test_a_picture_on_its_side_is_looked_at_upright() -> None:
    # Lying pixels, and a note that they are to be turned by a quarter.
    found = finder().find(frame(1, 2, orientation=6))
    assert (found.width_px, found.height_px) == (800, 160)
    assert [box[0] for box in found.boxes_xyxy] == [100, 300]


def test_a_picture_without_a_person_has_nobody_in_it() -> None:
    assert finder().find(frame()).boxes_xyxy == ()


class SeesAnything:
    """A detector that is sure of one, not of another, and sees a speck."""

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        boxes = [(-20, -5, 60, 400), (100, 0, 180, 160), (300, 0, 304, 160), (500, 0, 580, 160)]
        confidences = np.array([0.9, 0.2, 0.9, 0.5], np.float32)
        return [Detections(np.array(boxes, np.float32), confidences) for _ in frames]


def test_specks_and_guesses_are_left_out_and_boxes_end_with_the_picture() -> None:
    found = finder(SeesAnything()).find(frame())
    assert found.boxes_xyxy == ((0.0, 0.0, 60.0, 160.0), (500.0, 0.0, 580.0, 160.0))


@pytest.mark.parametrize("picture", [b"", b"GIF89a", frame()[:200]])
def test_what_is_no_picture_is_refused_before_a_detector_is_opened(picture: bytes) -> None:
    def fail() -> FindsColours:
        raise AssertionError

    with pytest.raises(ImageError):
        PeopleFinder(fail, max_pixels=10**6).find(picture)


def test_a_picture_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match="pixels"):
        PeopleFinder(FindsColours, max_pixels=1000).find(frame())


def test_a_detector_that_comes_later_is_found_without_a_restart() -> None:
    is_there = False

    def open_it() -> FindsColours:
        if not is_there:
            raise SettingsError("/root/yolox.onnx: there is no such detector.")
        return FindsColours()

    late = PeopleFinder(open_it, max_pixels=10**6)
    with pytest.raises(NoDetectorError, match="--fetch-detector") as raised:
        late.find(frame(1))
    assert "/root" not in str(raised.value)
    is_there = True
    assert len(late.find(frame(1)).boxes_xyxy) == 1


def test_the_route_says_where_people_are_and_stores_nothing(served: Served) -> None:
    before = served.gallery.count()
    headers = {"content-type": "image/png"}
    answer = served.client.post("/api/v1/find/picture", content=frame(1, 2), headers=headers)
    assert answer.json() == {
        "width_px": 800,
        "height_px": 160,
        "people": [
            {"box_xyxy": [100.0, 0.0, 180.0, 160.0]},
            {"box_xyxy": [300.0, 0.0, 380.0, 160.0]},
        ],
        "is_crop": False,
    }
    assert served.gallery.count() == before


def test_the_route_says_in_plain_words_that_there_is_no_detector(served: Served) -> None:
    served.has_detector = False
    answer = served.client.post(
        "/api/v1/find/picture", content=frame(1), headers={"content-type": "image/png"}
    )
    assert answer.status_code == 409
    assert "by hand" in answer.json()["message"]
