"""Multiply-accumulates (Table 1) and time per node of any ONNX file, by onnxruntime's profile."""

import json
import re
import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from adln.errors import ModelFileError

# Operator -> index of its weight input (out, in / groups, k, k).
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}
_PRODUCTS = frozenset({"MatMul", "Gemm", "MatMulInteger", "FusedMatMul", "QLinearMatMul"})
_QUANTISING = frozenset({"QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger"})
# `adln export` pads some kernels with columns of zeros, marked in the node's name:
# ".../7_of_8_columns/...". Zeros are not counted as work.
_FILLED_UP = re.compile(r"/(\d+)_of_(\d+)_columns/")


@dataclass(frozen=True)
class Operations:
    """Operations of one run on one crop.

    Attributes:
        macs: multiply-accumulates of convolutions and matrix products.
        quantised: whether activations are rounded to 8 bits.
    """

    macs: int
    quantised: bool


def count_operations(path: Path, feeds: dict[str, Any]) -> Operations:
    """Count the operations of an ONNX file as written, before any optimisation.

    Raises:
        ModelFileError: onnxruntime cannot run the file.
    """
    nodes = profile_nodes(path, feeds, optimise=False)
    return Operations(
        macs=sum(_macs(node) for node in nodes),
        quantised=any(node["op_name"] in _QUANTISING for node in nodes),
    )


def seconds_before_first_convolution(path: Path, feeds: dict[str, Any], *, runs: int = 30) -> float:
    """Median time of the nodes before the first convolution: mostly normalisation.

    Raises:
        ModelFileError: onnxruntime cannot run the file.
    """
    totals, total, counting = [], 0.0, True
    for node in profile_nodes(path, feeds, optimise=True, runs=runs):
        if node["starts_run"]:
            total, counting = 0.0, True
        if counting and "Conv" in node["op_name"]:
            totals.append(total)
            counting = False
        total += node["dur"] * 1e-6
    return float(np.median(totals)) if totals else 0.0


def profile_nodes(
    path: Path, feeds: dict[str, Any], *, optimise: bool, runs: int = 1
) -> list[dict[str, Any]]:
    """Run a file under onnxruntime's profiler, on one core.

    Returns:
        A row for each executed node, in order: "name", "op_name", "dur" (microseconds),
        "starts_run" (first node of a run), and the input and output shapes.

    Raises:
        ModelFileError: onnxruntime cannot run the file.
    """
    import onnxruntime  # type: ignore[import-untyped]

    level = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.log_severity_level = 3
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimise else level.ORT_DISABLE_ALL
    if not optimise:
        # Prepacked weights would be missing from the profile.
        options.add_session_config_entry("session.disable_prepacking", "1")
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        try:
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            for _ in range(runs):
                session.run(None, feeds)
        except Exception as error:
            raise ModelFileError(f"{path}: onnxruntime cannot run it ({error}).") from error
        events = json.loads(Path(session.end_profiling()).read_text())
    rows: list[dict[str, Any]] = []
    starts_run = True
    # A node's event is written at its end, that of a whole run after its nodes.
    for event in events:
        if event.get("name") == "model_run":
            starts_run = True
        about = event.get("args", {})
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            about["name"] = event["name"].removesuffix("_kernel_time")
            rows.append({**about, "dur": event["dur"], "starts_run": starts_run})
            starts_run = False
    return rows


def _macs(node: dict[str, Any]) -> int:
    name = node["op_name"]
    outputs, inputs = _shapes(node, "output_type_shape"), _shapes(node, "input_type_shape")
    if name in _CONVOLUTIONS:
        macs = prod(outputs[0]) * prod(inputs[_CONVOLUTIONS[name]][1:])
        filled_up = _FILLED_UP.search(node["name"])
        return macs if filled_up is None else macs * int(filled_up[1]) // int(filled_up[2])
    if name in _PRODUCTS:
        return prod(outputs[0]) * inputs[0][-1]
    return 0


def _shapes(node: dict[str, Any], key: str) -> list[list[int]]:
    return [next(iter(shape.values())) for shape in node[key]]
