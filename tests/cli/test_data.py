import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adln.cli.data import data
from adln.datasets.catalogue import LAYOUTS

NAMES = (
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0002_c2s1_000551_01.jpg",
    "query/0001_c1s1_001051_00.jpg",
    "bounding_box_test/0001_c2s1_000301_00.jpg",
)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    for name in NAMES:
        path = tmp_path / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8), (200, 100, 50)).save(path)
    return tmp_path / "tiny"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_check_of_a_sound_set_exits_with_zero_and_counts(tiny: Path) -> None:
    result = run("check", tiny)
    assert result.exit_code == 0, result.output
    assert "No problems found." in result.output
    assert any(line.split() == ["train", "2", "1", "2"] for line in result.output.splitlines())


def test_check_with_decode_names_the_damaged_file_and_exits_with_one(tiny: Path) -> None:
    damaged = tiny / NAMES[3]
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert run("check", tiny).exit_code == 0
    result = run("check", tiny, "--decode")
    assert result.exit_code == 1
    assert "1 image cannot be decoded" in result.output
    assert damaged.name in result.output


def test_check_with_decode_says_that_all_could_be_decoded(tiny: Path) -> None:
    result = run("check", tiny, "--decode", "--workers", "1")
    assert result.exit_code == 0
    assert "Every picture of the splits can be decoded." in result.output


def test_check_as_json_is_one_object_on_stdout(tiny: Path) -> None:
    result = run("check", tiny, "--json", "--decode")
    content = json.loads(result.stdout)
    assert content["is_fine"] is True
    assert content["name"] == "market1501"
    assert content["splits"][0] == {"name": "train", "images": 2, "persons": 1, "cameras": 2}


def test_check_of_a_wrong_folder_explains_and_exits_with_one(tmp_path: Path) -> None:
    result = run("check", tmp_path)
    assert result.exit_code == 1
    assert "no known layout" in result.output
    content = json.loads(run("check", tmp_path, "--json").stdout)
    assert content["is_fine"] is False
    assert "no known layout" in content["problems"][0]


def test_check_shows_the_notice_of_a_withdrawn_set(tmp_path: Path) -> None:
    for name in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (4, 8)).save(tmp_path / name / "0005_c2_f0046985.jpg")
    assert "NOTICE: DukeMTMC was withdrawn" in run("check", tmp_path).output


def test_help_names_every_layout() -> None:
    text = run("check", "--help").output
    for layout in (*LAYOUTS, "auto"):
        assert layout in text


def test_drawn_people_can_be_checked_at_once(tmp_path: Path) -> None:
    drawn = run("draw", tmp_path / "people", "--persons", "6", "--seed", "3")
    assert drawn.exit_code == 0, drawn.output
    assert "adln data check" in drawn.output
    checked = run("check", tmp_path / "people", "--decode")
    assert checked.exit_code == 0, checked.output
    assert "No problems found" in checked.output


def test_a_drawn_scene_has_a_folder_for_each_camera_and_the_truth(tmp_path: Path) -> None:
    result = run("draw-scene", tmp_path / "scene", "--seconds", "0.2", "--persons", "4")
    assert result.exit_code == 0, result.output
    assert "3 cameras with 2 pictures each" in result.output
    names = sorted(p.relative_to(tmp_path / "scene").as_posix() for p in tmp_path.rglob("*.jpg"))
    assert names == [f"camera_{camera}/00000{n}.jpg" for camera in (1, 2, 3) for n in (0, 1)]
    rows = (tmp_path / "scene" / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(row)["file"] for row in rows[:3]] == [names[0], names[2], names[4]]
