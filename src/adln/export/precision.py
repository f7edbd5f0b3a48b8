"""Converts a float32 graph to half precision or to 8-bit integers.

int8 is static: activations are unsigned with one scale per tensor, weights signed with one scale
per output channel, ranges are measured on crops. The input, the attention gates and everything
after the last pooling stay in float: they are few operations, and their errors reach the embedding
undiminished.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnxruntime.quantization import (  # type: ignore[import-untyped]
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from adln.errors import ExportError
from adln.export.nodes import Maker, add_constant, constant, remove_dead_nodes
from adln.manifest import CROPS

# Fewer crops are not representative; the int8 ranges would be too narrow.
MIN_CALIBRATION_CROPS = 32
_CALIBRATION_BATCH_SIZE = 8
# Operations of the backbone that exist in 8 bits.
_COMPUTING = ("Conv", "Relu", "Add")
_PREPARED = {"onnx.quant.pre_process": "onnxruntime.quant"}
_FLOAT_MODULES = ("normalise", "attention", "deployed")


def to_half(model: ir.Model) -> ir.Model:
    """Convert weights and arithmetic to float16; input, embedding and norm keep their types.

    Normalisation and everything after the last pooling stay in float32. Maps are float16.
    """
    half = model.clone()
    graph = half.graph
    casts: dict[tuple[str, ir.DataType], ir.Value] = {}

    def cast(value: ir.Value, dtype: ir.DataType, reader: ir.Node) -> ir.Value:
        key = str(value.name), dtype
        if key not in casts:
            name = f"{value.name}/{dtype.name}"
            if value.const_value is not None:
                array = value.const_value.numpy().astype(dtype.numpy())
                casts[key] = add_constant(graph, array, name)
            else:
                node = ir.node("Cast", [value], {"to": dtype}, name=name)
                node.outputs[0].name, node.outputs[0].type = name, ir.TensorType(dtype)
                graph.insert_before(reader, node)
                casts[key] = node.outputs[0]
        return casts[key]

    wide: set[ir.Value] = set()  # results that stayed in float32
    for node in list(graph):
        dtype = ir.DataType.FLOAT if _stays_full(node) else ir.DataType.FLOAT16
        for index, value in enumerate(node.inputs):
            if value is None or value.name == CROPS:
                continue
            if value.const_value is not None:
                if dtype == ir.DataType.FLOAT16 and value.dtype == ir.DataType.FLOAT:
                    node.replace_input_with(index, cast(value, dtype, node))
            elif (value in wide) != (dtype == ir.DataType.FLOAT):
                node.replace_input_with(index, cast(value, dtype, node))
        if dtype == ir.DataType.FLOAT:
            wide.update(node.outputs)
        else:
            for value in node.outputs:
                value.type = ir.TensorType(dtype)
    remove_dead_nodes(graph)
    return half


def to_int8(
    model: ir.Model, crops: NDArray[np.uint8], *, in_float: tuple[str, ...] = ()
) -> ir.Model:
    """Quantise a traced graph with ranges measured on (N, H, W, 3) uint8 RGB crops.

    The modules `in_float`, e.g. "stem", stay in float as well.

    Raises:
        ExportError: too few crops.
    """
    if len(crops) < MIN_CALIBRATION_CROPS:
        raise ExportError(
            f"int8 needs at least {MIN_CALIBRATION_CROPS} crops for calibration, got {len(crops)}. "
            "Name a folder with a few hundred crops from the cameras it will be used with."
        )
    # The quantiser works on files and leaves notes beside its input.
    with tempfile.TemporaryDirectory(prefix="adln-export-") as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        # The tracer has already done the quantiser's own preprocessing.
        prepared = model.clone()
        prepared.metadata_props.update(_PREPARED)
        ir.save(prepared, source)
        quantize_static(
            source,
            target,
            _Batches(crops),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            nodes_to_quantize=_nodes_for_int8(model, in_float),
            calibrate_method=CalibrationMethod.MinMax,
            # Extremes of batches are averaged, so that one unusual crop does not widen a range.
            extra_options={"CalibMovingAverage": True},
        )
        quantised = ir.from_proto(onnx.load(target))
    _store_projections_in_bytes(quantised.graph)
    for key in _PREPARED:
        quantised.metadata_props.pop(key, None)
    return quantised


def _store_projections_in_bytes(graph: ir.Graph) -> None:
    """Store projections, a sixth of a Res2, as int8 with a scale per row; they compute in float."""
    for node in list(graph):
        weight = constant(node.inputs[1]) if node.op_type == "Gemm" else None
        if weight is None or not str(node.name).startswith("exits"):
            continue
        scale = np.maximum(np.abs(weight).max(axis=1) / 127, 1e-12).astype(np.float32)
        levels = np.rint(weight / scale[:, None]).astype(np.int8)
        make = Maker(graph, str(node.name))
        wide = make("DequantizeLinear", levels, scale, np.zeros(len(scale), np.int8), axis=0)
        graph.insert_before(node, make.nodes)
        node.replace_input_with(1, wide)
    remove_dead_nodes(graph)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, crops: NDArray[np.uint8]) -> None:
        self._batches: Iterator[NDArray[np.uint8]] = (
            crops[start : start + _CALIBRATION_BATCH_SIZE]
            for start in range(0, len(crops), _CALIBRATION_BATCH_SIZE)
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        batch = next(self._batches, None)
        return None if batch is None else {CROPS: batch}


def _nodes_for_int8(model: ir.Model, in_float: tuple[str, ...]) -> list[str]:
    modules = tuple(f"{module}{end}" for module in in_float for end in "./")
    chosen: dict[str, ir.Node] = {}
    for node in model.graph:
        name, source = str(node.name), node.inputs[0]
        producer = source.producer() if source is not None else None
        # A maximum is exact in 8 bits if its input is in 8 bits.
        chooses = node.op_type == "MaxPool" and producer is not None and producer.name in chosen
        computes = node.op_type in _COMPUTING and not name.startswith((*_FLOAT_MODULES, *modules))
        if chooses or computes:
            chosen[name] = node
    return list(chosen)


def _stays_full(node: ir.Node) -> bool:
    name = str(node.name)
    pools = name.startswith("exits") and node.op_type in ("ReduceMean", "Mul")
    behind_pooling = pools or "BatchNorm" in name
    return behind_pooling or name.startswith(("normalise", "deployed"))
