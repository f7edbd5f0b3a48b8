"""Where the proof holds no sum of two products overflows; where it does not, some inputs do."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from adln.errors import ExportError
from adln.export.emulation import saturating_products
from adln.export.nodes import Maker
from adln.export.saturation import LARGEST_PAIR, find_products, may_saturate, pair_sums, prove

ROWS = hnp.arrays(np.int8, st.tuples(st.integers(1, 3), st.integers(1, 9)))


def one_convolution(weights: NDArray[np.int8]) -> ir.Model:
    """Bytes (N, C, 1, 1) through one int8 convolution with weights (O, C)."""
    crops = ir.val("crops", ir.DataType.UINT8, ["batch", weights.shape[1], 1, 1])
    graph = ir.Graph([crops], [], nodes=[], opset_imports={"": 20})
    make = Maker(graph, "layer")
    one = np.array(1, np.float32)
    values = make("DequantizeLinear", crops, one, np.array(0, np.uint8))
    steps = np.ones(len(weights), np.float32)
    kernel = make(
        "DequantizeLinear",
        weights[:, :, None, None],
        steps,
        np.zeros(len(weights), np.int8),
        axis=0,
    )
    bias = make("DequantizeLinear", np.zeros(len(weights), np.int32), one, np.array(0, np.int32))
    sums = make(
        "Conv", values, kernel, bias, kernel_shape=(1, 1), strides=(1, 1), pads=(0, 0, 0, 0)
    )
    for node in make.nodes:
        graph.append(node)
    sums.name, sums.type = "embedding", ir.TensorType(ir.DataType.FLOAT)
    sums.shape = ir.Shape(["batch", len(weights), 1, 1])
    graph.outputs.append(sums)
    return ir.Model(graph, ir_version=10)


def worst_bytes(weights: NDArray[np.int8]) -> NDArray[np.int32]:
    """For each row and sign the bytes (P, K) that drive its sums furthest."""
    chosen = np.concatenate([weights > 0, weights < 0])
    found: NDArray[np.int32] = np.where(chosen, 255, 0).astype(np.int32)
    return found


def worst_order(row: NDArray[np.int8], sign: int) -> NDArray[np.int64]:
    """An order of the weights in which the two largest of one sign are neighbours."""
    return np.argsort(-sign * row.astype(np.int64), kind="stable")


@given(weights=ROWS, seed=st.integers(0, 2**32 - 1))
def test_what_is_proved_is_exact_for_all_bytes_in_all_orders(
    weights: NDArray[np.int8], seed: int
) -> None:
    safe = weights[~may_saturate(weights)]
    rng = np.random.default_rng(seed)
    bytes_ = np.concatenate(
        [worst_bytes(weights), rng.integers(0, 256, (4, weights.shape[1]), dtype=np.int32)]
    )
    for row in safe:
        for order in (worst_order(row, 1), worst_order(row, -1), rng.permutation(len(row))):
            mixed = row[None, order].astype(np.int32)
            found = saturating_products(bytes_[:, order], mixed)
            np.testing.assert_array_equal(found, bytes_[:, order] @ mixed.T)
            pairs = bytes_[:, order] * mixed
            assert (np.abs(pairs[:, :-1] + pairs[:, 1:]) <= 2**15 - (pairs[:, 1:] >= 0)).all()


@given(weights=ROWS)
def test_what_is_not_proved_overflows_for_some_bytes_in_some_order(
    weights: NDArray[np.int8],
) -> None:
    for row in weights[may_saturate(weights)]:
        differs = []
        for sign in (1, -1):
            order = worst_order(row, sign)
            mixed = row[None, order].astype(np.int32)
            bytes_ = np.where(sign * mixed > 0, 255, 0).astype(np.int32)
            differs.append(bool((saturating_products(bytes_, mixed) != bytes_ @ mixed.T).any()))
        assert any(differs)


@pytest.mark.parametrize(
    ("weights", "is_safe"),
    [
        ((64, 64, 64, -64, -64), True),
        ((127, 1, -127, -1), True),
        ((127, -127), True),
        ((127,), True),
        ((100, 28, 28, 28), True),
        ((65, 64), False),
        ((100, 29, 0), False),
        ((-128,), True),
        ((-128, -1), False),
    ],
)
def test_two_weights_of_one_sign_may_be_128_together(
    weights: tuple[int, ...], is_safe: bool
) -> None:
    assert LARGEST_PAIR == 128
    assert may_saturate(np.array([weights], np.int8)).tolist() == [not is_safe]


def test_sums_are_those_of_two_different_weights() -> None:
    least, largest = pair_sums(np.array([[3, 5, -2, 4], [-1, -1, -7, 0]], np.int8))
    assert largest.tolist() == [255 * 9, 0]
    assert least.tolist() == [255 * -2, 255 * -8]


def test_a_safe_graph_is_proved_and_an_unsafe_one_refused() -> None:
    safe = np.array([[64, 64], [-100, -28]], np.int8)
    proof = prove(one_convolution(safe))
    assert (proof.products, proof.largest_sum) == (1, 255 * 128)
    assert proof.weights_sha256 != prove(one_convolution(safe // 2)).weights_sha256
    with pytest.raises(ExportError, match=r"layer/Conv can overflow .*sums up to 64770"):
        prove(one_convolution(np.array([[127, 127]], np.int8)))


def test_products_in_floats_need_no_proof() -> None:
    values = ir.val("map", ir.DataType.FLOAT, ["batch", 4])
    graph = ir.Graph([values], [], nodes=[], opset_imports={"": 20})
    make = Maker(graph, "layer")
    make("Gemm", values, np.full((4, 4), 1e6, np.float32))
    graph.append(make.nodes[0])
    assert list(find_products(ir.Model(graph, ir_version=10))) == []


def test_a_product_that_is_not_known_is_refused() -> None:
    values = ir.val("map", ir.DataType.UINT8, ["batch", 4])
    graph = ir.Graph([values], [], nodes=[], opset_imports={"": 20})
    make = Maker(graph, "layer")
    make("MatMulInteger", values, np.ones((4, 4), np.int8))
    graph.append(make.nodes[0])
    with pytest.raises(ExportError, match="overflow cannot be checked for MatMulInteger"):
        prove(ir.Model(graph, ir_version=10))
