from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.cascade_search import look_up_in, search_in

DIM = 8
SHALLOW = ModelKey("a" * 64, 2, DIM, "5" * 16)
DEEP = ModelKey("b" * 64, 4, DIM, "5" * 16)
ELSEWHERE = ModelKey("c" * 64, 4, DIM, "6" * 16)
RNG = np.random.default_rng(3)


@dataclass
class Filled:
    gallery: SqliteGallery
    embeddings: NDArray[np.float32]
    sighting_ids: NDArray[np.int64]
    person: int


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Filled]:
    """Six deep sightings, the first two of a person who is known."""
    embeddings = unit_length(RNG.standard_normal((6, DIM)))
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        person = gallery.enrol("Ada")
        ids = gallery.add(
            [
                Sighting(
                    embedding=embedding,
                    model=DEEP,
                    camera_id=1,
                    time_s=float(at),
                    person_id=person if at < 2 else None,
                )
                for at, embedding in enumerate(embeddings)
            ]
        )
        yield Filled(gallery, embeddings, np.array(ids, np.int64), person)


def test_both_depths_search_the_same_sightings_if_they_share_a_space(filled: Filled) -> None:
    search = search_in(filled.gallery, {2: SHALLOW, 4: DEEP}, k=8)
    queries = unit_length(filled.embeddings[:3] + 0.1 * RNG.standard_normal((3, DIM)))
    for depth in (2, 4):
        found = search(queries, depth)
        assert found.similarity.shape == (3, 8)
        np.testing.assert_array_equal(found.sighting_ids[:, 0], filled.sighting_ids[:3])
        assert found.person_ids is not None
        assert found.person_ids[:, 0].tolist() == [filled.person, filled.person, -1]
        # Two places are left over: there are six sightings.
        assert np.isneginf(found.similarity[:, 6:]).all()
        assert (found.sighting_ids[:, 6:] == -1).all()


def test_depths_without_a_common_space_have_a_gallery_each(filled: Filled, tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "elsewhere", create=True) as elsewhere:
        (number,) = elsewhere.add(
            [Sighting(embedding=filled.embeddings[5], model=ELSEWHERE, camera_id=1, time_s=0.0)]
        )
        search = search_in({2: filled.gallery, 4: elsewhere}, {2: DEEP, 4: ELSEWHERE}, k=3)
        queries = filled.embeddings[:1]
        assert search(queries, 2).sighting_ids[0, 0] == filled.sighting_ids[0]
        assert search(queries, 4).sighting_ids.tolist() == [[number, -1, -1]]


def test_persons_are_kept_from_confidence_when_asked(filled: Filled) -> None:
    search = search_in(filled.gallery, {4: DEEP}, persons_known=False)
    assert search(filled.embeddings[:1], 4).person_ids is None
    assert search(filled.embeddings[:0], 4).similarity.shape == (0, 50)


def test_query_expansion_takes_the_embeddings_of_the_sightings(filled: Filled) -> None:
    ids = filled.sighting_ids
    wanted = np.array([[ids[3], ids[0], -1], [ids[3], ids[5], ids[5]]])
    found = look_up_in(filled.gallery, DEEP)(wanted)
    np.testing.assert_allclose(found[0, :2], filled.embeddings[[3, 0]], atol=1e-6)
    np.testing.assert_allclose(found[1], filled.embeddings[[3, 5, 5]], atol=1e-6)
    assert not found[0, 2].any()


def test_query_expansion_never_takes_another_space(filled: Filled) -> None:
    with pytest.raises(GalleryError, match="does not share a space"):
        look_up_in(filled.gallery, ELSEWHERE)(filled.sighting_ids[:, np.newaxis])
