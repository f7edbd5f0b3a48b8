from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adln.embedders.cascade import BestAnswers, Cascade
from adln.embedders.deeper import ChainedEmbedder
from adln.errors import ImageError, ModelFileError, SettingsError
from adln.matching.confidence import confidence, expand_queries

MakeModel = Callable[..., Path]
MakePair = Callable[..., tuple[Path, Path]]
RNG = np.random.default_rng(5)
CROPS = RNG.integers(0, 256, (9, 256, 128, 3), dtype=np.uint8)
K = 12


@dataclass
class Gallery:
    """Sightings at two depths, searched one by one; remembers what it was asked."""

    embeddings: dict[int, NDArray[np.float32]]
    person_ids: NDArray[np.int64]
    knows_persons: bool = True
    asked: list[tuple[int, int]] = field(default_factory=list)

    def search(self, embeddings: NDArray[np.float32], depth: int) -> BestAnswers:
        self.asked.append((depth, len(embeddings)))
        scores = embeddings @ self.embeddings[depth].T
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        return BestAnswers(
            np.take_along_axis(scores, order, axis=1),
            order.astype(np.int64),
            self.person_ids[order] if self.knows_persons else None,
        )


@pytest.fixture
def paths(make_pair: MakePair) -> tuple[Path, Path]:
    return make_pair()


@pytest.fixture
def gallery(paths: tuple[Path, Path]) -> Gallery:
    crops = RNG.integers(0, 256, (20, 256, 128, 3), dtype=np.uint8)
    return Gallery(
        ChainedEmbedder(paths, batch_size=8).embed(crops), np.arange(20, dtype=np.int64) // 4
    )


@pytest.mark.parametrize(("threshold", "depth"), [(-np.inf, 1), (np.inf, 2)])
def test_at_the_ends_of_the_dial_one_depth_answers_all(
    paths: tuple[Path, Path], gallery: Gallery, threshold: float, depth: int
) -> None:
    answers = Cascade(paths, batch_size=4).search(CROPS, gallery.search, threshold=threshold)
    expected = ChainedEmbedder(paths, batch_size=8).embed(CROPS)[depth]
    assert (answers.depths == depth).all()
    np.testing.assert_allclose(answers.embeddings, expected, atol=1e-6)
    by_hand = gallery.search(expected, depth)
    np.testing.assert_array_equal(answers.found.sighting_ids, by_hand.sighting_ids)
    np.testing.assert_allclose(answers.found.similarity, by_hand.similarity, atol=1e-6)
    np.testing.assert_array_equal(answers.found.person_ids, by_hand.person_ids)


@pytest.mark.parametrize("knows_persons", [True, False])
def test_only_unsure_crops_go_deeper(
    paths: tuple[Path, Path], gallery: Gallery, knows_persons: bool
) -> None:
    gallery.knows_persons = knows_persons
    embeddings = ChainedEmbedder(paths, batch_size=8).embed(CROPS)
    first = gallery.search(embeddings[1], 1)
    sure = confidence(first.similarity, first.person_ids)
    threshold = float(np.sort(sure)[3:5].mean())
    gallery.asked.clear()
    answers = Cascade(paths, batch_size=4).search(CROPS, gallery.search, threshold=threshold)
    np.testing.assert_allclose(answers.confidence, sure, atol=1e-6)
    np.testing.assert_array_equal(answers.depths, np.where(sure < threshold, 2, 1))
    deep = gallery.search(embeddings[2], 2)
    expected = np.where((sure < threshold)[:, np.newaxis], deep.sighting_ids, first.sighting_ids)
    np.testing.assert_array_equal(answers.found.sighting_ids, expected)
    assert sum(count for depth, count in gallery.asked[:-1] if depth == 2) == 4
    assert (answers.found.person_ids is None) == (not knows_persons)


@pytest.mark.parametrize("threshold", [-np.inf, np.inf])
def test_query_expansion_searches_again_by_the_deep_embeddings_of_the_answers(
    paths: tuple[Path, Path], gallery: Gallery, threshold: float
) -> None:
    def look_up(sighting_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        return gallery.embeddings[2][sighting_ids]

    cascade = Cascade(paths)
    plain = cascade.search(CROPS, gallery.search, threshold=threshold).found
    found = cascade.search(CROPS, gallery.search, threshold=threshold, expand_from=look_up).found
    by_hand = gallery.search(expand_queries(look_up(plain.sighting_ids), plain.similarity), 2)
    np.testing.assert_array_equal(found.sighting_ids, by_hand.sighting_ids)


def test_a_crop_whose_answers_are_gone_keeps_what_it_found(
    paths: tuple[Path, Path], gallery: Gallery
) -> None:
    def look_up(sighting_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        embeddings = gallery.embeddings[2][sighting_ids]
        embeddings[2] = 0
        return embeddings

    cascade = Cascade(paths, batch_size=len(CROPS))
    plain, found = (
        cascade.search(CROPS, gallery.search, threshold=-np.inf, expand_from=lender).found
        for lender in (None, look_up)
    )
    is_same = (plain.sighting_ids == found.sighting_ids).all(axis=1)
    assert is_same.tolist() == [at == 2 for at in range(len(CROPS))]


def test_an_empty_gallery_has_no_answers_and_sends_everybody_deeper(
    paths: tuple[Path, Path],
) -> None:
    def search(embeddings: NDArray[np.float32], depth: int) -> BestAnswers:
        shape = (len(embeddings), K)
        return BestAnswers(
            np.full(shape, -np.inf, np.float32), np.full(shape, -1), np.full(shape, -1)
        )

    def look_up(sighting_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        raise AssertionError("nothing was found that could be looked up")

    cascade = Cascade(paths)
    answers = cascade.search(CROPS, search, threshold=0.1, expand_from=look_up)
    assert (answers.depths == 2).all()
    none = cascade.search(CROPS[:0], search, threshold=0.1, expand_from=look_up)
    assert (none.embeddings.shape, none.found.similarity.shape) == ((0, 16), (0, K))


def test_a_gallery_that_answers_unevenly_is_refused(paths: tuple[Path, Path]) -> None:
    def fewer(embeddings: NDArray[np.float32], depth: int) -> BestAnswers:
        shape = (len(embeddings), K if depth == 1 else K - 1)
        return BestAnswers(np.zeros(shape, np.float32), np.zeros(shape, np.int64))

    def one(embeddings: NDArray[np.float32], depth: int) -> BestAnswers:
        return BestAnswers(np.zeros((1, K), np.float32), np.zeros((1, K), np.int64))

    cascade = Cascade(paths)
    with pytest.raises(SettingsError, match="another number of matches"):
        cascade.search(CROPS, fewer, threshold=np.inf)
    with pytest.raises(SettingsError, match="searched with 8 embeddings and returned"):
        cascade.search(CROPS, one, threshold=np.inf)
    with pytest.raises(SettingsError, match="got nan"):
        cascade.search(CROPS, one, threshold=np.nan)


def test_a_cascade_needs_files_that_belong_together(
    paths: tuple[Path, Path], make_model: MakeModel
) -> None:
    with pytest.raises(ModelFileError, match="two or more files of a split export, got 1"):
        Cascade(paths[:1])
    with pytest.raises(ModelFileError, match="outputs the maps of no stage"):
        Cascade([make_model("whole.onnx", depths=(1,)), paths[1]])
    with pytest.raises(ImageError, match="expected crops"):
        Cascade(paths).search(CROPS[:, :32], lambda *_: None, threshold=0.0)  # type: ignore[arg-type, return-value]
