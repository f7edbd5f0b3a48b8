"""Watching from Python."""

import gc
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.small_networks import MakeModel

import adln
from adln.cameras.detections import Detections, nobody
from adln.cameras.frames import Frame
from adln.errors import CameraError, SettingsError
from adln.pipeline import assembly
from adln.pipeline.roster import enter_cameras, read_cameras


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Some frames of noise, in which somebody else says where people are."""
    folder = tmp_path / "door"
    folder.mkdir()
    rng = np.random.default_rng(0)
    background = rng.integers(0, 255, (160, 120, 3), np.uint8)
    for at in range(12):
        Image.fromarray(background).save(folder / f"{at}.png")
    return folder


class OnePerson:
    def __init__(self, *, failing: Sequence[int] = ()) -> None:
        self.failing = set(failing)

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        if any(frame.index in self.failing for frame in frames):
            raise ValueError("out of memory")
        box = np.array([[30, 10, 80, 150]], np.float32)
        return [Detections(box, np.ones(1, np.float32)) for _ in frames]


class Answers:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def detect(self, frames: Sequence[Frame]) -> Any:
        return self.answer


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (OnePerson(failing=range(1000)), "ValueError: out of memory"),
        (Answers(None), "NoneType"),
        (Answers([]), "each of 1 frames"),
        (Answers([np.zeros((0, 4))]), "Detections"),
    ],
)
def test_a_detector_that_fails_in_each_frame_is_told(
    clip: Path, tmp_path: Path, broken: Any, told: str
) -> None:
    with pytest.raises(CameraError, match=told):
        list(adln.watch(clip, gallery=tmp_path / "g", detector=broken))


def test_a_detector_that_fails_now_and_then_costs_these_frames(clip: Path, tmp_path: Path) -> None:
    found = list(adln.watch(clip, gallery=tmp_path / "g", detector=OnePerson(failing=[0, 5])))
    assert {one.camera_name for one in found} == {"door"}


def test_what_finds_nobody_is_no_fault(clip: Path, tmp_path: Path) -> None:
    assert list(adln.watch(clip, gallery=tmp_path / "g", detector=Answers([nobody()]))) == []


@pytest.mark.parametrize("wrong", [[], None])
def test_nothing_to_watch_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(SettingsError, match="camera or a recording"):
        adln.watch(wrong, gallery=tmp_path / "g", detector=OnePerson())


def test_what_is_no_detector_is_refused(clip: Path, tmp_path: Path) -> None:
    not_one: Any = 3
    with pytest.raises(SettingsError, match="detect"):
        adln.watch(clip, gallery=tmp_path / "g", detector=not_one)


def test_an_open_gallery_and_a_datetime_are_taken(clip: Path, tmp_path: Path) -> None:
    start = datetime(2026, 5, 1, 12, tzinfo=UTC)
    with adln.Gallery(tmp_path / "g") as gallery:
        list(adln.watch(clip, gallery=gallery, detector=OnePerson(), start=start))
        (person,) = gallery.people
        assert person.first_seen_s is not None
        assert 0 <= person.first_seen_s - start.timestamp() < 10


def test_a_crop_of_which_the_network_makes_nothing_is_no_fault_of_the_gallery(
    clip: Path, tmp_path: Path, make_model: MakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    # The network subtracts this grey, and divides by the length of what is left.
    for path in clip.iterdir():
        Image.new("RGB", (120, 160), (110, 110, 110)).save(path)
    network = make_model()
    (seen,) = adln.watch(clip, gallery=tmp_path / "g", detector=OnePerson(), network=network)
    assert (seen.person_id, seen.verdict) == (None, "unknown")
    assert "one colour shows nobody" in caplog.text
    assert "gallery" not in caplog.text


@pytest.mark.parametrize("looks", [0, 1])
def test_who_leaves_early_leaves_nothing_open(clip: Path, tmp_path: Path, looks: int) -> None:
    found = adln.watch(clip, gallery=tmp_path / "g", detector=OnePerson())
    for _ in range(looks):
        next(found)
    assert (tmp_path / "g" / "gallery.db-wal").exists()
    del found
    gc.collect()
    # SQLite removes its log when the last connection is closed.
    assert not (tmp_path / "g" / "gallery.db-wal").exists()
    assert not [one for one in threading.enumerate() if one.name == "adln watch"]


def test_two_watches_of_new_cameras_at_once_get_two_numbers(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = iter([{"yard": 1}, {"hall": 2}])

    def late(folder: Path, cameras: Mapping[str, int], **more: Any) -> int:
        # Between the choice of the number and this moment.
        for other in others:
            enter_cameras(folder, other)
            break
        return enter_cameras(folder, cameras, **more)

    monkeypatch.setattr(assembly, "enter_cameras", late)
    list(adln.watch(clip, gallery=tmp_path / "g", detector=OnePerson()))
    assert read_cameras(tmp_path / "g") == {"yard": 1, "hall": 2, "door": 3}


def test_a_loaded_network_is_watched_with_at_its_depth(
    clip: Path, tmp_path: Path, make_model: MakeModel
) -> None:
    network = adln.load(make_model(depths=(1, 2)), depth=1)
    list(adln.watch(clip, gallery=tmp_path / "g", detector=OnePerson(), network=network))
    with adln.Gallery(tmp_path / "g") as gallery:
        assert [model.depth for model in gallery.store.models] == [1]
