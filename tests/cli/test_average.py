"""`adln average` as a person or a program calls it."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from adln.cli.average import average
from adln.errors import DatasetError, TrainingError
from adln.model.checkpoint import load_network, read_provenance, save_network
from adln.model.network import Architecture, build_network


@pytest.fixture
def networks(tmp_path: Path) -> list[str]:
    paths = []
    form = Architecture(num_classes=3, exits=(1,), height_px=32, width_px=16)
    for seed, data in enumerate(("bands", "bands + market1501")):
        path = tmp_path / f"network-{seed}.safetensors"
        save_network(path, build_network(form, seed=seed), provenance={"data": data})
        paths.append(str(path))
    return paths


def test_it_writes_a_network_that_says_what_it_was_made_of(
    networks: list[str], people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mean.safetensors"
    arguments = [*networks, "--unlabelled", str(people), "--crops", "9", "--half"]
    result = CliRunner().invoke(average, [*arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"average of 2, statistics of 9 crops: {out}" in result.output
    name = "stem.conv1.weight"
    parts = [load_network(Path(path)).get_parameter(name) for path in networks]
    got = load_network(out).get_parameter(name)
    torch.testing.assert_close(got, (parts[0] + parts[1]) / 2, atol=1e-3, rtol=1e-3)
    provenance = read_provenance(out)
    assert provenance["data"] == "bands + market1501 + folder"
    assert provenance["average"]["networks"] == ["network-0.safetensors", "network-1.safetensors"]
    result = CliRunner().invoke(average, [*arguments, "--out", str(out), "--json"])
    assert json.loads(result.output)["crops"] == 9


def test_without_pictures_statistics_are_averaged_like_weights(
    networks: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "mean.safetensors"
    stored = [load_network(Path(path)) for path in networks]
    for number, network in enumerate(stored):
        network.get_buffer("stem.bn1.running_mean").fill_(number)
        save_network(Path(networks[number]), network)
    result = CliRunner().invoke(average, [*networks, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert f"average of 2: {out}" in result.output
    assert (load_network(out).get_buffer("stem.bn1.running_mean") == 0.5).all()


def test_what_cannot_be_averaged_is_refused_before_anything_is_written(
    networks: list[str], people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mean.safetensors"
    form = Architecture(num_classes=3, exits=(1,), height_px=64, width_px=16)
    other = tmp_path / "other.safetensors"
    save_network(other, build_network(form, seed=0))
    arguments = [networks[0], str(other), "--unlabelled", str(people), "--out"]
    result = CliRunner().invoke(average, [*arguments, str(out)])
    assert isinstance(result.exception, TrainingError)
    assert "height_px: 32 and 64" in str(result.exception)
    result = CliRunner().invoke(average, [*arguments, str(tmp_path / "mean.onnx")])
    assert "must end in .safetensors" in str(result.exception)
    assert not out.exists()


def test_the_data_sets_of_pictures_are_named_before_the_work(
    networks: list[str], people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*networks, "--unlabelled", str(people), "--out", str(tmp_path / "o.safetensors")]
    (people.parent / "out.csv").mkdir()
    result = CliRunner().invoke(average, arguments)
    assert result.exit_code == 0, result.output

    def refuse(_: object) -> None:
        raise DatasetError("cannot be named")

    monkeypatch.setattr("adln.cli.average.names_of_pictures", refuse)
    monkeypatch.setattr("adln.training.averaging.estimate_statistics", None)
    assert "cannot be named" in str(CliRunner().invoke(average, arguments).exception)
