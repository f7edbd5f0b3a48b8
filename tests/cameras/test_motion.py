from copy import copy

import numpy as np
import pytest

from adln.cameras.motion import (
    Motion,
    boxes_of,
    distance_heights,
    growth,
    predict,
    shift,
    start,
    update,
)


def motion_at(*box: float) -> Motion:
    return start(np.array([box]))[0]


def test_people_go_along_with_a_camera_that_turns_and_comes_nearer() -> None:
    motion = motion_at(100.0, 100, 140, 200)
    (place, _, *variances), *others = motion.axes
    motion.axes = ((place, 10.0, *variances), *others)
    # A quarter turn, twice as near, and a way of (5, 7).
    shift([motion], np.array([[0.0, -2, 5], [2, 0, 7]]))
    assert motion.place == pytest.approx([-2 * 150 + 5, 2 * 120 + 7, 80, 200])
    assert motion.speed == pytest.approx([0, 20, 0, 0])
    assert motion.axes[0][2] == pytest.approx(4 * 5.0**2)


def test_ways_and_growth_are_in_body_heights() -> None:
    near = motion_at(0.0, 0, 40, 100)
    far = motion_at(300.0, 0, 340, 100)
    tall = motion_at(0.0, 0, 80, 200)
    assert distance_heights(near, far) == pytest.approx(3.0)
    assert growth(near, tall) == growth(tall, near) == pytest.approx(np.log(2))
    assert growth(near, far) == 0


def test_people_who_are_filtered_together_move_as_each_would_alone() -> None:
    boxes = np.array([[0.0, 0, 40, 100], [300, 50, 360, 210], [500, 90, 520, 140]])
    found = [
        boxes + step * np.array([[3.0, 1, 3, 1], [-5, 0, -5, 0], [0, 0, 1, 2]]) for step in (1, 2)
    ]
    turn = np.array([[1.01, 0.02, 4], [-0.02, 1.01, -3]])
    together, alone = start(boxes), [start(box[np.newaxis])[0] for box in boxes]
    for now in found:
        predict(together, 0.1)
        update(together, start(now))
        shift(together, turn)
        for motion, box in zip(alone, now, strict=True):
            predict([motion], 0.1)
            update([motion], start(box[np.newaxis]))
            shift([motion], turn)
    assert boxes_of(together) == pytest.approx(np.concatenate([boxes_of([one]) for one in alone]))
    for motion, other in zip(together, alone, strict=True):
        assert np.array(motion.axes) == pytest.approx(np.array(other.axes))


def test_a_copy_stays_where_it_is_when_its_original_moves() -> None:
    motion = motion_at(0.0, 0, 40, 100)
    other = copy(motion)
    predict([motion], 1.0)
    assert np.array(other.axes) == pytest.approx(np.array(motion_at(0.0, 0, 40, 100).axes))
    assert motion.axes[0][2] > other.axes[0][2]
