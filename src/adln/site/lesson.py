"""The site lesson: a contrastive loss over clusters of tracks, with or without a teacher.

Before each epoch the tracks are clustered again, by the current embeddings of the network and, if
there is a teacher, by the teacher's. Each crop is pulled towards its cluster's proxies, one per
camera, and pushed from other clusters' proxies under the same camera. Proxies are computed both by
the current network and by the initial one, so that people already in a gallery are still found.

Source of the compatible part: Shen et al., "Towards Backward-Compatible Representation Learning",
CVPR 2020.
"""

import hashlib
from collections.abc import Callable, Mapping, Set
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from adln.embeddings import unit_length
from adln.errors import GalleryError, TracksError
from adln.losses.cluster_contrast import (
    MOMENTUM,
    TEMPERATURE,
    cluster_contrast_loss,
    moved_proxies,
)
from adln.matching.adaptation import TrackedCrops
from adln.model.embedder import TorchEmbedder
from adln.model.network import ADLN
from adln.site.clusters import (
    cluster_tracks,
    seen_together,
    share_passing_cameras,
    without_cameras,
)
from adln.site.recipes import CLUSTER_WEIGHT
from adln.training.common_space import group_means
from adln.training.data import TrainingData
from adln.training.lesson import Lesson

_TOGETHER = 64
# Proxies of the initial network count as much as those of the current one.
_COMPATIBLE = 1.0
# Below this share of tracks joined across cameras, half of the links join two people (measured on
# CUHK03 and CUHK01 with a quarter to all of the people under both cameras).
_PASSING = 0.4


