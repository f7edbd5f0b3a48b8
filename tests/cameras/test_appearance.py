import numpy as np
import pytest
from numpy.typing import NDArray

from adln.cameras.appearance import (
    AppearanceSettings,
    FrameLooks,
    Likeness,
    Look,
    crop_appearance,
)
from adln.cameras.detections import Detections

PICTURE = np.zeros((400, 600, 3), np.uint8)


def found(*boxes: list[float], confidence: float = 0.9) -> Detections:
    return Detections(np.array(boxes, np.float32), np.full(len(boxes), confidence, np.float32))


def test_boxes_are_embedded_when_asked_for_and_only_once() -> None:
    asked: list[list[float]] = []

    def appearance(_: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.extend(boxes.tolist())
        return np.full((len(boxes), 4), 2.0, np.float32)

    looks = FrameLooks(
        found([100, 100, 150, 230], [300, 100, 350, 230]),
        AppearanceSettings(),
        image=PICTURE,
        appearance=appearance,
        embeddings=None,
    )
    assert looks.made == 0
    assert looks.of([1])[1] == pytest.approx(np.full(4, 0.5))
    looks.of([1])
    assert asked == [[300, 100, 350, 230]]
    assert looks.made == 1


@pytest.mark.parametrize(
    ("box", "confidence"),
    [
        ([0, 100, 50, 230], 0.9),  # cut off at the side
        ([100, 100, 150, 230], 0.4),  # not sure that there is anybody
        ([100, 100, 110, 125], 0.9),  # too small
        ([100, 100, 250, 230], 0.9),  # as broad as high
        ([700, 100, 750, 230], 0.9),  # outside of the picture
    ],
)
def test_boxes_that_are_not_clean_are_not_embedded(box: list[float], confidence: float) -> None:
    looks = FrameLooks(
        found(box, confidence=confidence),
        AppearanceSettings(),
        image=PICTURE,
        appearance=lambda _, boxes: np.ones((len(boxes), 4)),
        embeddings=None,
    )
    assert looks.of([0]) == {}
    assert looks.made == 0


def test_without_a_picture_boxes_still_end_at_its_upper_border() -> None:
    looks = FrameLooks(
        found([100, -90, 130, 20], [300, 100, 350, 230]),  # of the first, 20 px are seen
        AppearanceSettings(),
        image=None,
        appearance=None,
        embeddings=np.eye(2, 4),
    )
    assert list(looks.of([0, 1])) == [1]


def test_boxes_that_nobody_covers_are_not_judged_until_somebody_asks_for_them() -> None:
    looks = FrameLooks(
        found([0, 100, 50, 230], [300, 100, 350, 230]),
        AppearanceSettings(),
        image=PICTURE,
        appearance=lambda _, boxes: np.ones((len(boxes), 4)),
        embeddings=None,
    )
    assert looks.mixed == [False, False]
    assert "clean" not in vars(looks)
    assert list(looks.of([0, 1])) == [1]  # the first one is cut off at the side
    assert looks.clean == [False, True]


def test_only_boxes_that_are_covered_may_be_mixed() -> None:
    looks = FrameLooks(
        found([100, 100, 150, 230], [112, 100, 162, 235], [300, 100, 350, 230]),
        AppearanceSettings(),
        image=PICTURE,
        appearance=lambda _, boxes: np.ones((len(boxes), 4)),
        embeddings=None,
    )
    assert looks.mixed == [True, False, False]


def test_an_embedding_of_zeros_or_no_numbers_says_nothing() -> None:
    boxes = found([100, 100, 150, 230], [300, 100, 350, 230], [500, 100, 550, 230])
    embeddings = np.array([[0, 0], [np.nan, 1], [3, 4]], np.float32)
    looks = FrameLooks(
        boxes, AppearanceSettings(), image=None, appearance=None, embeddings=embeddings
    )
    assert list(looks.of([0, 1, 2])) == [2]


def test_strangers_who_look_alike_raise_the_threshold() -> None:
    likeness = Likeness(AppearanceSettings(same=0.6, above_strangers=0.3))
    assert likeness.same == 0.6
    likeness.saw_together([0.2, float("nan")])
    assert likeness.same == 0.6
    for _ in range(200):
        likeness.saw_together([0.8])
    assert likeness.same == pytest.approx(0.86, abs=0.01)
    assert 0.8 < likeness.pivot < likeness.same


def test_one_odd_embedding_hardly_changes_a_look() -> None:
    red, green = np.eye(2, dtype=np.float32)
    look = Look(red, 0.0)
    for step in range(1, 10):
        look.renew(red, step)
    look.renew(green, 10.0)
    assert look.cosine(red) > 0.9
    assert look.renewed_s == 10.0


def test_crops_are_cut_and_brought_to_the_networks_size() -> None:
    picture = PICTURE.copy()
    picture[100:230, 100:150] = 200
    shapes = []

    def embed(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        shapes.append(crops.shape)
        return crops.mean(axis=(1, 2)).astype(np.float32)

    appearance = crop_appearance(embed, (64, 32))
    boxes = np.array([[100, 100, 150, 230], [-20, 300, 30, 430]], np.float32)
    colours = appearance(picture, boxes)
    assert shapes == [(2, 64, 32, 3)]
    assert colours == pytest.approx(np.array([[200] * 3, [0] * 3]))
