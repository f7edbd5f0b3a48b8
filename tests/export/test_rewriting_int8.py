"""The rewritten 8-bit graph answers like the quantised one, and like torch."""

from copy import deepcopy
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from tests.export.conftest import trace_once
from torch import Tensor

from adln.bench.operations import count_operations
from adln.export.calibration import choose_crops
from adln.export.nodes import reduced_axes
from adln.export.precision import to_int8
from adln.export.rewriting_int8 import (
    average_bytes,
    convolve_four_pixels_at_once,
    rewrite_int8,
    scale_and_shift,
    subtract_from_bytes,
)
from adln.model.embedder import TorchEmbedder
from adln.model.network import ADLN

HEIGHT_PX, WIDTH_PX = 64, 32
DEPTH = 2


@pytest.fixture(scope="module")
def unlit(network: ADLN) -> ADLN:
    """A network in which one channel of a sum has a bias and no weights, as happens in training."""
    changed = deepcopy(network.cut(DEPTH))
    block = changed.stages["1"][0]
    with torch.no_grad():
        for norm in (block.bn3, block.downsample[1]):
            norm.weight[0], norm.bias[0] = 0.0, 2.0
    return changed.eval()


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    """40 made-up crops; the last two are white and striped: a wrong border would show."""
    chosen = choose_crops(None, height_px=HEIGHT_PX, width_px=WIDTH_PX).gate[:40].copy()
    chosen[-2:] = 255
    chosen[-1, ::2] = (255, 0, 128)
    return chosen


@pytest.fixture(scope="module")
def traced(unlit: ADLN) -> ir.Model:
    return trace_once(unlit, ["embedding", "norm"])


@pytest.fixture(scope="module")
def quantised(traced: ir.Model, crops: NDArray[np.uint8]) -> ir.Model:
    return to_int8(traced, crops)


@pytest.fixture(scope="module")
def rewritten(quantised: ir.Model, traced: ir.Model) -> ir.Model:
    model = quantised.clone()
    rewrite_int8(model, traced)
    return model


def exact_session(path: Path) -> onnxruntime.InferenceSession:
    """Computes bytes in floats: not all kernels get weights right that are not yet rounded."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def embed(model: ir.Model, path: Path, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, D), of its own length."""
    ir.save(model, path)
    session = exact_session(path)
    embedding, norm = session.run(["embedding", "norm"], {"crops": crops})
    scaled: NDArray[np.float32] = embedding * norm
    return scaled


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.einsum("nd,nd->n", first, second) / lengths


