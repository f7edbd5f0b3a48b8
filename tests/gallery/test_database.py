"""Galleries of an earlier version open, and lose nothing."""

import shutil
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from adln.errors import GalleryError
from adln.gallery import database, schema
from adln.gallery.records import Filter, ModelKey
from adln.gallery.schema import FORMAT
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import DIM, MODEL, sightings, unit_rows

ROWS = unit_rows(12)
# What format 1 was, as far as it differs.
_TO_FORMAT_1 = (
    "ALTER TABLE sightings DROP COLUMN embedding_sum",
    "ALTER TABLE sightings DROP COLUMN code_sum",
    "ALTER TABLE sightings DROP COLUMN jpeg_sum",
    "ALTER TABLE sightings DROP COLUMN row_sum",
    "ALTER TABLE persons DROP COLUMN name_sum",
    "ALTER TABLE state DROP COLUMN name_salt",
    "DROP TABLE former_names",
    "DROP TABLE merged",
    "ALTER TABLE sightings DROP COLUMN model_id",
    "ALTER TABLE suppressed DROP COLUMN model_id",
    "DROP TABLE models",
    "PRAGMA user_version = 1",
)


def make_old(folder: Path, *, model: ModelKey = MODEL, empty: bool = False) -> list[int]:
    """A gallery as the earlier version left it: two depths, one person, somebody forgotten."""
    given = sightings(ROWS)
    given = [
        replace(one, model=replace(model, depth=2 if at < 8 else 4)) for at, one in enumerate(given)
    ]
    with SqliteGallery(folder, create=True) as gallery:
        ids = [number for number in gallery.add(given) if number is not None]
        gallery.forget(gallery.split(ids[:1]), suppress_above=0.9)
        gallery.split(ids[1:3], "Ann")
        if empty:
            gallery.delete(ids)
    connection = sqlite3.connect(folder / "gallery.db", isolation_level=None)
    connection.execute("PRAGMA foreign_keys = OFF")
    if empty:
        connection.execute("DELETE FROM suppressed")
    for statement in _TO_FORMAT_1:
        connection.execute(statement)
    connection.close()
    return ids[1:]


def test_a_gallery_of_format_1_opens_with_all_that_it_held(tmp_path: Path) -> None:
    ids = make_old(tmp_path)
    with SqliteGallery(tmp_path) as gallery:
        assert gallery.models == (MODEL, replace(MODEL, depth=4))
        records = gallery.get(ids)
        assert [one.sighting_id for one in records] == ids
        np.testing.assert_array_equal(np.stack([one.embedding for one in records]), ROWS[1:])
        assert [one.model.depth for one in records] == [2] * 7 + [4] * 4
        assert [person.name for person in gallery.persons()] == ["Ann"]
        for at in (3, 10):
            (result,) = gallery.search(ROWS[at], model=records[at - 1].model, k=99)
            assert result.sighting_ids[0] == ids[at - 1]
            assert len(result) == (7 if at < 8 else 4)
        # Who was forgotten is refused still, and what is new is kept.
        assert gallery.add(sightings(ROWS[:1])) == [None]
        assert gallery.add(sightings(unit_rows(1, seed=9))) != [None]
    with SqliteGallery(tmp_path) as gallery:
        assert gallery.count(Filter(depth=4)) == 4
    version = sqlite3.connect(tmp_path / "gallery.db").execute("PRAGMA user_version").fetchone()
    assert version == (FORMAT,)


def test_an_upgrade_that_fails_leaves_the_gallery_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = make_old(tmp_path)
    statements = f"{schema._FROM_FORMAT_1};\nINSERT INTO nowhere VALUES (1)"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "_FROM_FORMAT_1", statements)
        with pytest.raises(GalleryError, match="Nothing was changed"):
            SqliteGallery(tmp_path)
    connection = sqlite3.connect(tmp_path / "gallery.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    connection.close()
    with SqliteGallery(tmp_path) as gallery:
        assert gallery.count() == len(ids)


def test_an_old_gallery_that_was_emptied_is_its_models_still(tmp_path: Path) -> None:
    make_old(tmp_path, empty=True)
    with SqliteGallery(tmp_path) as gallery:
        stranger = replace(sightings(ROWS[:1])[0], model=ModelKey("b" * 64, 2, DIM))
        with pytest.raises(GalleryError, match="cannot be compared"):
            gallery.add([stranger])
        assert gallery.add(sightings(ROWS[:2])) != [None, None]


def test_old_galleries_of_the_shipped_network_go_on_with_the_new_file(tmp_path: Path) -> None:
    old = ModelKey("e96a55817f2a4923dd2c520e82b3c7f86eab98f0b5c7c096b3a243ef332c565c", 2, DIM)
    ids = make_old(tmp_path, model=old)
    now = ModelKey("7c" * 32, 2, DIM, "d290aa33c9733173")
    with SqliteGallery(tmp_path) as gallery:
        (result,) = gallery.search(ROWS[3], model=now, k=1)
        assert result.sighting_ids.tolist() == [ids[2]]


def test_a_gallery_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path, create=True):
        pass
    connection = sqlite3.connect(tmp_path / "gallery.db")
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    with pytest.raises(GalleryError, match=f"format {FORMAT + 1}"):
        SqliteGallery(tmp_path)


def test_a_gallery_can_be_opened_and_freed_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteGallery(tmp_path, create=True) as gallery:
        gallery.add(sightings(unit_rows(5)))
    reserve, real = tmp_path / "reserve.bin", database._prepare
    whole = reserve.stat().st_size

    def full(*arguments: Any, **options: Any) -> None:
        # What SQLite says where its index of the log has no room.
        if reserve.stat().st_size == whole:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_SHMSIZE"
            raise error
        real(*arguments, **options)

    monkeypatch.setattr(database, "_prepare", full)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with SqliteGallery(tmp_path) as gallery:
        assert gallery.count() == 5
        # Most of the room is still there for the erasing.
        assert whole // 2 < reserve.stat().st_size < whole
        assert gallery.expire_before(1e12) == 5


def test_what_is_wrong_with_the_disk_is_said_where_room_does_not_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqliteGallery(tmp_path, create=True).close()

    def broken(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(database, "_prepare", broken)
    before = (tmp_path / "reserve.bin").stat().st_size
    with pytest.raises(GalleryError, match="disk I/O error"):
        SqliteGallery(tmp_path)
    assert (tmp_path / "reserve.bin").stat().st_size == before


def test_ctrl_c_while_sums_are_computed_is_no_fault_of_the_database(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    connection = sqlite3.connect(tmp_path / "any.db")
    connection.create_function("adln_blob_sum", 0, interrupt)
    with pytest.raises(KeyboardInterrupt), database.plain_errors(tmp_path):
        connection.execute("SELECT adln_blob_sum()")
    connection.close()


def test_what_fails_in_another_thread_is_no_ctrl_c(tmp_path: Path) -> None:
    def ask() -> None:
        with database.plain_errors(tmp_path):
            raise sqlite3.OperationalError("user-defined function raised exception")

    with ThreadPoolExecutor() as pool, pytest.raises(GalleryError, match="user-defined function"):
        pool.submit(ask).result()
