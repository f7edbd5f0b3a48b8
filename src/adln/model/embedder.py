"""Embeds crops with a torch network: the trainer's side of `adln.embeddings.Embedder`.

Sec. III.B of the paper: features after batch norm, averaged with those of the mirrored crop.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adln.embeddings import flip_average, unit_length
from adln.model import bfloat16
from adln.model.network import ADLN


class TorchEmbedder:
    """All exits of a network, whole or cut, in one pass over the crops.

    It is put into evaluation mode. `flip` averages with the mirrored crop (the paper's test
    protocol, twice the work). `bf16` computes in bfloat16 where that is safe, if the device has
    instructions for it: faster, and embeddings differ by about 0.001 in cosine.
    """

    def __init__(
        self,
        network: ADLN,
        *,
        device: torch.device | str,
        flip: bool = True,
        bf16: bool = False,
    ) -> None:
        self.architecture = network.architecture
        self.network = network.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = torch.device(device)
        self.flip = flip
        self.bf16 = bf16 and bfloat16.saves_time(device)

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that `embed` answers, ascending."""
        return self.architecture.exits

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width in px of the crops that it takes."""
        return self.architecture.height_px, self.architecture.width_px

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self.architecture.embedding_dim

    @torch.inference_mode()
    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed (N, H, W, 3) uint8 RGB crops of `crop_size`: depth -> (N, D) of unit length."""
        pixels = torch.from_numpy(np.ascontiguousarray(crops)).to(self.device).permute(0, 3, 1, 2)
        features = self._features(pixels)
        if not self.flip:
            return {depth: unit_length(feature) for depth, feature in features.items()}
        mirrored = self._features(pixels.flip(3))
        return {depth: flip_average(features[depth], mirrored[depth]) for depth in features}

    def _features(self, pixels: Tensor) -> dict[int, NDArray[np.float32]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            output = self.network(pixels)
        return {
            depth: answer.embedding.float().cpu().numpy() for depth, answer in output.exits.items()
        }
