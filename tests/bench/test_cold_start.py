from collections.abc import Callable
from pathlib import Path

import pytest

from adln.bench.cold_start import measure_cold_start, peak_memory_mib
from adln.errors import ModelFileError

MakeModel = Callable[..., Path]


def test_a_fresh_process_embeds_and_says_what_it_cost(make_model: MakeModel) -> None:
    start = measure_cold_start(make_model(), times=1)
    assert start.cpu_s > 0
    assert start.wall_s > 0
    assert start.peak_mib is None or start.peak_mib > 10


def test_a_peer_starts_too(make_model: MakeModel) -> None:
    assert measure_cold_start(make_model(manifest=None), "onnxruntime", times=1).cpu_s > 0


def test_a_file_that_cannot_be_run_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx: a fresh process .*cannot be opened"):
        measure_cold_start(tmp_path / "gone.onnx", times=1)


def test_the_peak_of_this_process_is_known_or_none() -> None:
    peak = peak_memory_mib()
    assert peak is None or peak > 10
