"""How a network learns at a site depends on what it starts from and on the processor."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.site.conftest import HEIGHT, WIDTH

from adln.errors import CheckpointError
from adln.site.recipes import require_start, site_recipe


def test_a_network_that_knows_people_keeps_its_statistics(start: Path, tmp_path: Path) -> None:
    chosen = site_recipe(start, teacher_path="teacher", teacher_size=(64, 32), depth=1)
    assert chosen.network.frozen_statistics
    assert (chosen.batch.height_px, chosen.batch.width_px) == (HEIGHT, WIDTH)
    assert chosen.batch.stored_size_px == (64, 32)
    imagenet = tmp_path / "imagenet.safetensors"
    save_file({"conv1.weight": torch.ones(1)}, imagenet)
    chosen = site_recipe(imagenet, teacher_path="teacher", teacher_size=(64, 32), depth=1)
    assert not chosen.network.frozen_statistics


@pytest.mark.parametrize("name", ["net.onnx", "net.XML", "net.param"])
def test_a_network_for_devices_is_nothing_to_start_from(name: str) -> None:
    with pytest.raises(CheckpointError, match="is a network for devices"):
        require_start(Path(name))


def test_an_exit_that_is_not_there_is_refused(start: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none at depth 2"):
        site_recipe(start, teacher_path="teacher", teacher_size=(64, 32), depth=2)


@pytest.mark.parametrize(
    ("instructions", "precision"),
    [
        (("avx512_f", "avx512_bf16"), "bf16-mixed"),
        (("avx512_bf16", "amx_bf16", "amx_tile"), "32-true"),
        (("avx2", "avx512_f"), "32-true"),
        ((), "32-true"),
        (("neon", "bf16"), "bf16-mixed"),
    ],
)
def test_half_precision_only_where_the_processor_multiplies_in_it(
    instructions: tuple[str, ...],
    precision: str,
    start: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(instructions, True))
    chosen = site_recipe(start, teacher_path="teacher", teacher_size=(64, 32), depth=1)
    assert chosen.precision == precision
