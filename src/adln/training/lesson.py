"""An additional loss term with a memory of earlier crops.

Not part of the paper. A lesson receives the network's current embeddings of all crops before each
epoch, and adds a term to the loss of each step.
"""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from adln.losses.cluster_contrast import TEMPERATURE, cluster_contrast_loss, moved_proxies
from adln.model.network import ADLN
from adln.training.common_space import group_means

_TOGETHER = 64


class Lesson(nn.Module):
    """A loss term with a memory, which is kept in buffers so that a run can resume.

    `weight` is that in the total; `identity`, plain values, must not change when a run resumes. A
    lesson that `needs_labels` is given the labelled crops alone.
    """

    weight: float
    identity: Mapping[str, Any]
    needs_labels = False

    def begin(self, embeddings: Tensor) -> None:
        """Before an epoch: process (N, D) unit embeddings of all crops, not augmented."""
        raise NotImplementedError

    def forward(self, embeddings: Mapping[int, Tensor], crops: Tensor) -> Tensor:
        """Loss of a batch, a scalar, from (B, D) embeddings of augmented crops by each exit.

        `crops` (B,) int64 are the indices of these crops among the N.
        """
        raise NotImplementedError


class PersonLesson(Lesson):
    """Contrast of labelled crops with what each camera saw of each person, for exits of one space.

    As a site's clusters are contrasted (see `adln.losses.cluster_contrast`), with the persons in
    place of clusters. Proxies are of the deepest exit; all exits are drawn to them.

    Args:
        persons: (N,) of each labelled crop, 0..K-1; these are the first of the crops.
        cameras: (N,) of each labelled crop.
        dim: D, of the embeddings.
        weight: of the loss of each exit.

    Attributes:
        proxy_of: (N,) proxy of each labelled crop, 0..P-1; one for each camera of each person.
        proxies: (P, D) of unit length.
    """

    needs_labels = True
    proxy_of: Tensor
    proxies: Tensor
    _persons: Tensor
    _cameras: Tensor

    def __init__(
        self, persons: NDArray[np.int64], cameras: NDArray[np.int64], *, dim: int, weight: float
    ) -> None:
        super().__init__()
        self.weight = weight
        pairs = np.stack((persons, cameras), axis=1)
        known, proxy_of = np.unique(pairs, axis=0, return_inverse=True)
        digest = hashlib.sha256(persons.tobytes() + cameras.tobytes()).hexdigest()[:16]
        self.identity = {"persons_and_cameras": digest, "temperature": TEMPERATURE}
        for name, value in (
            ("proxy_of", proxy_of.reshape(-1)),
            ("_persons", known[:, 0].copy()),
            ("_cameras", known[:, 1].copy()),
        ):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        self.register_buffer("proxies", torch.zeros(len(known), dim))

    def begin(self, embeddings: Tensor) -> None:
        """Place the proxies anew; see `Lesson.begin`."""
        self.proxies = F.normalize(group_means(embeddings, self.proxy_of, len(self.proxies)))

    def forward(self, embeddings: Mapping[int, Tensor], crops: Tensor) -> Tensor:
        """Sum of the exits' contrasts; also moves the proxies."""
        owners = self.proxy_of[crops]
        losses = [
            cluster_contrast_loss(
                each, self._persons[owners], self.proxies, self._persons, self._cameras
            )
            for each in embeddings.values()
        ]
        # A new tensor: the gradient still needs the old one.
        self.proxies = moved_proxies(self.proxies, embeddings[max(embeddings)], owners)
        return torch.stack(losses).sum()


def look(
    lesson: Lesson | None,
    network: ADLN,
    pixels: Tensor,
    resize: Callable[[Tensor], Tensor],
) -> float:
    """Pass the current embeddings of its crops to a lesson, if there is one; returns the seconds.

    The network's mode is kept. `pixels` are (N, H, W, 3) uint8 on its device, and `resize` brings
    (B, 3, H, W) crops to its input.
    """
    if lesson is None:
        return 0.0
    begun = time.monotonic()
    modes = {part: part.training for part in network.modules()}
    network.eval()
    deepest = network.architecture.depth
    with torch.no_grad():
        parts = [
            network(resize(each.permute(0, 3, 1, 2))).exits[deepest].embedding
            for each in pixels.split(_TOGETHER)
        ]
        lesson.begin(F.normalize(torch.cat(parts).float()))
    for part, mode in modes.items():
        part.training = mode
    return time.monotonic() - begun
