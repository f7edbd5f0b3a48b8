"""A teacher run by ONNX Runtime: any network that adln knows by name or file.

`adln.training` does not depend on that runtime; it accepts any callable that embeds crops.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network
from adln.manifest import SPACE_DIGITS


class DeviceTeacher:
    """Embeds crops for `adln.training.loop.train`.

    Args:
        network: a name of `adln networks`, or a file; of several depths, the deepest teaches.
        threads: cores to use; all if left out.

    Attributes:
        dim: T, length of its embeddings.
        crop_size: height and width of its input in px.
        digest: digest of its files.
        space: name of the space of its embeddings.

    Raises:
        ModelFileError: see `adln.embedders.embedder.OnnxEmbedder`.
    """

    def __init__(self, network: str | Path, *, threads: int | None = None) -> None:
        self.embedder = OnnxEmbedder(find_network(network), threads=threads)
        self.depth = self.embedder.depths[-1]
        self.dim = self.embedder.dim
        self.crop_size = self.embedder.crop_size
        self.digest = self.embedder.model.sha256
        self.space = self.embedder.manifest.space_of(self.depth) or self.digest[:SPACE_DIGITS]

    def __call__(self, crops: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB crops -> (B, T) float32 of unit length, on the same device."""
        pixels = crops.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return F.normalize(torch.from_numpy(self.embedder.embed(pixels)[self.depth])).to(
            crops.device
        )
