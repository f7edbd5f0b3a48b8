"""What a network learns at a site without a teacher: whom the clusters of its tracks show.

Before each epoch the tracks are clustered anew, as the network sees them by then. Each crop is
drawn to the centroid of its cluster and away from the others. Two clusters of which each is seen
by one camera only, and not by the same, may be one person whom nothing has linked yet; these are
not driven apart.
"""

import hashlib
from collections.abc import Callable, Set
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from adln.embeddings import unit_length
from adln.errors import TracksError
from adln.losses.cluster_contrast import (
    MOMENTUM,
    TEMPERATURE,
    cluster_contrast_loss,
    moved_centroids,
)
from adln.model.embedder import TorchEmbedder
from adln.model.network import ADLN
from adln.site.clusters import cluster_tracks, seen_together, without_cameras
from adln.site.recipes import CLUSTER_WEIGHT
from adln.training.data import TrainingData
from adln.training.lesson import Lesson

_TOGETHER = 64


class ClusterLesson(Lesson):
    """Clusters of T tracks and their centroids.

    Args:
        tracks: (N,) track of each crop, 0..T-1.
        cameras: (N,) camera of each crop.
        apart: pairs of tracks that show two people, both ways round.
        dim: D, length of an embedding.
        weight: of the loss.
        say: told in words how many clusters there are.

    Attributes:
        clusters: (T,) cluster of each track, 0..K-1.
        centroids: (T, D), of which the first K are used.
        only_camera: (T,) camera that alone has seen a cluster; -1 if several have.
        track_of: (N,) track of each crop.
    """

    clusters: Tensor
    centroids: Tensor
    only_camera: Tensor
    track_of: Tensor

    def __init__(
        self,
        tracks: NDArray[np.int64],
        cameras: NDArray[np.int64],
        apart: Set[tuple[int, int]],
        *,
        dim: int,
        weight: float,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__()
        count = int(tracks.max()) + 1
        self.weight = weight
        self._apart, self._say = apart, say
        self._camera_of_track = np.zeros(count, np.int64)
        self._camera_of_track[tracks] = cameras
        digest = hashlib.sha256(tracks.tobytes() + cameras.tobytes() + repr(sorted(apart)).encode())
        self.identity = {
            "clusters_of": digest.hexdigest()[:16],
            "weight": weight,
            "temperature": TEMPERATURE,
            "momentum": MOMENTUM,
        }
        self.register_buffer("track_of", torch.from_numpy(tracks.copy()), persistent=False)
        self.register_buffer("clusters", torch.arange(count))
        self.register_buffer("centroids", torch.zeros(count, dim))
        self.register_buffer("only_camera", torch.full((count,), -1))

    def begin(self, embeddings: Tensor) -> None:
        """Cluster the tracks anew; see `adln.training.lesson.Lesson.begin`.

        Raises:
            TracksError: no cluster has tracks of two cameras, or all tracks are one.
        """
        means = F.normalize(_means(embeddings, self.track_of, len(self.clusters)))
        found = cluster_tracks(means.cpu().numpy(), self._camera_of_track, self._apart)
        count = int(found.max()) + 1
        only = self._only_cameras(found)
        linked = int((only[:count] < 0).sum())
        self._say(f"{len(found):,} tracks in {count:,} clusters, {linked:,} under several cameras")
        if not linked or count < 2:
            raise TracksError(
                f"{len(found):,} tracks form {count:,} clusters, {linked:,} of them under several "
                "cameras: without somebody who is seen by two cameras, and others beside them, "
                "nothing can be learned from clusters. Let the cameras run for longer, or name a "
                "--teacher."
            )
        self.clusters = torch.from_numpy(found).to(self.clusters.device)
        self.only_camera = torch.from_numpy(only).to(self.clusters.device)
        centroids = F.normalize(_means(means, self.clusters, count))
        self.centroids = F.pad(centroids, (0, 0, 0, len(means) - count))

    def _only_cameras(self, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
        """(T,) the camera of each cluster that has one only; -1 for the others."""
        first, last = np.full(len(clusters), len(clusters)), np.full(len(clusters), -1)
        np.minimum.at(first, clusters, self._camera_of_track)
        np.maximum.at(last, clusters, self._camera_of_track)
        return np.where(first == last, first, -1)

    def forward(self, embeddings: Tensor, crops: Tensor) -> Tensor:
        """Cluster contrast of a batch; moves the centroids, too."""
        labels = self.clusters[self.track_of[crops]]
        count = int(self.clusters.max()) + 1
        centroids, theirs = self.centroids[:count], self.only_camera[:count]
        own = theirs[labels][:, None]
        loss = cluster_contrast_loss(
            embeddings, labels, centroids, passed_over=(own >= 0) & (theirs >= 0) & (own != theirs)
        )
        moved = moved_centroids(centroids, embeddings, labels)
        # A new tensor: the gradient still needs the old one.
        self.centroids = torch.cat((moved, self.centroids[count:]))
        return loss


def with_lesson(
    data: TrainingData,
    network: ADLN,
    *,
    depth: int,
    tracks: NDArray[np.int64],
    cameras: NDArray[np.int64],
    time_s: NDArray[np.float64] | None,
    bf16: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[TrainingData, ClusterLesson]:
    """What is to be learned from the crops of a site, and where their embeddings are held.

    Each crop is held near to its embedding by the network to start from, without what all under
    its camera have in common there: so the space stays, and what the cameras do to it does not.

    Args:
        data: N crops, of the size of the network.
        network: to start from.
        depth: of the exit that learns.
        tracks: (N,) of the crops, unique among all cameras.
        cameras: (N,).
        time_s: (N,) seconds; None if not known.
        bf16: embed in bfloat16.
        say: see `ClusterLesson`.
    """
    embedder = TorchEmbedder(network, device="cpu", flip=False, bf16=bf16)
    starts = range(0, len(data.crops), _TOGETHER)
    rows = np.concatenate([embedder.embed(data.crops[at : at + _TOGETHER])[depth] for at in starts])
    numbers = np.unique(tracks, return_inverse=True)[1].reshape(-1).astype(np.int64)
    lesson = ClusterLesson(
        numbers,
        cameras,
        seen_together(cameras, numbers, time_s),
        dim=rows.shape[1],
        weight=CLUSTER_WEIGHT,
        say=say,
    )
    anchors = without_cameras(unit_length(rows), cameras, keep_mean=True)
    space = network.architecture.space
    return replace(data, teacher_embeddings=anchors, teacher_space=space), lesson


def _means(rows: Tensor, labels: Tensor, count: int) -> Tensor:
    sums = torch.zeros(count, rows.shape[1], dtype=rows.dtype, device=rows.device)
    counts = torch.bincount(labels, minlength=count)[:, None].clamp(min=1)
    return sums.index_add_(0, labels, rows) / counts
