"""Runs an int8 graph in three ways: with this machine's kernels, exactly, and as without VNNI.

A file is validated on one machine and runs on others; those without VNNI add two products of bytes
in 16 bits. Their convolutions are emulated, so that a file that fails there is refused.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.errors import ParityError
from adln.export.nodes import constant, widener
from adln.export.saturation import LARGEST_SUM, SMALLEST_SUM, find_products, may_saturate
from adln.manifest import CROPS

# Cosines between the outputs of two ways of running one int8 file.
LEAST_AGREEMENT, MEAN_AGREEMENT = 0.99, 0.999


def run_graph(
    model: ir.Model, crops: NDArray[np.uint8], outputs: Sequence[str], *, exact: bool
) -> list[NDArray[np.float32]]:
    """Run a graph on (N, H, W, 3) uint8 RGB crops with onnxruntime.

    If `exact`, without optimisations, so that all products of bytes are computed in floats.
    """
    found: list[NDArray[np.float32]] = open_graph(model, exact=exact).run(
        [*outputs], {CROPS: crops}
    )
    return found


def run_with_pair_sums(
    model: ir.Model, crops: NDArray[np.uint8], outputs: Sequence[str]
) -> list[NDArray[np.float32]]:
    """Run an int8 graph as on processors without VNNI: two products are added in 16 bits."""
    known: dict[str, NDArray[np.generic]] = {CROPS: crops}
    for product in find_products(model):
        if product.node.op_type == "Conv" and may_saturate(product.weights).any():
            widen = [widener(product.node, index) for index in range(len(product.node.inputs))]
            assert widen[0].inputs[0] is not None
            (levels,) = _compute(model, known, [str(widen[0].inputs[0].name)])
            known[str(product.node.outputs[0].name)] = _convolve(product.node, widen, levels)
    return [found.astype(np.float32) for found in _compute(model, known, outputs)]


def require_agreement(model: ir.Model, crops: NDArray[np.uint8], outputs: Sequence[str]) -> float:
    """Refuse an int8 graph whose outputs differ on other processors.

    The outputs are names of embeddings (N, D) of unit length; a few crops are enough. Returns the
    smallest cosine between the exact outputs and those of another way.

    Raises:
        ParityError: the outputs differ; the message says where.
    """
    expected = run_graph(model, crops, outputs, exact=True)
    ways = {
        "onnxruntime's kernels for this processor": run_graph(model, crops, outputs, exact=False),
        "kernels of processors without VNNI": run_with_pair_sums(model, crops, outputs),
    }
    lowest, problems = 1.0, []
    for way, answers in ways.items():
        for name, found, exact in zip(outputs, answers, expected, strict=True):
            cosines = np.vecdot(found.astype(np.float64), exact.astype(np.float64))
            lowest = min(lowest, float(cosines.min()))
            # Negated, so that NaN fails.
            if not (cosines.min() >= LEAST_AGREEMENT and cosines.mean() >= MEAN_AGREEMENT):
                problems.append(
                    f"{name} with {way}: smallest cosine to the exact output {cosines.min():.4f}, "
                    f"mean {cosines.mean():.4f}"
                )
    if problems:
        raise ParityError(
            f"outputs of the int8 file differ between processors: {'; '.join(problems)}; at least "
            f"{LEAST_AGREEMENT}, and {MEAN_AGREEMENT} on average, is needed. Round its weights "
            "with adln.export.rounding.round_weights, or export as fp32."
        )
    return lowest


def _convolve(
    node: ir.Node, widen: Sequence[ir.Node], levels: NDArray[np.generic]
) -> NDArray[np.float32]:
    """A convolution that adds products of pairs of neighbouring channels in 16 bits."""
    input_scale, input_zero = (constant(value) for value in widen[0].inputs[1:3])
    kernel, scale = (constant(value) for value in widen[1].inputs[:2])
    bias, bias_scale = (constant(value) for value in widen[2].inputs[:2])
    assert kernel is not None and scale is not None  # noqa: PT018
    assert input_scale is not None and input_zero is not None  # noqa: PT018
    assert bias is not None and bias_scale is not None  # noqa: PT018
    zero = int(input_zero)
    strides = node.attributes["strides"].as_ints()
    top, left, bottom, right = node.attributes["pads"].as_ints()
    bytes_ = levels.astype(np.int32)
    padded = np.pad(bytes_, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=zero)
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1]]  # (N, C, H, W, kh, kw)
    count, _, height, width = windows.shape[:4]
    # Channels last: kernels pair neighbouring channels.
    patches = windows.transpose(0, 2, 3, 4, 5, 1).reshape(count * height * width, -1)
    weights = kernel.astype(np.int32).transpose(0, 2, 3, 1).reshape(len(kernel), -1)
    sums = saturating_products(patches, weights) - zero * weights.sum(axis=1)
    floats = sums * (float(input_scale) * scale) + bias * bias_scale
    found: NDArray[np.float32] = floats.astype(np.float32)
    return found.reshape(count, height, width, -1).transpose(0, 3, 1, 2)


def saturating_products(bytes_: NDArray[np.int32], weights: NDArray[np.int32]) -> NDArray[np.int64]:
    """Products of rows, with pairs of neighbouring terms added in saturating 16 bits.

    Of bytes (P, K) from 0 to 255 and weights (O, K) from -128 to 127 to (P, O); terms 0 and 1, 2
    and 3, ... of the sum over K are pairs.
    """
    if weights.shape[1] % 2:
        bytes_, weights = (np.pad(array, ((0, 0), (0, 1))) for array in (bytes_, weights))
    # float64 represents these integers exactly.
    sums = (bytes_.astype(np.float64) @ weights.T.astype(np.float64)).astype(np.int64)
    rows = np.flatnonzero(may_saturate(weights))
    chosen = weights[rows]
    for at in range(0, weights.shape[1], 2):
        pair = bytes_[:, at, None] * chosen[:, at] + bytes_[:, at + 1, None] * chosen[:, at + 1]
        sums[:, rows] += np.clip(pair, SMALLEST_SUM, LARGEST_SUM) - pair
    return sums


def _compute(
    model: ir.Model, known: Mapping[str, NDArray[np.generic]], names: Sequence[str]
) -> list[NDArray[np.generic]]:
    """Compute values of a graph exactly from known ones."""
    part = part_of(model, known, names, default=ir.DataType.UINT8)
    needed = {str(value.name) for value in part.graph.inputs}
    feeds = {name: array for name, array in known.items() if name in needed}
    found: list[NDArray[np.generic]] = open_graph(part, exact=True).run([*names], feeds)
    return found


def part_of(
    model: ir.Model,
    known: Mapping[str, NDArray[np.generic]],
    names: Sequence[str],
    *,
    default: ir.DataType,
) -> ir.Model:
    """The part of a graph that computes values from known ones, as far as these are needed.

    Batches of the known arrays may have any size. `default` is the type of values without one.
    """
    copy = model.clone()
    values = {str(value.name): value for node in copy.graph for value in node.outputs}
    values |= {str(value.name): value for value in copy.graph.inputs}
    wanted = [values[name] for name in dict.fromkeys(names)]
    needed: list[ir.Value] = []
    seen: set[ir.Value] = set()
    todo = list(wanted)
    while todo:
        value = todo.pop()
        if value in seen:
            continue
        seen.add(value)
        if str(value.name) in known:
            array = known[str(value.name)]
            value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
            value.shape = ir.Shape([None, *array.shape[1:]])
            needed.append(value)
        elif (node := value.producer()) is not None:
            todo += [source for source in node.inputs if source is not None]
    for value in wanted:
        if value.type is None:
            value.type = ir.TensorType(default)
    graph = ir.convenience.extract(copy.graph, needed, wanted)
    return ir.Model(graph, ir_version=model.ir_version)


def open_graph(model: ir.Model, *, exact: bool) -> Any:
    """An onnxruntime session on one core; see `run_graph`."""
    import onnxruntime  # type: ignore[import-untyped]

    level = onnxruntime.GraphOptimizationLevel
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = level.ORT_DISABLE_ALL if exact else level.ORT_ENABLE_ALL
    content = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
