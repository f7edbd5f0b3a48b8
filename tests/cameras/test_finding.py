"""People in whole pictures."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adln.cameras.detections import Detections
from adln.cameras.finding import MOST_PEOPLE, PeopleFinder
from adln.cameras.frames import Frame
from adln.errors import CameraError, ModelFileError, SettingsError


class Crowd:
    """Finds a row of people, the clearest last, and somebody too small to tell."""

    def __init__(self, count: int) -> None:
        self._count = count

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        boxes = [[10.0 * at, 5.0, 10.0 * at + 8, 45.0] for at in range(self._count)]
        boxes.append([0.0, 0.0, 5.0, 20.0])
        confidences = np.linspace(0.4, 0.9, len(boxes), dtype=np.float32)
        return [Detections(np.array(boxes, np.float32), confidences) for _ in frames]


def test_the_clearest_come_first_and_nobody_too_small() -> None:
    people = PeopleFinder(Crowd(3)).find(np.zeros((50, 60, 3), np.uint8))
    assert [one.box_xyxy[0] for one in people] == [20.0, 10.0, 0.0]
    assert people[0].confidence > people[1].confidence > people[2].confidence
    assert all(one.box_xyxy[3] - one.box_xyxy[1] == 40 for one in people)


def test_of_a_crowd_so_many_are_told() -> None:
    assert len(PeopleFinder(Crowd(60)).find(np.zeros((50, 60, 3), np.uint8))) == MOST_PEOPLE


@pytest.mark.parametrize("answer", [None, [], [np.zeros((0, 4))]])
def test_a_detector_that_gives_something_else_is_told(answer: Any) -> None:
    with pytest.raises(CameraError, match="of each of 1 frames"):
        PeopleFinder(SimpleNamespace(detect=lambda frames: answer)).find(
            np.zeros((50, 50, 3), np.uint8)
        )


def test_what_is_no_detector_is_refused() -> None:
    not_one: Any = object()
    with pytest.raises(SettingsError, match="detect"):
        PeopleFinder(not_one)


def test_without_a_detector_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADLN_DETECTOR", str(tmp_path / "none.onnx"))
    with pytest.raises(ModelFileError, match="--fetch-detector"):
        PeopleFinder()
