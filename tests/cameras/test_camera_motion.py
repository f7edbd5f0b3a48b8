import numpy as np
import pytest
from numpy.typing import NDArray

from adln.cameras.camera_motion import CameraMotion
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
