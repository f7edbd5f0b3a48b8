"""What a run learns beside its objective, from crops of nobody knows whom.

Not part of the paper. A lesson looks at all crops before each epoch, as the network sees them by
then, and adds a part to the loss of each step.
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
    """A part of the loss with a memory; all of the memory is in buffers, so that a run goes on.

    Attributes:
        weight: of its loss in the total.
        identity: what must be the same when a run goes on, as plain values.
    """

    weight: float
    identity: Mapping[str, Any]

    def begin(self, embeddings: Tensor) -> None:
        """Look at all crops before an epoch.

        Args:
            embeddings: (N, D) of all crops, not varied, of unit length.
        """
        raise NotImplementedError

    def forward(self, embeddings: Tensor, crops: Tensor) -> Tensor:
        """Loss of a batch, a scalar.

        Args:
            embeddings: (B, D) of varied crops, by the deepest exit.
            crops: (B,) int64, which of the N crops they are.
        """
        raise NotImplementedError


def look(
    lesson: Lesson | None,
    network: ADLN,
    pixels: Tensor,
    resize: Callable[[Tensor], Tensor],
) -> float:
    """Let a lesson look at all crops as the network sees them now; the network's mode stays.

    Args:
        lesson: that begins an epoch; None looks at nothing.
        network: in any mode.
        pixels: (N, H, W, 3) uint8 on the network's device.
        resize: (B, 3, H, W) crops to the network's size.

    Returns:
        Seconds that it took.
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
