import csv
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from adln.cli.main import adln
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.roster import enter_cameras

MODEL = ModelKey("ab" * 32, 2, 2)
BEGIN_S = 1_767_225_600.0  # 2026-01-01T00:00Z


def test_routes_are_counted_and_written_as_csv(tmp_path: Path) -> None:
    folder, out = tmp_path / "gallery", tmp_path / "routes.csv"
    with SqliteGallery(folder, create=True) as gallery:
        person = gallery.enrol("Anna")
        gallery.add(
            [
                Sighting(
                    embedding=np.array([1.0, 0.0], np.float32),
                    model=MODEL,
                    camera_id=camera,
                    time_s=BEGIN_S + after_s,
                    person_id=person,
                )
                for camera, after_s in ((1, 0.0), (2, 42.5), (1, 90_000.0))
            ]
        )
    enter_cameras(folder, {"door": 1})
    arguments = ["gallery", "routes", str(folder), "--from", "2026-01-01T00:00"]
    arguments += ["--to", "2026-01-03T00:00", "--out", str(out)]
    result = CliRunner().invoke(adln, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "people, each counted once: 1" in result.stdout
    assert "door to camera 2: 1" in result.stdout
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {
            "person_id": str(person),
            "from_camera": "door",
            "to_camera": "camera 2",
            "left": "2026-01-01T00:00:00+00:00",
            "arrived": "2026-01-01T00:00:42+00:00",
            "took_s": "42.5",
        }
    ]
    assert "Anna" not in out.read_text(encoding="utf-8") + result.output


def test_a_time_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    folder, picture = tmp_path / "gallery", tmp_path / "anna.png"
    SqliteGallery(folder, create=True).close()
    picture.touch()
    ends = ["--from", "2026-01-03T00:00", "--until", "2026-01-01T00:00"]
    for command in (
        ["gallery", "routes", str(folder)],
        ["search", str(picture), "--gallery", str(folder)],
    ):
        result = CliRunner().invoke(adln, [*command, *ends])
        assert result.exit_code == 1
        assert "--until 2026-01-01T00:00 is not after --from 2026-01-03T00:00" in str(
            result.exception
        )
