"""Cluster contrast: a crop is drawn to where each camera saw its cluster, and away from others.

Not part of the paper: for crops of nobody knows whom, whose clusters stand in for persons.

A proxy is the centroid of what one camera saw of one cluster. A crop is compared with the proxies
of one camera at a time, so that what a camera does to all that it sees cannot help it, and only
under cameras that have seen its cluster: elsewhere anybody may be the same person.

Source: Dai et al. 2021, "Cluster Contrast for Unsupervised Person Re-Identification", with
    centroids that each crop moves a little; one proxy for each camera as in Wang et al. 2021,
    "Camera-Aware Proxies for Unsupervised Person Re-Identification".
"""

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.05
MOMENTUM = 0.9


def cluster_contrast_loss(
    embeddings: Tensor,
    clusters: Tensor,
    proxies: Tensor,
    proxy_clusters: Tensor,
    proxy_cameras: Tensor,
    *,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """Cross entropy of each crop's cosines to the proxies of each camera that knows its cluster.

    Returns a scalar, the mean over pairs of crop and camera, computed in float32 or better. Of
    crops there are (B, D) embeddings of any length and (B,) int64 clusters; of proxies (P, D) of
    unit length, which get no gradient, and (P,) int64 clusters and cameras. A cluster has at most
    one proxy under a camera.
    """
    embeddings = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    logits = F.normalize(embeddings) @ proxies.detach().to(embeddings.dtype).T / temperature
    is_own = clusters[:, None] == proxy_clusters  # (B, P)
    losses = []
    for camera in proxy_cameras.unique():
        under = proxy_cameras == camera
        own = is_own[:, under]
        known = own.any(dim=1)
        losses.append(
            F.cross_entropy(logits[:, under][known], own[known].long().argmax(1), reduction="none")
        )
    return torch.cat(losses).mean()


@torch.no_grad()
def moved_proxies(
    proxies: Tensor, embeddings: Tensor, owners: Tensor, *, momentum: float = MOMENTUM
) -> Tensor:
    """Proxies (P, D) of unit length after a batch: each goes on towards the mean of its crops.

    Of (B, D) embeddings of any length, `owners` (B,) int64 are the proxies. `momentum` is the share
    of the proxy that stays; those without a crop are as they were.
    """
    rows = F.normalize(embeddings.detach().to(proxies.dtype))
    sums = torch.zeros_like(proxies).index_add_(0, owners, rows)
    counts = torch.bincount(owners, minlength=len(proxies))[:, None]
    moved = F.normalize(momentum * proxies + (1 - momentum) * sums / counts.clamp(min=1))
    return torch.where(counts > 0, moved, proxies)
