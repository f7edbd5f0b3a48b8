import numpy as np
import pytest

from adln.cameras.motion import distance_heights, growth, start_motion


def test_people_go_along_with_a_camera_that_turns_and_comes_nearer() -> None:
    motion = start_motion(np.array([100.0, 100, 140, 200]))
    motion.speed = np.array([10.0, 0, 0, 0])
    # A quarter turn, twice as near, and a way of (5, 7).
    motion.shift(np.array([[0.0, -2, 5], [2, 0, 7]]))
    assert motion.place == pytest.approx([-2 * 150 + 5, 2 * 120 + 7, 80, 200])
    assert motion.speed == pytest.approx([0, 20, 0, 0])
    assert motion.covariance[0, 0] == pytest.approx(4 * 5.0**2)


def test_ways_and_growth_are_in_body_heights() -> None:
    near = start_motion(np.array([0.0, 0, 40, 100]))
    far = start_motion(np.array([300.0, 0, 340, 100]))
    tall = start_motion(np.array([0.0, 0, 80, 200]))
    assert distance_heights(near, far) == pytest.approx(3.0)
    assert growth(near, tall) == growth(tall, near) == pytest.approx(np.log(2))
    assert growth(near, far) == 0
