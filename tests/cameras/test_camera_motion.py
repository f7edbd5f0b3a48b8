import tracemalloc

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from adln.cameras.camera_motion import CameraMotion, common_way
from adln.cameras.detections import Detections
from adln.cameras.tracker import ByteTracker, TrackerSettings

NOBODY = np.zeros((0, 4))


def scenery() -> NDArray[np.uint8]:
    """A wall of blocks, larger than the picture that is cut out of it; (H, W, 3)."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 255, (40, 70, 3)).astype(np.uint8)
    return np.kron(blocks, np.ones((12, 12, 1), np.uint8))


def cut(x: int, y: int) -> NDArray[np.uint8]:
    return np.ascontiguousarray(scenery()[60 + y : 420 + y, 100 + x : 740 + x])


@pytest.mark.parametrize("way", [(12, -5), (3, 2), (-30, 14)])
def test_the_way_of_the_camera_is_found(way: tuple[int, int]) -> None:
    camera = CameraMotion()
    assert camera.update(cut(0, 0), NOBODY) is None
    affine = camera.update(cut(*way), NOBODY)
    assert affine is not None
    # What was at a point of the first picture is shifted against the camera's way.
    assert affine[:, 2] == pytest.approx([-way[0], -way[1]], abs=1.0)
    assert affine[:, :2] == pytest.approx(np.eye(2), abs=0.01)


def test_a_camera_that_stands_still_has_no_way_although_people_move() -> None:
    camera = CameraMotion()
    rng = np.random.default_rng(1)
    for step in range(5):
        picture = cut(0, 0).astype(np.int16) + rng.normal(0, 2, (360, 640, 1)).astype(np.int16)
        picture[150:300, 100 + 20 * step : 180 + 20 * step] = 40
        people = np.array([[100 + 20 * step, 150, 180 + 20 * step, 300]])
        assert camera.update(np.clip(picture, 0, 255).astype(np.uint8), people) is None


def test_a_pan_too_slow_for_two_frames_is_found_by_and_by() -> None:
    camera = CameraMotion()
    wide = np.ascontiguousarray(scenery()[60:420, 100:740])
    way = 0.0
    for step in range(30):  # 0.2 px a frame, of which a reduced frame shows 0.1
        turned = cv2.warpAffine(wide, np.array([[1, 0, -0.2 * step], [0, 1, 0]]), (640, 360))
        affine = camera.update(turned, NOBODY)
        way += 0.0 if affine is None else affine[0, 2]
    assert way == pytest.approx(-0.2 * 29, abs=0.6)


@pytest.mark.parametrize("still_frames", [3, 49, 50, 51, 120])
def test_a_knock_is_found_however_long_the_camera_stood_still_and_whoever_stands_there(
    still_frames: int,
) -> None:
    camera = CameraMotion()
    # Somebody near comes in after the first frames, and hides most of the picture.
    near = np.array([[0, 0, 440, 360]])
    for frame in range(still_frames):
        here = frame >= 2
        picture = cut(0, 0)
        picture[:, : 440 * here] = 40
        assert camera.update(picture, near if here else NOBODY) is None
    affine = camera.update(cut(10, -4), near)
    assert affine is not None
    assert affine[:, 2] == pytest.approx([-10, 4], abs=1.0)


def test_a_knock_is_found_after_the_scene_was_dark() -> None:
    camera = CameraMotion()
    for _ in range(3):
        assert camera.update(np.full((360, 640, 3), 10, np.uint8), NOBODY) is None
    camera.update(cut(0, 0), NOBODY)
    assert camera.update(cut(0, 0), NOBODY) is None
    assert camera.update(cut(12, -5), NOBODY) is not None


def test_a_flat_picture_has_no_way() -> None:
    camera = CameraMotion()
    for _ in range(3):
        assert camera.update(np.full((360, 640, 3), 90, np.uint8), NOBODY) is None


def test_a_small_or_a_new_size_of_pictures_has_no_way() -> None:
    camera = CameraMotion()
    camera.update(cut(0, 0), NOBODY)
    assert camera.update(cut(0, 0)[:100, :80], NOBODY) is None
    assert camera.update(cut(5, 0)[:1, :1], NOBODY) is None


@pytest.mark.parametrize("making_up", [True, False])
def test_people_are_followed_before_a_camera_that_is_knocked(making_up: bool) -> None:
    tracker = ByteTracker(TrackerSettings(camera_motion=making_up))
    numbers = set()
    for step in range(30):
        knocked = 45 if 15 <= step < 20 else 0
        box = np.array([[300 - knocked, 100, 340 - knocked, 200]], np.float32)
        found = Detections(box, np.full(1, 0.9, np.float32))
        update = tracker.update(found, step / 10, cut(knocked, 0))
        numbers |= {person.track_id for person in update.people}
    assert numbers == ({1} if making_up else {1, 2})


def other_scenery() -> NDArray[np.uint8]:
    return np.ascontiguousarray(scenery()[::-1, ::-1][30:390, 35:675])


def test_another_scene_is_told_from_light_noise_and_movement() -> None:
    camera, rng = CameraMotion(), np.random.default_rng(2)

    def is_cut(picture: NDArray[np.uint8]) -> bool:
        camera.update(picture, NOBODY)
        return camera.cut

    def night() -> NDArray[np.uint8]:
        return np.clip(rng.normal(20, 12, (360, 640, 3)), 0, 255).astype(np.uint8)

    assert not is_cut(cut(0, 0))
    assert not is_cut(cut(20, 8))
    assert not is_cut((cut(20, 8) * 0.4).astype(np.uint8))  # a lamp goes out
    assert is_cut(other_scenery())
    assert not is_cut(other_scenery())
    assert is_cut(cut(0, 0)[:300])  # another resolution
    for _ in range(3):
        camera.update(night(), NOBODY)
        assert not is_cut(night())


def test_where_another_scene_begins_all_tracks_end() -> None:
    tracker = ByteTracker()
    standing = Detections(np.array([[300, 100, 340, 200]], np.float32), np.full(1, 0.9, np.float32))
    for step in range(10):
        before = tracker.update(standing, step / 10, cut(0, 0))
    assert [person.track_id for person in before.people] == [1]
    assert before.ended == ()
    assert tracker.update(standing, 1.0, other_scenery()).ended == (1,)
    for step in range(11, 20):
        after = tracker.update(standing, step / 10, other_scenery())
    assert [person.track_id for person in after.people] == [2]


def boxes(*places: tuple[float, float], height: float = 100.0) -> NDArray[np.float64]:
    """Boxes at these left upper corners, (N, 4)."""
    return np.array([[x, y, x + 0.4 * height, y + height] for x, y in places])


PLACES = ((20, 40), (150, 60), (300, 30), (420, 70), (160, 55))


@pytest.mark.parametrize("way", [(18, -9), (-40, 3), (0, 30)])
def test_the_way_that_most_people_have_in_common_is_the_camera_s(way: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    expected = boxes(*PLACES)
    # One walks on by themselves, one is missed, and somebody new stands among them.
    found = expected + np.tile(way, 2) + rng.normal(0, 1, (5, 1))
    found[0] += np.array([30, 0, 30, 0])
    found = np.concatenate([found[[4, 2, 0, 1]], boxes((330, 50))])
    assert common_way(expected, found) == pytest.approx(way, abs=2.5)


def test_people_who_go_ways_of_their_own_tell_nothing_of_the_camera() -> None:
    expected = boxes(*PLACES)
    ways = np.array([[20, 0], [-20, 0], [9, 12], [-9, -15], [0, 25]])
    assert common_way(expected, expected + np.tile(ways, 2)) is None
    jitter = np.random.default_rng(3).normal(0, 1, (5, 2))
    assert common_way(expected, expected + np.tile(jitter, 2)) is None
    assert common_way(expected[:2], expected[:2] + 20) is None
    assert common_way(expected, boxes(*PLACES, height=60)) is None
    assert common_way(expected[:0], expected) is None


def test_without_frames_people_keep_their_numbers_before_a_camera_that_shakes() -> None:
    def switches(*, camera_motion: bool) -> int:
        rng = np.random.default_rng(4)
        tracker = ByteTracker(TrackerSettings(camera_motion=camera_motion))
        numbers: list[set[int]] = [set() for _ in range(6)]
        for step in range(60):
            shake = rng.uniform(-24, 24, 2)
            # Three walk to the right, three to the left.
            lefts = [(40.0 + 3 * step, 110.0 * at) for at in range(3)]
            rights = [(600.0 - 3 * step, 110.0 * at + 20) for at in range(3)]
            places = boxes(*lefts, *rights) + np.tile(shake, 2)
            found = Detections(places.astype(np.float32), np.full(6, 0.9, np.float32))
            for person in tracker.update(found, step / 10).people:
                numbers[person.detection].add(person.track_id)
        return sum(len(one) - 1 for one in numbers)

    assert switches(camera_motion=True) == 0
    assert switches(camera_motion=False) > 0


def test_a_crowd_tells_the_way_by_some_of_it() -> None:
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 3000, (1500, 2))
    people = np.hstack([corners, corners + np.array([40, 100])])
    way = common_way(people, people + np.array([9, -4, 9, -4]))
    assert way == pytest.approx([9, -4], abs=1e-6)


def test_boxes_on_one_heap_have_no_way_and_take_no_memory() -> None:
    heap = np.tile([100.0, 100, 140, 200], (1000, 1))
    tracemalloc.start()
    try:
        assert common_way(heap, heap + 9) is None
        assert tracemalloc.get_traced_memory()[1] < 500e6
    finally:
        tracemalloc.stop()
