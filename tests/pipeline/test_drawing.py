from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adln.cameras.frames import Frame
from adln.pipeline.drawing import FrameArtist, person_colour
from adln.pipeline.watch_parts import NamedBox, SeenFrame

HEIGHT, WIDTH = 240, 420


def drawn(artist: FrameArtist, *people: NamedBox) -> NDArray[np.uint8]:
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    frame = SeenFrame(frame=Frame("door", 0, 1e9, image), people=people)
    return artist.draw((image.copy(), 1.0), frame)


def person(person_id: int, box: tuple[float, float, float, float]) -> NamedBox:
    return NamedBox(track_id=person_id, box_xyxy=box, person_id=person_id, verdict="matched")


def shaded(picture: NDArray[np.uint8]) -> tuple[float, float]:
    """Middle (x, y) of what the legend shades."""
    rows, columns = np.nonzero((picture < 60).all(axis=2))
    return float(columns.mean()), float(rows.mean())


def test_the_legend_is_in_the_upper_right_corner_unless_somebody_is_there() -> None:
    artist = FrameArtist("door", lambda _: None)
    x, y = shaded(drawn(artist))
    assert x > WIDTH / 2
    assert y < HEIGHT / 2
    there = person(1, (300.0, 10.0, 400.0, 230.0))
    x, _ = shaded(drawn(artist, there))
    assert x < WIDTH / 2
    # It does not jump back when they have left.
    x, _ = shaded(drawn(artist))
    assert x < WIDTH / 2


def test_who_is_in_doubt_has_a_dashed_box_and_a_question_mark_until_it_is_decided() -> None:
    artist = FrameArtist("door", lambda _: None)
    here = (60.0, 60.0, 120.0, 220.0)
    sure, doubtful = person(1, here), replace(person(1, here), verdict="candidate")

    def painted(picture: NDArray[np.uint8]) -> int:
        return int((picture[80:200, 60] == person_colour(1)).all(axis=1).sum())

    assert painted(drawn(artist, sure)) == 120
    assert 40 < painted(drawn(artist, doubtful)) < 80
    assert [one.text for one in artist.listed] == ["Person 1?"]
    drawn(artist, sure)
    assert [one.text for one in artist.listed] == ["Person 1"]
    # Somebody else who may be the same person stands beside them.
    drawn(artist, sure, replace(doubtful, track_id=2))
    assert [one.text for one in artist.listed] == ["Person 1", "Person 1?"]


def test_labels_of_people_close_together_lie_beside_each_other() -> None:
    artist = FrameArtist("door", lambda _: None)
    boxes = [(100.0, 80.0, 180.0, 230.0), (104.0, 80.0, 184.0, 230.0), (108.0, 82.0, 188.0, 229.0)]
    picture = drawn(artist, *(person(at, box) for at, box in enumerate(boxes, 1)))
    alone = [
        drawn(FrameArtist("door", lambda _: None), person(at, box))
        for at, box in enumerate(boxes, 1)
    ]
    for at, single in enumerate(alone, 1):
        colour = np.array(person_colour(at))

        def inked(image: NDArray[np.uint8], colour: NDArray[np.int64] = colour) -> int:
            # Without the legend, which is above.
            return int((image[60:] == colour).all(axis=2).sum())

        assert inked(picture) > 0.6 * inked(single)


def test_a_label_at_the_upper_border_is_whole() -> None:
    artist = FrameArtist("door", lambda _: None)
    picture = drawn(artist, person(1, (20.0, 0.0, 90.0, 200.0)))
    inked = (picture == np.array(person_colour(1))).all(axis=2)
    assert inked[1:12, 22:60].mean() > 0.4
