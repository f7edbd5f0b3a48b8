from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.cameras.box_tracker import BoxTracker
from adln.errors import CameraError


@dataclass
class SupervisionLike:
    """The three attributes of `supervision.Detections` that matter, and one that does not."""

    xyxy: NDArray[np.floating]
    confidence: NDArray[np.floating] | None = None
    tracker_id: NDArray[np.integer] | None = None
    data: dict[str, object] = field(default_factory=dict)


def boxes(*lefts: float) -> NDArray[np.float64]:
    return np.array([[100 + left, 50, 140 + left, 150] for left in lefts]).reshape(-1, 4)


def test_each_box_gets_its_number_in_the_order_of_the_boxes() -> None:
    tracker = BoxTracker(frames_per_s=10)
    for _ in range(4):
        numbers = tracker.update(boxes(0, 200), [0.9, 0.8])
    assert numbers.dtype == np.int64
    assert numbers.tolist() == [1, 2]
    assert tracker.update(boxes(200, 0), [0.9, 0.8]).tolist() == [2, 1]


def test_a_box_without_a_track_has_no_number() -> None:
    tracker = BoxTracker(frames_per_s=10)
    for _ in range(4):
        tracker.update(boxes(0), [0.9])
    assert tracker.update(boxes(0, 400), [0.9, 0.2]).tolist() == [1, -1]


def test_an_empty_frame_is_a_frame() -> None:
    tracker = BoxTracker(frames_per_s=10)
    for _ in range(4):
        tracker.update(boxes(0), [0.9])
    assert tracker.update([], []).tolist() == []
    assert tracker.update(np.zeros((0, 4)), np.zeros(0)).tolist() == []
    assert tracker.update(boxes(0), [0.9]).tolist() == [1]


def test_two_trackers_share_no_numbers() -> None:
    first, second = BoxTracker(), BoxTracker()
    for _ in range(4):
        first.update(boxes(0, 200, 400))
    for _ in range(4):
        numbers = second.update(boxes(0))
    assert numbers.tolist() == [1]
    assert first.update(boxes(0, 200, 400)).tolist() == [1, 2, 3]


def test_scores_beyond_one_are_sure() -> None:
    tracker = BoxTracker(frames_per_s=10)
    for step in range(6):
        numbers = tracker.update(boxes(3 * step), [42.0])
    assert numbers.tolist() == [1]


def test_supervision_detections_come_back_with_their_numbers() -> None:
    tracker = BoxTracker(frames_per_s=10)
    for _ in range(4):
        found = SupervisionLike(boxes(0, 200), np.array([0.9, 0.9]), data={"class_name": "person"})
        followed = tracker.update_detections(found)
    assert isinstance(followed, SupervisionLike)
    assert followed.tracker_id is not None
    assert followed.tracker_id.tolist() == [1, 2]
    assert followed.data == {"class_name": "person"}
    assert found.tracker_id is None
    without = tracker.update_detections(SupervisionLike(boxes(0, 200)))
    assert without.tracker_id is not None
    assert without.tracker_id.tolist() == [1, 2]


def test_a_refused_update_does_not_set_the_length_of_embeddings() -> None:
    tracker = BoxTracker(frames_per_s=10)
    with pytest.raises(CameraError, match="one for each box"):
        tracker.update(boxes(0), [0.9], embeddings=np.zeros((2, 8)))
    tracker.update(boxes(0), [0.9], embeddings=np.eye(1, 4))


def test_known_embeddings_are_used_without_a_frame() -> None:
    tracker = BoxTracker(frames_per_s=10)
    looks = np.eye(4, dtype=np.float32)
    for _ in range(8):
        tracker.update(boxes(0), [0.9], embeddings=looks[:1])
    for _ in range(40):
        tracker.update([], [], embeddings=looks[:0])
    for _ in range(4):
        numbers = tracker.update(boxes(30), [0.9], embeddings=looks[:1])
    assert numbers.tolist() == [1]
    assert tracker.embeddings_made == 0


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    tracker = BoxTracker()
    with pytest.raises(CameraError, match="boxes"):
        tracker.update(boxes(0, 1), [0.9])
    with pytest.raises(CameraError, match=r"embeddings \(1, D\)"):
        tracker.update(boxes(0), [0.9], embeddings=np.zeros((2, 8)))
    with pytest.raises(CameraError, match="frames_per_s"):
        BoxTracker(frames_per_s=0)


