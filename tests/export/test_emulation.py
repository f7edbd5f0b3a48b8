"""Processors without VNNI are computed here as they compute: what is wrong there is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from tests.export.conftest import trace_once

from adln.embedders.proving import draw_probe, find_verdict, write_probe
from adln.embedders.session import OpenModel
from adln.errors import ExportError, ParityError
from adln.export.calibration import choose_crops
from adln.export.emulation import (
    require_agreement,
    run_graph,
    run_with_pair_sums,
    saturating_products,
)
from adln.export.precision import to_int8
from adln.export.saturation import find_products, prove
from adln.manifest import Manifest
from adln.model.network import ADLN

NAMES = ["embedding"]


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return choose_crops(None, height_px=64, width_px=32).gate[:32]


@pytest.fixture(scope="module")
def safe(network: ADLN, crops: NDArray[np.uint8]) -> ir.Model:
    """A Res1 of small weights."""
    model = to_int8(trace_once(network.cut(1), ["embedding", "norm"]), crops)
    _set_weights(model, lambda weights: np.clip(weights, -64, 64))
    return model


@pytest.fixture(scope="module")
def saturating(safe: ir.Model) -> ir.Model:
    """A Res1 whose weights are as large as bytes can be."""
    model = safe.clone()
    _set_weights(model, lambda weights: np.where(weights < 0, -127, 127))
    return model


def _set_weights(model: ir.Model, change: object) -> None:
    assert callable(change)
    for product in find_products(model):
        widen = product.node.inputs[1].producer()  # type: ignore[union-attr]
        value = widen.inputs[0]  # type: ignore[union-attr]
        if product.node.op_type == "Conv":
            changed = change(value.const_value.numpy()).astype(np.int8)  # type: ignore[union-attr]
            value.const_value = ir.tensor(changed, name=value.name)  # type: ignore[union-attr]


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_pair_sums_are_those_of_the_naive_loop(channels: int) -> None:
    rng = np.random.default_rng(channels)
    bytes_ = rng.integers(0, 256, (6, channels), dtype=np.int32)
    weights = rng.choice(np.array([-128, -127, -3, 0, 90, 127], np.int32), (4, channels))
    expected = np.zeros((6, 4), np.int64)
    for point in range(6):
        for row in range(4):
            for at in range(0, channels, 2):
                pair = sum(
                    int(bytes_[point, k]) * int(weights[row, k])
                    for k in range(at, min(at + 2, channels))
                )
                expected[point, row] += max(-32768, min(32767, pair))
    np.testing.assert_array_equal(saturating_products(bytes_, weights), expected)


def test_small_weights_answer_alike_everywhere(safe: ir.Model, crops: NDArray[np.uint8]) -> None:
    assert prove(safe).largest_sum <= 32767
    (exact,) = run_graph(safe, crops[:4], NAMES, exact=True)
    (found,) = run_with_pair_sums(safe, crops[:4], NAMES)
    np.testing.assert_array_equal(found, exact)


def test_large_weights_are_refused_by_proof_and_by_emulation(
    saturating: ir.Model, crops: NDArray[np.uint8]
) -> None:
    with pytest.raises(ExportError, match="can overflow"):
        prove(saturating)
    with pytest.raises(ParityError, match="kernels of processors without VNNI: smallest cosine"):
        require_agreement(saturating, crops[:4], NAMES)


def test_without_overflow_the_emulation_is_exact(
    saturating: ir.Model, crops: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adln.export.emulation.LARGEST_SUM", 2**30)
    monkeypatch.setattr("adln.export.emulation.SMALLEST_SUM", -(2**30))
    (exact,) = run_graph(saturating, crops[:2], NAMES, exact=True)
    (found,) = run_with_pair_sums(saturating, crops[:2], NAMES)
    assert np.vecdot(found, exact).min() > 0.9999


def test_the_probe_finds_a_processor_that_saturates(
    saturating: ir.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    manifest = Manifest(
        depths=(1,),
        precision="int8",
        dim=2048,
        height_px=64,
        width_px=32,
        source_sha256="5" * 64,
        adln_version="0.1.0",
        created_utc="2026-01-01T00:00:00Z",
    )
    (exact,) = run_graph(saturating, draw_probe(manifest), NAMES, exact=True)
    manifest = replace(manifest, probe=write_probe((1,), {1: exact}, {1: exact}))
    model = OpenModel(Path("res1.onnx"), manifest, None, sha256="0" * 64, runtime=("1", "CPU"))
    found = find_verdict(
        [model], lambda crops: {1: run_with_pair_sums(saturating, crops, NAMES)[0]}
    )
    assert found.text.startswith("wrong: cosine")
    found = find_verdict(
        [model], lambda crops: {1: run_graph(saturating, crops, NAMES, exact=True)[0]}
    )
    assert found.proved
