import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import adln
from adln.cli.bench import bench
from adln.errors import SettingsError
from adln.manifest import Accuracy

MakeModel = Callable[..., Path]
ACCURACY = Accuracy(
    dataset="market1501", depth=2, rank1=0.8, mean_ap=0.61, torch_rank1=0.8, torch_mean_ap=0.61
)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(bench, [str(argument) for argument in arguments])


@pytest.fixture
def model(make_model: MakeModel) -> Path:
    return make_model("res2.onnx", accuracy=(ACCURACY,))


@pytest.fixture
def peer(make_model: MakeModel) -> Path:
    return make_model("rival.onnx")


def test_json_has_a_row_for_each_network_in_order(model: Path, peer: Path) -> None:
    result = run(
        "--model", model, "--peer", peer, "--rounds", "1", "--accuracy", "rival=55.5", "--json"
    )
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    own, other = content["rows"]
    assert (own["name"], own["is_own"], own["mean_ap_percent"]) == ("res2", True, 61.0)
    assert (other["name"], other["is_own"], other["mean_ap_percent"]) == ("rival", False, 55.5)
    for row in content["rows"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["images_per_s"].keys() == {"8", "32"}
        assert row["cold_start"]["cpu_s"] > 0
    assert content["peaks"].keys() == {"fp32", "int8"}


def test_table_and_picture(model: Path, peer: Path, tmp_path: Path) -> None:
    picture = tmp_path / "chart.png"
    result = run("--model", model, "--peer", peer, "--rounds", "1", "--picture", picture)
    assert result.exit_code == 0, result.output
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines() if line}
    assert rows["res2"][1:3] == ["onnxruntime", "fp32"]
    assert rows["res2"][-1] == "61.0"
    assert rows["rival"][-1] == "-"
    assert "measured in the same run" in result.stdout
    assert "res2: unproved: no probe in the file on this device" in result.stdout
    assert "1 without an accuracy left out" in result.stderr
    with Image.open(picture) as drawn:
        assert drawn.size == (1200, 760)


def test_accuracy_of_a_network_that_is_not_there_is_refused_before_the_work(model: Path) -> None:
    result = run("--model", model, "--accuracy", "res3=70")
    assert isinstance(result.exception, SettingsError)
    assert "--accuracy names ['res3']; the networks are: res2" in str(result.exception)


@pytest.mark.parametrize("text", ["res2", "res2=high", "res2=101", "=nan"])
def test_accuracy_must_be_a_name_and_percent(model: Path, text: str) -> None:
    result = run("--model", model, "--accuracy", text)
    assert result.exit_code == 2
    assert "write a name and its mAP in percent" in result.output


def test_no_network_and_no_place_for_the_picture_are_refused(model: Path, tmp_path: Path) -> None:
    result = run("--rounds", "1")
    assert isinstance(result.exception, SettingsError)
    (tmp_path / "file").touch()
    result = run("--model", model, "--picture", tmp_path / "file" / "chart.png")
    assert isinstance(result.exception, SettingsError)


def test_a_picture_without_any_accuracy_is_refused(peer: Path, tmp_path: Path) -> None:
    result = run("--peer", peer, "--rounds", "1", "--picture", tmp_path / "chart.png")
    assert isinstance(result.exception, SettingsError)
    assert "no network has an accuracy" in str(result.exception)


def test_a_network_of_another_make_is_measured(model: Path, tmp_path: Path) -> None:
    kinds, helper = onnx.TensorProto, onnx.helper
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["features"]),
    ]
    pixels = helper.make_tensor_value_info("images", kinds.FLOAT, ["n", 3, 32, 16])
    features = helper.make_tensor_value_info("features", kinds.FLOAT, ["n", 3])
    graph = helper.make_graph(nodes, "means", [pixels], [features])
    opsets = [helper.make_opsetid("", 17)]
    rival = tmp_path / "rival.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), rival)
    adln.describe_network(rival)
    result = run("--network", rival, "--network", model, "--rounds", "1", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"]
    assert [(row["name"], row["is_own"]) for row in rows] == [("rival", False), ("res2", True)]
