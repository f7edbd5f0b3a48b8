"""Unnamed sightings fall into groups, and two people of one frame never into the same."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.clustering import group_sightings
from adln.gallery.records import ModelKey, StoredSighting

BOX = (1.0, 2.0, 30.0, 90.0)
MODEL = ModelKey("a" * 64, 2, 16)


def sighting(
    number: int,
    embedding: np.ndarray,
    *,
    camera: int = 0,
    time_s: float | None = None,
    track: int | None = None,
    box: tuple[float, float, float, float] | None = None,
    quality: float = 1.0,
    depth: int = 2,
) -> StoredSighting:
    return StoredSighting(
        sighting_id=number,
        embedding=embedding,
        model=ModelKey(MODEL.digest, depth, MODEL.dim),
        camera_id=camera,
        time_s=float(number) if time_s is None else time_s,
        track_id=track,
        box_xyxy=box,
        quality=quality,
    )


def people(count: int, each: int, *, noise: float = 0.1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.repeat(unit_length(rng.normal(size=(count, 16))), each, axis=0)
    return unit_length(centres + noise * rng.normal(size=centres.shape))


def test_people_who_are_well_apart_are_told_apart() -> None:
    looks = [
        sighting(number, embedding, camera=number % 3, quality=(number % 5) / 5)
        for number, embedding in enumerate(people(8, 5))
    ]
    groups = group_sightings(looks, threshold=0.7)
    assert len(groups) == 8
    assert {frozenset(group.sighting_ids) for group in groups} == {
        frozenset(range(5 * person, 5 * person + 5)) for person in range(8)
    }
    first = next(group for group in groups if 0 in group.sighting_ids)
    assert first.sighting_ids == (4, 3, 2, 1, 0)
    assert (first.tracks, first.cameras) == (5, (0, 1, 2))
    assert (first.first_seen_s, first.last_seen_s) == (0, 4)
    assert 0.7 < first.likeness < 1


def test_a_track_is_never_torn_apart() -> None:
    # One track turns from one look to quite another.
    embeddings = np.concatenate([people(1, 3, seed=1), people(1, 3, seed=2)])
    looks = [sighting(n, e, track=7) for n, e in enumerate(embeddings)]
    (group,) = group_sightings(looks, threshold=0.9)
    assert (group.tracks, len(group.sighting_ids), group.likeness) == (1, 6, 1)


def test_a_track_number_counts_within_its_camera() -> None:
    looks = [sighting(n, e, track=7, camera=n // 3) for n, e in enumerate(people(2, 3, noise=0.01))]
    assert len(group_sightings(looks, threshold=0.9)) == 2


def test_two_people_of_one_frame_stay_apart_however_alike() -> None:
    twin = people(1, 1)[0]
    together = [sighting(n, twin, time_s=5.0, box=BOX) for n in range(2)]
    assert len(group_sightings(together, threshold=0.5)) == 2
    tracks = [sighting(n, twin, time_s=5.0, track=n) for n in range(2)]
    assert len(group_sightings(tracks, threshold=0.5)) == 2
    apart = [sighting(n, twin) for n in range(2)]
    assert len(group_sightings(apart, threshold=0.5)) == 1
    two_cameras = [sighting(n, twin, time_s=5.0, camera=n, box=BOX) for n in range(2)]
    assert len(group_sightings(two_cameras, threshold=0.5)) == 1


def test_pictures_of_one_person_that_were_enrolled_together_are_one_group() -> None:
    # Of pictures, "when" is when they were enrolled: no frame shows them side by side.
    enrolled = [sighting(n, e, time_s=5.0) for n, e in enumerate(people(2, 3, noise=0.01))]
    groups = group_sightings(enrolled, threshold=0.9)
    assert sorted(group.sighting_ids for group in groups) == [(0, 1, 2), (3, 4, 5)]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=2, max_size=25),
    st.floats(-0.9, 0.9),
)
@settings(deadline=None, max_examples=40)
def test_no_group_holds_two_of_one_frame(seen: list[tuple[int, int]], threshold: float) -> None:
    embeddings = people(2, len(seen), noise=0.3)
    looks = [
        sighting(number, embeddings[number], camera=camera, time_s=float(time), box=BOX)
        for number, (camera, time) in enumerate(seen)
    ]
    groups = group_sightings(looks, threshold=threshold)
    assert sorted(n for group in groups for n in group.sighting_ids) == list(range(len(seen)))
    for group in groups:
        frames = [seen[number] for number in group.sighting_ids]
        assert len(set(frames)) == len(frames)


def test_a_higher_threshold_never_makes_fewer_groups() -> None:
    looks = [sighting(n, e) for n, e in enumerate(people(6, 6, noise=0.35))]
    counts = [len(group_sightings(looks, threshold=t)) for t in (-0.5, 0.2, 0.5, 0.8, 0.99)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 36


def test_one_and_none_are_fine() -> None:
    assert group_sightings([], threshold=0.5) == []
    (group,) = group_sightings([sighting(3, people(1, 1)[0])], threshold=0.5)
    assert group.sighting_ids == (3,)


def test_what_cannot_be_grouped_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings = people(2, 1)
    with pytest.raises(GalleryError, match="Only sightings of one space can be grouped"):
        group_sightings(
            [sighting(0, embeddings[0]), sighting(1, embeddings[1], depth=3)], threshold=0.5
        )
    looks = [sighting(n, e) for n, e in enumerate(embeddings)]
    with pytest.raises(GalleryError, match="between -1 and 1"):
        group_sightings(looks, threshold=1.0)
    monkeypatch.setattr("adln.gallery.clustering.MOST_UNITS", 1)
    with pytest.raises(GalleryError, match="2 tracks are too many"):
        group_sightings(looks, threshold=0.5)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(GalleryError, match=r"pip install .\.\[cluster\]"):
        group_sightings(looks, threshold=0.5)
