"""Writes ncnn files: converts the ONNX graph by ncnn's own tool, pnnx.

An optional target for phones and small ARM boards (Sec. III.C deploys on edge devices); needs the
packages ncnn and pnnx.
"""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import onnx_ir as ir

from adln.embedders.ncnn_embedder import digests_of, import_package
from adln.errors import ExportError
from adln.manifest import CROPS, InputForm, Manifest, Precision

SUFFIX = ".param"
INPUT_FORM: InputForm = "float_rgb_nchw"
# ncnn 20261020 loads the graph of dimension interaction attention, then crashes as it runs it.
DEEPEST = 3


def require_possible(depths: Sequence[int], precision: Precision) -> None:
    """Raise ExportError, early, if ncnn cannot run the network or a package is not installed."""
    if precision == "int8":
        raise ExportError("ncnn files must be fp32 or fp16: its packages do not quantise.")
    if max(depths) > DEEPEST:
        raise ExportError(
            f"ncnn cannot run the attention of Res4; export depths 1 to {DEEPEST} for it."
        )
    for name in ("ncnn", "pnnx"):
        import_package(name)


def save(model: ir.Model, manifest: Manifest, path: Path) -> None:
    """Convert a float32 graph; also writes PATH's .bin file with the weights and a manifest.

    It is traced for `INPUT_FORM`; the precision "fp16" of the manifest stores its weights so.

    Raises:
        ExportError: pnnx is not installed or cannot convert the graph.
    """
    program = import_package("pnnx").EXEC_PATH
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
    """Write PATH's .json file: the manifest, and the digests of the two files it describes."""
    content = {"manifest": asdict(manifest), **digests_of(path)}
    path.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")


def _blob_names(manifest: Manifest) -> dict[str, str]:
    """The names that pnnx gives to inputs and outputs -> names in other formats."""
    outputs = [name for depth in manifest.depths for name in manifest.output_names(depth)]
    return {"in0": CROPS, **{f"out{index}": name for index, name in enumerate(outputs)}}


def _with_names(param: str, names: dict[str, str]) -> str:
    """Rename blobs in the text of a .param file: magic, counts, then a line per layer."""
    lines = param.splitlines()
    for at, line in enumerate(lines[2:], start=2):
        kind, name, inputs, outputs, *rest = line.split()
        count = int(inputs) + int(outputs)
        blobs = [names.get(blob, blob) for blob in rest[:count]]
        lines[at] = " ".join([kind, name, inputs, outputs, *blobs, *rest[count:]])
    return "\n".join(lines) + "\n"
