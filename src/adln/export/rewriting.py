"""Rewrites a traced graph to run fast on CPUs, with the same results.

Each step replaces a few nodes by equivalent ones: normalisation (Sec. III.B), and the pooling and
convolutions of dimension interaction attention (Sec. II.A, Eq. 1-2), for which runtimes tuned to
ResNets have no fast form. A step without matching nodes changes nothing.
"""

from collections import Counter

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.export import nodes

# Metadata key under which torch's tracer records a node's modules.
_SCOPES = "pkg.torch.onnx.name_scopes"
_CHANNELS = 3


def rewrite(model: ir.Model) -> None:
    """Apply all steps in place."""
    graph = model.graph
    name_nodes_by_module(graph)
    normalise_rows(graph)
    for node in list(graph):
        pool_maxima(graph, node)
        average_by_product(graph, node)
        convolve_along_channels(graph, node)
    nodes.remove_dead_nodes(graph)


def name_nodes_by_module(graph: ir.Graph) -> None:
    """Name nodes "stages.2.0.conv1/Conv" and drop the tracer's metadata.

    The names show which nodes belong together; the metadata contains paths of this machine.
    """
    counts: Counter[str] = Counter()
    for node in graph:
        scopes = [
            part.strip(" '\"")
            for part in node.metadata_props.get(_SCOPES, "").strip("[]").split(",")
        ]
        module = scopes[-2] if len(scopes) > 1 else ""
        name = f"{module.removeprefix('network').removeprefix('.') or 'deployed'}/{node.op_type}"
        counts[name] += 1
        node.name = name if counts[name] == 1 else f"{name}_{counts[name]}"
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()


def normalise_rows(graph: ir.Graph) -> None:
    """Subtract the mean from whole rows of pixels; fold the division into the first convolution.

    Runtimes that move the traced channels back to last broadcast over an axis of length three,
    which costs more than the rest of the input together. The convolution's padding of 0 stays
    exact.
    """
    for convolution in list(graph):
        path = nodes.chain(convolution, "Conv", "Div", "Sub", "Cast", "Transpose")
        if path is None or not nodes.is_permutation(path[-1], nodes.TO_CHANNELS_FIRST):
            continue
        _, divide, subtract, _, transpose = path
        crops = transpose.inputs[0]
        assert crops is not None
        mean, std = nodes.constant(subtract.inputs[1]), nodes.constant(divide.inputs[1])
        kernel = nodes.constant(convolution.inputs[1])
        if mean is None or std is None or kernel is None or mean.size != _CHANNELS:
            continue
        height, width = nodes.dim(crops, 1), nodes.dim(crops, 2)
        make = nodes.Maker(graph, "normalise")
        rows = make("Reshape", crops, np.array([0, height, width * _CHANNELS]))
        pixels = make("Cast", rows, to=ir.DataType.FLOAT)
        centred = make("Sub", pixels, np.tile(mean.reshape(-1), width))
        picture = make("Reshape", centred, np.array([0, height, width, _CHANNELS]))
        first = make("Transpose", picture, perm=nodes.TO_CHANNELS_FIRST)
        graph.insert_before(convolution, make.nodes)
        convolution.replace_input_with(0, first)
        weight = make.constant((kernel / std).astype(np.float32), "kernel")
        convolution.replace_input_with(1, weight)


def pool_maxima(graph: ir.Graph, node: ir.Node) -> None:
    """Take the maximum over rows or columns by max pooling of the map with channels first.

    Reductions over an outer axis have strided memory access; pooling has kernels for every layout,
    and works directly on 8-bit maps.
    """
    if node.op_type != "ReduceMax" or not nodes.drops_axes(node):
        return
    axes, transpose = nodes.reduced_axes(node), nodes.producer(node, "Transpose")
    if transpose is None or not nodes.is_permutation(transpose, nodes.TO_CHANNELS_LAST):
        return
    first = transpose.inputs[0]
    if axes not in ((1,), (2,)) or first is None:
        return
    kernel = (nodes.dim(first, 2), 1) if axes == (1,) else (1, nodes.dim(first, 3))
    make = nodes.Maker(graph, str(node.name))
    pooled = make("MaxPool", first, kernel_shape=kernel)
    last = make("Transpose", pooled, perm=nodes.TO_CHANNELS_LAST)
    make("Squeeze", last, np.array(axes))
    make.replace(node)


