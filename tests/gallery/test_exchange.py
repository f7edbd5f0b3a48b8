import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from adln.errors import GalleryError
from adln.gallery.database import FullDiskError
from adln.gallery.exchange import count_rows, export_parquet, import_parquet
from adln.gallery.records import ModelKey, Sighting, StoredSighting
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import DIM, MODEL, sightings, unit_rows


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


def test_models_and_spaces_of_every_row_come_along(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    models = [ModelKey("a" * 64, 2, DIM, "space-one"), ModelKey("b" * 64, 4, DIM, "space-one")]
    given = [
        replace(one, model=models[number % 2]) for number, one in enumerate(sightings(unit_rows(6)))
    ]
    with (
        SqliteGallery(tmp_path / "a", create=True) as one,
        SqliteGallery(tmp_path / "b", create=True) as other,
    ):
        one.add(given)
        export_parquet(one, file)
        other.add([replace(given[1], time_s=5.0)])
        assert import_parquet(other, file) == 6
        assert [record.model for batch in other.iterate() for record in batch][1:] == models * 3
        assert set(other.models) == set(models)


def test_an_export_that_is_imported_again_adds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    with SqliteGallery(tmp_path / "a", create=True) as gallery:
        ann, somebody = gallery.enrol("Ann"), gallery.enrol(None)
        gallery.add(sightings(unit_rows(9), persons=[ann, somebody, None] * 3))
        export_parquet(gallery, file)
        gallery.name_person(somebody, "Ben")
        before = [facts(record) for batch in gallery.iterate() for record in batch]
        assert import_parquet(gallery, file) == 0
        assert [facts(record) for batch in gallery.iterate() for record in batch] == before
        assert [person.name for person in gallery.persons()] == ["Ann", "Ben"]
        # Whoever is called otherwise by now is the same person.
        gallery.name_person(ann, "Ada")
        gallery.delete([7])
        assert import_parquet(gallery, file) == 1
        assert [(one.name, one.num_sightings) for one in gallery.persons()] == [
            ("Ada", 3),
            ("Ben", 3),
        ]


def test_an_import_that_was_cut_off_is_finished_by_the_same_again(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    with (
        SqliteGallery(tmp_path / "a", create=True) as one,
        SqliteGallery(tmp_path / "b", create=True) as other,
    ):
        given = sightings(unit_rows(6), persons=[one.enrol("Ann"), one.enrol(None), None] * 2)
        one.add(given)
        export_parquet(one, file)
        somebody = other.enrol(None)
        other.add([replace(given[1], person_id=somebody), replace(given[2], person_id=None)])
        assert import_parquet(other, file) == 4
        assert other.count() == 6
        counts = {person.name: person.num_sightings for person in other.persons()}
        assert counts == {None: 2, "Ann": 2}


class FullGallery(SqliteGallery):
    """A gallery on a disk that is full when sightings come."""

    def add(self, _: Sequence[Sighting]) -> list[int | None]:
        raise FullDiskError("the disk is full")


def test_an_import_that_fails_leaves_nobody_without_a_name_and_a_sighting(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    with SqliteGallery(tmp_path / "a", create=True) as one:
        one.add(sightings(unit_rows(4), persons=[one.enrol(None), one.enrol(None)] * 2))
        export_parquet(one, file)
    with FullGallery(tmp_path / "b", create=True) as full:
        with pytest.raises(FullDiskError):
            import_parquet(full, file)
        assert full.persons() == []


def test_a_backup_is_put_back_without_those_who_were_forgotten_since(tmp_path: Path) -> None:
    file = tmp_path / "file.parquet"
    with SqliteGallery(tmp_path / "a", create=True) as gallery:
        persons = [gallery.enrol("Ann"), gallery.enrol("Bela"), None]
        gallery.add(sightings(unit_rows(9), persons=persons * 3))
        export_parquet(gallery, file)
        gallery.forget(1)
        gallery.delete([one.sighting_id for batch in gallery.iterate() for one in batch])
        assert import_parquet(gallery, file) == 6
        assert [(one.name, one.num_sightings) for one in gallery.persons()] == [("Bela", 3)]
        assert gallery.count() == 6


def test_files_of_one_model_from_earlier_versions_are_read(tmp_path: Path) -> None:
    file, old = tmp_path / "file.parquet", tmp_path / "old.parquet"
    with (
        SqliteGallery(tmp_path / "a", create=True) as one,
        SqliteGallery(tmp_path / "b", create=True) as other,
    ):
        one.add(sightings(unit_rows(3)))
        export_parquet(one, file)
        table = pyarrow.parquet.read_table(file).drop_columns(["model_digest", "space"])
        about = {"format": "adln-gallery-1", "digest": MODEL.digest, "dim": DIM}
        table = table.replace_schema_metadata({b"adln.gallery": json.dumps(about).encode()})
        pyarrow.parquet.write_table(table, old)
        assert import_parquet(other, old) == 3
        assert other.models == (MODEL,)


def test_missing_empty_and_foreign_files_are_said_to_be_so(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "a", create=True) as gallery:
        with pytest.raises(GalleryError, match="still empty"):
            export_parquet(gallery, tmp_path / "file.parquet")
        with pytest.raises(GalleryError, match="no such file"):
            import_parquet(gallery, tmp_path / "none.parquet")
        (tmp_path / "bad.parquet").write_bytes(np.random.default_rng(0).bytes(500))
        with pytest.raises(GalleryError, match="damaged"):
            import_parquet(gallery, tmp_path / "bad.parquet")


def changed(path: Path, column: str, values: list[object] | None) -> Path:
    """A copy of a file with another column, or without it."""
    table = pyarrow.parquet.read_table(path)
    at = table.schema.get_field_index(column)
    if values is None:
        table = table.drop_columns([column])
    else:
        kind = table.schema.field(column).type
        try:
            array = pyarrow.array(values, type=kind)
        except pyarrow.ArrowException:
            array = pyarrow.array(values)
        table = table.set_column(at, column, array)
    copy = path.with_name("changed.parquet")
    pyarrow.parquet.write_table(table, copy)
    return copy


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("person_name", ["\x1b[2JAnn"] * 3, "control or invalid characters"),
        ("person_name", ["x" * 5_000_000] * 3, "up to 200 characters"),
        ("thumbnail", [None, b"\xff\xd8" + bytes(20_000_000), None], "row 2"),
        ("camera_id", [1, 2, -1], "row 3"),
        ("camera_id", [1, None, 2], "row 2"),
        ("quality", [0.5, float("nan"), 1.0], "row 2"),
        ("time_s", [float("inf"), 1.0, 1.0], "row 1"),
        ("box_xyxy", [[1.0], None, None], "row 1"),
        ("camera_id", ["door", "door", "door"], "is string, expected int32"),
        ("time_s", None, "no column 'time_s'"),
        ("thumbnail", None, "no column 'thumbnail'"),
        ("person_id", None, "no column 'person_id'"),
    ],
)
def test_what_cannot_be_stored_is_refused_and_nobody_is_enrolled(
    tmp_path: Path, column: str, values: list[object] | None, words: str
) -> None:
    file = tmp_path / "file.parquet"
    with (
        SqliteGallery(tmp_path / "a", create=True) as one,
        SqliteGallery(tmp_path / "b", create=True) as other,
    ):
        one.add(sightings(unit_rows(3), persons=[one.enrol("Ann")] * 3))
        export_parquet(one, file)
        with pytest.raises(GalleryError, match=words):
            import_parquet(other, changed(file, column, values))
        assert other.persons() == []
        assert other.count() == 0