class ClusterLesson(Lesson):
    """Clusters of T tracks, and a proxy of each cluster under each of its cameras.

    Made from (N,) tracks 0..T-1 and cameras of crops, and their embeddings (N, D) of unit length,
    `stored` by the initial network and `taught` by a teacher in the same space, if there is one.
    `apart` are pairs of tracks that show two people, in both orders; `say` is told the number of
    clusters.

    Attributes:
        track_of: (N,) track of each crop.
        camera_of, clusters, proxy_of: (T,) camera, cluster and proxy of each track.
        proxies: (T, D), of which the first P are used; `proxies_before` by the initial network.
        stored, taught: (T, D) mean embedding of each track; zeros without a teacher.
    """

    track_of: Tensor
    camera_of: Tensor
    clusters: Tensor
    proxy_of: Tensor
    proxies: Tensor
    proxies_before: Tensor
    stored: Tensor
    taught: Tensor

    def __init__(
        self,
        tracks: NDArray[np.int64],
        cameras: NDArray[np.int64],
        stored: NDArray[np.float32],
        apart: Set[tuple[int, int]],
        *,
        weight: float,
        taught: NDArray[np.float32] | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__()
        count = int(tracks.max()) + 1
        self.weight = weight
        self._apart, self._say = apart, say
        self._cameras = np.zeros(count, np.int64)
        self._cameras[tracks] = cameras
        digest = hashlib.sha256(tracks.tobytes() + cameras.tobytes() + repr(sorted(apart)).encode())
        if taught is not None:
            digest.update(taught.tobytes())
        self.identity = {
            "clusters_of": digest.hexdigest()[:16],
            "weight": weight,
            "temperature": TEMPERATURE,
            "momentum": MOMENTUM,
            "compatible": _COMPATIBLE,
        }
        for name, value in (("track_of", tracks.copy()), ("camera_of", self._cameras.copy())):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        self.register_buffer("stored", self._of_tracks(stored), persistent=False)
        nothing = torch.zeros_like(self.stored)
        of_teacher = nothing if taught is None else self._of_tracks(taught)
        self.register_buffer("taught", of_teacher, persistent=False)
        self.register_buffer("clusters", torch.arange(count))
        self.register_buffer("proxy_of", torch.arange(count))
        self.register_buffer("proxies", nothing.clone())
        self.register_buffer("proxies_before", nothing.clone())

    def _of_tracks(self, rows: Tensor | NDArray[np.float32]) -> Tensor:
        """Mean embedding of each track, unit length, (T, D)."""
        count = len(self._cameras)
        return F.normalize(group_means(torch.as_tensor(rows), self.track_of, count))

    def begin(self, embeddings: Tensor) -> None:
        """Cluster the tracks again; see `adln.training.lesson.Lesson.begin`.

        Raises:
            TracksError: no cluster has tracks of two cameras, or there is only one cluster.
        """
        count = len(self.clusters)
        means = self._of_tracks(embeddings)
        seen = (means + self.taught).cpu().numpy()
        clusters = cluster_tracks(seen, self._cameras, self._apart)
        pairs = np.stack([clusters, self._cameras], axis=1)
        known, proxy_of = np.unique(pairs, axis=0, return_inverse=True)
        linked = int(np.count_nonzero(np.bincount(known[:, 0]) > 1))
        self._say(f"{count:,} tracks in {clusters.max() + 1:,} clusters, {linked:,} across cameras")
        if not linked or not clusters.max():
            raise TracksError(
                f"{count:,} tracks form {clusters.max() + 1:,} clusters, {linked:,} of them across "
                "cameras. Clusters teach nothing unless some people are seen by two cameras, and "
                "others next to them. Let the cameras run for longer, or name a --teacher."
            )
        device = self.clusters.device
        self.clusters = torch.from_numpy(clusters).to(device)
        self.proxy_of = torch.from_numpy(proxy_of.reshape(-1)).to(device)
        self.proxies, self.proxies_before = (
            F.pad(
                F.normalize(group_means(of_tracks, self.proxy_of, len(known))),
                (0, 0, 0, count - len(known)),
            )
            for of_tracks in (means, self.stored)
        )

    def forward(self, embeddings: Mapping[int, Tensor], crops: Tensor) -> Tensor:
        """Cluster contrast of a batch, by the deepest exit; also updates the proxies."""
        rows = embeddings[max(embeddings)]
        tracks = self.track_of[crops]
        count = int(self.proxy_of.max()) + 1
        # One track of each proxy, to look up its cluster and camera.
        some = torch.zeros(count, dtype=torch.int64, device=tracks.device)
        some[self.proxy_of] = torch.arange(len(self.proxy_of), device=tracks.device)
        used = self.proxies[:count]
        now, then = (
            cluster_contrast_loss(
                rows, self.clusters[tracks], one, self.clusters[some], self.camera_of[some]
            )
            for one in (used, self.proxies_before[:count])
        )
        moved = moved_proxies(used, rows, self.proxy_of[tracks])
        # A new tensor: the gradient still needs the old one.
        self.proxies = torch.cat((moved, self.proxies[count:]))
        return now + _COMPATIBLE * then


def clusters_teach(looked: TrackedCrops, say: Callable[[str], None]) -> bool:
    """Whether enough people pass several cameras for clusters to add to a teacher.

    `looked` are the training crops, embedded by the teacher; `say` is called with the finding.
    """
    if len(np.unique(looked.cameras)) == 1:
        return False
    try:
        share = share_passing_cameras(looked.embeddings, looked.cameras, looked.track_numbers())
    except GalleryError as error:
        say(f"clusters of tracks cannot teach beside the teacher: {error}")
        return False
    teaches = share >= _PASSING
    say(
        f"{share:.0%} of the tracks resemble one of another camera: "
        + ("training uses their clusters, too" if teaches else "training uses only the teacher")
    )
    return teaches


def with_lesson(
    data: TrainingData,
    network: ADLN,
    *,
    depth: int,
    tracks: NDArray[np.int64],
    cameras: NDArray[np.int64],
    time_s: NDArray[np.float64] | None,
    taught: NDArray[np.float32] | None = None,
    bf16: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[TrainingData, ClusterLesson]:
    """Build training data and cluster lesson for a site's N crops, of the network's input size.

    Each crop's target is its embedding by the teacher, `taught` (N, D) of unit length in the
    network's space, or by the initial network, minus the mean of its camera: this keeps the space,
    and removes the cameras' influence. Tracks are unique across cameras.
    """
    embedder = TorchEmbedder(network, device="cpu", flip=False, bf16=bf16)
    starts = range(0, len(data.crops), _TOGETHER)
    rows = np.concatenate([embedder.embed(data.crops[at : at + _TOGETHER])[depth] for at in starts])
    numbers = np.unique(tracks, return_inverse=True)[1].reshape(-1).astype(np.int64)
    lesson = ClusterLesson(
        numbers,
        cameras,
        rows,
        seen_together(cameras, numbers, time_s),
        weight=CLUSTER_WEIGHT,
        taught=taught,
        say=say,
    )
    held_at = rows if taught is None else taught
    anchors = without_cameras(unit_length(held_at), cameras, keep_mean=True)
    space = network.architecture.space
    return replace(data, teacher_embeddings=anchors, teacher_space=space), lesson
