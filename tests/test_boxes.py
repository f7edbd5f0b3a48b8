import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adln.boxes import areas, as_boxes, clip_to_picture, iou, xywh_to_xyxy, xyxy_to_xywh
from adln.errors import ImageError

SIDE = st.integers(-50, 50).map(float)
BOXES = st.lists(st.tuples(SIDE, SIDE, SIDE, SIDE), min_size=1, max_size=5).map(np.array)


@given(BOXES)
def test_formats_convert_there_and_back(boxes: np.ndarray) -> None:
    np.testing.assert_array_equal(xyxy_to_xywh(xywh_to_xyxy(boxes)), boxes)


@given(BOXES, BOXES)
def test_overlap_agrees_with_counting_pixels(a: np.ndarray, b: np.ndarray) -> None:
    def pixels(box: np.ndarray) -> set[tuple[int, int]]:
        left, top, right, bottom = box.astype(int).tolist()
        return {(x, y) for x in range(left, right) for y in range(top, bottom)}

    a, b = a / 5 // 1, b / 5 // 1
    for row, one in zip(iou(a, b), a, strict=True):
        for value, other in zip(row, b, strict=True):
            union = pixels(one) | pixels(other)
            expected = len(pixels(one) & pixels(other)) / len(union) if union else 0.0
            assert value == expected


def test_boxes_are_cut_at_the_border() -> None:
    boxes = np.array([[-5.0, -5, 200, 50], [300, 0, 310, 10]])
    cut = clip_to_picture(boxes, height_px=40, width_px=100)
    np.testing.assert_array_equal(cut[0], [0, 0, 100, 40])
    np.testing.assert_array_equal(areas(cut), [4000, 0])


def test_iou_of_known_boxes() -> None:
    a = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float64)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0]], np.float64)
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 3, 0, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    "shares", [[[0.1, 0.2, 0.3, 0.9]], [[0, 0, 1, 1], [0.5, 0, 1, 1]], [[0, 0, 0.5, 0.5]]]
)
def test_shares_of_the_picture_are_not_taken_for_pixels(shares: list[list[float]]) -> None:
    with pytest.raises(ImageError, match="expected boxes in px"):
        as_boxes(shares, raises=ImageError)


@pytest.mark.parametrize(
    "pixels", [[[0, 0, 1, 1]], [[0, 0, 0, 0]], [[0.5, 0.5, 2, 9]], [[0.1, 0, 0.9, 1], [5, 5, 9, 9]]]
)
def test_small_boxes_are_boxes(pixels: list[list[float]]) -> None:
    assert as_boxes(pixels, raises=ImageError).tolist() == pixels
