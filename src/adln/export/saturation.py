"""Proves from the weights of an int8 graph that no processor's kernels can overflow.

Processors without four-product instructions (x86 before VNNI) multiply unsigned by signed bytes and
add two neighbouring products in saturating 16 bits. Which products are neighbours depends on the
kernel, so any two weights of an output channel are checked with the largest bytes.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, PMADDUBSW. Such kernels shift
signed activations to unsigned ones, and subtract zero points afterwards in 32 bits, so the bytes in
the graph are what counts.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from adln.errors import ExportError
from adln.export.nodes import constant, maker_of
from adln.manifest import PairProof

LARGEST_ACTIVATION, LARGEST_WEIGHT = 255, 127
SMALLEST_SUM, LARGEST_SUM = -(2**15), 2**15 - 1
# Two weights of one sign: 255 * 128 still fits, 255 * 129 does not.
LARGEST_PAIR = LARGEST_SUM // LARGEST_ACTIVATION
_PRODUCTS = ("Conv", "MatMul", "Gemm")
# Operations on bytes that `adln export` never writes and this proof does not cover.
_FOREIGN = ("ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul", "QGemm")


@dataclass(frozen=True, eq=False)
class Product:
    """A convolution or matrix product of bytes with constant bytes (O, K), summed over K."""

    node: ir.Node
    weights: NDArray[np.integer]


def pair_sums(weights: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The smallest and largest possible sum of two products of a row, (O,) each.

    Rows (O, K) of bytes are multiplied with activations of 0 to 255.
    """
    wide = np.pad(weights.astype(np.int64), ((0, 0), (0, 2)))
    least = np.partition(np.minimum(wide, 0), 1, axis=1)[:, :2].sum(axis=1)
    largest = np.partition(np.maximum(wide, 0), -2, axis=1)[:, -2:].sum(axis=1)
    return LARGEST_ACTIVATION * least, LARGEST_ACTIVATION * largest


def may_saturate(weights: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Whether each row of weights (O, K) has two whose products can overflow 16 bits: (O,)."""
    least, largest = pair_sums(weights)
    return (least < SMALLEST_SUM) | (largest > LARGEST_SUM)


def find_products(model: ir.Model) -> Iterator[Product]:
    """All products of a graph whose two factors are bytes.

    Raises:
        ExportError: a product has no constant factor, or an operation is unknown here.
    """
    for node in model.graph:
        if node.op_type in _FOREIGN:
            raise ExportError(f"{node.name}: overflow cannot be checked for {node.op_type}.")
        if node.op_type not in _PRODUCTS:
            continue
        wideners = [maker_of(value, "DequantizeLinear") for value in node.inputs[:2]]
        found = [constant(widener.inputs[0]) for widener in wideners if widener is not None]
        if len(found) < len(wideners):
            continue  # computed in float
        index = 1 if found[1] is not None else 0
        weights = found[index]
        if weights is None:
            raise ExportError(f"{node.name}: overflow cannot be checked without a constant factor.")
        if node.op_type == "Conv":
            weights = weights.reshape(len(weights), -1)
        elif index == 1:
            transposed = node.attributes.get("transB")
            is_transposed = transposed is not None and transposed.as_int() == 1
            weights = weights if is_transposed else np.swapaxes(weights, -1, -2)
        yield Product(node, weights.reshape(-1, weights.shape[-1]))


def prove(model: ir.Model) -> PairProof:
    """Prove that no sum of two products in an int8 graph (QDQ) can overflow 16 bits.

    Raises:
        ExportError: a sum can overflow; the message says where.
    """
    digest, names, extreme = hashlib.sha256(), [], 0
    count = 0
    for product in find_products(model):
        count += 1
        least, largest = pair_sums(product.weights)
        extreme = max(extreme, int(largest.max()), int(-least.min()))
        digest.update(np.ascontiguousarray(product.weights).tobytes())
        if may_saturate(product.weights).any():
            names.append(str(product.node.name))
    if names:
        raise ExportError(
            f"the int8 weights of {', '.join(names)} can overflow on processors that add two "
            f"products in 16 bits (sums up to {extreme}, at most {LARGEST_SUM} fit). Round them "
            "with adln.export.rounding.round_weights, or export as fp32."
        )
    return PairProof(products=count, largest_sum=extreme, weights_sha256=digest.hexdigest())
