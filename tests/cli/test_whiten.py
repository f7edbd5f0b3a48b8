"""`adln whiten` as a person or a program calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from adln.cli.whiten import whiten
from adln.errors import DatasetError, TrainingError
from adln.model.checkpoint import load_network, read_provenance, save_network
from adln.model.network import Architecture, build_network

DIM = 8


@pytest.fixture
def network_path(tmp_path: Path) -> Path:
    path = tmp_path / "network.safetensors"
    architecture = Architecture(
        num_classes=3, exits=(1,), embedding_dim=DIM, height_px=32, width_px=16, space="ab" * 8
    )
    save_network(path, build_network(architecture, seed=0), provenance={"data": "bands"})
    return path


def test_it_writes_a_network_of_the_same_space_that_says_how_it_was_whitened(
    network_path: Path, people: Path, tmp_path: Path
) -> None:
    out = tmp_path / "white.safetensors"
    arguments = [str(network_path), "--unlabelled", str(people), "--out", str(out)]
    result = CliRunner().invoke(whiten, arguments)
    assert result.exit_code == 0, result.output
    assert "whitened on 12 crops" in result.output
    before, after = load_network(network_path), load_network(out)
    assert after.architecture == before.architecture
    assert not np.allclose(
        after.get_parameter("exits.1.projection.weight").detach(),
        before.get_parameter("exits.1.projection.weight").detach(),
    )
    provenance = read_provenance(out)
    assert provenance["data"] == "bands + folder"
    facts = {"power": 0.15, "power_within": 0.0, "centred": 0.5, "shrinkage": 0.5, "crops": 12}
    facts |= {"exits": [1]}
    assert provenance["whitening"] == facts
    table = people / "people.csv"
    rows = [f"{number}.png,{number % 3},{number % 2},train\n" for number in range(12)]
    table.write_text("path,person,camera,split\n" + "".join(rows))
    fitted = CliRunner().invoke(whiten, [str(network_path), "--data", str(table), *arguments[3:]])
    assert fitted.exit_code == 0, fitted.output
    assert read_provenance(out)["data"] == "bands + csv"
    half = tmp_path / "half.safetensors"
    options = ["--half", "--power", "0.1", "--json"]
    result = CliRunner().invoke(whiten, [*arguments[:-1], str(half), *options])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"network": str(half), **facts, "power": 0.1}
    assert half.stat().st_size < 0.6 * out.stat().st_size
    result = CliRunner().invoke(whiten, [*arguments, "--exit", "3"])
    assert result.exit_code == 2
    assert "network.safetensors has exits [1]" in result.output


def test_a_data_set_with_names_says_how_a_person_varies(
    network_path: Path, people: Path, tmp_path: Path
) -> None:
    root = tmp_path / "set"
    for number, picture in enumerate(sorted(people.iterdir())):
        for split in ("train", "query", "gallery"):
            place = root / split / f"{number // 4:04d}" / f"c{number % 2 + 1}_000{number % 4}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(picture.read_bytes())
    out = tmp_path / "white.safetensors"
    arguments = [str(network_path), "--data", str(root), "--out", str(out)]
    result = CliRunner().invoke(whiten, arguments)
    assert result.exit_code == 0, result.output
    assert read_provenance(out)["whitening"]["power_within"] == 0.15


def test_what_cannot_be_done_is_said(network_path: Path, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "white.safetensors"
    result = CliRunner().invoke(whiten, [str(network_path), "--out", str(out)])
    assert "name people to fit to" in result.output
    for arguments, message in (
        (["--out", str(tmp_path / "white.onnx")], "must end in .safetensors"),
        (["--out", str(out), "--unlabelled", str(_few(people))], "at least 8 crops, got 5"),
    ):
        refused = [str(network_path), "--unlabelled", str(people), *arguments]
        if "--unlabelled" in arguments:
            refused = [str(network_path), *arguments]
        result = CliRunner().invoke(whiten, refused)
        assert isinstance(result.exception, TrainingError)
        assert message in str(result.exception)
        assert not out.exists()


def _few(people: Path) -> Path:
    folder = people.with_name("few")
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.png").symlink_to(people / f"{number}.png")
    return folder


def test_the_data_sets_of_pictures_are_named_before_the_work(
    network_path: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        str(network_path),
        "--unlabelled",
        str(people),
        "--out",
        str(tmp_path / "o.safetensors"),
    ]
    (people.parent / "out.csv").mkdir()
    result = CliRunner().invoke(whiten, arguments)
    assert result.exit_code == 0, result.output

    def refuse(_: object) -> None:
        raise DatasetError("cannot be named")

    monkeypatch.setattr("adln.cli.whiten.names_of_pictures", refuse)
    monkeypatch.setattr("adln.training.whitening.whiten", None)
    assert "cannot be named" in str(CliRunner().invoke(whiten, arguments).exception)
