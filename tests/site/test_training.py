"""From crops to a network: learned, exported, judged on other tracks, and written if better."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tests.site.conftest import DIM, SPACE, MakeBands, MakeRequest, draw_folder

from adln.embedders.embedder import OnnxEmbedder
from adln.errors import CheckpointError, SettingsError, TracksError
from adln.export import exporting
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.bridge import bridge_path, exit_name, read_bridge
from adln.site import training
from adln.site.crops import SiteCrops, list_crops
from adln.site.page import page
from adln.site.training import (
    ENDING,
    SiteOutcome,
    SiteRequest,
    past_outcome,
    require_new,
    train_for_site,
)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> SiteCrops:
    return list_crops([draw_folder(tmp_path_factory.mktemp("site") / "crops")])


@pytest.fixture(scope="module")
def finished(
    crops: SiteCrops, make_request: MakeRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SiteRequest, SiteOutcome]:
    request = make_request(tmp_path_factory.mktemp("finished"))
    return request, train_for_site(request, crops)


def test_a_better_network_is_written_with_where_it_comes_from(
    finished: tuple[SiteRequest, SiteOutcome],
) -> None:
    request, outcome = finished
    assert outcome.written
    embedder = OnnxEmbedder(request.out)
    assert embedder.manifest.precision == "int8"
    assert "start.safetensors" in embedder.manifest.licence
    facts = json.loads((request.out.parent / f"mine.onnx{ENDING}").read_text())
    assert facts["bridge"] == "none: the new network has its own space"
    assert facts["network_sha256"] == embedder.model.sha256
    assert facts["teacher"]["licence"] == "CC0"
    assert facts["comparison"]["gain_least"] > 0
    assert facts["learned_from"] == "360 crops, evaluated on 360"
    past = past_outcome(request)
    assert past is not None
    assert past.written


def test_a_bridge_leads_from_the_network_in_use_to_the_new_one(
    crops: SiteCrops, make_request: MakeRequest, learned: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = learned
    request = make_request(tmp_path, network=str(old), new_space=False)
    request.work.mkdir()
    (request.work / "candidate.onnx").write_bytes(new.read_bytes())
    outcome = train_for_site(request, crops)
    assert outcome.written
    assert str(outcome.facts["bridge"]).startswith(str(bridge_path(request.out)))
    embedder, in_use = OnnxEmbedder(request.out), OnnxEmbedder(old)
    bridge = read_bridge(request.out, [exit_name(embedder.model.sha256, 1)])
    assert bridge.source == exit_name(in_use.model.sha256, 1)
    assert bridge.space == SPACE
    stored, found = (one.embed_pictures(crops.paths).embeddings[1] for one in (in_use, embedder))
    assert np.vecdot(bridge.apply(stored), found).mean() > np.vecdot(stored, found).mean()


def test_a_gallery_of_the_network_in_use_answers_the_new_one(
    finished: tuple[SiteRequest, SiteOutcome], crops: SiteCrops, teacher: Path, tmp_path: Path
) -> None:
    request, _ = finished
    rows = np.flatnonzero(crops.tracks % 10 == 0)
    keys, found = {}, {}
    for path in (teacher, request.out):
        embedder = OnnxEmbedder(path)
        pictures = [crops.paths[at] for at in rows]
        found[path] = embedder.embed_pictures(pictures).embeddings[1]
        keys[path] = ModelKey(embedder.model.sha256, 1, DIM, embedder.manifest.space_of(1))
    assert keys[request.out].space == SPACE
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        gallery.add(
            [
                sighting_of(row, keys[teacher], int(track))
                for row, track in zip(found[teacher], crops.tracks[rows], strict=True)
            ]
        )
        answers = gallery.search(found[request.out], model=keys[request.out], k=4)
        records = [gallery.get([int(one.sighting_ids[0])])[0] for one in answers]
    own = [
        record.track_id == track for record, track in zip(records, crops.tracks[rows], strict=True)
    ]
    assert np.mean(own) > 0.17  # chance: one of 18


def test_a_run_that_was_cut_off_goes_on_and_ends_the_same(
    finished: tuple[SiteRequest, SiteOutcome],
    crops: SiteCrops,
    make_request: MakeRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = make_request(tmp_path)
    asked: list[None] = []

    def after_five() -> str | None:
        asked.append(None)
        return "cut off" if len(asked) == 5 else None

    outcome = train_for_site(request, crops, should_stop=after_five)
    assert (outcome.finished, outcome.reason) == (False, "cut off")
    assert not request.out.exists()
    with monkeypatch.context() as patch:
        patch.setattr(training, "compare_networks", _killed)
        with pytest.raises(KeyboardInterrupt):
            train_for_site(request, crops)
    assert not request.out.exists()
    outcome = train_for_site(request, crops)
    assert outcome.written
    whole, _ = finished
    one, other = (
        OnnxEmbedder(each.out).embed_pictures([crops.paths[0]]).embeddings[1]
        for each in (whole, request)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_kill_between_network_and_outcome_is_no_second_network(
    finished: tuple[SiteRequest, SiteOutcome],
) -> None:
    request, _ = finished
    require_new(request)
    with pytest.raises(SettingsError, match="never overwritten"):
        require_new(replace(request, work=request.work / "other"))


def test_no_gain_leaves_no_network(
    crops: SiteCrops,
    make_request: MakeRequest,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "clusters_teach", lambda *_: False)  # the teacher alone
    export_instead(teacher, monkeypatch)
    request = make_request(tmp_path, network=str(teacher), epochs=1, new_space=False)
    outcome = train_for_site(request, crops)
    assert outcome.finished
    assert not outcome.written
    assert "than the current network" in outcome.reason or "no significant gain" in outcome.reason
    assert not request.out.exists()
    assert not list(tmp_path.glob("mine*"))


def test_an_export_that_fails_leaves_nothing(
    crops: SiteCrops, make_request: MakeRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "trace", _killed)
    request = make_request(tmp_path, epochs=1)
    with pytest.raises(KeyboardInterrupt):
        train_for_site(request, crops)
    assert not request.out.exists()


def test_another_space_is_refused_unless_it_is_wanted(
    crops: SiteCrops, make_request: MakeRequest, make_bands: MakeBands, tmp_path: Path
) -> None:
    stranger = make_bands("stranger.onnx", spaces=("ef" * 8,))
    request = make_request(tmp_path, teacher=str(stranger), new_space=False)
    with pytest.raises(SettingsError, match="--new-space"):
        train_for_site(request, crops)
    training.require_same_space(replace(request, new_space=True))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tracks": 30, "cameras": 1}, "too few tracks: 15"),
        ({"tracks": 90, "cameras": 1, "persons": 1}, "too few different people"),
        ({"tracks": 90, "cameras": 1, "switch": True}, "two people each"),
        ({"tracks": 1, "cameras": 1}, "too few tracks: 1 in all"),
    ],
)
def test_tracks_that_nothing_can_be_learned_from_are_refused(
    changes: dict[str, int], problem: str, make_request: MakeRequest, bands: Path, tmp_path: Path
) -> None:
    crops = list_crops([draw_folder(tmp_path / "crops", **changes)])  # type: ignore[arg-type]
    request = make_request(tmp_path, teacher=str(bands))
    with pytest.raises(TracksError, match=problem):
        train_for_site(request, crops)
    assert not request.out.exists()


def test_a_work_folder_belongs_to_one_run(
    crops: SiteCrops, make_request: MakeRequest, start: Path, tmp_path: Path
) -> None:
    request = make_request(tmp_path)
    train_for_site(request, crops, should_stop=lambda: "at once")
    other = tmp_path / "other.safetensors"
    content = start.read_bytes()
    other.write_bytes(content[:-4] + bytes(4))
    with pytest.raises(SettingsError, match="another start"):
        train_for_site(replace(request, start=other), crops)
    with pytest.raises(CheckpointError, match="--start names"):
        train_for_site(replace(request, start=tmp_path / "nothing.safetensors"), crops)


def test_the_time_decides_how_often_crops_are_looked_at(
    crops: SiteCrops, make_request: MakeRequest, tmp_path: Path
) -> None:
    said: list[str] = []
    request = make_request(tmp_path, epochs=None, seconds=1e-3)
    train_for_site(request, crops, say=said.append, should_stop=lambda: "at once")
    plan = json.loads((request.work / "plan.json").read_text())
    assert (plan["epochs"], plan["steps"], plan["crops_used"]) == (1, 1, 40)
    assert any("40 crops for 1 epochs" in line for line in said)
    assert not (request.work / "trial").exists()


def test_one_camera_is_said(make_request: MakeRequest, in_use: Path, tmp_path: Path) -> None:
    crops = list_crops([draw_folder(tmp_path / "crops", tracks=90, cameras=1)])
    said: list[str] = []
    request = make_request(tmp_path)
    train_for_site(request, crops, say=said.append, should_stop=lambda: "at once")
    assert any(line.startswith("one camera only") for line in said)


@pytest.fixture(scope="module")
def passers(tmp_path_factory: pytest.TempPathFactory) -> SiteCrops:
    """People who pass two cameras."""
    return list_crops([draw_folder(tmp_path_factory.mktemp("passers") / "crops", passing=True)])


def test_without_a_teacher_clusters_teach_and_the_gate_judges(
    passers: SiteCrops, make_request: MakeRequest, teacher: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    request = make_request(tmp_path, teacher="", network=str(teacher), epochs=10)
    outcome = train_for_site(request, passers, say=said.append)
    assert outcome.written
    assert any("90 tracks in" in line and "across cameras" in line for line in said)
    embedder = OnnxEmbedder(request.out)
    assert embedder.manifest.space_of(1) == SPACE
    assert "teacher" not in embedder.manifest.licence
    facts = json.loads((request.out.parent / f"mine.onnx{ENDING}").read_text())
    assert facts["teacher"]["name"].startswith("none: learned from the clusters")
    assert facts["plan"]["teacher"] == "none"
    assert "none: learned from the clusters" in page(facts)
    assert "Bridge for what is stored" in page(facts)


def test_without_a_teacher_a_run_that_was_cut_off_goes_on_and_ends_the_same(
    passers: SiteCrops, make_request: MakeRequest, teacher: Path, tmp_path: Path
) -> None:
    ended = []
    for name, stops in (("whole", (None,)), ("in parts", (4, 9, None))):
        request = make_request(tmp_path / name, teacher="", network=str(teacher))
        for stop in stops:
            asked: list[None] = []

            def cut_off(stop: int | None = stop, asked: list[None] = asked) -> str | None:
                asked.append(None)
                return "cut off" if len(asked) == stop else None

            outcome = train_for_site(request, passers, should_stop=cut_off)
            assert outcome.finished == (stop is None)
        candidate = OnnxEmbedder(request.work / "candidate.onnx")
        ended.append(candidate.embed_pictures(passers.paths[:40]).embeddings[1])
    np.testing.assert_allclose(*ended, atol=1e-5)


def test_without_a_teacher_the_time_decides_how_often_crops_are_looked_at(
    passers: SiteCrops, make_request: MakeRequest, teacher: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    changes = {"teacher": "", "network": str(teacher), "epochs": None, "seconds": 1e-3}
    request = make_request(tmp_path, **changes)
    train_for_site(request, passers, say=said.append, should_stop=lambda: "at once")
    plan = json.loads((request.work / "plan.json").read_text())
    assert (plan["epochs"], plan["steps"], plan["crops_used"]) == (1, 1, 40)
    assert any("40 crops for 1 epochs" in line for line in said)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"cameras": 1}, "one camera only"),
        ({"tracks": 30, "passing": True}, "too few tracks: 30"),
        ({"switch": True, "passing": True}, "two people each"),
    ],
)
def test_without_a_teacher_what_cannot_teach_is_refused(
    changes: dict[str, bool], problem: str, make_request: MakeRequest, bands: Path, tmp_path: Path
) -> None:
    crops = list_crops([draw_folder(tmp_path / "crops", **changes)])  # type: ignore[arg-type]
    request = make_request(tmp_path, teacher="", network=str(bands))
    with pytest.raises(TracksError, match=problem):
        train_for_site(request, crops)
    assert not request.out.exists()


def test_without_a_teacher_the_start_must_know_people_and_share_the_space(
    passers: SiteCrops, make_request: MakeRequest, make_bands: MakeBands, tmp_path: Path
) -> None:
    imagenet = tmp_path / "imagenet.safetensors"
    save_file({"conv1.weight": torch.ones(1)}, imagenet)
    with pytest.raises(CheckpointError, match="these are ImageNet weights"):
        train_for_site(make_request(tmp_path, teacher="", start=imagenet), passers)
    stranger = make_bands("other.onnx", spaces=("ef" * 8,))
    request = make_request(tmp_path, teacher="", network=str(stranger), new_space=False)
    with pytest.raises(SettingsError, match=f"start.safetensors lies in space {SPACE}"):
        training.require_same_space(request)


def test_where_people_pass_several_cameras_clusters_teach_beside_the_teacher(
    passers: SiteCrops, make_request: MakeRequest, teacher: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    request = make_request(tmp_path, network=str(teacher), epochs=10)
    outcome = train_for_site(request, passers, say=said.append)
    assert outcome.written
    assert any("training uses their clusters, too" in line for line in said)
    assert any("90 tracks in" in line and "across cameras" in line for line in said)
    assert outcome.facts["plan"]["clusters"]
    assert outcome.facts["teacher"]["licence"] == "CC0"
    assert not (request.work / "refitted.safetensors").exists()


def test_a_run_that_an_earlier_version_began_goes_on_without_clusters(
    passers: SiteCrops,
    make_request: MakeRequest,
    teacher: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export_instead(teacher, monkeypatch)
    request = make_request(tmp_path, network=str(teacher), epochs=1)
    train_for_site(request, passers, should_stop=lambda: "at once")
    plan = json.loads((request.work / "plan.json").read_text())
    assert plan.pop("clusters")
    (request.work / "plan.json").write_text(json.dumps(plan))
    shutil.rmtree(request.work / "run")
    outcome = train_for_site(request, passers)
    assert not outcome.facts["plan"]["clusters"]


def test_a_run_with_a_teacher_does_not_go_on_without_one(
    passers: SiteCrops, make_request: MakeRequest, teacher: Path, tmp_path: Path
) -> None:
    request = make_request(tmp_path, network=str(teacher))
    train_for_site(request, passers, should_stop=lambda: "at once")
    with pytest.raises(SettingsError, match="another teacher"):
        train_for_site(replace(request, teacher=""), passers)


def sighting_of(row: NDArray[np.float32], model: ModelKey, track: int) -> Sighting:
    return Sighting(embedding=row, model=model, camera_id=0, track_id=track, time_s=0.0)


def export_instead(file: Path, patch: pytest.MonkeyPatch) -> None:
    """What was learned counts as this file, where no test looks at it: an export takes long."""
    patch.setattr(training, "export_network", lambda _, out, **__: shutil.copy(file, out))


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_crops_may_have_names_in_no_encoding(tmp_path: Path, make_request: MakeRequest) -> None:
    crop = tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"1\xe9.jpg")
    crop.parent.mkdir()
    crop.touch()
    zero = np.zeros(1, np.int64)
    crops = SiteCrops((crop,), zero, zero, None, ("door",))
    request = make_request(tmp_path)
    in_use = OnnxEmbedder(Path(request.network))
    expected = hashlib.sha256(b"caf\xe9/1\xe9.jpg 0\n").hexdigest()[:16]
    assert training._plan(request, crops, zero, None, in_use)["crops"] == expected
