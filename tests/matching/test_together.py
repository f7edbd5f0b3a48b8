"""Pairs that a camera has told apart."""

import numpy as np

from adln.matching.together import at_once, in_one_frame


def test_who_is_in_one_frame_of_one_camera_is_apart_both_ways_round() -> None:
    seen = [(1, 2.0, 7), (1, 2.0, 8), (1, 2.0, 7), (1, 3.0, 9), (2, 2.0, 9)]
    assert in_one_frame(seen) == {(7, 8), (8, 7)}
    assert in_one_frame([]) == set()


def test_tracks_are_at_once_from_the_first_to_the_last_moment_that_they_share() -> None:
    tracks = np.array([0, 1, 0, 2, 1, 2])
    time_s = np.array([0.0, 2.0, 2.0, 2.5, 2.4, 9.0])
    assert at_once(tracks, time_s).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, False, False],
    ]
    assert at_once(np.zeros(0, np.int64), np.zeros(0)).shape == (0, 0)
