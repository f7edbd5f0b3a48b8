"""Cluster contrast against loops, and what it looks at."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from adln.losses.cluster_contrast import cluster_contrast_loss, moved_proxies

# Clusters 0 and 1 were seen by cameras 0 and 1, cluster 2 by camera 0, cluster 3 by camera 1.
PROXY_CLUSTERS = torch.tensor([0, 0, 1, 1, 2, 3])
PROXY_CAMERAS = torch.tensor([0, 1, 0, 1, 0, 1])
CLUSTERS = torch.tensor([0, 2, 3, 1])


@pytest.fixture
def proxies() -> Tensor:
    return F.normalize(torch.randn(6, 5, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def embeddings() -> Tensor:
    return torch.randn(4, 5, generator=torch.Generator().manual_seed(1))


def loss_of(embeddings: Tensor, clusters: Tensor, proxies: Tensor) -> Tensor:
    return cluster_contrast_loss(
        embeddings, clusters, proxies, PROXY_CLUSTERS, PROXY_CAMERAS, temperature=0.5
    )


def test_it_is_the_mean_over_crops_and_the_cameras_that_know_their_cluster(
    embeddings: Tensor, proxies: Tensor
) -> None:
    terms = []
    for crop, cluster in zip(embeddings, CLUSTERS.tolist(), strict=True):
        for camera in (0, 1):
            scores, own = [], None
            for proxy, owner, seen_by in zip(
                proxies, PROXY_CLUSTERS.tolist(), PROXY_CAMERAS.tolist(), strict=True
            ):
                if seen_by == camera:
                    score = math.exp(float(crop @ proxy / crop.norm()) / 0.5)
                    scores.append(score)
                    own = score if owner == cluster else own
            if own is not None:
                terms.append(-math.log(own / sum(scores)))
    assert len(terms) == 6
    assert float(loss_of(embeddings, CLUSTERS, proxies)) == pytest.approx(sum(terms) / 6, rel=1e-5)


def test_a_crop_is_not_driven_from_those_of_a_camera_that_has_not_seen_its_cluster(
    embeddings: Tensor, proxies: Tensor
) -> None:
    seen_by_camera_0_only = torch.full((4,), 2)
    before = loss_of(embeddings, seen_by_camera_0_only, proxies)
    moved = proxies.clone()
    moved[PROXY_CAMERAS == 1] = -moved[PROXY_CAMERAS == 1]
    assert torch.equal(loss_of(embeddings, seen_by_camera_0_only, moved), before)


def test_the_crops_get_a_gradient_and_the_proxies_none(embeddings: Tensor, proxies: Tensor) -> None:
    embeddings.requires_grad_(True)
    proxies.requires_grad_(True)
    loss_of(embeddings, CLUSTERS, proxies).backward()
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0
    assert proxies.grad is None


def test_proxies_move_a_little_towards_the_mean_of_their_crops(
    embeddings: Tensor, proxies: Tensor
) -> None:
    moved = moved_proxies(proxies, embeddings, torch.tensor([2, 2, 5, 2]), momentum=0.9)
    rows = F.normalize(embeddings)
    expected = F.normalize(0.9 * proxies[2] + 0.1 * rows[[0, 1, 3]].mean(0), dim=0)
    torch.testing.assert_close(moved[2], expected)
    torch.testing.assert_close(moved[5], F.normalize(0.9 * proxies[5] + 0.1 * rows[2], dim=0))
    assert torch.equal(moved[[0, 1, 3, 4]], proxies[[0, 1, 3, 4]])
