"""Weights are rounded so that nothing overflows, and so that the outputs stay."""

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tests.export.conftest import trace_once

from adln.errors import ExportError
from adln.export.calibration import choose_crops
from adln.export.emulation import run_graph
from adln.export.precision import to_int8
from adln.export.rewriting_int8 import rewrite_int8
from adln.export.rounding import _best_levels, round_weights
from adln.export.saturation import may_saturate, prove
from adln.model.network import ADLN

WEIGHTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 12)),
    elements=st.floats(-100, 100, allow_subnormal=False),
)


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return choose_crops(None, height_px=64, width_px=32).gate[:64]


@pytest.fixture(scope="module")
def traced(network: ADLN) -> ir.Model:
    return trace_once(network.cut(1), ["embedding", "norm"])


@pytest.fixture(scope="module")
def quantised(traced: ir.Model, crops: NDArray[np.uint8]) -> ir.Model:
    return to_int8(traced, crops)


def moments(inputs: int, seed: int) -> NDArray[np.float64]:
    samples = np.random.default_rng(seed).standard_normal((3 * inputs, inputs))
    samples += samples[:, :1]
    return samples.T @ samples / len(samples) + 0.01 * np.eye(inputs)


@given(weights=WEIGHTS, seed=st.integers(0, 1000))
def test_rounded_weights_can_never_overflow(weights: NDArray[np.float64], seed: int) -> None:
    least = np.full(len(weights), 1e-9)
    levels, steps = _best_levels(weights, moments(weights.shape[1], seed), least)
    assert np.abs(levels).max() <= 127
    np.testing.assert_array_equal(levels, np.rint(levels))
    assert not may_saturate(levels.astype(np.int8)).any()
    assert (steps >= least).all()


def test_one_large_weight_leaves_the_others_their_bits() -> None:
    weights = np.array([[100.0, 1.0, -2.0, 3.0]])
    levels, steps = _best_levels(weights, np.eye(4), np.array([1e-9]))
    # A flat bound of 64 levels would make the step 100 / 64.
    assert steps[0] < 100 / 110
    assert np.abs(levels * steps[:, None] - weights).max() < 0.5


def test_errors_of_one_input_are_made_up_for_by_another() -> None:
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((32, 24))
    hessian = moments(24, 1)
    levels, steps = _best_levels(weights, hessian, np.full(32, 1e-9))
    plain = np.abs(weights).max(axis=1, keepdims=True) / 64
    losses = [
        np.einsum("rk,rk->", error @ hessian, error)
        for error in (levels * steps[:, None] - weights, np.rint(weights / plain) * plain - weights)
    ]
    assert losses[0] < losses[1]


@pytest.mark.parametrize("is_rewritten", [False, True])
def test_a_network_is_proved_afterwards_and_nearer_to_the_float_network(
    traced: ir.Model, quantised: ir.Model, crops: NDArray[np.uint8], is_rewritten: bool
) -> None:
    model = quantised.clone()
    if is_rewritten:
        rewrite_int8(model, traced)
    expected, before = (
        run_graph(graph, crops, ["embedding"], exact=True)[0] for graph in (traced, model)
    )
    nodes = [(node.op_type, node.name) for node in model.graph]
    round_weights(model, traced, crops)
    assert [(node.op_type, node.name) for node in model.graph] == nodes
    assert prove(model).largest_sum <= 32767
    (after,) = run_graph(model, crops, ["embedding"], exact=True)
    assert np.vecdot(after, expected).mean() > np.vecdot(before, expected).mean()


def test_a_graph_of_another_network_is_refused(
    quantised: ir.Model, crops: NDArray[np.uint8]
) -> None:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 20})
    with pytest.raises(ExportError, match="has no such convolution"):
        round_weights(quantised.clone(), ir.Model(graph, ir_version=10), crops)
