import numpy as np
import pytest

from adln.cameras.camera_motion import common_way
from adln.cameras.detections import Detections, nobody
from adln.cameras.tracker import ByteTracker, GivenTracks, TrackerSettings
from adln.errors import CameraError


def people(*boxes: tuple[float, float], confidence: float = 0.9) -> Detections:
    """People of 40 x 100 px at these left upper corners."""
    found = [[x, y, x + 40, y + 100] for x, y in boxes]
    return Detections(
        np.array(found, np.float32).reshape(-1, 4), np.full(len(boxes), confidence, np.float32)
    )


def ids(tracker: ByteTracker, detections: Detections, time_s: float) -> list[int]:
    return [person.track_id for person in tracker.update(detections, time_s).people]


def test_each_camera_counts_its_own_ids() -> None:
    cameras = ByteTracker(), ByteTracker()
    for step in range(5):
        seen = [ids(tracker, people((10 * step, 0)), step / 10) for tracker in cameras]
    assert seen == [[1], [1]]


def test_two_who_cross_keep_their_ids() -> None:
    tracker = ByteTracker()
    lefts = {}
    for step in range(41):
        found = people((5 * step, 0), (200 - 5 * step, 30))
        for person in tracker.update(found, step / 10).people:
            lefts.setdefault(person.track_id, []).append(float(person.box_xyxy[0]))
    assert sorted(lefts) == [1, 2]
    for path in lefts.values():
        assert abs(path[-1] - path[0]) > 150


def test_the_one_box_of_two_who_overlap_belongs_to_whom_it_fits_in_height() -> None:
    tracker = ByteTracker()
    sure = np.full(2, 0.9, np.float32)
    for step in range(20):
        # Near and tall, standing; far and short, walking behind.
        boxes = [[200, 0, 240, 140], [23 + 10 * step, 10, 63 + 10 * step, 110]]
        tracker.update(Detections(np.array(boxes, np.float32), sure), step / 10)
    near = Detections(np.array([[220, 0, 260, 140]], np.float32), sure[:1])
    assert ids(tracker, near, 2.0) == [1]


def test_who_comes_in_does_not_inherit_the_number_of_who_goes_out_in_the_same_place() -> None:
    tracker = ByteTracker()
    picture = np.zeros((400, 600, 3), np.uint8)
    seen = []
    # How far the two reach into the picture, one after the other.
    for step, reach in enumerate([*range(120, 30, -10), *range(58, 158, 10)]):
        box = np.array([[max(reach - 70, 0), 150, reach, 250]], np.float32)
        found = Detections(box, np.full(1, 0.9, np.float32))
        update = tracker.update(found, step / 10, picture)
        seen.append([person.track_id for person in update.people])
    assert seen[8] == [1]
    assert seen[9:] == [[], []] + [[2]] * 8


@pytest.mark.parametrize(("making_up", "kept"), [(True, True), (False, False)])
def test_a_camera_that_is_knocked_is_made_up_for_by_the_boxes_where_there_is_no_picture(
    making_up: bool, kept: bool
) -> None:
    tracker = ByteTracker(TrackerSettings(camera_motion=making_up))
    three = np.array([[100, 100, 140, 200], [300, 120, 344, 230], [520, 90, 556, 180]], np.float32)
    sure, seen = np.full(3, 0.9, np.float32), []
    for step in range(20):
        shift = np.tile([45, 25] if 10 <= step < 15 else [0, 0], 2)
        seen.append(ids(tracker, Detections((three + shift).astype(np.float32), sure), step / 10))
    assert (seen[10] == seen[-1] == [1, 2, 3]) is kept


def test_people_who_walk_each_their_way_are_not_taken_for_a_moving_camera() -> None:
    boxes = np.array([[100.0, 100, 140, 200], [300, 120, 344, 230], [520, 90, 556, 180]])
    apart = np.array([[30, 0, 30, 0], [-30, 0, -30, 0], [0, 0, 0, 0]])
    assert common_way(boxes, boxes + apart) is None
    assert common_way(boxes[:2], boxes[:2] + 40) is None  # two may go the same way
    assert common_way(boxes, boxes[:0]) is None
    jitter = np.array([[1.0, 0, 1, 0], [0, 2, 0, 2], [0, 0, 0, 0]])
    way = common_way(boxes, (boxes + 40 + jitter)[[2, 0, 1]])
    assert way == pytest.approx([40, 40], abs=1.5)


def test_weak_detections_continue_tracks_but_start_none() -> None:
    tracker = ByteTracker()
    for step in range(4):
        tracker.update(people((0, 0)), step / 10)
    found = Detections(
        np.array([[0, 0, 40, 100], [300, 0, 340, 100]], np.float32), np.full(2, 0.3, np.float32)
    )
    seen = [ids(tracker, found, 0.4 + step / 10) for step in range(5)]
    assert seen == [[1]] * 5


def test_a_gap_is_bridged_and_a_long_one_ends_the_track_once() -> None:
    tracker = ByteTracker()
    for step in range(10):
        tracker.update(people((8 * step, 0)), step / 10)
    for step in range(10, 15):
        assert tracker.update(nobody(), step / 10).ended == ()
    assert ids(tracker, people((8 * 15, 0)), 1.5) == [1]
    ended = [tracker.update(nobody(), 2 + step / 2).ended for step in range(6)]
    assert [track for update in ended for track in update] == [1]
    assert tracker.finish() == ()


def test_a_flash_of_one_frame_is_nobody() -> None:
    tracker = ByteTracker()
    assert ids(tracker, people((0, 0)), 0.0) == []
    updates = [tracker.update(nobody(), step / 10) for step in range(1, 30)]
    assert not any(update.people or update.ended for update in updates)


def test_time_must_rise() -> None:
    tracker = ByteTracker()
    tracker.update(nobody(), 1.0)
    with pytest.raises(CameraError, match="times must rise"):
        tracker.update(nobody(), 1.0)


def test_given_ids_are_kept_and_required() -> None:
    tracker = GivenTracks(keep_s=1.0)
    box = np.array([[0, 0, 4, 9]], np.float32)
    with_id = Detections(box, np.ones(1, np.float32), np.array([7]))
    assert tracker.update(with_id, 0.0).people[0].track_id == 7
    assert tracker.update(nobody(), 2.0).ended == (7,)
    with pytest.raises(CameraError, match="track_id"):
        tracker.update(people((0, 0)), 3.0)
