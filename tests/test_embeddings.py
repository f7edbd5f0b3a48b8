from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from adln.embeddings import (
    Embedder,
    cosine_distance,
    flip_average,
    unit_length,
)

GOLDEN = np.load(Path(__file__).parent / "golden" / "bnneck_flip.npz")
ROWS = arrays(np.float64, (5, 4), elements=st.floats(-8, 8, width=32))


def test_flip_average_agrees_with_the_official_features() -> None:
    embeddings = flip_average(GOLDEN["bn_eval"], GOLDEN["bn_eval_flip"])
    np.testing.assert_allclose(embeddings, GOLDEN["flip_avg_then_l2"], atol=1e-7)


def test_flip_average_is_not_the_average_of_unit_features() -> None:
    embeddings = flip_average(GOLDEN["bn_eval"], GOLDEN["bn_eval_flip"])
    other = GOLDEN["l2_each_then_avg_then_l2_OTHER"]
    assert np.abs(embeddings - other).max() > 1e-3


def test_flip_average_does_not_care_which_crop_is_the_mirrored_one() -> None:
    a, b = GOLDEN["bn_eval"], GOLDEN["bn_eval_flip"]
    np.testing.assert_array_equal(flip_average(a, b), flip_average(b, a))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_unit_length_gives_float32_of_length_one_for_any_float(
    dtype: type[np.floating],
) -> None:
    features = np.random.default_rng(0).normal(scale=900, size=(6, 64)).astype(dtype)
    embeddings = unit_length(features)
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)


def test_unit_length_keeps_zeros_and_shows_nan() -> None:
    features = np.array([[0.0, 0.0], [np.nan, 1.0], [3.0, 4.0]])
    embeddings = unit_length(features)
    np.testing.assert_array_equal(embeddings[0], 0)
    assert np.isnan(embeddings[1]).all()
    np.testing.assert_allclose(embeddings[2], [0.6, 0.8], atol=1e-7)


def test_unit_length_works_along_the_last_axis() -> None:
    features = np.random.default_rng(1).normal(size=(2, 3, 8))
    np.testing.assert_array_equal(
        unit_length(features).reshape(6, 8), unit_length(features.reshape(6, 8))
    )


@given(ROWS, ROWS)
def test_cosine_distance_is_one_minus_the_cosine(a: np.ndarray, b: np.ndarray) -> None:
    distances = cosine_distance(a, b)
    for i, j in np.ndindex(distances.shape):
        lengths = np.linalg.norm(a[i]) * np.linalg.norm(b[j])
        cosine = a[i] @ b[j] / lengths if lengths > 1e-9 else 0.0
        if lengths > 1e-9:
            assert distances[i, j] == pytest.approx(1 - cosine, abs=1e-5)
    assert distances.min() >= 0
    assert distances.max() <= 2


def test_cosine_distance_of_unit_vectors_is_half_the_squared_distance() -> None:
    rng = np.random.default_rng(2)
    a, b = unit_length(rng.normal(size=(7, 16))), unit_length(rng.normal(size=(9, 16)))
    squared = ((a[:, np.newaxis] - b) ** 2).sum(axis=2)
    np.testing.assert_allclose(squared, 2 * cosine_distance(a, b), atol=1e-6)


def test_a_plain_class_satisfies_the_embedder_protocol() -> None:
    class MeanColour:
        depths = (1,)
        crop_size = (256, 128)
        dim = 3

        def embed(self, crops: np.ndarray) -> dict[int, np.ndarray]:
            return {1: unit_length(crops.mean(axis=(1, 2)))}

    embedder: Embedder = MeanColour()
    crops = np.full((2, 256, 128, 3), 7, np.uint8)
    assert embedder.embed(crops)[1].shape == (2, embedder.dim)
