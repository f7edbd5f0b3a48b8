"""`adln evaluate`: the table, the page, and errors that say what to do."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adln.cli.embed import embed
from adln.cli.evaluate import evaluate
from adln.errors import AdlnError, CheckpointError, EvaluationError, ModelFileError
from adln.export.exporting import export_network
from adln.model.checkpoint import save_network
from adln.model.network import Architecture, build_network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "network.safetensors"
    architecture = Architecture(num_classes=2, exits=(1, 2), height_px=32, width_px=16)
    save_network(path, build_network(architecture, seed=0))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Eight plainly coloured persons, each once under two cameras."""
    root = tmp_path / "people"
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (8, 3), dtype=np.uint8)
    for folder, camera in (("query", 1), ("bounding_box_test", 2), ("bounding_box_train", 1)):
        (root / folder).mkdir(parents=True)
        for person, colour in enumerate(colours, start=1):
            picture = Image.new("RGB", (16, 32), tuple(int(value) for value in colour))
            picture.save(root / folder / f"{person:04d}_c{camera}s1_000001_00.jpg")
    return root


def run(*arguments: object) -> Result:
    return CliRunner().invoke(evaluate, [str(argument) for argument in arguments])


def test_all_depths_are_in_the_table(model: Path, data: Path) -> None:
    result = run(model, "--data", data)
    assert result.exit_code == 0, result.output
    assert "8 queries of 8 persons in 8 gallery pictures" in result.output
    for row in ("Res1", "Res2", "0.48", "1.92"):
        assert row in result.stdout


def test_a_program_gets_json_of_the_depth_it_asked_for(model: Path, data: Path) -> None:
    result = run(model, "--data", data, "--depth", 2, "--no-flip", "--json")
    report = json.loads(result.stdout)
    assert [row["depth"] for row in report["rows"]] == [2]
    assert report["flip"] is False
    assert 0 <= report["rows"][0]["mean_ap"] <= 1


