"""`adln gallery cluster` and `adln gallery move`, as a person types them."""

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from adln.cli.gallery_cluster import cluster
from adln.cli.gallery_move import move
from adln.cli.gallery_words import open_place
from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.adapting import space_name
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.adaptation import Adaptation, TrackedCrops, fit_adaptation
from adln.matching.adaptation_gate import CENTRINGS
from adln.matching.calibration import (
    Calibration,
    CalibrationEvidence,
    CalibrationFile,
    Level,
    Reliability,
    write_calibration,
)

MODEL_BYTES = b"a model"
MODEL = ModelKey(hashlib.sha256(MODEL_BYTES).hexdigest(), 2, 16)


def run(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(one) for one in arguments])  # type: ignore[arg-type]


def jpeg(person: int) -> bytes:
    written = io.BytesIO()
    colours = np.random.default_rng(person).integers(0, 256, 3)
    Image.new("RGB", (32, 64), tuple(int(c) for c in colours)).save(written, "JPEG")
    return written.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six people, each in three tracks before two cameras; one of them has a name."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(6), 9)
    embeddings = unit_length(
        rng.normal(size=(6, 16))[person] + 0.1 * rng.normal(size=(len(person), 16))
    )
    path = tmp_path / "gallery"
    with SqliteGallery(path, create=True) as gallery:
        anna = gallery.enrol("Anna")
        gallery.add(
            [
                Sighting(
                    embedding=embedding,
                    model=MODEL,
                    camera_id=number // 3 % 2,
                    time_s=1.7e9 + number,
                    track_id=number // 3,
                    person_id=anna if person[number] == 0 else None,
                    thumbnail=jpeg(int(person[number])),
                )
                for number, embedding in enumerate(embeddings)
            ]
        )
    return path


def persons(folder: Path) -> list[tuple[str | None, int]]:
    with SqliteGallery(folder) as gallery:
        return [(person.name, person.num_sightings) for person in gallery.persons()]


def test_groups_are_shown_and_nothing_is_changed(folder: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "groups.png"
    result = run(cluster, folder, "--threshold", 0.9, "--sheet", sheet)
    assert result.exit_code == 0, result.output
    for text in ("45 unnamed sightings of 15 tracks", "in 5 groups", "2023-11-14", "--apply"):
        assert text in result.stdout
    # The first line holds the path of the gallery.
    assert max(map(len, result.stdout.splitlines()[1:6])) <= 100
    assert persons(folder) == [("Anna", 9)]
    with Image.open(sheet) as picture:
        # Nine pictures in a row, then paper.
        row = [picture.getpixel((150 + 32 + 70 * column, 60)) for column in range(10)]
    assert len(set(row[:9])) == 1
    assert row[0] != (255, 255, 255)
    assert row[9] == (255, 255, 255)


def test_applying_makes_every_group_a_person(folder: Path) -> None:
    result = run(cluster, folder, "--threshold", 0.9, "--apply")
    assert result.exit_code == 0, result.output
    assert "made 5 persons" in result.stdout
    assert persons(folder) == [("Anna", 9), *[(None, 9)] * 5]
    assert "no unnamed sightings" in run(cluster, folder, "--threshold", 0.9).stdout


def test_the_threshold_comes_from_the_model_s_calibration(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "res2.onnx"
    model.write_bytes(MODEL_BYTES)
    result = run(cluster, folder, "--model", model)
    assert isinstance(result.exception, GalleryError)
    assert "run `adln calibrate`" in str(result.exception)
    evidence = CalibrationEvidence(
        kind="persons", data="x", num_persons=9, num_searches=9, num_comparisons=9,
        across_cameras=True,
    )  # fmt: skip
    calibration = Calibration(
        depth=2,
        flip=False,
        sizes=(1, 15),
        match=Level(rate=0.01, thresholds=(0.5, 0.62)),
        candidate=Level(rate=0.1, thresholds=(0.3, 0.41)),
        slope=1.0,
        size_slope=0.0,
        intercept=0.0,
        enrolled_share=0.5,
        evidence=evidence,
        reliability=Reliability(
            gallery_size=1, brier=0, base_brier=0, log_loss=0, calibration_error=0,
            matched_strangers=0, matched_enrolled=0, candidate_strangers=0, candidate_enrolled=0,
        ),
    )  # fmt: skip
    content = CalibrationFile(
        model_sha256=MODEL.digest,
        source_sha256="",
        precision="fp32",
        adln_version="0",
        created_utc="",
        calibrations=(calibration,),
    )
    write_calibration(content, model)
    # Fifteen tracks: the threshold is that of a gallery of fifteen.
    assert "cosine of 0.620" in run(cluster, folder, "--model", model).stdout
    assert (
        "cosine of 0.410" in run(cluster, folder, "--model", model, "--level", "candidate").stdout
    )
    with SqliteGallery(folder) as gallery:
        own = replace(calibration, match=Level(rate=0.01, thresholds=(0.4, 0.55)))
        gallery.adapt(centring(gallery), own)
    # Scores of an adapted gallery mean what its own calibration says.
    assert "cosine of 0.550" in run(cluster, folder, "--model", model).stdout


def centring(gallery: SqliteGallery) -> Adaptation:
    """Takes off what all sightings have in common."""
    records = [one for batch in gallery.iterate() for one in batch]
    crops = TrackedCrops(
        np.stack([one.embedding for one in records]).astype(np.float32),
        np.array([one.camera_id for one in records]),
        np.array([one.track_id for one in records]),
    )
    return fit_adaptation(crops, CENTRINGS[0], space=space_name(MODEL))


def test_in_an_adapted_gallery_sightings_are_grouped_as_its_searches_compare_them(
    tmp_path: Path,
) -> None:
    looks = unit_length(3 * np.eye(16)[0] + np.eye(16)[1 + np.arange(30) // 6])
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        gallery.add(
            [
                Sighting(
                    embedding=look, model=MODEL, camera_id=1, time_s=float(at), track_id=at // 3
                )
                for at, look in enumerate(looks)
            ]
        )
        assert "in 1 groups" in run(cluster, tmp_path / "g", "--threshold", 0.5).stdout
        gallery.adapt(centring(gallery))
    assert "in 5 groups" in run(cluster, tmp_path / "g", "--threshold", 0.5).stdout


def test_a_threshold_must_come_from_somewhere(folder: Path) -> None:
    result = run(cluster, folder)
    assert isinstance(result.exception, GalleryError)
    assert "--threshold" in str(result.exception)


def test_a_move_is_told_and_its_numbers_are_written(folder: Path, tmp_path: Path) -> None:
    target, ids = tmp_path / "new", tmp_path / "ids.csv"
    result = run(move, folder, target, "--ids", ids)
    assert result.exit_code == 0, result.output
    assert "1 persons and 54 sightings" in result.stdout
    assert "20 searches answered alike" in result.stdout
    assert "note: not copied: the log." in result.stderr
    assert len(ids.read_text().splitlines()) == 55
    assert persons(target) == persons(folder)
    again = run(move, folder, target)
    assert isinstance(again.exception, GalleryError)
    assert "must be empty" in str(again.exception)


def test_a_place_on_a_server_needs_a_name() -> None:
    with pytest.raises(GalleryError, match="expected an address and a gallery's name"):
        open_place("http://localhost:19530")
