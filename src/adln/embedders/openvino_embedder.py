"""Runs OpenVINO files of `adln export` on Intel CPUs, on one core."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.embedders.described import Described
from adln.errors import ExportError, require_package
from adln.manifest import CROPS, Manifest


class OpenVinoEmbedder(Described):
    """Embeds crops with an .xml file of `adln.export.openvino.save`, so many per batch."""

    def __init__(self, path: Path, manifest: Manifest, *, batch_size: int) -> None:
        ov = import_openvino()
        # On CPUs with bfloat16 the default is no longer float32.
        precision = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        self._compiled: Any = ov.Core().compile_model(path, "CPU", precision)
        super().__init__(manifest)
        self._batch_size = batch_size

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) uint8 RGB at every depth: depth -> (N, D) float32."""
        answers: dict[int, list[NDArray[np.float32]]] = {depth: [] for depth in self.depths}
        for start in range(0, len(crops), self._batch_size):
            tensors = self._compiled({CROPS: crops[start : start + self._batch_size]})
            for depth in self.depths:
                # The runtime reuses its output buffers.
                answers[depth].append(tensors[self.manifest.output_names(depth)[0]].copy())
        return {depth: np.concatenate(parts) for depth, parts in answers.items()}


def import_openvino() -> Any:
    """Import openvino; raises an `ExportError` with instructions if it is not installed."""
    return require_package(
        "openvino", extra="openvino", purpose="an OpenVINO file", raises=ExportError
    )
