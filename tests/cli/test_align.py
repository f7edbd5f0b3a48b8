"""`adln align` as a person or a program calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from torch.testing import assert_close

from adln.cli.align import align
from adln.errors import CheckpointError, TrainingError
from adln.model.checkpoint import load_network, read_provenance, save_network
from adln.model.network import Architecture, build_network

PERSONS = 3


@pytest.fixture(scope="module")
def network_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "network.safetensors"
    architecture = Architecture(num_classes=PERSONS, exits=(1, 2), height_px=32, width_px=16)
    network = build_network(architecture, seed=0).eval()
    save_network(path, network, provenance={"data": "patches"})
    return path


@pytest.fixture(scope="module")
def data_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    for split in ("train", "query", "gallery"):
        for person in range(PERSONS):
            for camera in (1, 2):
                folder = root / split / f"{person:04d}"
                folder.mkdir(parents=True, exist_ok=True)
                patches = Image.fromarray(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8))
                patches.resize((16, 32), Image.Resampling.NEAREST).save(
                    folder / f"c{camera}_0001.png"
                )
    return root


def test_it_writes_a_network_whose_depths_share_a_space(
    network_path: Path, data_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "aligned.safetensors"
    arguments = [str(network_path), "--data", str(data_path), "--out", str(out)]
    result = CliRunner().invoke(align, arguments)
    assert result.exit_code == 0, result.output
    assert "Res1, Res2 share a space of 3 dimensions" in result.output
    aligned = load_network(out)
    assert aligned.architecture.embedding_dim == PERSONS
    first, second = (aligned.exits[depth].classifier.weight for depth in ("1", "2"))
    assert first.equal(second)
    provenance = read_provenance(out)
    assert provenance["data"] == "patches + folder"
    assert provenance["common_space"] == {"dim": 3, "ridge": 1.0, "crops": 6, "persons": 3}
    half = tmp_path / "half.safetensors"
    result = CliRunner().invoke(align, [*arguments[:-1], str(half), "--half"])
    assert result.exit_code == 0, result.output
    assert half.stat().st_size < 0.6 * out.stat().st_size
    whole, halved = (load_network(path).state_dict() for path in (out, half))
    for name, tensor in whole.items():
        assert_close(halved[name], tensor, rtol=1e-3, atol=1e-6)


def test_what_cannot_be_fitted_is_said_before_the_crops_are_embedded(
    network_path: Path, data_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "aligned.safetensors"
    arguments = [str(network_path), "--data", str(data_path), "--out", str(out)]
    assert CliRunner().invoke(align, arguments).exit_code == 0
    for refused, message in (
        ([*arguments, "--goal", "3"], "exit 3 cannot be the goal"),
        ([*arguments, "--dim", "4"], "has 1 to 3 dimensions, got 4"),
        ([str(out), *arguments[1:]], "already has a common space"),
    ):
        result = CliRunner().invoke(align, refused)
        assert isinstance(result.exception, TrainingError)
        assert message in str(result.exception)
        assert "embedding" not in result.output


def test_it_joins_exits_and_answers_a_program(
    network_path: Path, data_path: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second.safetensors"
    # It does not say what it was trained on.
    save_network(second, load_network(network_path, exits=(2,)))
    out = tmp_path / "aligned.safetensors"
    arguments = [str(second), "--data", str(data_path), "--out", str(out), "--dim", "2"]
    result = CliRunner().invoke(align, [*arguments, "--join", str(network_path), "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.output)
    assert (answer["depths"], answer["dim"]) == ([1, 2], 2)
    assert read_provenance(out)["data"] == "unstated + patches + folder"


def test_bad_requests_are_refused(network_path: Path, data_path: Path, tmp_path: Path) -> None:
    wrong_name = [str(network_path), "--data", str(data_path), "--out", str(tmp_path / "a.onnx")]
    error = CliRunner().invoke(align, wrong_name).exception
    assert isinstance(error, TrainingError)
    assert "must end in .safetensors" in str(error)
    out = tmp_path / "a.safetensors"
    absent = [str(tmp_path / "no.safetensors"), "--data", str(data_path), "--out", str(out)]
    assert isinstance(CliRunner().invoke(align, absent).exception, CheckpointError)
    too_long = [str(network_path), "--data", str(data_path), "--out", str(out), "--dim", "4"]
    error = CliRunner().invoke(align, too_long).exception
    assert isinstance(error, TrainingError)
    assert "1 to 3 dimensions, got 4" in str(error)
    assert not out.exists()
