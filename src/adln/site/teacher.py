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
    """A `LiveTeacher` by name (`adln networks`) or file; its deepest depth teaches.

    `threads` are the cores to use, all by default.

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
        """See `adln.training.teacher.LiveTeacher`."""
        pixels = crops.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return F.normalize(torch.from_numpy(self.embedder.embed(pixels)[self.depth])).to(
            crops.device
        )