def test_the_report_s_files_are_written(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    result = run(model, "--data", data, "--rerank", "--report", out)
    assert result.exit_code == 0, result.output
    names = {path.name for path in out.iterdir()}
    assert names == {
        "report.html",
        "report.txt",
        "report.json",
        "ranked_list_res1.png",
        "ranked_list_res2.png",
    }
    assert "RR mAP" in (out / "report.txt").read_text()
    with Image.open(out / "ranked_list_res2.png") as picture:
        assert picture.width > 800


def test_open_set_figures_are_given_when_asked_for(model: Path, data: Path) -> None:
    result = run(model, "--data", data, "--open-set", "--depth", 2)
    assert result.exit_code == 0, result.output
    assert "4 persons enrolled" in result.stdout
    (row,) = json.loads(run(model, "--data", data, "--open-set", "--depth", 2, "--json").stdout)[
        "open_set"
    ]
    assert (row["depth"], row["num_different_pairs"]) == (2, 56)


def test_every_depth_searches_in_every_depth_when_asked_for(
    model: Path, data: Path, tmp_path: Path
) -> None:
    result = run(model, "--data", data, "--cross-depth", "--report", tmp_path)
    assert result.exit_code == 0, result.output
    assert "mAP (%) in a gallery by" in result.stdout
    assert "Across depths" in (tmp_path / "report.html").read_text()
    cells = json.loads((tmp_path / "report.json").read_text())["cross_depth"]
    pairs = [(cell["query_depth"], cell["gallery_depth"]) for cell in cells]
    assert pairs == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_network_of_several_depths_is_a_cascade_without_costs(model: Path, data: Path) -> None:
    result = run(model, "--data", data, "--cascade")
    assert result.exit_code == 0, result.output
    assert "Cascade Res1 to Res2" in result.stdout
    assert "GMACs" not in result.stdout
    content = json.loads(run(model, "--data", data, "--cascade", "--json").stdout)["cascade"]
    assert (content["from_depth"], content["to_depth"], content["costs"]) == (1, 2, None)
    assert len(content["curves"]) == 8


@pytest.fixture(scope="module")
def parts(model: Path) -> list[Path]:
    """The files of a split export."""
    out = model.parent / "part.onnx"
    files = export_network(model, out, depths=(1, 2), split_files=True)
    return [file.path for file in files]


def test_the_files_of_a_split_export_are_judged_as_one_and_timed(
    parts: list[Path], model: Path, data: Path
) -> None:
    result = run(*parts, "--data", data, "--cascade", "--cross-depth", "--json")
    assert result.exit_code == 0, result.output
    content, expected = (
        json.loads(result.stdout),
        json.loads(run(model, "--data", data, "--cross-depth", "--json").stdout),
    )
    for found, torch in zip(content["cross_depth"], expected["cross_depth"], strict=True):
        assert found["mean_ap"] == pytest.approx(torch["mean_ap"], abs=1e-6)
    costs = content["cascade"]["costs"]
    assert costs["depths"] == [1, 2]
    assert costs["deeper_macs"] > 0
    text = run(*parts, "--data", data, "--cascade").stdout
    assert "GMACs" in text
    assert "--no-flip" in text


def test_one_depth_of_several_files_is_enough(parts: list[Path], data: Path) -> None:
    report = json.loads(run(*parts, "--data", data, "--depth", 2, "--json").stdout)
    assert [row["depth"] for row in report["rows"]] == [2]


def test_files_that_make_no_cascade_are_refused(parts: list[Path], model: Path, data: Path) -> None:
    assert "only (1,)" in str(error_of(run(parts[0], "--data", data, "--cascade")))
    error = error_of(run(model, parts[1], "--data", data))
    assert isinstance(error, ModelFileError)
    assert "give a trained network (.safetensors) alone" in str(error)


def error_of(result: Result) -> AdlnError:
    assert isinstance(result.exception, AdlnError), result.output
    return result.exception


def test_truncated_weights_are_refused(model: Path, data: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model.read_bytes()[:1000])
    error = error_of(run(cut, "--data", data))
    assert isinstance(error, CheckpointError)
    assert "truncated" in str(error)


def test_persons_without_a_second_camera_are_explained(model: Path, data: Path) -> None:
    for path in list((data / "bounding_box_test").iterdir()):
        path.rename(path.with_name(path.name.replace("c2", "c1")))
    error = error_of(run(model, "--data", data))
    assert isinstance(error, EvaluationError)
    assert "camera" in str(error)


def test_a_depth_that_the_file_lacks_is_refused(model: Path, data: Path) -> None:
    assert "exits at [1, 2]" in str(error_of(run(model, "--data", data, "--depth", 4)))


def test_a_report_that_cannot_be_written_is_told_before_the_work(
    model: Path, data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    result = run(model, "--data", data, "--report", tmp_path / "file" / "r")
    assert isinstance(result.exception, AdlnError)
    assert "cannot be written" in str(result.exception)
    assert "embedding" not in result.stderr


@pytest.fixture
def cuhk(tmp_path: Path) -> Path:
    """Six plainly coloured persons in the layout of CUHK01."""
    root = tmp_path / "CUHK01" / "campus"
    root.mkdir(parents=True)
    for person, colour in enumerate(np.random.default_rng(1).integers(0, 256, (6, 3)), start=1):
        for crop in (1, 2, 3, 4):
            picture = Image.new("RGB", (16, 32), tuple(int(value) for value in colour))
            picture.save(root / f"{person:04d}{crop:03d}.png")
    return root.parent


def test_several_data_sets_stand_side_by_side_seen_and_unseen(
    parts: list[Path], data: Path, cuhk: Path, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    arguments = (*parts, "--data", data, "--data", cuhk, "--report", out)
    result = run(*arguments, "--seen", "market1501")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("Persons") == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    heads = [line[:3] for line in lines if len(line) > 3 and line[2].startswith("(")]
    assert heads == [
        ["Res1", "market1501", "(seen)"],
        ["Res1", "cuhk01", "(not"],
        ["Res2", "market1501", "(seen)"],
        ["Res2", "cuhk01", "(not"],
    ]
    for folder in (out, out / "cuhk01"):
        assert "Seen and unseen data sets" in (folder / "report.html").read_text()
        told = json.loads((folder / "report.json").read_text())
        assert [row["dataset"] for row in told["sets"]] == ["market1501", "cuhk01"] * 2
    both = json.loads(run(*arguments[:-2], "--json").stdout)
    assert [report["dataset"] for report in both] == ["market1501", "cuhk01"]
    assert [report["num_query"] for report in both] == [8, 12]


def test_a_report_may_be_of_a_folder_whose_name_is_in_no_encoding(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = data.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    monkeypatch.setattr("sys.argv", ["adln", "evaluate", str(odd)])
    result = run(model, "--data", odd, "--depth", 1, "--report", tmp_path / "report")
    assert isinstance(result.exception, UnicodeEncodeError | None), "a test's output is strict"
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told["command"].endswith("caf\udce9'")
    for name in ("report.txt", "report.html"):
        assert "caf\\udce9" in (tmp_path / "report" / name).read_text()


def test_a_data_set_that_is_none_cannot_be_said_to_be_seen(parts: list[Path], data: Path) -> None:
    assert "(seen)" in run(*parts, "--data", data, "--seen", "Market-1501").stdout
    refused = run(*parts, "--data", data, "--seen", "makret1501")
    assert "there is no data set 'makret1501'" in str(refused.exception)


def test_a_network_s_file_tells_what_it_has_seen(tmp_path: Path, data: Path, cuhk: Path) -> None:
    path = tmp_path / "network.safetensors"
    network = build_network(
        Architecture(num_classes=2, exits=(1,), height_px=32, width_px=16), seed=0
    )
    save_network(path, network, provenance={"data": "market1501"})
    (report, _) = json.loads(run(path, "--data", data, "--data", cuhk, "--json").stdout)
    assert [row["seen"] for row in report["sets"]] == ["seen", "unseen"]
    assert "nothing is known about whether the network was trained" in report["notes"][0]
    assert report["sets"][1]["mean_ap"]["low"] <= report["sets"][1]["mean_ap"]["value"]


def test_a_feature_file_is_judged_like_the_network_that_made_it(
    parts: list[Path], cuhk: Path, tmp_path: Path
) -> None:
    out = tmp_path / "f.npz"
    embedded = CliRunner().invoke(
        embed, [str(cuhk), "--network", str(parts[0]), "--out", str(out), "--flip"]
    )
    assert embedded.exit_code == 0, embedded.output
    found = json.loads(run(out, "--data", cuhk, "--json").stdout)
    expected = json.loads(run(parts[0], "--data", cuhk, "--json").stdout)
    assert found["flip"] is True
    assert found["rows"][0]["mean_ap"] == pytest.approx(expected["rows"][0]["mean_ap"])
    Image.new("RGB", (16, 32)).save(cuhk / "campus" / "0007001.png")
    missing = run(out, "--data", cuhk)
    assert "1 of the 13 pictures of the query split are not in it" in str(missing.exception)
