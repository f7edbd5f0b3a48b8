import numpy as np
import pytest
from PIL import Image, ImageFilter

from adln.cameras.frames import Frame
from adln.cameras.quality import QualitySettings, judge_boxes, sharpness
from adln.cameras.selection import CropSelector, TrackReport
from adln.cameras.track import TrackedPerson
from adln.cameras.tracker import TrackUpdate
from adln.errors import SettingsError

NOISE = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
GOOD_BOX = (100.0, 50.0, 180.0, 250.0)


def judge(*boxes: tuple[float, ...]) -> list[float]:
    found = judge_boxes(
        np.array(boxes),
        np.ones(len(boxes)),
        height_px=300,
        width_px=400,
        settings=QualitySettings(),
    )
    return [one.quality for one in found]


def show(
    selector: CropSelector, index: int, confidence: float = 0.9, ended: tuple[int, ...] = ()
) -> list[TrackReport]:
    box = np.array(GOOD_BOX, np.float32)
    person = TrackedPerson(1, box, confidence, first_s=0.0, hits=index + 1)
    update = TrackUpdate(() if ended else (person,), ended)
    return selector.update(Frame("a", index, index / 10, NOISE), update)


def test_whole_near_unhidden_people_are_best() -> None:
    (good,) = judge(GOOD_BOX)
    assert good == 1
    assert judge((100, 50, 140, 150))[0] < good  # far
    assert judge((0, 50, 80, 250))[0] < good  # cut off at the side
    assert judge((100, 50, 300, 150))[0] < good  # no shape of a person
    hidden, hiding = judge(GOOD_BOX, (130, 70, 210, 270))
    assert hidden < hiding < good


def test_a_blurred_crop_is_less_sharp() -> None:
    blurred = np.asarray(Image.fromarray(NOISE).filter(ImageFilter.GaussianBlur(2)))
    assert sharpness(blurred) < sharpness(NOISE) / 5
    assert sharpness(np.full((20, 10, 3), 80, np.uint8)) == 0


def test_crops_are_few_apart_in_time_and_of_the_networks_size() -> None:
    selector = CropSelector("a", crops_per_track=3)
    reports = [report for index in range(60) for report in show(selector, index)]
    (last,) = show(selector, 60, ended=(1,))
    assert [report.reason for report in reports[:2]] == ["first", "better"]
    assert last.reason == "ended"
    assert len(last.crops) == 3
    assert np.diff([crop.time_s for crop in last.crops]).min() >= 0.5 - 1e-9
    assert {crop.image.shape for crop in last.crops} == {(256, 128, 3)}
    assert show(selector, 61, ended=(1,)) == []


def test_the_budget_may_change_while_running_and_the_best_stay() -> None:
    selector = CropSelector("a", crops_per_track=3)
    for index, confidence in ((0, 0.5), (10, 0.9), (20, 0.7)):
        show(selector, index, confidence)
    selector.crops_per_track = 1
    (last,) = show(selector, 30, ended=(1,))
    assert [crop.frame_index for crop in last.crops] == [10]
    with pytest.raises(SettingsError, match="at least 1"):
        selector.crops_per_track = 0


def test_a_track_without_a_usable_crop_ends_with_none() -> None:
    selector = CropSelector("a")
    assert show(selector, 0, confidence=0.01) == []
    (last,) = show(selector, 1, ended=(1,))
    assert last.crops == ()
