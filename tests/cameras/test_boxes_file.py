import json
from pathlib import Path

import numpy as np
import pytest

from adln.cameras.boxes_file import BoxesFile
from adln.cameras.frames import Frame
from adln.errors import CameraError

GOOD = {"camera_id": "a", "frame": 3, "box_xyxy": [1, 2, 5, 12]}
PICTURE = np.zeros((20, 20, 3), np.uint8)


def test_both_formats_are_looked_up_by_camera_and_frame(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    second = {"camera_id": "a", "frame": 3, "box_xywh": [1, 2, 4, 10], "confidence": 0.5}
    path.write_text(json.dumps(GOOD) + "\n\n" + json.dumps(second))
    file = BoxesFile(path)
    found, none = file.detect([Frame("a", 3, 0.3, PICTURE), Frame("b", 3, 0.3, PICTURE)])
    np.testing.assert_array_equal(found.boxes_xyxy, [[1, 2, 5, 12]] * 2)
    assert found.confidences.tolist() == [1, 0.5]
    assert (len(none), file.has_tracks("a")) == (0, False)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"camera_id": 4}, "camera_id"),
        ({"frame": -1}, "frame"),
        ({"frame": True}, "frame"),
        ({"box_xyxy": [1, 2, 1, 12]}, "no area"),
        ({"box_xyxy": [1, 2, float("nan"), 12]}, "four numbers"),
        ({"box_xyxy": [0.1, 0.2, 0.3, 0.8]}, "expected boxes in px"),
        ({"box_xywh": [1, 2, 3, 4]}, "either box_xyxy or"),
        ({"confidence": 1.5}, "confidence"),
        ({"track_id": 1}, "all lines"),
        ({"who": 1}, "unknown key 'who'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + json.dumps({**GOOD, **change}))
    with pytest.raises(CameraError, match=f"line 2.*{says}"):
        BoxesFile(path)


@pytest.mark.parametrize("line", [json.dumps(GOOD)[:-5], "[" * 100_000])
def test_a_line_that_is_not_json_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text(line)
    with pytest.raises(CameraError, match="line 1: not JSON"):
        BoxesFile(path)


def test_a_file_that_begins_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "boxes.jsonl"
    line = '{"camera_id": "a", "frame": 0, "box_xyxy": [0, 0, 5, 9]}\n'
    path.write_text(line, encoding="utf-8-sig")
    assert BoxesFile(path).count("a") == 1
