"""The examples of the documentation run, and the page of the Python API names every name."""

import doctest
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.api.conftest import write_foreign

import adln
from adln.cameras.detections import Detections
from adln.cameras.frames import Frame
from adln.scenes.walking_scene import ScenePlan, SceneTruth, read_truth, write_scene

ROOT = Path(__file__).parents[2]
PUBLIC = [name for name in adln.__all__ if name != "__version__"]
PLAN = ScenePlan(num_persons=4, duration_s=6.0, frames_per_s=5.0)


class KnownPerson:
    """A detector that finds one person of a drawn scene, where the drawing has them."""

    def __init__(self, truth: SceneTruth, camera: int) -> None:
        here = (truth.camera_ids == camera) & (truth.visible_fractions > 0.5)
        person = int(np.bincount(truth.person_ids[here]).argmax())
        rows = here & (truth.person_ids == person)
        self._boxes: dict[int, NDArray[np.float32]] = {
            int(index): box.astype(np.float32)
            for index, box in zip(truth.frame_indices[rows], truth.boxes_xyxy[rows], strict=True)
        }

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        found = []
        for frame in frames:
            box = self._boxes.get(frame.index)
            boxes = np.zeros((0, 4), np.float32) if box is None else box[None]
            found.append(Detections(boxes, np.ones(len(boxes), np.float32)))
        return found


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scene")
    write_scene(folder, PLAN)
    return folder


@pytest.fixture
def names(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the examples take as given."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    truth = read_truth(scene)
    frame = sorted((scene / "camera_1").glob("*.jpg"))[0]
    with Image.open(frame) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    clip = tmp_path / "door"
    clip.symlink_to(scene / "camera_1")
    largest = int(np.argmax(np.where(truth.camera_ids == 1, truth.visible_fractions, 0)))
    left, top, right, bottom = (int(side) for side in truth.boxes_xyxy[largest])
    shown = scene / "camera_1" / f"{int(truth.frame_indices[largest]):06d}.jpg"
    picture = tmp_path / "anna.jpg"
    with Image.open(shown) as opened:
        opened.crop((left, top, right, bottom)).save(picture)
    write_foreign(tmp_path / "mine.onnx")
    return {
        "adln": adln,
        "folder": tmp_path,
        "picture": picture,
        "frame": pixels,
        "clip": clip,
        "detector": KnownPerson(truth, 1),
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_the_example_of_each_public_name_runs(name: str, names: dict[str, Any]) -> None:
    example = doctest.DocTestParser().get_doctest(
        getattr(adln, name).__doc__, names, name, None, None
    )
    assert example.examples, f"adln.{name} has no example"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    runner.run(example, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_the_page_names_every_public_name_and_no_other() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    assert sorted(re.findall(r"^::: adln\.(\w+)$", page, re.MULTILINE)) == sorted(PUBLIC)


def test_every_page_is_in_the_menu() -> None:
    settings = tomllib.loads((ROOT / "zensical.toml").read_text("utf-8"))
    listed = set(re.findall(r"'([\w./-]+\.md)'", str(settings["project"]["nav"])))
    docs = ROOT / "docs"
    assert listed == {str(path.relative_to(docs)) for path in docs.rglob("*.md")}
