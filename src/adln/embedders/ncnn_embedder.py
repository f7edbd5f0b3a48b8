"""Runs ncnn files of `adln.export.ncnn`, for phones and small ARM boards, on one core."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.embedders.described import Described
from adln.errors import ExportError, require_package
from adln.manifest import CROPS, Manifest
from adln.strict import parse_json


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of an ncnn file.

    Raises:
        ExportError: one of the three files is missing, or they do not belong together.
        ModelFileError: the manifest cannot be read.
    """
    sidecar = path.with_suffix(".json")
    try:
        content = parse_json(sidecar.read_text())
        manifest = content.pop("manifest")
        digests = digests_of(path)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ExportError(
            f"{path}: needs its .bin and .json files beside it, as `adln export` wrote them "
            f"({error!r}). Copy all three."
        ) from error
    if content != digests:
        raise ExportError(
            f"{path}: {sidecar.name} was written for other .param and .bin files. "
            "Copy all three files of one export."
        )
    return Manifest.from_json(json.dumps(manifest), source=str(sidecar))


class NcnnEmbedder(Described):
    """Embeds crops with a .param file of `adln.export.ncnn.save`, one at a time, on one core.

    Raises:
        ExportError: see `read_manifest`; or ncnn is not installed or cannot load the files.
        ModelFileError: the manifest cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._ncnn = import_package("ncnn")
        super().__init__(read_manifest(path))
        self._net: Any = self._ncnn.Net()
        # By default ncnn computes in half precision whenever the processor can.
        is_half = self.manifest.precision == "fp16"
        self._net.opt.num_threads = 1
        self._net.opt.use_vulkan_compute = False
        self._net.opt.use_bf16_storage = False
        self._net.opt.use_fp16_packed = is_half
        self._net.opt.use_fp16_storage = is_half
        self._net.opt.use_fp16_arithmetic = is_half
        failed = self._net.load_param(str(path)) or self._net.load_model(
            str(path.with_suffix(".bin"))
        )
        if failed:
            raise ExportError(f"{path}: ncnn cannot load it; export the network again.")

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) uint8 RGB at every depth: depth -> (N, D) float32."""
        answers = {
            depth: np.empty((len(crops), self.dim), dtype=np.float32) for depth in self.depths
        }
        for index, crop in enumerate(crops):
            planes = np.ascontiguousarray(crop.transpose(2, 0, 1), dtype=np.float32)
            extractor = self._net.create_extractor()
            # The Mat is a view and does not keep the array alive: the variable does.
            extractor.input(CROPS, self._ncnn.Mat(planes))
            for depth in self.depths:
                failed, embedding = extractor.extract(self.manifest.output_names(depth)[0])
                if failed:
                    raise ExportError(f"ncnn cannot compute Res{depth} (status {failed}).")
                answers[depth][index] = np.array(embedding)
        return answers


def digests_of(path: Path) -> dict[str, str]:
    """Digests of a .param file and its weights, to check that they belong together."""
    return {
        f"{end}_sha256": hashlib.sha256(path.with_suffix(f".{end}").read_bytes()).hexdigest()
        for end in ("param", "bin")
    }


def import_package(name: str) -> Any:
    """Import ncnn or pnnx; raises an `ExportError` with instructions if it is not installed."""
    return require_package(name, extra="ncnn", purpose="an ncnn file", raises=ExportError)
