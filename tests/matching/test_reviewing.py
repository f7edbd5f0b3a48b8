from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.adapting import space_name
from adln.gallery.records import NO_PERSON, Filter, ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.adaptation import TrackedCrops, fit_adaptation
from adln.matching.adaptation_gate import CENTRINGS
from adln.matching.reviewing import MergeProposal, review_gallery, set_aside

DIM = 32
MODEL = ModelKey("a" * 64, 2, DIM)
RNG = np.random.default_rng(0)


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery", create=True) as opened:
        yield opened


def add(
    gallery: SqliteGallery,
    person_id: int | None,
    axis: int,
    count: int,
    *,
    time_s: float = 0.0,
    noise: float = 0.05,
) -> list[int]:
    """Looks near one axis."""
    rows = np.eye(DIM)[axis] + noise * RNG.standard_normal((count, DIM))
    ids = gallery.add(
        [
            Sighting(
                embedding=row,
                model=MODEL,
                camera_id=1,
                time_s=time_s + at,
                person_id=person_id,
                track_id=axis,
            )
            for at, row in enumerate(unit_length(rows))
        ]
    )
    return [one for one in ids if one is not None]


def test_a_template_of_somebody_else_is_listed_and_can_be_set_aside(
    gallery: SqliteGallery,
) -> None:
    anna, bela = gallery.enrol("Anna"), gallery.enrol("Bela")
    add(gallery, anna, 1, 4)
    add(gallery, bela, 2, 4, time_s=100)
    # Bela's, learned as Anna's: they vouch for each other, and are the nearest of Bela's own.
    poison = add(gallery, anna, 2, 2, time_s=200, noise=0.01)
    review = review_gallery(gallery, threshold=0.8)
    assert sorted(one.sighting_id for one in review.strange) == poison
    assert {(one.person_id, one.other_id) for one in review.strange} == {(anna, bela)}
    assert all(one.other_score > one.score for one in review.strange)
    assert review.merges == ()
    assert set_aside(gallery, review.strange) == 2
    assert set_aside(gallery, ()) == 0
    assert gallery.count(Filter(persons=frozenset({NO_PERSON}))) == 2
    assert review_gallery(gallery, threshold=0.8).strange == ()


def test_a_gallery_in_order_has_nothing_to_list(gallery: SqliteGallery) -> None:
    for axis in range(5):
        add(gallery, gallery.enrol(), axis, 3, time_s=100 * axis)
    add(gallery, None, 2, 3)
    review = review_gallery(gallery, threshold=0.8)
    assert (review.merges, review.strange) == ((), ())


def test_one_person_in_pieces_is_proposed_for_merging_and_not_merged(
    gallery: SqliteGallery,
) -> None:
    piece, anna, other = gallery.enrol(), gallery.enrol("Anna"), gallery.enrol()
    add(gallery, piece, 1, 3)
    add(gallery, anna, 1, 3, time_s=100)
    add(gallery, other, 2, 3, time_s=200)
    review = review_gallery(gallery, threshold=0.8)
    (proposal,) = review.merges
    assert proposal == MergeProposal(
        into=anna, person_id=piece, score=proposal.score, both_named=False
    )
    assert proposal.score > 0.9
    # Templates of pieces are not strange to each other.
    assert review.strange == ()
    assert len(gallery.persons()) == 3


def test_in_an_adapted_gallery_people_are_compared_as_its_searches_do(
    gallery: SqliteGallery,
) -> None:
    # What all have in common makes strangers alike, until it is taken off.
    common = 3 * np.eye(DIM)[0]
    looks = unit_length(common + np.eye(DIM)[1 + np.arange(24) // 4])
    people = [gallery.enrol() for _ in range(5)]
    # The last one is the one before once more.
    looks[20:] = looks[16:20]
    people.append(gallery.enrol())
    gallery.add(
        [
            Sighting(
                embedding=look,
                model=MODEL,
                camera_id=1,
                time_s=float(at),
                person_id=people[at // 4],
            )
            for at, look in enumerate(looks)
        ]
    )
    numbers = np.arange(24)
    crops = TrackedCrops(looks.astype(np.float32), np.ones(24, np.int64), numbers // 4)
    gallery.adapt(fit_adaptation(crops, CENTRINGS[0], space=space_name(MODEL)))
    review = review_gallery(gallery, threshold=0.5)
    assert [(one.into, one.person_id) for one in review.merges] == [(people[4], people[5])]
    assert review.strange == ()


def test_two_who_were_seen_in_one_frame_are_never_proposed(gallery: SqliteGallery) -> None:
    one, other = gallery.enrol(), gallery.enrol()
    add(gallery, one, 1, 3, time_s=0)
    add(gallery, other, 1, 3, time_s=2)
    assert review_gallery(gallery, threshold=0.8).merges == ()


def test_a_threshold_is_a_cosine(gallery: SqliteGallery) -> None:
    with pytest.raises(GalleryError, match="cosine"):
        review_gallery(gallery, threshold=1.5)
    assert review_gallery(gallery, threshold=0.5).merges == ()
