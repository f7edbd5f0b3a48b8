from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import EvaluationError
from adln.evaluation import ranking, reranking
from adln.evaluation.ranking import evaluate_distance_matrix, evaluate_features
from adln.evaluation.reranking import evaluate_reranked, rerank

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "reranking.npz")
Matrix = NDArray[np.floating]


def reranked(
    query: Matrix, gallery: Matrix, *, k1: int = 20, k2: int = 6, distance_weight: float = 0.3
) -> Matrix:
    """All blocks put together."""
    blocks = rerank(query, gallery, k1=k1, k2=k2, distance_weight=distance_weight)
    return np.concatenate([distances for _, distances in blocks])


def naive_rerank(
    query: Matrix, gallery: Matrix, *, k1: int, k2: int, distance_weight: float
) -> Matrix:
    """k-reciprocal re-ranking word for word, with Python sets and dictionaries."""
    points = np.concatenate([query, gallery]).astype(np.float64)
    count = len(points)
    squared = np.array([[float(((a - b) ** 2).sum()) for b in points] for a in points])
    distances = squared / squared.max(axis=1, keepdims=True)
    ranks = np.argsort(distances, axis=1, kind="stable").tolist()

    def reciprocal(i: int, k: int) -> set[int]:
        return {j for j in ranks[i][: k + 1] if i in ranks[j][: k + 1]}

    weights: list[dict[int, float]] = []
    for i in range(count):
        own = reciprocal(i, k1)
        extended = set(own)
        for candidate in own:
            theirs = reciprocal(candidate, round(k1 / 2))
            if len(theirs & own) > 2 / 3 * len(theirs):
                extended |= theirs
        total = sum(np.exp(-distances[i, j]) for j in extended)
        weights.append({j: np.exp(-distances[i, j]) / total for j in extended})
    if k2 > 1:
        weights = [
            {
                j: sum(weights[n].get(j, 0.0) for n in ranks[i][:k2]) / k2
                for n in ranks[i][:k2]
                for j in weights[n]
            }
            for i in range(count)
        ]
    final = np.empty((len(query), len(gallery)))
    for i in range(len(query)):
        for j in range(len(gallery)):
            theirs_j = weights[len(query) + j]
            shared = sum(min(w, theirs_j.get(p, 0.0)) for p, w in weights[i].items())
            jaccard = 1 - shared / (2 - shared)
            original = distances[i, len(query) + j]
            final[i, j] = (1 - distance_weight) * jaccard + distance_weight * original
    return final


def clustered(seed: int, num_query: int, num_gallery: int, dim: int = 8) -> tuple[Matrix, Matrix]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(6, dim))
    points = centres[rng.integers(0, 6, num_query + num_gallery)]
    points = points + 0.4 * rng.normal(size=points.shape)
    return points[:num_query], points[num_query:]


