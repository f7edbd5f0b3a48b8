from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tests.matching.drawn_site import DIM, draw_site

from adln.cli.main import adln
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery

MODEL = ModelKey("a" * 64, 2, DIM)


def run(*arguments):
    result = CliRunner().invoke(adln, ["adapt", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return store(tmp_path / "shop", draw_site(camera_bias=1.0).crops)


def store(folder: Path, crops):
    with SqliteGallery(folder, create=True) as gallery:
        gallery.add(
            [
                Sighting(
                    embedding=row,
                    model=MODEL,
                    camera_id=int(camera),
                    track_id=int(track),
                    time_s=float(time_s),
                )
                for row, camera, track, time_s in zip(
                    crops.embeddings, crops.cameras, crops.tracks, crops.time_s, strict=True
                )
            ]
        )
    return folder


def answers(folder: Path):
    query = np.eye(DIM, dtype=np.float32)[:3]
    with SqliteGallery(folder) as gallery:
        return [
            (one.sighting_ids.tolist(), one.similarity.tobytes())
            for one in gallery.search(query, model=MODEL, k=5)
        ]


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(folder: Path):
    before = answers(folder)
    output = run(folder, "--dry-run")
    assert "Res2: 480 sightings of 120 tracks" in output
    assert "adapt: camera means" in output
    assert "better with confidence" in output
    assert "nothing was changed" in output
    assert answers(folder) == before


def test_it_is_switched_on_and_undone_to_the_bit(folder: Path):
    before = answers(folder)
    assert "switched on as" in run(folder)
    with SqliteGallery(folder) as gallery:
        (adaptation,) = gallery.adaptations
        assert adaptation.fitted_on == "480 sightings of 120 tracks"
    assert answers(folder) != before
    assert "would be switched off" in run(folder, "--undo", "--dry-run")
    assert answers(folder) != before
    assert "1 switched off" in run(folder, "--undo")
    assert answers(folder) == before


def test_the_log_keeps_what_it_gave(folder: Path):
    run(folder)
    with SqliteGallery(folder) as gallery:
        gallery.enrol("Anna")
        assert len(gallery.audit_entries()) == 2
        (entry,) = gallery.audit_entries(action="adapt")
        (adaptation,) = gallery.adaptations
    assert entry.details["id"] == adaptation.id
    before, after = entry.details["recognised"]
    assert 0 < before < after <= 1


def test_a_refusal_says_why_and_changes_nothing(tmp_path: Path):
    folder = store(tmp_path / "quiet", draw_site(tracks=10).crops)
    before = answers(folder)
    assert "no adaptation: too few tracks" in run(folder)
    assert answers(folder) == before


def test_what_scores_mean_then_is_stored_with_it(tmp_path: Path):
    crops = draw_site(tracks=700, camera_bias=1.0, nuisance=0.1).crops
    times = crops.time_s.copy()
    # Every frame shows the same crop of twenty tracks, so that many were seen together.
    times[:] = 100.0 * (crops.tracks % 1000 // 20) + 2.0 * (np.arange(len(times)) % 4)
    folder = store(tmp_path / "shop", replace(crops, time_s=times))
    output = run(folder)
    assert "that is stored with it" in output
    with SqliteGallery(folder) as gallery:
        fitted = gallery.calibration_of(MODEL)
        assert fitted is not None
        assert fitted.evidence.kind == "tracks"
    run(folder, "--undo")
    with SqliteGallery(folder) as gallery:
        assert gallery.calibration_of(MODEL) is None
