"""`adln export` as a person or a program calls it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from adln.cli.export import export
from adln.errors import CheckpointError
from adln.model.checkpoint import save_network
from adln.model.network import Architecture, build_network


@pytest.fixture(scope="module")
def network_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    architecture = Architecture(num_classes=2, exits=(1,), height_px=32, width_px=16)
    save_network(path, build_network(architecture, seed=0).eval())
    return path


def test_it_writes_and_reports(network_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "res1.onnx"
    result = CliRunner().invoke(export, [str(network_path), "--depth", "1", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert out.is_file()
    assert f"{out}  " in result.output
    assert "Res1 batch  7: cosine to torch least 1.0000" in result.output
    assert "tracing Res1" in result.output


def test_it_answers_a_program_in_json(network_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "res1.onnx"
    arguments = [str(network_path), "--depths", "1", "--out", str(out), "--json"]
    result = CliRunner().invoke(export, arguments)
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.output)
    assert (row["path"], row["precision"], len(row["parity"])) == (str(out), "fp32", 3)


@pytest.mark.parametrize("depths", ["0", "5", "2,", "two", ""])
def test_depths_are_1_to_4(depths: str, network_path: Path, tmp_path: Path) -> None:
    arguments = [str(network_path), "--depth", depths, "--out", str(tmp_path / "a.onnx")]
    result = CliRunner().invoke(export, arguments)
    assert result.exit_code == 2
    assert "are not depths" in result.output


def test_an_exit_that_the_network_lacks_is_named(network_path: Path, tmp_path: Path) -> None:
    arguments = [str(network_path), "--depth", "2", "--out", str(tmp_path / "a.onnx")]
    result = CliRunner().invoke(export, arguments)
    assert isinstance(result.exception, CheckpointError)
    assert "[2]" in str(result.exception)
