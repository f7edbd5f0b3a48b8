"""Rounds the weights of an int8 graph so that no kernel can overflow, with little loss.

Layer by layer, weights and bias are refitted so that the output for the actual quantised input
matches the float network's. Weights are rounded one input at a time, and the inputs still to be
rounded compensate each rounding error.

Source: Frantar et al., GPTQ (ICLR 2023), Eq. 2-3, for the rounding; Nagel et al., Data-Free
Quantization (ICCV 2019), Sec. 4.2, for the bias. Deviation: the fit is to the float network's
outputs, not to those of the layer before rounding, and uses the inputs as quantised.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.errors import ExportError
from adln.export.emulation import open_graph, part_of
from adln.export.nodes import constant, maker_of, widener
from adln.export.saturation import LARGEST_PAIR, LARGEST_WEIGHT
from adln.manifest import CROPS

# Crops for the fit, and number of points of all their maps together.
_FIT_CROPS, _FIT_POINTS = 64, 16_384
_BATCH_SIZE = 8
# Rounding steps to try, as shares of the step at which the largest weights just fit.
_STEPS = (1.0, 0.93, 0.86, 0.79, 0.72)
# Regularisation of the fit towards the original weights: shares of the inputs' mean variance.
_TRUST_FIT, _TRUST_ROUNDING = 0.03, 0.01
# Number of inputs rounded before their errors are passed on to the later ones.
_BLOCK = 64
_LARGEST_BIAS = 2**30
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class _Layer:
    """Convolutions that share a weight; the j-th of G has columns j, j + G, ... of `reference`."""

    convolutions: list[ir.Node]
    reference: str

    @property
    def weight(self) -> ir.Node:
        """The node that dequantises the weights."""
        return widener(self.convolutions[0], 1)

    @property
    def bias(self) -> ir.Node:
        """The node that dequantises the bias."""
        return widener(self.convolutions[0], 2)


def round_weights(model: ir.Model, floats: ir.Model, crops: NDArray[np.uint8]) -> None:
    """Refit and round the weights of all int8 convolutions, in place.

    The model has one weight scale per output channel. Node names in the float graph that it was
    made from are prefixes of its own. The crops are (N, H, W, 3) uint8 RGB, like those the network
    will get.

    Raises:
        ExportError: a convolution is missing in the float graph.
    """
    if len(crops) > _FIT_CROPS:
        crops = crops[np.linspace(0, len(crops) - 1, _FIT_CROPS).astype(int)]
    for layer in _layers(model, floats):
        inputs, wanted = _samples(model, floats, layer, crops)
        _fit(layer, inputs, wanted)


def _layers(model: ir.Model, floats: ir.Model) -> Iterator[_Layer]:
    names = {str(node.name) for node in floats.graph}
    groups: dict[ir.Value, list[ir.Node]] = {}
    for node in model.graph:
        wideners = [maker_of(value, "DequantizeLinear") for value in node.inputs]
        if node.op_type == "Conv" and len(wideners) == 3 and None not in wideners:
            weight = node.inputs[1]
            assert weight is not None
            groups.setdefault(weight, []).append(node)
    for nodes in groups.values():
        name = str(nodes[0].name)
        while name not in names:
            if "/" not in name:
                raise ExportError(f"{nodes[0].name}: the float graph has no such convolution.")
            name = name.rpartition("/")[0]
        yield _Layer(nodes, name)


def _samples(
    model: ir.Model, floats: ir.Model, layer: _Layer, crops: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inputs (P, K) of the layer at P points, and outputs (P, O) of the float graph."""
    sources = [str(value.name) for node in layer.convolutions if (value := node.inputs[0])]
    reference = next(node for node in floats.graph if node.name == layer.reference)
    session, float_session = (
        open_graph(part_of(each, {CROPS: crops}, names, default=ir.DataType.FLOAT), exact=False)
        for each, names in ((model, sources), (floats, [str(reference.outputs[0].name)]))
    )
    rng = np.random.default_rng(0)
    inputs, wanted = [], []
    for start in range(0, len(crops), _BATCH_SIZE):
        batch = crops[start : start + _BATCH_SIZE]
        maps = session.run(sources, {CROPS: batch})
        (outputs,) = float_session.run(None, {CROPS: batch})
        count = -(-_FIT_POINTS * len(batch) // (len(crops) * len(layer.convolutions)))
        for at, node in enumerate(layer.convolutions):
            own = outputs[..., at :: len(layer.convolutions)]
            points = _choose(rng, count, (len(batch), *own.shape[2:]))
            inputs.append(_patches(maps[at], node, points))
            wanted.append(own[points[0], :, points[1], points[2]])
    return np.concatenate(inputs), np.concatenate(wanted)


def _choose(
    rng: np.random.Generator, count: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], ...]:
    """Indices of random points; of all points if there are few."""
    size = int(np.prod(shape))
    chosen = np.arange(size) if count >= size else rng.choice(size, count, replace=False)
    return tuple(np.unravel_index(chosen, shape))