@pytest.mark.parametrize("kind", ["raw", "l2n"])
@pytest.mark.parametrize(("k1", "k2", "share"), [(20, 6, 0.3), (10, 3, 0.5), (20, 1, 0.0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_agree_with_the_public_code(
    kind: str, k1: int, k2: int, share: float, dtype: type[np.floating]
) -> None:
    query, gallery = GOLDEN["q_feat"], GOLDEN["g_feat"]
    if kind == "l2n":
        query = query / np.linalg.norm(query, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    final = reranked(
        query.astype(dtype), gallery.astype(dtype), k1=k1, k2=k2, distance_weight=share
    )
    assert final.dtype == dtype
    np.testing.assert_allclose(final, GOLDEN[f"{kind}_final_k{k1}_{k2}_l{share}"], atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    k1=st.integers(1, 9),
    k2=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_distances_agree_with_sets_word_for_word(seed: int, k1: int, k2: int, share: float) -> None:
    query, gallery = clustered(seed, 5, 30)
    k2 = min(k2, k1 + 1)
    np.testing.assert_allclose(
        reranked(query, gallery, k1=k1, k2=k2, distance_weight=share),
        naive_rerank(query, gallery, k1=k1, k2=k2, distance_weight=share),
        atol=1e-9,
    )


def test_more_neighbours_than_points_means_all_points() -> None:
    query, gallery = clustered(1, 2, 5)
    np.testing.assert_allclose(
        reranked(query, gallery, k1=20, k2=6),
        naive_rerank(query, gallery, k1=20, k2=6, distance_weight=0.3),
        atol=1e-9,
    )


def test_equal_points_are_ordered_by_number() -> None:
    query, gallery = clustered(2, 3, 12)
    gallery = np.concatenate([gallery, gallery, query])
    np.testing.assert_allclose(
        reranked(query, gallery, k1=4, k2=2),
        naive_rerank(query, gallery, k1=4, k2=2, distance_weight=0.3),
        atol=1e-9,
    )


def test_points_that_are_all_equal_are_at_distance_zero() -> None:
    # Each point's neighbours are the first few of all, so only those are reciprocal.
    distances = reranked(np.ones((2, 4)), np.ones((3, 4)), k1=5, k2=2)
    np.testing.assert_allclose(distances, 0, atol=1e-12)


def test_the_whole_weight_on_the_distance_gives_normalised_squared_distances() -> None:
    query, gallery = clustered(3, 6, 40)
    points = np.concatenate([query, gallery])
    squared = ((query[:, np.newaxis] - points) ** 2).sum(axis=2)
    expected = squared[:, 6:] / squared.max(axis=1, keepdims=True)
    np.testing.assert_allclose(reranked(query, gallery, distance_weight=1.0), expected, atol=1e-12)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_the_order_and_scale_of_the_points_do_not_matter(seed: int) -> None:
    query, gallery = clustered(seed, 6, 40)
    order = np.random.default_rng(seed).permutation(40)
    np.testing.assert_allclose(
        reranked(query, gallery, k1=6, k2=3)[:, order],
        reranked(4 * query, 4 * gallery[order], k1=6, k2=3),
        atol=1e-9,
    )


def test_working_in_small_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    query, gallery = clustered(6, 23, 90)
    whole = reranked(query, gallery, k1=8, k2=3)
    monkeypatch.setattr(reranking, "_CHUNK", 300)
    monkeypatch.setattr(reranking, "_GATHERED_PAIRS", 7)
    monkeypatch.setattr(ranking, "_BLOCK_BYTES", 8 * 90 * 5)
    blocks = list(rerank(query, gallery, k1=8, k2=3))
    assert [rows.start for rows, _ in blocks] == [0, 5, 10, 15, 20]
    np.testing.assert_allclose(np.concatenate([b for _, b in blocks]), whole, atol=1e-12)


def test_distances_lie_between_zero_and_one() -> None:
    distances = reranked(*clustered(4, 10, 80))
    assert distances.min() >= 0
    assert distances.max() <= 1 + 1e-9


def test_metrics_are_those_of_the_whole_matrix() -> None:
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(8, 16))
    persons = rng.integers(0, 8, 110)
    cameras = rng.integers(0, 3, 110)
    points = unit_length(centres[persons] + 1.2 * rng.normal(size=(110, 16)))
    query, gallery = points[:20], points[20:]
    ids = (persons[:20], cameras[:20]), (persons[20:], cameras[20:])
    sides = (query, *ids[0]), (gallery, *ids[1])
    whole = evaluate_distance_matrix(reranked(query, gallery, k1=10, k2=4), *ids)
    finished: list[int] = []
    metrics = evaluate_reranked(*sides, k1=10, k2=4, on_progress=finished.append)
    np.testing.assert_array_equal(metrics.average_precision, whole.average_precision)
    assert sum(finished) == 110
    # Clusters are what re-ranking is good at.
    plain = evaluate_features(*sides)
    assert metrics.mean_ap > plain.mean_ap


@pytest.mark.parametrize(
    ("k1", "k2", "share"), [(0, 1, 0.3), (5, 0, 0.3), (5, 7, 0.3), (5, 2, 1.5)]
)
def test_settings_out_of_range_are_refused(k1: int, k2: int, share: float) -> None:
    query, gallery = clustered(0, 3, 9)
    with pytest.raises(EvaluationError, match=f"got k1={k1}, k2={k2}, distance_weight={share}"):
        rerank(query, gallery, k1=k1, k2=k2, distance_weight=share)


def test_features_that_do_not_fit_are_refused() -> None:
    query, gallery = clustered(0, 3, 9)
    with pytest.raises(EvaluationError, match=r"same D, got \(3, 7\) and \(9, 8\)"):
        rerank(query[:, :7], gallery)
    with pytest.raises(EvaluationError, match="got 3 and 0"):
        rerank(query, gallery[:0])
    gallery[4, 4] = np.nan
    with pytest.raises(EvaluationError, match="NaN or infinite"):
        rerank(query, gallery)
