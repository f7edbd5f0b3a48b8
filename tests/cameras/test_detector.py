from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from adln.cameras.detections import Detections, nobody
from adln.cameras.detector import (
    RememberingDetector,
    YoloxDetector,
    decode_yolox,
    grid_cells,
    letterbox,
    suppress,
)
from adln.cameras.frames import Frame
from adln.errors import ModelFileError


def write_yolox(path: Path, raw: np.ndarray) -> Path:
    """An ONNX file with YOLOX's input of 64 x 64 px that always answers the same."""
    kinds, helper = onnx.TensorProto, onnx.helper
    zero = [
        helper.make_node("ReduceSum", ["images"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "nought"], ["zero"]),
        helper.make_node("Add", ["answer", "zero"], ["output"]),
    ]
    graph = helper.make_graph(
        zero,
        "yolox",
        [helper.make_tensor_value_info("images", kinds.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output", kinds.FLOAT, list(raw.shape))],
        [
            helper.make_tensor("nought", kinds.FLOAT, [], [0.0]),
            onnx.numpy_helper.from_array(raw, "answer"),
        ],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    return path


def test_the_letterbox_keeps_proportions_and_pads_with_grey_in_bgr() -> None:
    image = np.zeros((50, 100, 3), np.uint8)
    image[..., 0] = 200  # red
    pixels, scale = letterbox(image, 64, 64)
    assert scale == 0.64
    assert pixels[2, :32].min() == 200
    assert pixels[0, :32].max() == 0
    assert (pixels[:, 32:] == 114).all()


def test_boxes_are_decoded_from_their_cells() -> None:
    grid = grid_cells(64, 64)
    assert len(grid) == 64 + 16 + 4
    rows = np.zeros((84, 85), np.float32)
    rows[64 + 6, :6] = [0.5, 0.5, np.log(2), np.log(3), 0.9, 0.8]  # column 2, row 1, stride 16
    rows[3, 4:7] = [0.9, 0.0, 0.9]  # a bicycle
    boxes, confidences = decode_yolox(rows, grid, 0.1)
    np.testing.assert_allclose(boxes, [[40 - 16, 24 - 24, 40 + 16, 24 + 24]], atol=1e-5)
    np.testing.assert_allclose(confidences, [0.72], atol=1e-6)


def test_the_stronger_of_overlapping_boxes_stays() -> None:
    boxes = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [30, 0, 40, 20]], np.float32)
    kept = suppress(boxes, np.array([0.5, 0.9, 0.6]), max_iou=0.6)
    assert kept.tolist() == [1, 2]


def test_the_detector_answers_in_pixels_of_each_frame(tmp_path: Path) -> None:
    raw = np.zeros((1, 84, 85), np.float32)
    raw[0, 64 + 6, :6] = [0.5, 0.5, np.log(2), np.log(3), 0.9, 0.8]
    detector = YoloxDetector(write_yolox(tmp_path / "d.onnx", raw))
    frames = [Frame("a", 0, 0.0, np.zeros((s, s, 3), np.uint8)) for s in (64, 128)]
    small, large = detector.detect(frames)
    np.testing.assert_allclose(small.boxes_xyxy, [[24, 0, 56, 48]], atol=1e-4)
    np.testing.assert_allclose(large.boxes_xyxy, 2 * small.boxes_xyxy, atol=1e-4)
    assert detector.detect([]) == []


def test_a_decoded_export_finds_the_same_boxes_as_a_raw_one(tmp_path: Path) -> None:
    grid = grid_cells(64, 64)
    raw = np.random.default_rng(0).uniform(0, 0.05, (1, 84, 85)).astype(np.float32)
    raw[0, 64 + 6, :6] = [0.5, 0.5, np.log(2), np.log(3), 0.9, 0.8]
    decoded = raw.copy()
    decoded[0, :, :2] = (raw[0, :, :2] + grid[:, :2]) * grid[:, 2:]
    decoded[0, :, 2:4] = np.exp(raw[0, :, 2:4]) * grid[:, 2:]
    frame = Frame("a", 0, 0.0, np.zeros((64, 64, 3), np.uint8))
    found = [
        YoloxDetector(write_yolox(tmp_path / f"{at}.onnx", answer)).detect([frame])[0]
        for at, answer in enumerate((raw, decoded))
    ]
    np.testing.assert_allclose(found[1].boxes_xyxy, found[0].boxes_xyxy, atol=1e-4)
    np.testing.assert_allclose(found[0].boxes_xyxy, [[24, 0, 56, 48]], atol=1e-4)


@pytest.mark.parametrize(
    ("columns", "value"), [(slice(0, 2), 1e4), (slice(4, None), -7.0), (slice(0, 5), np.nan)]
)
def test_an_output_with_other_values_is_refused(
    tmp_path: Path, columns: slice, value: float
) -> None:
    raw = np.zeros((1, 84, 85), np.float32)
    raw[..., columns] = value
    with pytest.raises(ModelFileError, match="other values"):
        YoloxDetector(write_yolox(tmp_path / "d.onnx", raw))


def test_people_are_found_once_in_a_frame_that_is_looked_at_twice() -> None:
    class Counting:
        seen = 0

        def detect(self, frames: Sequence[Frame]) -> list[Detections]:
            self.seen += len(frames)
            return [nobody() for _ in frames]

    frames = [Frame("a", at, at / 10, np.zeros((8, 8, 3), np.uint8)) for at in range(3)]
    counting = Counting()
    remembering = RememberingDetector(counting)
    for _ in range(2):
        assert len(remembering.detect(frames)) == 3
    assert counting.seen == 3


def test_a_foreign_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="not a YOLOX export: expected an output"):
        YoloxDetector(write_yolox(tmp_path / "d.onnx", np.zeros((1, 5, 85), np.float32)))


def test_the_real_detector_finds_nobody_on_grey(detector_path: Path) -> None:
    frame = Frame("a", 0, 0.0, np.full((240, 320, 3), 114, np.uint8))
    assert (YoloxDetector(detector_path).detect([frame])[0].confidences < 0.3).all()
