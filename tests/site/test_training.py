"""From crops to a network: learned, exported, judged on other tracks, and written if better."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.site.conftest import DIM, SPACE, MakeBands, draw_folder

from adln.errors import SettingsError, TracksError
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import read_calibration
from adln.runtime.embedder import OnnxEmbedder
from adln.site.crops import SiteCrops, list_crops
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


def request_of(folder: Path, start: Path, teacher: Path, in_use: Path) -> SiteRequest:
    return SiteRequest(
        start=start,
        teacher=str(teacher),
        network=str(in_use),
        out=folder / "mine.onnx",
        work=folder / "work",
        depth=1,
        seconds=6.0,
    )


@pytest.fixture(scope="module")
def finished(
    crops: SiteCrops,
    start: Path,
    teacher: Path,
    in_use: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[SiteRequest, SiteOutcome]:
    folder = tmp_path_factory.mktemp("finished")
    request = request_of(folder, start, teacher, in_use)
    return request, train_for_site(request, crops)


def test_a_better_network_is_written_with_where_it_comes_from(
    finished: tuple[SiteRequest, SiteOutcome],
) -> None:
    request, outcome = finished
    assert outcome.written, outcome
    embedder = OnnxEmbedder(request.out)
    assert embedder.manifest.precision == "int8"
    assert embedder.manifest.space_of(1) == SPACE
    facts = json.loads((request.out.parent / f"mine.onnx{ENDING}").read_text())
    assert facts["network_sha256"] == embedder.model.sha256
    assert facts["teacher"]["licence"] == "CC0"
    assert "start.safetensors" in facts["terms"]
    assert facts["comparison"]["gain"] > 0
    assert past_outcome(request) is not None
