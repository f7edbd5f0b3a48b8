"""Cluster contrast: a crop is drawn to the centroid of its cluster, and away from the others.

Not part of the paper: for crops of nobody knows whom, whose clusters stand in for persons.

Source: Dai et al. 2021, "Cluster Contrast for Unsupervised Person Re-Identification", with
    centroids that each crop moves a little (their "cluster memory" with the momentum of SpCL)
    rather than the hardest crop of a batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.05
MOMENTUM = 0.9


def cluster_contrast_loss(
    embeddings: Tensor,
    labels: Tensor,
    centroids: Tensor,
    *,
    passed_over: Tensor | None = None,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Cross entropy of each crop's cosines to all centroids, mean over the batch (InfoNCE).

    Args:
        embeddings: (B, D) of any length.
        labels: (B,) int64, clusters 0..K-1.
        centroids: (K, D) of unit length; get no gradient.
        passed_over: (B, K) bool, centroids that a crop is not driven away from: of whom nobody
            knows whether they are another person. That of its own cluster is always looked at.
        temperature: more than 0.

    Returns:
        Scalar, computed in float32 or better.
    """
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    logits = F.normalize(embeddings) @ centroids.detach().to(embeddings.dtype).T  # (B, K)
    if passed_over is not None:
        own = F.one_hot(labels, len(centroids)).bool()
        logits = logits.masked_fill(passed_over & ~own, -torch.inf)
    return F.cross_entropy(logits / temperature, labels)


@torch.no_grad()
def moved_centroids(
    centroids: Tensor, embeddings: Tensor, labels: Tensor, *, momentum: float = MOMENTUM
) -> Tensor:
    """Centroids after a batch: each goes on towards the mean of its crops in the batch.

    Args:
        centroids: (K, D) of unit length.
        embeddings: (B, D) of any length.
        labels: (B,) int64, clusters 0..K-1.
        momentum: share of the centroid that stays, 0 to 1.

    Returns:
        (K, D) of unit length; those without a crop are as they were.
    """
    rows = F.normalize(embeddings.detach().to(centroids.dtype))
    sums = torch.zeros_like(centroids).index_add_(0, labels, rows)
    counts = torch.bincount(labels, minlength=len(centroids))[:, None]
    moved = F.normalize(momentum * centroids + (1 - momentum) * sums / counts.clamp(min=1))
    return torch.where(counts > 0, moved, centroids)
