"""A gallery whose files are not what they were: put back from a backup, damaged, or read-only."""

import os
import shutil
import sqlite3
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adln.errors import GalleryError
from adln.gallery import index
from adln.gallery.records import NO_PERSON, Filter
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import DIM, MODEL, sightings, unit_rows

HERE = Path(__file__).parent
ENGINES = ["numkong", "numpy"]


def back_up(folder: Path, copy: Path) -> None:
    with (
        sqlite3.connect(folder / "gallery.db") as source,
        sqlite3.connect(copy) as target,
    ):
        source.backup(target)
    source.close()
    target.close()


def put_back(copy: Path, folder: Path) -> None:
    for name in ("gallery.db-wal", "gallery.db-shm"):
        (folder / name).unlink(missing_ok=True)
    shutil.copy(copy, folder / "gallery.db")


@pytest.mark.parametrize("gone", [False, True], ids=["replaced", "removed"])
def test_a_database_that_is_replaced_while_open_is_neither_read_nor_written(
    tmp_path: Path, gone: bool
) -> None:
    folder, copy = tmp_path / "g", tmp_path / "copy.db"
    with SqliteGallery(folder, create=True) as gallery:
        ann = gallery.enrol("Ann")
        gallery.add(sightings(unit_rows(3), persons=[ann] * 3))
        back_up(folder, copy)
        gallery.enrol("Ben")
        content = copy.read_bytes()
        if gone:
            shutil.rmtree(folder)
        else:
            for name in ("gallery.db-wal", "gallery.db-shm"):
                (folder / name).unlink(missing_ok=True)
            copy.replace(folder / "gallery.db")
        with pytest.raises(GalleryError, match="replaced or removed while it was open"):
            gallery.persons()
        with pytest.raises(GalleryError, match="start anew") as refused:
            gallery.enrol("Cleo")
        # The service says then that it cannot, not that the request was wrong.
        assert isinstance(refused.value.__cause__, OSError)
    if gone:
        assert not folder.exists()
    else:
        assert (folder / "gallery.db").read_bytes() == content
        with SqliteGallery(folder) as restored:
            assert [person.name for person in restored.persons()] == ["Ann"]


def test_a_search_that_is_refused_is_not_logged(tmp_path: Path) -> None:
    folder, copy = tmp_path / "g", tmp_path / "copy.db"
    rows = unit_rows(3)
    gallery = SqliteGallery(folder, create=True, audit_searches=True)
    gallery.add(sightings(rows))
    back_up(folder, copy)
    process, gallery._process = gallery._process, -1
    with pytest.raises(GalleryError, match="before this process was forked"):
        gallery.search(rows, model=MODEL)
    gallery._process = process
    copy.replace(folder / "gallery.db")
    for ask in (gallery.search, gallery.search_persons):
        with pytest.raises(GalleryError, match="replaced or removed while it was open"):
            ask(rows, model=MODEL)
    logged = gallery._connection.execute("SELECT COUNT(*) FROM audit").fetchone()
    assert logged == (0,)
    gallery.close()
    with pytest.raises(GalleryError, match="this gallery was closed"):
        gallery.search(rows, model=MODEL)


def truth(folder: Path) -> dict[int, tuple[np.ndarray, int]]:
    """What the database itself says, read without the gallery: sighting -> embedding, person."""
    connection = sqlite3.connect(folder / "gallery.db")
    rows = connection.execute(
        "SELECT sighting_id, embedding, IFNULL(person_id, -1) FROM sightings "
        "JOIN embeddings USING (sighting_id)"
    ).fetchall()
    connection.close()
    return {number: (np.frombuffer(blob, "<f4"), person) for number, blob, person in rows}


