"""The protocol: embeds the crops of query and gallery and ranks them, at every depth.

Implements the evaluation of Sec. III.A-C for any embedder, in torch or ONNX. Each crop is read
and embedded once for all depths.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.datasets.loading import iterate_crops
from adln.datasets.split import Split
from adln.embeddings import Embedder, find_unusable
from adln.errors import EvaluationError
from adln.evaluation.ranking import RetrievalMetrics, Side, evaluate_features, matching_ids
from adln.evaluation.reranking import evaluate_reranked


@dataclass(frozen=True, eq=False)
class DepthResult:
    """Features (Q, D) and (G, D) float32 of one depth, and its metrics by cosine.

    `reranked` are the metrics after re-ranking; None if not requested.
    """

    query_features: NDArray[np.float32]
    gallery_features: NDArray[np.float32]
    metrics: RetrievalMetrics
    reranked: RetrievalMetrics | None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Pictures, and results by ascending depth."""

    query: Split
    gallery: Split
    results: dict[int, DepthResult]

    def sides(self, query_depth: int, gallery_depth: int | None = None) -> tuple[Side, Side]:
        """Features and ids of query and gallery; the gallery's depth defaults to the query's."""
        gallery_depth = query_depth if gallery_depth is None else gallery_depth
        return (
            (self.results[query_depth].query_features, *self.query.ids),
            (self.results[gallery_depth].gallery_features, *self.gallery.ids),
        )


def evaluate(
    embedder: Embedder,
    query: Split,
    gallery: Split,
    *,
    batch_size: int = 64,
    rerank: bool = False,
    max_rank: int = 50,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Evaluate an embedder on a query and a gallery, at every depth.

    The features of all depths are kept in memory: for Market-1501, 158 MB per depth at D = 2048.
    `rerank` also evaluates k-reciprocal re-ranking, whose cost grows with the square of the number
    of pictures. The CMC has `max_rank` ranks. `on_progress` is called with the number of pictures,
    of all Q + G, just embedded.

    Raises:
        EvaluationError: A split is empty, no query has a match (both detected before any picture is
            read), or the embedder's output is invalid.
        ImageError: A picture is missing or damaged.
        SettingsError: ``batch_size`` is below one.
    """
    matching_ids(len(query), query.ids, len(gallery), gallery.ids)
    query_features, gallery_features = (
        embed_split(embedder, split, batch_size=batch_size, on_progress=on_progress)
        for split in (query, gallery)
    )
    return evaluate_embedded(
        query, gallery, query_features, gallery_features, rerank=rerank, max_rank=max_rank
    )


def evaluate_embedded(
    query: Split,
    gallery: Split,
    query_features: Mapping[int, NDArray[np.float32]],
    gallery_features: Mapping[int, NDArray[np.float32]],
    *,
    rerank: bool = False,
    max_rank: int = 50,
) -> Evaluation:
    """Evaluate existing embeddings, depth -> (Q, D) and (G, D); see `evaluate`.

    Raises:
        EvaluationError: A split is empty, shapes disagree, or no query has a match.
    """
    matching_ids(len(query), query.ids, len(gallery), gallery.ids)
    results = {}
    for depth in query_features:
        sides = (query_features[depth], *query.ids), (gallery_features[depth], *gallery.ids)
        results[depth] = DepthResult(
            query_features=query_features[depth],
            gallery_features=gallery_features[depth],
            metrics=evaluate_features(*sides, max_rank=max_rank),
            reranked=evaluate_reranked(*sides, max_rank=max_rank) if rerank else None,
        )
    return Evaluation(query=query, gallery=gallery, results=results)


def embed_split(
    embedder: Embedder,
    split: Split,
    *,
    batch_size: int = 64,
    on_progress: Callable[[int], None] | None = None,
) -> dict[int, NDArray[np.float32]]:
    """Embed a split at every depth in one pass: depth -> (N, D) float32, in its order.

    `on_progress` is called with the number of pictures just embedded.

    Raises:
        EvaluationError: The embedder's output has wrong depths or a wrong shape, or is not finite;
            the message names the picture.
        ImageError: A picture is missing or damaged.
        SettingsError: ``batch_size`` is below one.
    """
    features = {
        depth: np.empty((len(split), embedder.dim), np.float32) for depth in embedder.depths
    }
    start = 0
    height_px, width_px = embedder.crop_size
    for crops in iterate_crops(
        split.paths,
        batch_size=batch_size,
        height_px=height_px,
        width_px=width_px,
    ):
        embeddings = embedder.embed(crops)
        if set(embeddings) != set(features):
            raise EvaluationError(
                f"Expected embeddings of depths {sorted(features)} from the embedder, got "
                f"{sorted(embeddings)}."
            )
        for depth, embedding in embeddings.items():
            if embedding.shape != (len(crops), embedder.dim):
                raise EvaluationError(
                    f"The embedder returned shape {embedding.shape} at depth {depth}; "
                    f"expected {(len(crops), embedder.dim)} for {len(crops)} crops."
                )
            unusable = find_unusable(embedding)
            if unusable is not None:
                at, values = unusable
                raise EvaluationError(
                    f"The embedder returned {values} at depth {depth} for "
                    f"{split.paths[start + at]}. Check its weights: training may have diverged."
                )
            features[depth][start : start + len(crops)] = embedding
        start += len(crops)
        if on_progress is not None:
            on_progress(len(crops))
    return features
