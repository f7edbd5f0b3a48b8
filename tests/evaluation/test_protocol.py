from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from adln.datasets.split import Split
from adln.embeddings import unit_length
from adln.errors import EvaluationError, ImageError
from adln.evaluation.protocol import embed_split, evaluate
from adln.evaluation.ranking import evaluate_features
from adln.evaluation.reranking import evaluate_reranked


@dataclass
class ColourEmbedder:
    """Embeds the mean colour: exactly at depth 2, in grey only at depth 1."""

    depths: tuple[int, ...] = (1, 2)
    dim: int = 3
    crop_size: tuple[int, int] = (48, 32)
    batch_sizes: list[int] = field(default_factory=list)

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        assert crops.shape[1:] == (48, 32, 3)
        assert crops.dtype == np.uint8
        self.batch_sizes.append(len(crops))
        colours = crops.mean(axis=(1, 2))
        grey = np.stack([colours.mean(axis=1), np.full(len(crops), 90.0), 0 * colours[:, 0]], 1)
        return {1: unit_length(grey), 2: unit_length(colours)}


@pytest.fixture
def splits(tmp_path: Path) -> tuple[Split, Split]:
    """Five persons, each a colour, under two cameras that differ in brightness."""
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 200, (6, 3))
    paths, persons, cameras = [], [], []
    for person in range(6):
        for camera in (1, 2):
            for number in range(2):
                pixels = np.full((32, 16, 3), colours[person] * (0.6 + 0.3 * camera) / 1.2)
                pixels += rng.normal(scale=4, size=pixels.shape)
                path = tmp_path / f"{person}_{camera}_{number}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
                paths.append(path)
                persons.append(person)
                cameras.append(camera)
    whole = Split("all", tuple(paths), np.array(persons), np.array(cameras))
    first = np.arange(len(whole)) % 2 == 0
    return whole.select(first), whole.select(~first)


def test_every_depth_is_evaluated_from_one_pass(splits: tuple[Split, Split]) -> None:
    query, gallery = splits
    embedder = ColourEmbedder()
    finished: list[int] = []
    evaluation = evaluate(embedder, query, gallery, batch_size=5, on_progress=finished.append)
    assert embedder.batch_sizes == [5, 5, 2, 5, 5, 2]
    assert sum(finished) == len(query) + len(gallery)
    assert list(evaluation.results) == [1, 2]
    for result in evaluation.results.values():
        expected = evaluate_features(
            (result.query_features, *query.ids), (result.gallery_features, *gallery.ids)
        )
        assert result.metrics.mean_ap == expected.mean_ap
        assert result.reranked is None
    assert evaluation.results[2].metrics.rank1 == 1
    assert evaluation.results[1].metrics.mean_ap < 1


def test_features_come_in_the_order_of_the_split(splits: tuple[Split, Split]) -> None:
    query, _ = splits
    embedder = ColourEmbedder()
    together = embed_split(embedder, query, batch_size=12)
    reversed_split = query.select(np.arange(len(query))[::-1])
    backwards = embed_split(embedder, reversed_split, batch_size=5)
    for depth in (1, 2):
        np.testing.assert_allclose(together[depth], backwards[depth][::-1], atol=1e-6)


def test_reranking_is_evaluated_when_asked_for(splits: tuple[Split, Split]) -> None:
    query, gallery = splits
    result = evaluate(ColourEmbedder(), query, gallery, rerank=True).results[1]
    expected = evaluate_reranked(
        (result.query_features, *query.ids), (result.gallery_features, *gallery.ids)
    )
    assert result.reranked is not None
    assert result.reranked.mean_ap == expected.mean_ap


def test_a_hopeless_evaluation_fails_before_any_picture_is_read(
    splits: tuple[Split, Split],
) -> None:
    query, gallery = splits
    embedder = ColourEmbedder()
    same_camera = query.camera_ids == 1
    with pytest.raises(EvaluationError, match="None of the 6 queries has a match"):
        evaluate(embedder, query.select(same_camera), gallery.select(same_camera))
    with pytest.raises(EvaluationError, match="query is empty"):
        evaluate(embedder, query.select([]), gallery)
    assert embedder.batch_sizes == []


def test_a_picture_that_gives_nan_is_named(splits: tuple[Split, Split]) -> None:
    class Diverged(ColourEmbedder):
        def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
            embeddings = super().embed(crops)
            embeddings[2][1] = np.nan
            return embeddings

    query, _ = splits
    with pytest.raises(EvaluationError, match="NaN or infinite values at depth 2") as caught:
        embed_split(Diverged(), query)
    assert str(query.paths[1]) in str(caught.value)


def test_an_embedder_that_breaks_its_promise_is_refused(splits: tuple[Split, Split]) -> None:
    query, _ = splits
    with pytest.raises(EvaluationError, match=r"depths \[1, 2, 3\] .*, got \[1, 2\]"):
        embed_split(ColourEmbedder(depths=(1, 2, 3)), query)
    with pytest.raises(EvaluationError, match=r"shape \(12, 3\) at depth 1; expected \(12, 4\)"):
        embed_split(ColourEmbedder(dim=4), query)


def test_a_missing_picture_is_named(splits: tuple[Split, Split]) -> None:
    query, gallery = splits
    query.paths[3].unlink()
    with pytest.raises(ImageError, match=query.paths[3].name):
        evaluate(ColourEmbedder(), query, gallery)
