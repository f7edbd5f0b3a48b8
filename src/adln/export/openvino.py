"""Writes OpenVINO files: converts the ONNX graph by Intel's own tool.

An optional target for Intel CPUs (Sec. III.C deploys on edge devices); needs the package openvino.
"""

from pathlib import Path

import onnx_ir as ir

from adln.embedders.openvino_embedder import import_openvino
from adln.errors import ExportError
from adln.manifest import METADATA_KEY, Manifest

SUFFIX = ".xml"


def save(model: ir.Model, manifest: Manifest, path: Path) -> None:
    """Convert a graph; also writes PATH's .bin file with the weights.

    Raises:
        ExportError: openvino is not installed or cannot convert the graph.
    """
    ov = import_openvino()
    # The converter reads from files.
    source = path.with_suffix(".onnx")
    ir.save(model, source)
    try:
        # Not convert_model, which reports usage to Intel.
        converted = ov.Core().read_model(source)
        converted.set_rt_info(manifest.to_json(), METADATA_KEY)
        # It writes no other suffix, such as one in capitals.
        written = path.with_suffix(SUFFIX)
        ov.save_model(converted, written, compress_to_fp16=False)
        written.replace(path)
    except RuntimeError as error:
        raise ExportError(f"OpenVINO cannot convert this network: {error}") from error
    finally:
        source.unlink()
