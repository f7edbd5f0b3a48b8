"""An additional loss term, learned from unlabelled crops.

Not part of the paper. A lesson receives the network's current embeddings of all crops before each
epoch, and adds a term to the loss of each step.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from adln.model.network import ADLN

_TOGETHER = 64


class Lesson(nn.Module):
    """A loss term with a memory, which is kept in buffers so that a run can resume.

    `weight` is that in the total; `identity`, plain values, must not change when a run resumes.
    """

    weight: float
    identity: Mapping[str, Any]

    def begin(self, embeddings: Tensor) -> None:
        """Before an epoch: process (N, D) unit embeddings of all crops, not augmented."""
        raise NotImplementedError

    def forward(self, embeddings: Tensor, crops: Tensor) -> Tensor:
        """Loss of a batch, a scalar, from (B, D) embeddings of augmented crops by the deepest exit.

        `crops` (B,) int64 are the indices of these crops among the N.
        """
        raise NotImplementedError


def look(
    lesson: Lesson | None,
    network: ADLN,
    pixels: Tensor,
    resize: Callable[[Tensor], Tensor],
) -> float:
    """Pass the current embeddings of all crops to a lesson, if there is one; returns the seconds.

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