def op_types(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def bytes_of(model: ir.Model, name: str, path: Path, crops: NDArray[np.uint8]) -> NDArray[np.int64]:
    """What the graph computes under this name."""
    copy = model.clone()
    value = next(value for node in copy.graph for value in node.outputs if value.name == name)
    value.type = ir.TensorType(ir.DataType.UINT8)
    part = ir.convenience.extract(copy.graph, [copy.graph.inputs[0]], [value])
    ir.save(ir.Model(part, ir_version=model.ir_version), path)
    session = exact_session(path)
    found: NDArray[np.uint8] = session.run(None, {"crops": crops})[0]
    return found.astype(np.int64)


def step_of(rounding: ir.Node) -> float:
    scale = rounding.inputs[1]
    assert scale is not None
    assert scale.const_value is not None
    return float(scale.const_value.numpy())


def name_of_rounded(model: ir.Model, node_name: str) -> tuple[str, float]:
    """The value that a node's output is rounded to, and the step of rounding."""
    node = next(node for node in model.graph if node.name == node_name)
    rounding = next(iter(node.outputs[0].uses())).node
    return str(rounding.outputs[0].name), step_of(rounding)


@pytest.mark.parametrize("count", [1, 8])
def test_the_first_map_stays_the_same(
    quantised: ir.Model, rewritten: ir.Model, crops: NDArray[np.uint8], count: int, tmp_path: Path
) -> None:
    name, _ = name_of_rounded(quantised, "stem.bn1/Conv")
    before, after = (
        bytes_of(model, name, tmp_path / "part.onnx", crops[-count:])
        for model in (quantised, rewritten)
    )
    assert before.shape == (count, 64, HEIGHT_PX // 2, WIDTH_PX // 2)
    assert before.max() > 100
    # The mean is rounded to a multiple of one step, so a few numbers fall on the other side.
    assert np.abs(after - before).max() <= 1
    assert (after != before).mean() < 0.05


def test_splitting_the_first_convolution_changes_no_number(
    quantised: ir.Model, crops: NDArray[np.uint8], tmp_path: Path
) -> None:
    name, _ = name_of_rounded(quantised, "stem.bn1/Conv")
    model = quantised.clone()
    maps = []
    for step in (subtract_from_bytes, convolve_four_pixels_at_once):
        for node in list(model.graph):
            step(model.graph, node)
        maps.append(bytes_of(model, name, tmp_path / "part.onnx", crops[-8:]))
    np.testing.assert_array_equal(*maps)


def test_a_sum_inside_a_convolution_is_the_sum(
    unlit: ADLN,
    quantised: ir.Model,
    rewritten: ir.Model,
    crops: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    seen: list[Tensor] = []
    handle = unlit.stages["1"][0].register_forward_hook(lambda _, __, found: seen.append(found))
    with torch.inference_mode():
        unlit(torch.from_numpy(crops).permute(0, 3, 1, 2))
    handle.remove()
    name, step = name_of_rounded(quantised, "stages.1.0/Add")
    before, after = (
        bytes_of(model, name, tmp_path / "part.onnx", crops) * step
        for model in (quantised, rewritten)
    )
    expected = seen[0].numpy()
    assert np.abs(after - expected).mean() <= np.abs(before - expected).mean()
    # The channel without weights is its two biases.
    np.testing.assert_allclose(after[:, 0], 4.0, atol=step)


def test_averages_and_the_last_norm_stay_the_same(
    quantised: ir.Model, crops: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = quantised.clone()
    for node in list(model.graph):
        average_bytes(model.graph, node)
        scale_and_shift(model.graph, node)
    before = embed(quantised, tmp_path / "before.onnx", crops)
    after = embed(model, tmp_path / "after.onnx", crops)
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4)


def test_rows_are_averaged_on_bytes_and_weighted_as_in_torch(
    row_weighted: ADLN, crops: NDArray[np.uint8], tmp_path: Path
) -> None:
    cut = row_weighted.cut(DEPTH)
    floats = trace_once(cut, ["embedding", "norm"])
    before = to_int8(floats, crops)
    after = before.clone()
    for node in list(after.graph):
        average_bytes(after.graph, node)
    averages = [node for node in after.graph if node.op_type == "ReduceMean"]
    assert [reduced_axes(node) for node in averages] == [(2,)]
    answers = [embed(model, tmp_path / "model.onnx", crops) for model in (floats, before, after)]
    expected = TorchEmbedder(cut, device="cpu", flip=False).embed(crops)[DEPTH]
    np.testing.assert_allclose(cosines(expected, answers[0]), 1.0, atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[1], rtol=1e-3, atol=1e-4)


def test_it_is_as_near_to_torch_as_before(
    unlit: ADLN,
    quantised: ir.Model,
    rewritten: ir.Model,
    crops: NDArray[np.uint8],
    tmp_path: Path,
) -> None:
    # Random weights make much of every rounding; trained ones come to 0.99.
    expected = TorchEmbedder(unlit, device="cpu", flip=False).embed(crops)[DEPTH]
    before = cosines(expected, embed(quantised, tmp_path / "before.onnx", crops))
    after = cosines(expected, embed(rewritten, tmp_path / "after.onnx", crops))
    assert after.mean() > before.mean() - 0.002


def test_what_was_done_on_floats_is_done_on_bytes(quantised: ir.Model, rewritten: ir.Model) -> None:
    before, after = op_types(quantised), op_types(rewritten)
    for op_type in ("Cast", "Sub", "ReduceMean", "BatchNormalization"):
        assert op_type in before
        assert op_type not in after
    sums = [node for node in rewritten.graph if node.op_type == "Add"]
    # Of two stages with 3 and 4 blocks, the first of each adds inside a convolution; one subtracts
    # the mean, one belongs to the BNNeck.
    assert len(sums) == 3 + 4 - 2 + 2


def test_the_first_convolution_takes_four_pixels_at_once(rewritten: ir.Model) -> None:
    kernels = [
        tuple(node.attributes["kernel_shape"].as_ints())
        for node in rewritten.graph
        if node.op_type == "Conv"
    ]
    assert kernels.count((7, 2)) == 2
    assert (7, 7) not in kernels


def test_zeros_that_fill_a_kernel_up_are_not_counted_as_work(
    quantised: ir.Model, rewritten: ir.Model, tmp_path: Path
) -> None:
    counts = []
    for model in (quantised, rewritten):
        path = tmp_path / "counted.onnx"
        ir.save(model, path)
        one = np.zeros((1, HEIGHT_PX, WIDTH_PX, 3), dtype=np.uint8)
        counts.append(count_operations(path, {"crops": one}).macs)
    channels, points = 2048, (HEIGHT_PX // 16) * (WIDTH_PX // 16)
    # The mean over all points is a product now.
    assert counts[1] - counts[0] == channels * points


def test_a_stem_that_stays_in_float_is_left_as_it_is(
    traced: ir.Model, crops: NDArray[np.uint8]
) -> None:
    model = to_int8(traced, crops, in_float=("stem",))
    rewrite_int8(model, traced)
    kernels = [
        tuple(node.attributes["kernel_shape"].as_ints())
        for node in model.graph
        if str(node.name).startswith("stem") and node.op_type == "Conv"
    ]
    assert kernels == [(7, 7)]
    assert "Sub" in op_types(model)


def test_a_graph_without_bytes_is_left_as_it_is() -> None:
    values = ir.val("map", ir.DataType.FLOAT, ["batch", 4])
    node = ir.node("Relu", [values])
    graph = ir.Graph([values], node.outputs, nodes=[node], opset_imports={"": 20})
    model = ir.Model(graph, ir_version=10)
    rewrite_int8(model, model)
    assert op_types(model) == ["Relu"]