def _patches(
    stage_map: NDArray[np.float32], node: ir.Node, points: tuple[NDArray[np.int64], ...]
) -> NDArray[np.float32]:
    """Input patches of a convolution for output points (crop, row, column): (P, K)."""
    kernel = tuple(node.attributes["kernel_shape"].as_ints())
    strides = tuple(node.attributes["strides"].as_ints())
    top, left, bottom, right = node.attributes["pads"].as_ints()
    padded = np.pad(stage_map, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    crop, row, column = points
    found = windows[crop, :, row * strides[0], column * strides[1]]  # (P, C, kh, kw)
    return found.reshape(len(crop), -1)


def _fit(layer: _Layer, inputs: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    """Fit weights and bias to the samples, round them, and write them into the graph."""
    kernel, scale = (constant(value) for value in layer.weight.inputs[:2])
    input_scale = constant(widener(layer.convolutions[0], 0).inputs[1])
    assert kernel is not None
    assert scale is not None
    assert input_scale is not None
    weight = (kernel.reshape(len(kernel), -1) * scale[:, None]).astype(np.float64)
    mean_in, mean_out = inputs.mean(axis=0), wanted.mean(axis=0)
    centred = inputs - mean_in
    moments = (centred.T @ centred / len(inputs)).astype(np.float64)
    crossed = ((wanted - mean_out).T @ centred / len(inputs)).astype(np.float64)
    spread = np.trace(moments) / len(moments) + _TINY
    weight += np.linalg.solve(
        moments + _TRUST_FIT * spread * np.eye(len(moments)), (crossed - weight @ moments).T
    ).T
    hessian = moments + _TRUST_ROUNDING * spread * np.eye(len(moments))
    # For channels of tiny weights, limit the step so that the bias still fits into 32 bits.
    least = np.abs(mean_out - weight @ mean_in) / (_LARGEST_BIAS * float(input_scale))
    levels, steps = _best_levels(weight, hessian, np.maximum(least, _TINY))
    bias = mean_out - (levels * steps[:, None]) @ mean_in.astype(np.float64)
    small: NDArray[np.float32] = steps.astype(np.float32)
    unit: NDArray[np.float32] = (small * input_scale).astype(np.float32)
    _set(layer.weight, levels.reshape(kernel.shape).astype(np.int8), small)
    _set(layer.bias, np.rint(bias / unit).astype(np.int32), unit)


def _set(node: ir.Node, levels: NDArray[np.generic], scale: NDArray[np.float32]) -> None:
    for value, array in zip(node.inputs[:2], (levels, scale), strict=True):
        assert value is not None
        value.const_value = ir.tensor(array, name=value.name)
        value.shape = ir.Shape(array.shape)


def _best_levels(
    weight: NDArray[np.float64], hessian: NDArray[np.float64], least: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Round each row with several steps and keep the one with the smallest output error."""
    # The sum of the two largest weights of each sign must not exceed LARGEST_PAIR.
    sizes = (np.sort(np.maximum(sign * weight, 0), axis=1) for sign in (1, -1))
    pairs = [of_sign[:, -2:].sum(axis=1) / LARGEST_PAIR for of_sign in sizes]
    largest = np.maximum.reduce([*pairs, np.abs(weight).max(axis=1) / LARGEST_WEIGHT])
    steps = np.concatenate([np.maximum(share * largest, least) for share in _STEPS])
    rows = np.tile(weight, (len(_STEPS), 1))
    levels = _round(rows, steps, hessian, _limits(rows / steps[:, None]))
    errors = levels * steps[:, None] - rows
    losses = np.einsum("rk,rk->r", errors @ hessian, errors).reshape(len(_STEPS), -1)
    best = losses.argmin(axis=0) * len(weight) + np.arange(len(weight))
    return levels[best], steps[best]


def _limits(scaled: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ranges in which no two of one sign exceed LARGEST_PAIR; the largest takes what is left."""
    limits = []
    for sign in (-1, 1):
        sizes = np.maximum(sign * scaled, 0)
        top = sizes.argmax(axis=1)
        others = sizes.copy()
        np.put_along_axis(others, top[:, None], 0, axis=1)
        others_largest = np.clip(np.ceil(others.max(axis=1)), 1, LARGEST_PAIR // 2)
        limit = np.repeat(others_largest[:, None], scaled.shape[1], axis=1)
        rest = np.minimum(LARGEST_PAIR - others_largest, LARGEST_WEIGHT)
        np.put_along_axis(limit, top[:, None], rest[:, None], axis=1)
        limits.append(sign * limit)
    return limits[0], limits[1]


def _round(
    weight: NDArray[np.float64],
    steps: NDArray[np.float64],
    hessian: NDArray[np.float64],
    limits: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Round rows (R, K), inputs of largest variance first."""
    order = np.argsort(-np.diag(hessian), kind="stable")
    # inverse = triangle.T @ triangle
    inverse = np.linalg.inv(hessian[np.ix_(order, order)])
    triangle = np.linalg.cholesky((inverse + inverse.T) / 2).T
    # Inputs come first, so that each step of the loop works on whole rows of memory.
    rest = np.ascontiguousarray((weight / steps[:, None]).T[order])
    low, high = (np.ascontiguousarray(limit.T[order]) for limit in limits)
    levels = np.empty_like(rest)
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        errors = np.empty((stop - start, rest.shape[1]))
        for at in range(start, stop):
            levels[at] = np.clip(np.rint(rest[at]), low[at], high[at])
            errors[at - start] = (rest[at] - levels[at]) / triangle[at, at]
            rest[at:stop] -= triangle[at, at:stop, None] * errors[at - start]
        rest[stop:] -= triangle[start:stop, stop:].T @ errors
    found = np.empty_like(levels)
    found[order] = levels
    return np.ascontiguousarray(found.T)
