import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adln.errors import GalleryError
from adln.gallery.exchange import count_rows, export_parquet, import_parquet
from adln.gallery.records import ModelKey, StoredSighting
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import sightings, unit_rows


def facts(record: StoredSighting) -> dict[str, object]:
    known = {**vars(record), "embedding": record.embedding.tolist()}
    del known["sighting_id"]
    return known


def test_a_round_trip_keeps_every_fact_and_finds_people_by_name(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    with (
        SqliteGallery(tmp_path / "a", create=True) as one,
        SqliteGallery(tmp_path / "b", create=True) as other,
    ):
        persons = [one.enrol("Ann"), one.enrol(None), None]
        given = sightings(unit_rows(9), persons=persons * 3, thumbnails=True)
        given[0] = replace(given[0], track_id=7, box_xyxy=(1.5, 2.0, 30.25, 80.0), thumbnail=None)
        one.add(given)
        assert export_parquet(one, file) == count_rows(file) == 9
        other.enrol("Zoe")
        ann = other.enrol("Ann")
        assert import_parquet(other, file) == 9
        mine = [facts(record) for batch in one.iterate() for record in batch]
        theirs = [facts(record) for batch in other.iterate() for record in batch]
        assert [person.name for person in other.persons()] == ["Zoe", "Ann", None]
        new = {persons[0]: ann, persons[1]: other.persons()[-1].person_id, None: None}
        assert theirs == [{**row, "person_id": new[row["person_id"]]} for row in mine]  # type: ignore[index]


def test_another_models_file_is_refused_whole(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    with (
        SqliteGallery(tmp_path / "a", create=True) as one,
        SqliteGallery(tmp_path / "b", create=True) as other,
    ):
        one.add(sightings(unit_rows(3)))
        export_parquet(one, file)
        (first,) = sightings(unit_rows(1))
        other.add([replace(first, model=ModelKey("b" * 64, 2, first.model.dim))])
        with pytest.raises(GalleryError, match="cannot be compared"):
            import_parquet(other, file)
        assert other.count() == 1


def test_missing_empty_and_foreign_files_are_said_to_be_so(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "a", create=True) as gallery:
        with pytest.raises(GalleryError, match="still empty"):
            export_parquet(gallery, tmp_path / "file.parquet")
        with pytest.raises(GalleryError, match="no such file"):
            import_parquet(gallery, tmp_path / "none.parquet")
        (tmp_path / "bad.parquet").write_bytes(np.random.default_rng(0).bytes(500))
        with pytest.raises(GalleryError, match="damaged"):
            import_parquet(gallery, tmp_path / "bad.parquet")
