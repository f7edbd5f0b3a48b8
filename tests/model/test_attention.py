"""Dimension interaction attention against the official triplet attention and a naive loop."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from adln.model.attention import DimensionInteractionAttention

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "dia.npz")


def golden(name: str) -> Tensor:
    return torch.from_numpy(GOLDEN[name])


def load(case: str) -> DimensionInteractionAttention:
    attention = DimensionInteractionAttention().double()
    for gate, key in (
        (attention.channel_width, "cw"),
        (attention.height_channel, "hc"),
    ):
        with torch.no_grad():
            gate.conv.weight.copy_(golden(f"{case}_{key}_conv_w"))
            gate.bn.weight.copy_(golden(f"{case}_{key}_bn_w"))
            gate.bn.bias.copy_(golden(f"{case}_{key}_bn_b"))
            gate.bn.running_mean.copy_(golden(f"{case}_{key}_bn_rm"))
            gate.bn.running_var.copy_(golden(f"{case}_{key}_bn_rv"))
    return attention


@pytest.mark.parametrize("case", ["small", "real"])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_output_and_gradients_are_the_official_ones(case: str, mode: str) -> None:
    attention = load(case).train(mode == "train")
    x = golden(f"{case}_x").requires_grad_()
    y = attention(x)
    torch.testing.assert_close(y, golden(f"{case}_y_{mode}"), rtol=1e-9, atol=1e-12)
    y.backward(golden(f"{case}_grad_out"))
    torch.testing.assert_close(x.grad, golden(f"{case}_gx_{mode}"), rtol=1e-9, atol=1e-12)
    if mode == "train":
        for gate, key in ((attention.channel_width, "cw"), (attention.height_channel, "hc")):
            kernel_grad = golden(f"{case}_{key}_gw_train")
            torch.testing.assert_close(gate.conv.weight.grad, kernel_grad, rtol=1e-9, atol=1e-12)
            running_mean = golden(f"{case}_{key}_bn_rm_after")
            torch.testing.assert_close(gate.bn.running_mean, running_mean, rtol=1e-9, atol=0.0)
            running_var = golden(f"{case}_{key}_bn_rv_after")
            torch.testing.assert_close(gate.bn.running_var, running_var, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("case", ["small", "real"])
def test_gates_are_the_official_ones(case: str) -> None:
    attention = load(case).eval()
    x = golden(f"{case}_x")
    channel_width = attention.channel_width(x, pooled_dim=2)
    height_channel = attention.height_channel(x.transpose(1, 2), pooled_dim=3)
    expected_cw = golden(f"{case}_gate_cw_eval").squeeze(1)
    expected_hc = golden(f"{case}_gate_hc_eval").squeeze(1)
    torch.testing.assert_close(channel_width, expected_cw, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(height_channel, expected_hc, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("case", ["small", "real"])
def test_without_batch_norm_it_is_equation_1_as_printed(case: str) -> None:
    attention = load(case).eval()
    for gate in (attention.channel_width, attention.height_channel):
        gate.bn = torch.nn.Identity()  # type: ignore[assignment]
    expected = golden(f"{case}_y_nobn")
    torch.testing.assert_close(attention(golden(f"{case}_x")), expected, rtol=1e-9, atol=1e-12)


def test_equation_1_written_as_loops() -> None:
    attention = load("small").eval()
    x = golden("small_x")[0]
    channels, height, width = x.shape

    def gate_value(planes: Tensor, branch: str, row: int, column: int) -> Tensor:
        kernel = golden(f"small_{branch}_conv_w")[0]
        total = torch.zeros((), dtype=torch.float64)
        for plane in range(2):
            for i in range(7):
                for j in range(7):
                    r, c = row + i - 3, column + j - 3
                    if 0 <= r < planes.shape[1] and 0 <= c < planes.shape[2]:
                        total += kernel[plane, i, j] * planes[plane, r, c]
        scale = golden(f"small_{branch}_bn_w") / (golden(f"small_{branch}_bn_rv") + 1e-5).sqrt()
        shift = golden(f"small_{branch}_bn_b") - golden(f"small_{branch}_bn_rm") * scale
        return torch.sigmoid(total * scale + shift)[0]

    over_height = torch.stack((x.amax(1), x.mean(1)))  # (2, C, W)
    over_width = torch.stack((x.amax(2).T, x.mean(2).T))  # (2, H, C)
    y = attention(x[None])[0]
    for c, h, w in ((0, 0, 0), (3, 2, 1), (channels - 1, height - 1, width - 1)):
        gates = gate_value(over_height, "cw", c, w) + gate_value(over_width, "hc", h, c)
        torch.testing.assert_close(y[c, h, w], 0.5 * x[c, h, w] * gates, rtol=1e-12, atol=0.0)


def test_it_has_200_parameters_and_keeps_the_shape() -> None:
    attention = DimensionInteractionAttention()
    assert sum(p.numel() for p in attention.parameters()) == GOLDEN["n_params_official"]
    assert attention(torch.rand(2, 32, 16, 8)).shape == (2, 32, 16, 8)


def test_it_only_weakens_what_is_there() -> None:
    attention = DimensionInteractionAttention()
    x = torch.randn(2, 12, 6, 4)
    assert (attention(x).abs() <= x.abs()).all()