def require_right_answers(folder: Path, expected: dict[int, tuple[np.ndarray, int]]) -> None:
    ids = np.array(sorted(expected))
    rows = np.stack([expected[number][0] for number in ids.tolist()])
    with SqliteGallery(folder) as gallery:
        results = gallery.search(rows, model=MODEL, k=3)
    for row, result in zip(rows, results, strict=True):
        scores = rows @ row
        best = ids[np.lexsort((ids, -scores))][:3]
        np.testing.assert_allclose(result.similarity, np.sort(scores)[::-1][:3], atol=1e-5)
        assert result.sighting_ids[0] == best[0]
        assert result.person_ids[0] == expected[int(best[0])][1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_database_put_back_from_a_backup_gets_the_codes_of_its_own_rows(
    tmp_path: Path, engine: str
) -> None:
    folder, copy = tmp_path / "gallery", tmp_path / "copy.db"
    with SqliteGallery(folder, create=True, engine=engine) as gallery:
        noor, alex = gallery.enrol("Noor"), gallery.enrol("Alex")
        mine = gallery.add(sightings(unit_rows(40), persons=[noor] * 40))
        back_up(folder, copy)
        gallery.delete([one for one in mine if one is not None])
        gallery.add(sightings(unit_rows(40, seed=1), persons=[alex] * 40))
    put_back(copy, folder)
    with SqliteGallery(folder, engine=engine) as gallery:
        results = gallery.search(unit_rows(40), model=MODEL, k=1)
        assert [one.person_ids.tolist() for one in results] == [[noor]] * 40
        assert [one.sighting_ids[0] for one in results] == mine


def test_a_copy_that_went_on_by_itself_is_told_from_this_gallery_also_with_the_same_numbers(
    tmp_path: Path,
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with SqliteGallery(here, create=True) as gallery:
        gallery.add(sightings(unit_rows(20)))
    shutil.copytree(here, there)
    # As many changes, sightings and slots in both, all with the same numbers.
    for folder, seed in ((here, 1), (there, 2)):
        with SqliteGallery(folder) as gallery:
            gallery.add(sightings(unit_rows(20, seed=seed)))
    shutil.copy(there / "gallery.db", here / "gallery.db")
    require_right_answers(here, truth(there))


@pytest.mark.parametrize("saves", [False, True], ids=["few", "saved"])
@pytest.mark.parametrize("seed", range(10))
def test_restores_at_random_give_right_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, saves: bool
) -> None:
    if saves:
        monkeypatch.setattr(index, "_WORTH_SAVING", 1)
    rng = np.random.default_rng(seed)
    folder, copies = tmp_path / "gallery", [tmp_path / f"{at}.db" for at in range(3)]
    with SqliteGallery(folder, create=True) as gallery:
        people = [gallery.enrol(), gallery.enrol(), None]
        for at, copy in enumerate(copies):
            for step in range(int(rng.integers(1, 4))):
                rows = unit_rows(int(rng.integers(5, 40)), seed=1000 * seed + 10 * at + step)
                owners = [people[number] for number in rng.integers(0, 3, len(rows))]
                gallery.add(sightings(rows, persons=owners))
                ids = [one.sighting_id for batch in gallery.iterate() for one in batch]
                gallery.delete(rng.choice(ids, len(ids) // 3, replace=False).tolist())
                if rng.random() < 0.3:
                    gallery.compact()
            back_up(folder, copy)
    copy = copies[int(rng.integers(0, 2))]
    put_back(copy, folder)
    require_right_answers(folder, truth(folder))


def test_columns_saved_after_the_backup_are_not_taken_for_those_of_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_WORTH_SAVING", 50)
    folder, copy, rows = tmp_path / "gallery", tmp_path / "copy.db", unit_rows(46)
    with SqliteGallery(folder, create=True) as gallery:
        ann, bob = gallery.enrol("Ann"), gallery.enrol("Bob")
        ids = [one for one in gallery.add(sightings(rows[:40])) if one is not None]
        back_up(folder, copy)
        gallery.assign(ids[:20], ann)
    # Saved when the gallery was closed, after 60 changes.
    assert (folder / "columns.npz").exists()
    put_back(copy, folder)
    with SqliteGallery(folder) as killed:
        killed.assign(ids[:15], bob)
        killed.add(sightings(rows[40:]))
        # Opened again as after a kill: nothing was saved, and there were 61 changes.
        with SqliteGallery(folder) as gallery:
            (found,) = gallery.search_persons(rows[0], model=MODEL, k=1)
            assert found.names == ("Bob",)
            assert gallery.count(Filter(persons=frozenset({ann}))) == 0
            assert gallery.count(Filter(persons=frozenset({bob}))) == 15
    require_right_answers(folder, truth(folder))


def test_saved_columns_are_read_only_by_whom_they_belong_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_WORTH_SAVING", 1)
    read: list[int] = []
    real = index.SearchIndex._read_all_columns

    def counted(self: index.SearchIndex, slots: int) -> None:
        read.append(slots)
        real(self, slots)

    monkeypatch.setattr(index.SearchIndex, "_read_all_columns", counted)

    def times_read() -> int:
        read.clear()
        with SqliteGallery(tmp_path) as gallery:
            assert gallery.count() == 40
        return len(read)

    with SqliteGallery(tmp_path, create=True) as gallery:
        gallery.add(sightings(unit_rows(40)))
    assert times_read() == 0
    # Another process saves them, too: the newest are valid.
    with SqliteGallery(tmp_path) as one, SqliteGallery(tmp_path) as other:
        one.assign([1, 2], None)
        other.assign([3, 4], None)
    assert times_read() == 0
    # Of an earlier version, without a mark: read once, then saved with one.
    damage(tmp_path, "DROP TABLE saved_columns")
    assert times_read() == 1
    assert times_read() == 0


def flip(path: Path, rng: np.random.Generator, first: int, last: int) -> None:
    content = bytearray(path.read_bytes())
    content[int(rng.integers(first, last))] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(content)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["codes", "scales", "errors", "embeddings"])
def test_flipped_bits_in_files_beside_the_database_change_no_answer(
    tmp_path: Path, name: str, engine: str
) -> None:
    with SqliteGallery(tmp_path, create=True, engine=engine) as gallery:
        gallery.add(sightings(unit_rows(200)))
    expected = truth(tmp_path)
    rng = np.random.default_rng(0)
    (path,) = tmp_path.glob(f"{name}-*")
    size = 200 * (DIM if name == "codes" else 4 * DIM if name == "embeddings" else 4)
    for _ in range(3):
        flip(path, rng, 0, size)
        with SqliteGallery(tmp_path, engine=engine) as gallery:
            results = gallery.search(unit_rows(200), model=MODEL, k=1)
        assert [one.sighting_ids[0] for one in results] == sorted(expected)
        for one in results:
            np.testing.assert_allclose(one.similarity, 1, atol=1e-5)


@pytest.mark.parametrize("seed", range(15))
def test_flipped_bits_in_the_database_give_right_answers_or_a_clear_error(
    tmp_path: Path, seed: int
) -> None:
    folder = tmp_path / "gallery"
    rows = unit_rows(60)
    with SqliteGallery(folder, create=True) as gallery:
        ann = gallery.enrol("Ann")
        gallery.add(sightings(rows, persons=[ann] * 30 + [None] * 30, thumbnails=True))
    rng = np.random.default_rng(seed)
    path = folder / "gallery.db"
    flip(path, rng, 100, path.stat().st_size)
    try:
        with SqliteGallery(folder) as gallery:
            results = gallery.search(rows, model=MODEL, k=1)
            records = [one for batch in gallery.iterate() for one in batch]
            people = gallery.persons()
    except GalleryError:
        return
    assert [one.sighting_ids[0] for one in results] == list(range(1, 61))
    assert [one.person_ids[0] for one in results] == [ann] * 30 + [NO_PERSON] * 30
    np.testing.assert_array_equal(np.stack([one.embedding for one in records]), rows)
    assert [one.name for one in people] == ["Ann"]


def damage(folder: Path, statement: str) -> None:
    connection = sqlite3.connect(folder / "gallery.db", isolation_level=None)
    connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "ask"),
    [
        ("UPDATE sightings SET person_id = 2 WHERE sighting_id = 3", lambda g: g.get([3])),
        ("UPDATE sightings SET time_s = 7.0 WHERE sighting_id = 3", lambda g: g.count()),
        ("UPDATE sightings SET box = CAST(x'ff' AS TEXT)", lambda g: g.get([3])),
        ("UPDATE persons SET name = 'Bot' WHERE person_id = 2", lambda g: g.persons()),
        (
            "UPDATE persons SET name = CAST(x'ff' AS TEXT) WHERE person_id = 2",
            lambda g: g.persons(),
        ),
        ("UPDATE persons SET name = CAST(name AS BLOB)", lambda g: g.persons()),
        ("UPDATE thumbnails SET jpeg = x'00' WHERE sighting_id = 3", lambda g: g.get([3])),
        ("UPDATE embeddings SET embedding = zeroblob(128)", lambda g: g.get([3])),
        ("DELETE FROM embeddings WHERE sighting_id = 3", lambda g: g.compact()),
    ],
)
def test_rows_that_are_not_what_was_written_are_errors(
    tmp_path: Path, statement: str, ask: Callable[[SqliteGallery], object]
) -> None:
    with SqliteGallery(tmp_path, create=True) as gallery:
        ann, _ = gallery.enrol("Ann"), gallery.enrol("Bob")
        gallery.add(sightings(unit_rows(5), persons=[ann] * 5, thumbnails=True))
    damage(tmp_path, statement)
    with pytest.raises(GalleryError, match="damaged"), SqliteGallery(tmp_path) as gallery:
        ask(gallery)


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk that takes no writes, also for a superuser."""
    real = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode, **more: (
            False
            if mode & os.W_OK and Path(path).is_relative_to(folder)
            else real(path, mode, **more)
        ),
    )
    for path in folder.iterdir():
        path.chmod(0o400)
    folder.chmod(0o500)


@pytest.mark.parametrize("gone", ["", "codes", "embeddings"])
def test_a_gallery_that_may_not_be_written_to_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    folder, rows = tmp_path / "gallery", unit_rows(50)
    with SqliteGallery(folder, create=True) as gallery:
        ann = gallery.enrol("Ann")
        ids = gallery.add(sightings(rows, persons=[ann] * 50))
    for path in folder.glob(f"{gone}-*"):
        path.unlink()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    read_only(folder, monkeypatch)
    with SqliteGallery(folder, audit_searches=True) as gallery:
        results = gallery.search(rows, model=MODEL, k=1)
        assert [one.sighting_ids[0] for one in results] == ids
        assert gallery.count(Filter(persons=frozenset({ann}))) == 50
        assert [one.name for one in gallery.persons()] == ["Ann"]
        with pytest.raises(GalleryError, match="is read-only"):
            gallery.enrol("Bob")
        with pytest.raises(GalleryError, match="is read-only"):
            gallery.forget(ann)
    assert {name: (folder / name).read_bytes() for name in before} == before


def old_gallery(tmp_path: Path) -> Path:
    with tarfile.open(HERE / "gallery-of-format-2.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "people"


@pytest.mark.parametrize("writable", [True, False])
def test_a_gallery_of_format_2_opens_with_all_that_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: bool
) -> None:
    folder, rows = old_gallery(tmp_path), unit_rows(12)
    if not writable:
        read_only(folder, monkeypatch)
    with SqliteGallery(folder) as gallery:
        assert [(one.name, one.num_sightings) for one in gallery.persons()] == [
            ("Ann", 3),
            ("Bob", 3),
        ]
        records = [one for batch in gallery.iterate() for one in batch]
        assert [one.sighting_id for one in records] == [1, 2, 3, 4, 5, 6, 9, 10, 11]
        assert [one.track_id for one in records] == [0, 1, 2, 3, 4, 5, 8, 9, 10]
        assert all(one.thumbnail is not None for one in records)
        for record, result in zip(
            records,
            gallery.search(np.stack([one.embedding for one in records]), model=MODEL, k=1),
            strict=True,
        ):
            np.testing.assert_array_equal(record.embedding, rows[record.sighting_id - 1])
            assert result.sighting_ids.tolist() == [record.sighting_id]
        assert gallery.retention.person_keep_s == {2: 2e12}
        assert gallery.check_audit().is_sound
        if writable:
            # Who was forgotten is refused still.
            for name in ("eve  müller", "Mal"):
                with pytest.raises(GalleryError, match="forgotten on request"):
                    gallery.enrol(name)
            mean = (rows[6] + rows[7]) / np.linalg.norm(rows[6] + rows[7])
            assert gallery.add([replace(sightings(rows)[6], embedding=mean)]) == [None]
