"""bfloat16 is computed only by processors that have instructions for it; others say so."""

from pathlib import Path

import numpy as np
import pytest
import torch

from adln.cli.embedders import open_trained
from adln.model import bfloat16
from adln.model.checkpoint import save_network
from adln.model.embedder import TorchEmbedder
from adln.model.network import Architecture, build_network
from adln.training.loop import build_fabric
from adln.training.recipe import Recipe

ABLE = [("avx512_f", "avx512_bf16"), ("avx512_bf16", "amx_bf16"), ("neon", "bf16")]
UNABLE = [(), ("avx2", "fma3"), ("avx2", "avx512_f", "avx512_vnni"), ("neon",)]


def change_processor(monkeypatch: pytest.MonkeyPatch, instructions: tuple[str, ...]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))


@pytest.mark.parametrize(
    ("instructions", "saves"), [*((i, True) for i in ABLE), *((i, False) for i in UNABLE)]
)
def test_training_is_in_bfloat16_where_that_saves_time(
    instructions: tuple[str, ...], saves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_processor(monkeypatch, instructions)
    assert bfloat16.saves_time("cpu") is saves
    mixed = build_fabric(Recipe(precision="bf16-mixed"), device="cpu")
    with mixed.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype is (torch.bfloat16 if saves else torch.float32)
    with build_fabric(Recipe(precision="32-true"), device="cpu").autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


@pytest.mark.parametrize(("instructions", "saves"), [(ABLE[0], True), (UNABLE[2], False)])
def test_a_network_answers_in_float32_where_bfloat16_is_slow_and_says_so(
    instructions: tuple[str, ...],
    saves: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change_processor(monkeypatch, instructions)
    path = tmp_path / "network.safetensors"
    form = Architecture(num_classes=2, exits=(1,), height_px=64, width_px=32)
    network = build_network(form, seed=0)
    save_network(path, network)
    embedder, _, _ = open_trained(path, (), device="cpu", flip=False, bf16=True)
    assert (bfloat16.NOTICE in capsys.readouterr().err) is not saves
    crops = np.random.default_rng(0).integers(0, 255, (2, *embedder.crop_size, 3), np.uint8)
    exact = TorchEmbedder(network, device="cpu", flip=False).embed(crops)
    same = [np.array_equal(rows, exact[depth]) for depth, rows in embedder.embed(crops).items()]
    assert not any(same) if saves else all(same)


def test_a_graphics_card_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    change_processor(monkeypatch, UNABLE[0])
    for able in (True, False):
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda *, including_emulation, able=able: able
        )
        assert bfloat16.saves_time("cuda") is able
        monkeypatch.setattr(
            torch.accelerator, "current_accelerator", lambda **_: torch.device("cuda")
        )
        assert bfloat16.saves_time("auto") is able
