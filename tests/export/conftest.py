"""A small network whose features differ from crop to crop, and pictures to calibrate it on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from PIL import Image

from adln.export import exporting
from adln.export.calibration import choose_crops
from adln.export.tracing import trace
from adln.model.checkpoint import save_network
from adln.model.network import ADLN, Architecture, build_network

HEIGHT_PX, WIDTH_PX = 64, 32

_traced: dict[str, ir.Model] = {}


def trace_once(network: ADLN, output_names: Sequence[str], **how: Any) -> ir.Model:
    """As `adln.export.tracing.trace`, which takes seconds; but the same network is traced once."""
    asked = (network.architecture, tuple(output_names), sorted(how.items()))
    facts = hashlib.sha256(repr(asked).encode())
    for name, tensor in chain(network.named_parameters(), network.named_buffers()):
        facts.update(name.encode())
        facts.update(tensor.detach().numpy().tobytes())
    key = facts.hexdigest()
    if key not in _traced:
        _traced[key] = trace(network, output_names, **how)
    return _traced[key].clone()


@pytest.fixture(autouse=True, scope="module")
def exports_trace_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "trace", trace_once)
        yield


def settle_batch_norms(network: ADLN) -> ADLN:
    """Let random weights answer as trained ones do: batch norms know what comes."""
    height_px, width_px = network.architecture.height_px, network.architecture.width_px
    crops = choose_crops(None, height_px=height_px, width_px=width_px).gate[:64]
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.momentum = None  # type: ignore[assignment]  # a plain average
    with torch.no_grad():
        network(torch.from_numpy(crops).permute(0, 3, 1, 2))
    return network.eval()


def small_network(seed: int) -> ADLN:
    architecture = Architecture(num_classes=3, exits=(1, 2), height_px=HEIGHT_PX, width_px=WIDTH_PX)
    return settle_batch_norms(build_network(architecture, seed=seed))


@pytest.fixture(scope="session")
def network() -> ADLN:
    return small_network(seed=0)


@pytest.fixture(scope="session")
def row_weighted(network: ADLN) -> ADLN:
    """The same network, whose exits weight the rows of their maps."""
    weighted = ADLN(replace(network.architecture, row_weights=True)).eval()
    weighted.load_state_dict(network.state_dict(), strict=False)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for depth in ("1", "2"):
            weights = weighted.exits[depth].row_weights
            weights.copy_(0.5 + torch.rand(weights.shape, generator=generator))
    return weighted


@pytest.fixture(scope="session")
def instance_normed(network: ADLN) -> ADLN:
    """The same network, with half of the channels normalised within each crop."""
    normed = ADLN(replace(network.architecture, instance_norm=True))
    normed.load_state_dict(network.state_dict())
    return settle_batch_norms(normed)


@pytest.fixture(scope="session")
def other_network() -> ADLN:
    """The same architecture with other weights."""
    return small_network(seed=1)


@pytest.fixture(scope="session")
def together() -> ADLN:
    """A network of three exits that answer together."""
    architecture = Architecture(
        num_classes=3,
        exits=(1, 2, 3),
        summed_exits=(1, 2, 3),
        embedding_dim=64,
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
    )
    return settle_batch_norms(build_network(architecture, seed=0))


@pytest.fixture(scope="session")
def together_path(together: ADLN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("together") / "network.safetensors"
    save_network(path, together)
    return path


@pytest.fixture(scope="session")
def network_path(network: ADLN, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    save_network(path, network, provenance={"data": "made-up people"})
    return path


@pytest.fixture(scope="session")
def picture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of coloured patches in two folders."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    for index in range(60):
        patches = Image.fromarray(rng.integers(0, 256, (24, 12, 3), dtype=np.uint8))
        path = folder / f"camera{index % 2}" / f"{index:03d}.png"
        path.parent.mkdir(exist_ok=True)
        patches.resize((WIDTH_PX, HEIGHT_PX)).save(path)
    return folder
