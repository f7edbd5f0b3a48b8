"""What the clusters of a site's tracks teach, and when they teach nothing."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from adln.embeddings import unit_length
from adln.errors import TracksError
from adln.matching.adaptation import TrackedCrops
from adln.site.lesson import ClusterLesson, clusters_teach

DIM = 8
TRACKS = np.repeat(np.arange(8), 3)  # of four persons, each seen by two cameras
CAMERAS = np.repeat(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 3)


def looks(persons: list[int]) -> torch.Tensor:
    """(24, D) crops of tracks that show these persons."""
    noise = torch.randn(24, DIM, generator=torch.Generator().manual_seed(0)) * 0.05
    return F.normalize(torch.eye(DIM)[torch.tensor(persons).repeat_interleave(3)] + noise)


ALL_KNOWN = looks([0, 1, 2, 3, 0, 1, 2, 3])


def lesson(said: list[str] | None = None, stored: torch.Tensor = ALL_KNOWN) -> ClusterLesson:
    say = (said if said is not None else []).append
    return ClusterLesson(TRACKS, CAMERAS, stored.numpy(), frozenset(), weight=1.0, say=say)


def test_a_track_is_never_split_and_a_cluster_has_a_proxy_under_each_camera() -> None:
    said: list[str] = []
    one = lesson(said)
    crops = looks([0, 1, 2, 3, 0, 1, 2, 3])
    crops[1] = -crops[1]  # a crop that looks like nobody
    one.begin(crops)
    assert said == ["8 tracks in 4 clusters, 4 across cameras"]
    assert one.clusters.tolist()[:4] == one.clusters.tolist()[4:]
    assert len(set(one.proxy_of.tolist())) == 8
    assert one.track_of.tolist() == TRACKS.tolist()


def test_a_step_moves_the_proxies_and_the_loss_falls_for_crops_in_their_place() -> None:
    one = lesson()
    crops = looks([0, 1, 2, 3, 0, 1, 2, 3])
    one.begin(crops)
    before = one.proxies.clone()
    near = one({2: crops}, torch.arange(24))
    far = one({2: crops.roll(3, 0)}, torch.arange(24))
    assert near < 0.1 < far
    assert not torch.equal(one.proxies, before)


def test_who_has_moved_away_from_what_a_gallery_has_stored_is_drawn_back() -> None:
    now = looks([4, 5, 6, 7, 4, 5, 6, 7])
    near, far = lesson(stored=now), lesson(stored=ALL_KNOWN)
    for one in (near, far):
        one.begin(now)
    assert near({2: now}, torch.arange(24)) + 1 < far({2: now}, torch.arange(24))
    assert near.identity == far.identity


def test_all_that_a_run_needs_to_go_on_is_stored() -> None:
    one, other = lesson(), lesson()
    crops = looks([0, 1, 2, 3, 0, 1, 2, 3])
    one.begin(crops)
    one({2: crops}, torch.arange(24))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one({2: crops}, torch.arange(24)), other({2: crops}, torch.arange(24)))
    assert one.identity == other.identity


def test_a_teacher_says_whom_tracks_show_while_the_network_knows_nobody() -> None:
    blind = F.normalize(torch.ones(24, DIM))
    taught = looks([0, 1, 2, 3, 0, 1, 2, 3])
    one = ClusterLesson(
        TRACKS, CAMERAS, blind.numpy(), frozenset(), weight=1.0, taught=taught.numpy()
    )
    one.begin(blind)
    assert one.clusters.tolist()[:4] == one.clusters.tolist()[4:]
    assert len(set(one.clusters.tolist())) == 4
    assert one.identity != lesson(stored=blind).identity


@pytest.mark.parametrize(("shared", "teaches"), [(0, False), (25, True), (50, True)])
def test_clusters_teach_beside_a_teacher_where_people_pass_several_cameras(
    shared: int, teaches: bool
) -> None:
    rng = np.random.default_rng(0)
    persons = np.concatenate([np.arange(50), np.arange(50 - shared, 100 - shared)])
    rows = rng.normal(size=(100, 64))[persons].repeat(2, 0) + rng.normal(size=(200, 64)) * 0.5
    cameras, tracks = np.repeat([0, 1], 100), np.arange(100).repeat(2)
    said: list[str] = []
    looked = TrackedCrops(unit_length(rows.astype(np.float32)), cameras, tracks)
    assert clusters_teach(looked, said.append) == teaches
    assert said[0].endswith("uses their clusters, too" if teaches else "uses only the teacher")
    assert not clusters_teach(looked.part(np.arange(100)), said.append)


def test_clusters_of_one_camera_each_teach_nothing() -> None:
    with pytest.raises(TracksError, match="Clusters teach nothing unless"):
        lesson().begin(looks([0, 1, 2, 3, 4, 5, 6, 7]))
