"""Writes and runs ncnn files: the ONNX graph converted by ncnn's own tool, pnnx.

An optional target for phones and small ARM boards (Sec. III.C deploys on edge devices); needs the
packages ncnn and pnnx.
"""

import hashlib
import importlib
import json
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.errors import ExportError, how_to_install
from adln.manifest import CROPS, InputForm, Manifest

SUFFIX = ".param"
INPUT_FORM: InputForm = "float_rgb_nchw"
# ncnn 20261020 loads the graph of dimension interaction attention, then crashes as it runs it.
DEEPEST = 3


def require_packages() -> None:
    """Refuse early where ncnn files cannot be written or proved.

    Raises:
        ExportError: ncnn or pnnx is not installed; the message says how to get them.
    """
    for name in ("ncnn", "pnnx"):
        _import(name)


def save(model: ir.Model, manifest: Manifest, path: Path) -> None:
    """Convert a graph; beside PATH come a .bin file with the weights and a .json file.

    Args:
        model: float32, as traced for `INPUT_FORM`.
        manifest: its precision "fp16" stores the weights in half precision.
        path: file to write, .param.

    Raises:
        ExportError: pnnx is not installed or cannot convert the graph.
    """
    program = _import("pnnx").EXEC_PATH
    shape = f"[1,3,{manifest.height_px},{manifest.width_px}]f32"
    # pnnx writes half a dozen files beside its input and changes some names.
    with tempfile.TemporaryDirectory(prefix="adln-export-") as folder:
        ir.save(model, Path(folder) / "network.onnx")
        command = [
            program,
            "network.onnx",
            f"inputshape={shape}",
            f"fp16={int(manifest.precision == 'fp16')}",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        param, weights = (Path(folder) / f"network.ncnn.{end}" for end in ("param", "bin"))
        if done.returncode != 0 or not param.exists() or not weights.exists():
            reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise ExportError(
                f"pnnx cannot convert this network (exit status {done.returncode}): {reason}"
            )
        path.write_text(_with_names(param.read_text(), _blob_names(manifest)))
        path.with_suffix(".bin").write_bytes(weights.read_bytes())
    write_manifest(manifest, path)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write PATH's .json file: the manifest, and the digests of the two files that it is of."""
    content = {"manifest": asdict(manifest), **_digests(path)}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of an ncnn file.

    Raises:
        ExportError: one of the three files is missing, or they do not belong together.
        ModelFileError: the manifest cannot be read.
    """
    sidecar = path.with_suffix(".json")
    try:
        content = json.loads(sidecar.read_text())
        manifest = content.pop("manifest")
        digests = _digests(path)
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


class NcnnEmbedder:
    """Embeds crops with an ncnn file on one core, for the parity gate.

    ncnn takes one crop at a time; there is no batch.

    Args:
        path: .param written by `save`.

    Raises:
        ExportError: see `read_manifest`; or ncnn is not installed or cannot load the files.
        ModelFileError: the manifest cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._ncnn = _import("ncnn")
        self._manifest = read_manifest(path)
        self._net: Any = self._ncnn.Net()
        # By default ncnn computes in half precision wherever the processor can.
        is_half = self._manifest.precision == "fp16"
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
        answers = {
            depth: np.empty((len(crops), self.dim), dtype=np.float32) for depth in self.depths
        }
        for index, crop in enumerate(crops):
            planes = np.ascontiguousarray(crop.transpose(2, 0, 1), dtype=np.float32)
            extractor = self._net.create_extractor()
            # The Mat is a view of the array and does not keep it alive: the name does.
            extractor.input(CROPS, self._ncnn.Mat(planes))
            for depth in self.depths:
                failed, embedding = extractor.extract(self._manifest.output_names(depth)[0])
                if failed:
                    raise ExportError(f"ncnn cannot compute Res{depth} (status {failed}).")
                answers[depth][index] = np.array(embedding)
        return answers


def _blob_names(manifest: Manifest) -> dict[str, str]:
    """What pnnx calls inputs and outputs -> what they are called in every other file."""
    outputs = [name for depth in manifest.depths for name in manifest.output_names(depth)]
    return {"in0": CROPS, **{f"out{index}": name for index, name in enumerate(outputs)}}


def _with_names(param: str, names: dict[str, str]) -> str:
    """Rename blobs in the text of a .param file: magic, counts, then a line for each layer."""
    lines = param.splitlines()
    for at, line in enumerate(lines[2:], start=2):
        kind, name, inputs, outputs, *rest = line.split()
        count = int(inputs) + int(outputs)
        blobs = [names.get(blob, blob) for blob in rest[:count]]
        lines[at] = " ".join([kind, name, inputs, outputs, *blobs, *rest[count:]])
    return "\n".join(lines) + "\n"


def _digests(path: Path) -> dict[str, str]:
    return {
        f"{end}_sha256": hashlib.sha256(path.with_suffix(f".{end}").read_bytes()).hexdigest()
        for end in ("param", "bin")
    }


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(
            f"ncnn files need the packages ncnn and pnnx ({name} is missing); "
            f"{how_to_install('ncnn')}."
        ) from error
