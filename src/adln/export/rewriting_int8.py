"""Rewrites an 8-bit integer graph to run fast on CPUs.

Operations around the quantised convolutions of Sec. II's backbone are moved from floats to bytes,
and convolutions get shapes for which processors have instructions. A step without matching nodes
changes nothing.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.export import nodes

_CHANNELS = 3
# Pixels whose colours become the channels of one point: 12 channels, a multiple of four.
_PIXELS = 4
_STEM = {"kernel_shape": (7, 7), "strides": (2, 2), "pads": (3, 3, 3, 3)}
_POINTWISE = {"kernel_shape": (1, 1), "strides": (1, 1), "pads": (0, 0, 0, 0)}
# Number of inputs of a convolution with a bias.
_WITH_BIAS = 3
_LARGEST_BYTE, _LARGEST_WEIGHT, _LARGEST_BIAS = 255, 127, 2**30
_TINY = float(np.finfo(np.float32).tiny)
# Scale and zero point of bytes that represent their own value.
_AS_THEY_ARE = np.array(1, dtype=np.float32), np.array(0, dtype=np.uint8)


def rewrite_int8(model: ir.Model, floats: ir.Model) -> None:
    """Apply all steps in place to a quantised graph of QuantizeLinear and DequantizeLinear nodes.

    `floats` is the same graph before quantisation, with the same node names.
    """
    graph = model.graph
    kernels = {
        str(node.name): nodes.constant(node.inputs[1])
        for node in floats.graph
        if node.op_type == "Conv"
    }
    for node in list(graph):
        subtract_from_bytes(graph, node)
    for node in list(graph):
        convolve_four_pixels_at_once(graph, node)
        add_inside_convolution(graph, node, kernels)
        average_bytes(graph, node)
        scale_and_shift(graph, node)
    nodes.remove_dead_nodes(graph)


def subtract_from_bytes(graph: ir.Graph, node: ir.Node) -> None:
    """Normalise bytes to bytes in one step: subtract the mean colour as an 8-bit addition.

    Before, rows of pixels were converted to float, the mean was subtracted, and each colour plane
    was quantised.
    """
    path = nodes.chain(node, "QuantizeLinear", "Transpose", "Reshape", "Sub", "Cast", "Reshape")
    if path is None:
        return
    _, transpose, reshape, subtract, _, fold = path
    mean, crops, picture = nodes.constant(subtract.inputs[1]), fold.inputs[0], reshape.outputs[0]
    if mean is None or crops is None or crops.dtype != ir.DataType.UINT8:
        return
    if nodes.dim(crops, 3) != _CHANNELS or not nodes.is_permutation(
        transpose, nodes.TO_CHANNELS_FIRST
    ):
        return
    mean = mean.reshape(-1, _CHANNELS)
    scale = _scale_that_fits(mean[0])
    levels = (_LARGEST_BYTE - np.rint(mean / scale)).astype(np.uint8)
    make = nodes.Maker(graph, "normalise/bytes")
    pixels = make("DequantizeLinear", crops, *_AS_THEY_ARE)
    shift = make("DequantizeLinear", levels, scale, np.array(_LARGEST_BYTE, dtype=np.uint8))
    centred = make("Add", pixels, shift)
    rounded = make("QuantizeLinear", centred, *node.inputs[1:])
    rounded.shape, rounded.type = picture.shape, ir.TensorType(ir.DataType.UINT8)
    make("Transpose", rounded, perm=nodes.TO_CHANNELS_FIRST)
    make.replace(node)


def _scale_that_fits(mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """The step whose multiples come closest to the mean's three colours."""
    steps = mean.max() / np.arange(_LARGEST_BYTE // 2, _LARGEST_BYTE + 1)
    errors = np.abs(np.rint(mean / steps[:, None]) * steps[:, None] - mean).max(axis=1)
    return np.array(steps[errors.argmin()], dtype=np.float32)


def convolve_four_pixels_at_once(graph: ir.Graph, node: ir.Node) -> None:
    """Split the first convolution into one for even and one for odd columns of its map.

    Processors multiply bytes in groups of four channels. With three colours, a runtime instead
    copies every patch of 7 x 7 pixels. Here the colours of four adjacent pixels become 12 channels.
    Two such points hold the 7 pixels for an even column; for odd columns the picture is shifted by
    two pixels. The weights, the sums and their rounding stay the same.
    """
    path = nodes.chain(node, "Conv", "DequantizeLinear", "Transpose", "QuantizeLinear")
    if path is None or not _is_like(node, _STEM):
        return
    _, widen, transpose, quantise = path
    weight = nodes.maker_of(node.inputs[1], "DequantizeLinear")
    round_output = _only_reader(node, "QuantizeLinear")
    picture, level = quantise.outputs[0], nodes.constant(widen.inputs[2])
    if weight is None or round_output is None or level is None:
        return
    kernel = nodes.constant(weight.inputs[0])
    if kernel is None or kernel.shape[1] != _CHANNELS or len(node.inputs) != _WITH_BIAS:
        return
    height, width = nodes.dim(picture, 1), nodes.dim(picture, 2)
    if (
        height % 2
        or width % _PIXELS
        or not nodes.is_permutation(transpose, nodes.TO_CHANNELS_FIRST)
    ):
        return
    count, channels = kernel.shape[0], _CHANNELS * _PIXELS
    make = nodes.Maker(graph, f"{node.name}/7_of_8_columns")
    taps = np.pad(kernel, ((0, 0), (0, 0), (0, 0), (1, 0)))  # 7 columns of weights become 8
    taps = taps.reshape(count, _CHANNELS, 7, 2, _PIXELS).transpose(0, 4, 1, 2, 3)
    folded = make.constant(taps.reshape(count, channels, 7, 2), "kernel")
    weights = make("DequantizeLinear", folded, *weight.inputs[1:], axis=0)
    shifted = make("Pad", picture, np.array([0, 0, 2, 0] * 2), level)
    halves = []
    for view, points, pads in (
        (picture, width // _PIXELS, (3, 1, 3, 0)),
        (shifted, width // _PIXELS + 1, (3, 0, 3, 0)),
    ):
        lines = make("Reshape", view, np.array([0, height, points, channels]))
        planes = make("Transpose", lines, perm=nodes.TO_CHANNELS_FIRST)
        values = make("DequantizeLinear", planes, *widen.inputs[1:])
        sizes = {"kernel_shape": (7, 2), "strides": (2, 1), "pads": pads}
        half = make("Conv", values, weights, node.inputs[2], **sizes)
        bytes_ = make("QuantizeLinear", half, *round_output.inputs[1:])
        halves.append(make("Transpose", bytes_, perm=nodes.TO_CHANNELS_LAST))
    pairs = make("Concat", *halves, axis=3)
    whole = make("Reshape", pairs, np.array([0, height // 2, width // 2, count]))
    make("Transpose", whole, perm=nodes.TO_CHANNELS_FIRST)
    make.replace(round_output)


def add_inside_convolution(
    graph: ir.Graph, node: ir.Node, kernels: dict[str, NDArray[np.float32] | None]
) -> None:
    """Compute the sum of two pointwise convolutions as one over the channels of both.

    The sum is then rounded once instead of three times. The bytes of both inputs are used
    directly; their scales go into the weights, which are rounded again from the float32 graph.
    """
    if node.op_type != "Add" or _only_reader(node, "QuantizeLinear") is None:
        return
    inputs, halved, weights, biases = [], [], [], []
    for value in node.inputs:
        widen = nodes.maker_of(value, "DequantizeLinear")
        path = nodes.chain(widen, "DequantizeLinear", "QuantizeLinear", "Conv")
        if path is None or any(len(step.outputs[0].uses()) != 1 for step in path):
            return
        convolution = path[2]
        source = nodes.producer(convolution, "DequantizeLinear")
        kernel = kernels.get(str(convolution.name))
        if source is None or kernel is None or len(convolution.inputs) != _WITH_BIAS:
            return
        bias = _dequantised(convolution.inputs[2])
        scale, level = nodes.constant(source.inputs[1]), nodes.constant(source.inputs[2])
        if bias is None or scale is None or level is None or level != 0:
            return
        halves = _is_like(convolution, _POINTWISE | {"strides": (2, 2)})
        if not halves and not _is_like(convolution, _POINTWISE):
            return
        inputs.append(source.inputs[0])
        halved.append(halves)
        weights.append(kernel * scale)
        biases.append(bias)
    weight = np.concatenate(weights, axis=1)
    bias = np.add(*biases)
    # For channels of tiny weights, limit the scale so that the bias still fits into 32 bits.
    scales = np.abs(weight).max(axis=(1, 2, 3)) / _LARGEST_WEIGHT
    scales = np.maximum.reduce([scales, np.abs(bias) / _LARGEST_BIAS, np.full_like(bias, _TINY)])
    rounded = np.rint(weight / scales[:, None, None, None]).astype(np.int8)
    bias, scales = np.rint(bias / scales).astype(np.int32), scales.astype(np.float32)
    make = nodes.Maker(graph, str(node.name))
    maps = [
        # Takes every second point of every second row.
        make("MaxPool", stage_map, kernel_shape=(1, 1), strides=(2, 2)) if halves else stage_map
        for stage_map, halves in zip(inputs, halved, strict=True)
    ]
    both = make("Concat", *maps, axis=1)
    values = make("DequantizeLinear", both, *_AS_THEY_ARE)
    zeros = np.zeros_like(scales)
    kernel_value = make("DequantizeLinear", rounded, scales, zeros.astype(np.int8), axis=0)
    bias_value = make("DequantizeLinear", bias, scales, zeros.astype(np.int32), axis=0)
    make("Conv", values, kernel_value, bias_value, **_POINTWISE)
    make.replace(node)


def average_bytes(graph: ir.Graph, node: ir.Node) -> None:
    """Average a map of bytes over all points, or over each row, by a product with ones.

    The sums are exact integers; before, the map was converted to float with channels first.
    """
    path = nodes.chain(node, "ReduceMean", "DequantizeLinear", "QuantizeLinear")
    if path is None or not nodes.drops_axes(node):
        return
    _, widen, quantise = path
    stage_map, floats, level = widen.inputs[0], quantise.inputs[0], nodes.constant(widen.inputs[2])
    axes = nodes.reduced_axes(node)
    if axes not in ((2, 3), (3,)) or floats is None or level is None or level.size != 1:
        return
    channels, height, width = (nodes.dim(floats, axis) for axis in (1, 2, 3))
    points, rows = height * width, height if axes == (3,) else 1
    make = nodes.Maker(graph, str(node.name))
    last = make("Transpose", stage_map, perm=nodes.TO_CHANNELS_LAST)
    table = make("Reshape", last, np.array([0, points, channels]))
    values = make("DequantizeLinear", table, *widen.inputs[1:])
    ones = np.kron(np.eye(rows, dtype=np.uint8), np.ones((1, points // rows), dtype=np.uint8))
    weights = make(
        "DequantizeLinear", ones, np.array(rows / points, dtype=np.float32), _AS_THEY_ARE[1]
    )
    mean = make("MatMul", weights, values)  # (B, rows, C)
    if axes == (3,):
        make("Transpose", mean, perm=(0, 2, 1))
    else:
        make("Reshape", mean, np.array([0, channels]))
    make.replace(node)


def scale_and_shift(graph: ir.Graph, node: ir.Node) -> None:
    """Write the batch norm of the BNNeck as a product and a sum."""
    if node.op_type != "BatchNormalization":
        return
    tables = [nodes.constant(value) for value in node.inputs[1:]]
    gain, bias, mean, variance = (table.astype(np.float64) for table in tables if table is not None)
    factor = gain / np.sqrt(variance + node.attributes["epsilon"].as_float())
    source = node.inputs[0]
    assert source is not None
    make = nodes.Maker(graph, str(node.name))
    scaled = make("Mul", source, factor.astype(np.float32))
    make("Add", scaled, (bias - mean * factor).astype(np.float32))
    make.replace(node)


def _only_reader(node: ir.Node, op_type: str) -> ir.Node | None:
    """The single consumer of a node's output, if it is of this type."""
    readers = [use.node for use in node.outputs[0].uses()]
    return readers[0] if [reader.op_type for reader in readers] == [op_type] else None


def _is_like(convolution: ir.Node, sizes: dict[str, tuple[int, ...]]) -> bool:
    """Whether a convolution has these sizes, one group and no dilation."""
    wanted = sizes | {"dilations": (1, 1), "group": 1}
    found = convolution.attributes
    return all(name in found and _plain(found[name].value) == wanted[name] for name in wanted)


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) else value


def _dequantised(value: ir.Value | None) -> NDArray[np.float64] | None:
    """Dequantised value of an integer constant, if its zero point is 0."""
    node = nodes.maker_of(value, "DequantizeLinear")
    if node is None:
        return None
    levels, scale = nodes.constant(node.inputs[0]), nodes.constant(node.inputs[1])
    return None if levels is None or scale is None else levels.astype(np.float64) * scale
