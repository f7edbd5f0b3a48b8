from pathlib import Path

import numpy as np
import pytest

from adln.cameras.box_tracker import BoxTracker, follow_mot
from adln.cameras.mot_files import MotBoxes, read_mot, write_mot
from adln.errors import CameraError


def test_a_detection_file_is_read_with_pixels_from_zero(tmp_path: Path) -> None:
    path = tmp_path / "det.txt"
    path.write_text("1,-1,1,1,40,100,0.9,-1,-1,-1\n\n3,-1,11.5,21,40,100,0.25,-1,-1,-1\n")
    boxes = read_mot(path)
    assert boxes.frames.tolist() == [1, 3]
    assert boxes.ids.tolist() == [-1, -1]
    assert boxes.boxes_xyxy.tolist() == [[0, 0, 40, 100], [10.5, 20, 50.5, 120]]
    assert boxes.confidences.tolist() == [0.9, 0.25]


def test_a_result_is_written_as_the_challenge_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    boxes = MotBoxes(
        np.array([2, 1]),
        np.array([7, 8]),
        np.array([[0, 0, 40, 100], [10, 20, 50, 120]], np.float64),
        np.array([0.5, 1.0]),
    )
    write_mot(path, boxes)
    assert path.read_text() == (
        "1,8,11.00,21.00,40.00,100.00,1.0000,-1,-1,-1\n2,7,1.00,1.00,40.00,100.00,0.5000,-1,-1,-1\n"
    )


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    boxes = MotBoxes(
        np.array([1, 1, 5]),
        np.array([1, 2, 1]),
        np.array([[0, 0, 10, 20], [5.25, 6.5, 30, 90], [1, 2, 3, 4]], np.float64),
        np.array([0.25, 0.5, 1.0]),
    )
    write_mot(tmp_path / "result.txt", boxes)
    again = read_mot(tmp_path / "result.txt")
    for name in ("frames", "ids", "boxes_xyxy", "confidences"):
        assert np.array_equal(getattr(again, name), getattr(boxes, name)), name


def test_ground_truth_with_nine_columns_is_read(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("1,4,1,1,10,20,1,1,0.83\n")
    assert read_mot(tmp_path / "gt.txt").ids.tolist() == [4]


def test_a_result_without_confidences_is_followed(tmp_path: Path) -> None:
    lines = [f"{frame},3,{100 + frame},50,40,100,-1,-1,-1,-1" for frame in range(1, 6)]
    (tmp_path / "result.txt").write_text("\n".join(lines))
    found = read_mot(tmp_path / "result.txt")
    assert found.confidences.tolist() == [1.0] * 5
    assert follow_mot(found, BoxTracker(frames_per_s=10)).frames.tolist() == [3, 4, 5]


def test_a_score_of_minus_one_among_others_stays(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("1,-1,1,1,40,90,-1,-1,-1,-1\n1,-1,9,9,40,90,2.5,-1,-1,-1\n")
    assert read_mot(tmp_path / "det.txt").confidences.tolist() == [-1.0, 2.5]


def test_an_empty_file_has_no_boxes(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("")
    assert len(read_mot(tmp_path / "det.txt")) == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,-1,1,1,10,20,1,-1,-1,-1", "line 2: frames are whole numbers from 1"),
        ("1,-1,1,1,0,20,1,-1,-1,-1", "line 2: this box has no area"),
        ("1,-1,1,1,10,nan,1,-1,-1,-1", "line 2: all numbers must be finite"),
        ("1,-1,1,1,10", "line 2: expected 6 to 10 numbers, got 5"),
        ("frame,id,x", "line 2: expected frame,id,left"),
        ("1,1.5,1,1,10,20,1", "line 2: ids are whole numbers"),
        ("1,-1,1e300,1,10,20,1", "line 2: all numbers must be finite and below"),
        ("1e30,-1,1,1,10,20,1", "line 2: frames are whole numbers from 1"),
        ("1,1e30,1,1,10,20,1", "line 2: ids are whole numbers"),
        ("1,-1,0.4,0.2,0.1,0.5,1", "line 2: expected boxes in px"),
    ],
)
def test_a_line_that_is_no_box_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "det.txt").write_text(f"1,-1,1,1,10,20,1,-1,-1,-1\n{line}\n")
    with pytest.raises(CameraError, match=message):
        read_mot(tmp_path / "det.txt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"nowhere\.txt"):
        read_mot(tmp_path / "nowhere.txt")


def test_a_sequence_is_followed_from_file_to_file(tmp_path: Path) -> None:
    lines = [f"{frame},-1,{10 * frame},50,40,100,0.9,-1,-1,-1\n" for frame in range(1, 21)]
    # Frame 7 has nobody; the numbers of the frames go on.
    del lines[6]
    (tmp_path / "det.txt").write_text("".join(lines))
    followed = follow_mot(read_mot(tmp_path / "det.txt"), BoxTracker(frames_per_s=10))
    write_mot(tmp_path / "result.txt", followed)
    again = read_mot(tmp_path / "result.txt")
    assert again.frames.tolist() == [*range(3, 7), *range(8, 21)]
    assert set(again.ids.tolist()) == {1}


def test_numbers_that_are_moments_end_soon_and_part_the_tracks(tmp_path: Path) -> None:
    moments = [1, 2, 3, 4, 3_000_000_001, 3_000_000_002, 3_000_000_003]
    rows = [f"{at},-1,10,10,40,100,0.9,-1,-1,-1" for at in moments]
    (tmp_path / "det.txt").write_text("\n".join(rows))
    tracker = BoxTracker(frames_per_s=10)
    followed = follow_mot(read_mot(tmp_path / "det.txt"), tracker)
    assert followed.frames.tolist() == [3, 4, 3_000_000_003]
    assert followed.ids.tolist() == [1, 1, 2]


def test_a_short_time_without_anybody_is_gone_through_frame_by_frame(tmp_path: Path) -> None:
    asked: list[int] = []

    def frame(number: int) -> None:
        asked.append(number)

    (tmp_path / "det.txt").write_text("3,-1,10,10,40,100,0.9,-1,-1,-1\n")
    found = read_mot(tmp_path / "det.txt")
    follow_mot(found, BoxTracker(frames_per_s=10), frame=frame, num_frames=6)
    assert asked == [1, 2, 3, 4, 5, 6]
