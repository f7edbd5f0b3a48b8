"""Tracks are joined by person, not by camera, and never where that cannot be."""

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.site.clusters import cluster_tracks, seen_together, without_cameras

PERSONS, DIM = 30, 24


def draw_tracks(
    *, passes: int = 1, offset: float = 0.0, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Mean embeddings of tracks, their cameras and persons: each passes two cameras."""
    rng = np.random.default_rng(seed)
    persons = np.tile(np.arange(PERSONS), 2 * passes)
    cameras = np.repeat(np.arange(2), PERSONS * passes)
    looks = rng.normal(size=(PERSONS, DIM))
    rows = looks[persons] + rng.normal(size=(len(persons), DIM)) * 0.35
    rows += offset * rng.normal(size=(2, DIM))[cameras]
    return unit_length(rows), cameras, persons


def is_joined(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    joined: NDArray[np.bool_] = labels[:, np.newaxis] == labels
    return joined


@pytest.mark.parametrize("passes", [1, 4])
@pytest.mark.parametrize("offset", [0.0, 1.5])
def test_tracks_of_a_person_are_joined_whatever_the_cameras_do(passes: int, offset: float) -> None:
    rows, cameras, persons = draw_tracks(passes=passes, offset=offset)
    labels = cluster_tracks(rows, cameras)
    assert sorted(set(labels.tolist())) == list(range(labels.max() + 1))
    same = is_joined(persons) & ~np.eye(len(rows), dtype=bool)
    assert np.mean(is_joined(labels)[same]) > 0.9
    assert not is_joined(labels)[~is_joined(persons)].any()


def test_tracks_seen_together_are_never_joined_not_even_by_way_of_others() -> None:
    rows, cameras, persons = draw_tracks(passes=4)
    same_camera = cameras[:, np.newaxis] == cameras
    forbidden = np.argwhere(is_joined(persons) & same_camera & ~np.eye(len(rows), dtype=bool))
    apart = {(int(a), int(b)) for a, b in forbidden}
    labels = cluster_tracks(rows, cameras, apart)
    assert not any(labels[a] == labels[b] for a, b in apart)
    assert is_joined(labels)[~same_camera].any()


def test_whom_nobody_resembles_is_a_cluster_of_their_own() -> None:
    rows, cameras, _ = draw_tracks()
    stranger = np.zeros((1, DIM), np.float32)
    stranger[0, 0] = -1
    labels = cluster_tracks(np.concatenate([rows, stranger]), np.append(cameras, 0))
    assert np.count_nonzero(labels == labels[-1]) == 1


def test_one_track_is_one_cluster() -> None:
    assert cluster_tracks(np.ones((1, 3), np.float32), np.zeros(1, np.int64)).tolist() == [0]


def test_tracks_of_a_camera_that_overlap_in_time_are_seen_together() -> None:
    tracks = np.array([0, 0, 1, 1, 2, 2, 3])
    cameras = np.array([0, 0, 0, 0, 0, 0, 1])
    time_s = np.array([0.0, 4, 3, 5, 6, 9, 3.5])
    assert seen_together(cameras, tracks, time_s) == {(0, 1), (1, 0)}
    assert seen_together(cameras, tracks, None) == set()


def test_what_a_camera_adds_is_taken_off_and_the_space_stays() -> None:
    rows, cameras, _ = draw_tracks(offset=2.0)
    kept = without_cameras(rows, cameras, keep_mean=True)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-5)
    assert float(np.vecdot(kept, rows).mean()) > 0.5
    plain = without_cameras(rows, cameras)
    means = [plain[cameras == camera].mean(axis=0) for camera in (0, 1)]
    assert np.linalg.norm(means[0] - means[1]) < 0.2
