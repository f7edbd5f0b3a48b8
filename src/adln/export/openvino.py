"""Writes and runs OpenVINO files: the ONNX graph converted by Intel's own tool.

An optional target for Intel CPUs (Sec. III.C deploys on edge devices); needs the package openvino.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.errors import ExportError, how_to_install
from adln.manifest import CROPS, METADATA_KEY, Manifest

SUFFIX = ".xml"


def save(model: ir.Model, manifest: Manifest, path: Path) -> None:
    """Convert a graph; beside PATH comes a .bin file with the weights.

    Raises:
        ExportError: openvino is not installed or cannot convert the graph.
    """
    ov = _import()
    # The converter reads files.
    source = path.with_suffix(".onnx")
    ir.save(model, source)
    try:
        # Not convert_model, which reports its use to Intel.
        converted = ov.Core().read_model(source)
        converted.set_rt_info(manifest.to_json(), METADATA_KEY)
        ov.save_model(converted, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot convert this network: {error}") from error
    finally:
        source.unlink()


class OpenVinoEmbedder:
    """Embeds crops with an OpenVINO file, for the parity gate.

    Args:
        path: .xml written by `save`.
        manifest: what the file holds.
        batch_size: crops computed at a time.
    """

    def __init__(self, path: Path, manifest: Manifest, *, batch_size: int) -> None:
        ov = _import()
        # On CPUs with bfloat16 the default is no longer float32.
        precision = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        self._compiled: Any = ov.Core().compile_model(path, "CPU", precision)
        self._manifest = manifest
        self._batch_size = batch_size

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that `embed` answers, ascending."""
        return self._manifest.depths

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self._manifest.dim

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width in px of the crops that it takes."""
        return self._manifest.height_px, self._manifest.width_px

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) uint8 RGB at every depth: depth -> (N, D) float32."""
        answers: dict[int, list[NDArray[np.float32]]] = {depth: [] for depth in self.depths}
        for start in range(0, len(crops), self._batch_size):
            tensors = self._compiled({CROPS: crops[start : start + self._batch_size]})
            for depth in self.depths:
                # The runtime reuses its output buffers.
                answers[depth].append(tensors[self._manifest.output_names(depth)[0]].copy())
        return {depth: np.concatenate(parts) for depth, parts in answers.items()}


def _import() -> Any:
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise ExportError(
            "OpenVINO files need the package openvino, which is not installed; "
            f"{how_to_install('openvino')}."
        ) from error