def average_by_product(graph: ir.Graph, node: ir.Node) -> None:
    """Average a map with channels last over its rows, or over all points, by a matrix product.

    The same sum, in the memory order of the map.
    """
    if node.op_type != "ReduceMean" or not nodes.drops_axes(node):
        return
    axes, source = nodes.reduced_axes(node), node.inputs[0]
    transpose = nodes.producer(node, "Transpose")
    if source is None or transpose is None:
        return
    if axes == (1,) and nodes.is_permutation(transpose, nodes.TO_CHANNELS_LAST):
        height, width, channels = (nodes.dim(source, axis) for axis in (1, 2, 3))
        folded, summands, kept = [0, height, width * channels], height, [0, width, channels]
    elif axes == (2, 3) and nodes.is_permutation(transpose, nodes.TO_CHANNELS_FIRST):
        source = transpose.inputs[0]
        assert source is not None
        height, width, channels = (nodes.dim(source, axis) for axis in (1, 2, 3))
        folded, summands, kept = [0, height * width, channels], height * width, [0, channels]
    else:
        return
    make = nodes.Maker(graph, str(node.name))
    table = make("Reshape", source, np.array(folded))
    weights = make.constant(np.full((1, summands), 1 / summands, dtype=np.float32), "weights")
    mean = make("MatMul", weights, table)
    make("Reshape", mean, np.array(kept))
    make.replace(node)


def convolve_along_channels(graph: ir.Graph, node: ir.Node) -> None:
    """Write a convolution of P planes to one plane as a convolution along their longer axis.

    The shorter axis (8 or 16 points) becomes channels: the kernel's part along it is a banded
    matrix. One output channel leaves wide registers unused; 8 or 16 fill them.
    """
    if node.op_type != "Conv":
        return
    kernel, planes = nodes.constant(node.inputs[1]), node.inputs[0]
    if kernel is None or planes is None or kernel.shape[0] != 1 or kernel.shape[2] == 1:
        return
    size = kernel.shape[2]
    padding = size // 2
    plain = kernel.shape[3] == size and node.attributes["pads"].as_ints() == (padding,) * 4
    if not plain or len(node.inputs) != 3:
        return
    bias = nodes.constant(node.inputs[2])
    assert bias is not None
    count, rows, columns = (nodes.dim(planes, axis) for axis in (1, 2, 3))
    turned = columns < rows
    short, long = min(rows, columns), max(rows, columns)
    taps = kernel[0].swapaxes(1, 2) if turned else kernel[0]  # (P, along short, along long)
    make = nodes.Maker(graph, str(node.name))
    if turned:
        planes = make("Transpose", planes, perm=(0, 1, 3, 2))
    lines = make("Reshape", planes, np.array([0, count * short, 1, long]))
    band = make.constant(_band(taps, short).reshape(short, count * short, 1, size), "band")
    answer = make(
        "Conv",
        lines,
        band,
        np.repeat(bias, short),
        kernel_shape=(1, size),
        pads=(0, padding, 0, padding),
    )
    plane = make("Reshape", answer, np.array([0, 1, short, long]))
    if turned:
        make("Transpose", plane, perm=(0, 1, 3, 2))
    make.replace(node)


def _band(taps: NDArray[np.float32], points: int) -> NDArray[np.float32]:
    """(P, K, L) taps -> (points, P, points, L): weight of each point for each, zero outside K."""
    planes, size, length = taps.shape
    band = np.zeros((points, planes, points, length), dtype=np.float32)
    for out in range(points):
        for tap in range(size):
            source = out + tap - size // 2
            if 0 <= source < points:
                band[out, :, source] = taps[:, tap]
    return band
