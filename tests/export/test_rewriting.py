"""The rewritten graph computes what torch computes."""

import warnings
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from tests.export.conftest import trace_once
from torch import Tensor, nn

from adln.export.rewriting import rewrite
from adln.model.attention import DimensionInteractionAttention
from adln.model.network import ADLN


class Tail(nn.Module):
    """Attention and global pooling, as behind stage 4; and the attended map."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = DimensionInteractionAttention()

    def forward(self, stage_map: Tensor) -> tuple[Tensor, Tensor]:
        attended = self.attention(stage_map)
        return attended.mean(dim=(2, 3)), attended


def traced_tail(tail: nn.Module, example: Tensor) -> ir.Model:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*LeafSpec", category=FutureWarning)
        program = torch.onnx.export(
            tail,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            opset_version=20,
            input_names=["map"],
            verbose=False,
        )
    assert program is not None
    return program.model


def run(model: ir.Model, path: Path, **inputs: np.ndarray) -> list[np.ndarray]:
    ir.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers: list[np.ndarray] = session.run(None, inputs)
    return answers


@pytest.mark.parametrize(("height", "width"), [(16, 8), (4, 6), (3, 2)])
def test_attention_and_pooling_stay_the_same(height: int, width: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tail = Tail().eval()
    for gate in (tail.attention.channel_width, tail.attention.height_channel):
        gate.bn.running_mean.fill_(0.3)
        gate.bn.weight.data.fill_(2.0)
    stage_map = torch.rand(3, 40, height, width)
    model = traced_tail(tail, stage_map[:2])
    before = {node.op_type for node in model.graph}
    rewrite(model)
    after = [node.op_type for node in model.graph]
    with torch.no_grad():
        expected = [answer.numpy() for answer in tail(stage_map)]
    for found, wanted in zip(
        run(model, tmp_path / "tail.onnx", map=stage_map.numpy()), expected, strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert "ReduceMax" in before
    assert "ReduceMax" not in after
    assert after.count("MaxPool") == 4 // 2
    kernels = [node.inputs[1] for node in model.graph if node.op_type == "Conv"]
    short = {height, width}
    assert {kernel.shape[0] for kernel in kernels if kernel is not None and kernel.shape} == short


def test_a_traced_network_has_no_trace_of_the_machine_and_no_batch_norm_behind_convolutions(
    network: ADLN, tmp_path: Path
) -> None:
    model = trace_once(network.cut(1), ["embedding", "norm"])
    ops = [node.op_type for node in model.graph]
    assert ops.count("BatchNormalization") == 1  # the BNNeck
    path = tmp_path / "traced.onnx"
    ir.save(model, path)
    for word in (b"stack_trace", b".py", b"/adln/"):
        assert word not in path.read_bytes()


def test_normalisation_is_exact_at_the_border_too(network: ADLN, tmp_path: Path) -> None:
    # White crops: a padding that is not the mean would show.
    crops = np.full((2, 64, 32, 3), 255, dtype=np.uint8)
    crops[1, ::2] = (255, 0, 128)
    model = trace_once(network.cut(1), ["embedding", "norm"])
    embedding, norm = run(model, tmp_path / "n.onnx", crops=crops)
    with torch.inference_mode():
        output = network.cut(1)(torch.from_numpy(crops).permute(0, 3, 1, 2))
    expected = output.exits[1].embedding.numpy()
    np.testing.assert_allclose(embedding * norm, expected, rtol=1e-3, atol=1e-3)


def test_a_foreign_graph_is_left_as_it_is(tmp_path: Path) -> None:
    class Plain(nn.Module):
        def forward(self, stage_map: Tensor) -> Tensor:
            return stage_map.permute(0, 2, 3, 1).amax(dim=3)

    example = torch.rand(2, 5, 4, 3)
    model = traced_tail(Plain().eval(), example)
    before = [node.op_type for node in model.graph]
    rewrite(model)
    assert [node.op_type for node in model.graph] == before