FRAME = np.zeros((240, 640, 3), np.uint8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"xyxy": None},
        {"xyxy": "abc"},
        {"xyxy": [[1, 2], [1, 2, 3]]},
        {"xyxy": [[100, 50, 140, 150, 0.9]]},
        {"xyxy": [[100, 50, 40, 100]]},  # left, top, width, height
        {"xyxy": [[np.nan, 50, 140, 150]]},
        {"xyxy": [[0, 0, 1e39, 1e39]]},
        {"xyxy": [[0.15, 0.2, 0.21, 0.6]]},  # shares of the picture
        {"scores": "abc"},
        {"scores": [0.9, 0.8]},
        {"scores": [np.nan]},
        {"frame": "frame.jpg"},
        {"frame": FRAME[..., 0]},
        {"frame": FRAME[..., :1]},
        {"frame": FRAME / 255},
        {"frame": FRAME[:0]},
        {"frame": FRAME.transpose(2, 0, 1)},
        {"embeddings": np.eye(1, 5)},  # of another network than before
        {"embeddings": np.ones(1)},
        {"embeddings": "abc"},
        {"time_s": np.nan},
        {"time_s": np.inf},
        {"time_s": 1e300},
        {"time_s": 1_700_000_000_000},  # milliseconds since 1970
        {"time_s": 0.1},
        {"time_s": "now"},
        {"time_s": datetime.now(UTC)},
        {"time_s": [5.0, 6.0]},
    ],
)
def test_a_frame_that_is_refused_leaves_the_tracker_as_it_was(wrong: dict[str, Any]) -> None:
    tracker = BoxTracker(frames_per_s=10)
    right: dict[str, Any] = {"xyxy": boxes(0), "embeddings": np.eye(1, 4)}
    for _ in range(4):
        tracker.update(**right)
    with pytest.raises(CameraError) as refused:
        tracker.update(**(right | wrong))
    assert len(str(refused.value)) < 400
    assert tracker.update(**right).tolist() == [1]


def test_a_box_without_an_area_is_nobody_and_no_fault() -> None:
    tracker = BoxTracker(frames_per_s=10)
    for _ in range(4):
        numbers = tracker.update([[100, 50, 140, 150], [640, 50, 640, 150]])
    assert numbers.tolist() == [1, -1]


def test_tensors_and_a_single_box_are_taken() -> None:
    import torch  # what is tested here has no need of it

    tracker = BoxTracker(frames_per_s=10)
    for _ in range(4):
        found = torch.tensor([[100.0, 50, 140, 150]], requires_grad=True)
        numbers = tracker.update(found, torch.tensor([0.9]), torch.zeros(90, 90, 3).byte())
    assert numbers.tolist() == [1]
    assert tracker.update([100, 50, 140, 150], 0.9).tolist() == [1]


@pytest.mark.parametrize("none", [[], np.zeros((0, 4)), np.zeros((0, 8))])
def test_a_frame_without_people_needs_no_embeddings_of_any_shape(none: Any) -> None:
    tracker = BoxTracker(frames_per_s=10)
    tracker.update([], embeddings=none)
    for _ in range(4):
        before = tracker.update(boxes(0, 200), embeddings=np.eye(8)[:2])
    assert tracker.update([], embeddings=none).shape == (0,)
    after = tracker.update(boxes(0, 200), embeddings=np.eye(8)[:2])
    assert before.tolist() == after.tolist() == [1, 2]


@pytest.mark.parametrize("rate", ["10", None, 0, float("nan"), [10, 10]])
def test_a_frame_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(CameraError, match="frames_per_s"):
        BoxTracker(frames_per_s=rate)


def test_the_clock_of_a_tracker_is_only_told() -> None:
    tracker = BoxTracker(frames_per_s=4)
    tracker.update([[1, 2, 3, 4]])
    assert (tracker.frames_per_s, tracker.next_s) == (4.0, 0.25)
    with pytest.raises(AttributeError, match="frames_per_s"):
        tracker.frames_per_s = 0.0  # type: ignore[misc]
    with pytest.raises(AttributeError, match="next_s"):
        tracker.next_s = float("nan")  # type: ignore[misc]


@pytest.mark.parametrize("wrong", [None, [[1, 2, 3, 4]]])
def test_what_are_no_detections_is_refused(wrong: Any) -> None:
    with pytest.raises(CameraError, match="detections: expected an object with xyxy, confidence"):
        BoxTracker().update_detections(wrong)


@pytest.mark.parametrize("wrong", [{"settings": {}}, {"appearance": 5}])
def test_settings_of_another_kind_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(CameraError, match=f"{next(iter(wrong))}: expected"):
        BoxTracker(**wrong)
