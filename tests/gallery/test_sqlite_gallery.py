import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adln.errors import GalleryError
from adln.gallery.erasing import find_traces, pieces
from adln.gallery.records import NO_PERSON, Filter, ModelKey
from adln.gallery.retention import Retention, apply_retention
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import DIM, MODEL, sightings, unit_rows

HERE = Path(__file__).parent
ENGINES = [("numkong", False), ("numkong", True), ("numpy", False), ("numpy", True)]


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery", create=True) as opened:
        yield opened


def best(gallery: SqliteGallery, query: np.ndarray, k: int = 5, **kwargs: Filter) -> list[int]:
    (result,) = gallery.search(query, model=MODEL, k=k, **kwargs)
    return result.sighting_ids.tolist()


def fill(gallery: SqliteGallery) -> None:
    for seed in range(50):
        gallery.add(sightings(unit_rows(500, seed=seed)))


class Oracle:
    """A gallery as a plain list, searched by comparing everything."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[np.ndarray, int, float, int]] = {}

    def best(self, query: np.ndarray, k: int, where: Filter) -> list[tuple[int, float]]:
        found = [
            (sighting_id, float(np.vecdot(row, query)))
            for sighting_id, (row, camera, seen, person) in self.rows.items()
            if (where.cameras is None or camera in where.cameras)
            and camera not in where.not_cameras
            and (where.from_s is None or seen >= where.from_s)
            and (where.persons is None or person in where.persons)
        ]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))[:k]


@pytest.mark.parametrize(("engine", "low_memory"), ENGINES)
@given(data=st.data())
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_searches_equal_brute_force_after_any_history(
    tmp_path_factory: pytest.TempPathFactory,
    engine: str,
    low_memory: bool,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("gallery")
    oracle = Oracle()
    with SqliteGallery(folder, create=True, engine=engine, low_memory=low_memory) as gallery:
        people = [gallery.enrol() for _ in range(3)]
        for step in range(data.draw(st.integers(1, 5))):
            action = data.draw(st.sampled_from(["add", "delete", "merge", "assign", "compact"]))
            ids = sorted(oracle.rows)
            if action == "add" or not ids:
                rows = unit_rows(data.draw(st.integers(1, 80)), seed=step)
                # Copies and near copies make ties.
                rows[: len(rows) // 3] = rows[-1]
                owners = [people[number % len(people)] for number in range(len(rows))]
                given_rows = sightings(rows, persons=owners)
                for sighting_id, one in zip(gallery.add(given_rows), given_rows, strict=True):
                    assert sighting_id is not None
                    facts = (one.embedding, one.camera_id, one.time_s, one.person_id)
                    oracle.rows[sighting_id] = facts  # type: ignore[assignment]
            elif action == "delete":
                gone = data.draw(st.lists(st.sampled_from(ids), max_size=20, unique=True))
                assert gallery.delete(gone) == len(gone)
                for sighting_id in gone:
                    del oracle.rows[sighting_id]
            elif action == "merge" and len(people) > 1:
                gallery.merge([people[-1]], people[0])
                for sighting_id, (row, camera, seen, person) in oracle.rows.items():
                    if person == people[-1]:
                        oracle.rows[sighting_id] = (row, camera, seen, people[0])
                people.pop()
            elif action == "assign":
                moved = data.draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
                gallery.assign(moved, None)
                for sighting_id in moved:
                    row, camera, seen, _ = oracle.rows[sighting_id]
                    oracle.rows[sighting_id] = (row, camera, seen, NO_PERSON)
            else:
                gallery.compact()
            where = data.draw(
                st.sampled_from(
                    [
                        Filter(),
                        Filter(not_cameras=frozenset({1})),
                        Filter(cameras=frozenset({0, 2}), from_s=1010.0),
                        Filter(persons=frozenset({people[0], NO_PERSON})),
                    ]
                )
            )
            queries = unit_rows(data.draw(st.sampled_from([1, 6])), seed=100 + step)
            k = data.draw(st.sampled_from([1, 10, 500]))
            for query, result in zip(
                queries, gallery.search(queries, model=MODEL, k=k, where=where), strict=True
            ):
                expected = oracle.best(query, k, where)
                assert result.sighting_ids.tolist() == [pair[0] for pair in expected]
                np.testing.assert_allclose(
                    result.similarity, [pair[1] for pair in expected], atol=1e-6
                )
        assert gallery.count() == len(oracle.rows)


def test_a_gallery_needs_to_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="there is no gallery here"):
        SqliteGallery(tmp_path / "typo")
    assert not (tmp_path / "typo").exists()


def test_only_the_owner_may_enter_the_folder(gallery: SqliteGallery) -> None:
    assert gallery.folder.stat().st_mode & 0o777 == 0o700


def test_a_damaged_database_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "gallery.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(GalleryError, match="damaged"):
        SqliteGallery(tmp_path)


def test_other_formats_are_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "gallery.db")
    connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(GalleryError, match="format 9"):
        SqliteGallery(tmp_path)


@pytest.mark.parametrize("name", ["codes", "scales", "errors", "embeddings", "columns"])
def test_every_other_file_is_made_again_from_the_database(tmp_path: Path, name: str) -> None:
    rows = unit_rows(6000)
    with SqliteGallery(tmp_path, create=True) as gallery:
        gallery.add(sightings(rows))
        expected = best(gallery, rows[3])
    (path,) = tmp_path.glob(f"{name}*")
    path.unlink()
    with SqliteGallery(tmp_path) as gallery:
        assert best(gallery, rows[3]) == expected
        assert gallery.count() == 6000


def test_codes_that_a_power_cut_took_are_written_again(tmp_path: Path) -> None:
    rows = unit_rows(50)
    gallery = SqliteGallery(tmp_path, create=True)
    gallery.add(sightings(rows))
    # As if the codes, which are not synced at each write, had never reached the disk.
    for path in tmp_path.glob("*.bin"):
        path.write_bytes(bytes(path.stat().st_size))
    with SqliteGallery(tmp_path) as after:
        assert best(after, rows[7])[0] == 8
    gallery.close()


def test_acknowledged_writes_and_erasures_survive_kill_9(tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    added: dict[int, np.ndarray] = {}
    erased: dict[int, np.ndarray] = {}
    for attempt in range(2):
        writer = subprocess.Popen(
            [sys.executable, HERE / "acknowledging_writer.py", folder],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(12 + attempt)]
        writer.send_signal(signal.SIGKILL)
        # What was said before the kill counts, too.
        lines += writer.stdout.read().splitlines()
        writer.wait()
        writer.stdout.close()
        for line in lines:
            what, number, *ids = line.split()
            if what == "added":
                added |= dict(zip(map(int, ids), unit_rows(5, seed=int(number)), strict=True))
            else:
                erased[int(ids[0])] = added.pop(int(ids[0]))
        # The last lines may stand for more than was said, never for less.
        with SqliteGallery(folder) as gallery:
            records = {one.sighting_id: one for one in gallery.get([*added, *erased])}
            assert not records.keys() & erased.keys()
            late = set(added) - records.keys()
            # One erasure at most was done and not yet said.
            assert len(late) <= 1
            for sighting_id in late:
                del added[sighting_id]
            for sighting_id, row in added.items():
                np.testing.assert_array_equal(records[sighting_id].embedding, row)
            ours = set(best(gallery, next(iter(added.values())), k=10_000))
            assert set(added) <= ours
            assert not erased.keys() & ours
        needles = [piece for row in erased.values() for piece in pieces(row.tobytes())]
        assert find_traces(folder, needles).found == 0
        added.clear()
        erased.clear()


def test_a_full_disk_is_an_error_and_loses_nothing(tmp_path: Path) -> None:
    gallery = SqliteGallery(tmp_path / "gallery", create=True)
    rows = unit_rows(100)
    ids = gallery.add(sightings(rows))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    largest = max(path.stat().st_size for path in gallery.folder.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + 8192, before[1]))
    try:
        with pytest.raises(GalleryError, match="everything before it is safe"):
            fill(gallery)
        assert best(gallery, rows[5])[0] == ids[5]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert best(gallery, rows[5])[0] == ids[5]
    assert len(gallery.add(sightings(unit_rows(500, seed=99)))) == 500
    gallery.close()
    with SqliteGallery(tmp_path / "gallery") as again:
        assert [one.sighting_id for one in again.get(ids)] == ids


def test_two_processes_see_each_others_writes_and_erasures_at_once(tmp_path: Path) -> None:
    rows = unit_rows(40)
    with (
        SqliteGallery(tmp_path, create=True) as writer,
        SqliteGallery(tmp_path) as reader,
        SqliteGallery(tmp_path, low_memory=True) as frugal,
    ):
        assert best(reader, rows[0]) == []
        ids = writer.add(sightings(rows))
        for other in (reader, frugal):
            assert best(other, rows[7])[0] == ids[7]
        reader.delete([ids[7]])
        new = writer.add(sightings(unit_rows(5, seed=9)))
        for other in (reader, frugal, writer):
            assert ids[7] not in best(other, rows[7], k=50)
            assert set(new) <= set(best(other, rows[7], k=50))
        writer.compact()
        for other in (reader, frugal):
            assert best(other, rows[8])[0] == ids[8]


def test_searches_meet_no_stale_slots_while_another_erases_and_adds(tmp_path: Path) -> None:
    rows = unit_rows(300)
    failures: list[str] = []
    stop = threading.Event()
    with SqliteGallery(tmp_path, create=True) as writer:
        steady = writer.add(sightings(rows))

        def search() -> None:
            with SqliteGallery(tmp_path) as reader:
                while not stop.is_set():
                    (result,) = reader.search(rows[11], model=MODEL, k=1)
                    if result.sighting_ids.tolist() != [steady[11]]:
                        failures.append(str(result.sighting_ids))
                    if abs(result.similarity[0] - 1) > 1e-5:
                        failures.append(str(result.similarity))

        thread = threading.Thread(target=search)
        thread.start()
        until = time.monotonic() + 1.5
        seed = 1
        while time.monotonic() < until:
            ids = writer.add(sightings(unit_rows(20, seed=seed)))
            writer.delete([one for one in ids if one is not None])
            seed += 1
            if seed % 5 == 0:
                writer.compact()
        stop.set()
        thread.join()
    assert failures == []


def test_a_forgotten_person_leaves_no_bytes_behind(tmp_path: Path) -> None:
    rows = unit_rows(60)
    with SqliteGallery(tmp_path, create=True) as gallery:
        ann, bob = gallery.enrol("Ann"), gallery.enrol("Bob")
        given = sightings(rows, persons=[ann] * 20 + [bob] * 40, thumbnails=True)
        gallery.add(given)
        theirs = [p for one in given[:20] for p in pieces(np.asarray(one.embedding).tobytes())]
        theirs += [p for one in given[:20] for p in pieces(one.thumbnail or b"")]
        others = pieces(np.asarray(given[30].embedding).tobytes())
        assert find_traces(tmp_path, theirs).found >= len(theirs)
        erasure = gallery.forget(ann)
        assert erasure.is_proved
        assert (erasure.sightings, erasure.thumbnails) == (20, 20)
        assert erasure.files_searched >= 5
        assert find_traces(tmp_path, theirs).found == 0
        # The search for bytes does find those of others.
        assert find_traces(tmp_path, others).found >= len(others)
        assert b"Ann" not in b"".join(p.read_bytes() for p in tmp_path.iterdir())
        assert [person.person_id for person in gallery.persons()] == [bob]
        assert gallery.count() == 40
        with pytest.raises(GalleryError, match="forgotten on request"):
            gallery.enrol("  ann ")


def test_an_interrupted_erasure_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = unit_rows(30)
    gallery = SqliteGallery(tmp_path, create=True)
    ids = gallery.add(sightings(rows))
    # The process ends between the commit and the wiping.
    monkeypatch.setattr(gallery._wiper, "wipe_soon", lambda: None)
    gallery.delete([ids[4]])
    needles = pieces(rows[4].tobytes())
    assert find_traces(tmp_path, needles).found > 0
    with SqliteGallery(tmp_path):
        assert find_traces(tmp_path, needles).found == 0
    gallery.close()


def test_templates_stay_within_their_limit_and_slots_are_used_again(
    gallery: SqliteGallery,
) -> None:
    gallery.set_retention(Retention(max_templates=10))
    person = gallery.enrol()
    for seed in range(40):
        gallery.add(sightings(unit_rows(10, seed=seed), persons=[person] * 10))
    theirs = Filter(persons=frozenset({person}))
    assert 10 <= gallery.count(theirs) <= 12
    sizes = [path.stat().st_size for path in gallery.folder.glob("codes-*")]
    assert sizes == [4096 * DIM]
    apply_retention(gallery, gallery.retention, now_s=0.0)
    assert gallery.count(theirs) == 10
    # The best are among those that are kept.
    kept = [one.quality for batch in gallery.iterate(theirs) for one in batch]
    assert max(kept) == 0.9


def test_retention_goes_by_person_then_camera_then_the_rest(gallery: SqliteGallery) -> None:
    person = gallery.enrol()
    rows = unit_rows(40)
    gallery.add(sightings(rows, persons=[person if n % 8 == 1 else None for n in range(40)]))
    rules = Retention(keep_s=20.0, camera_keep_s={1: 5.0}, person_keep_s={person: 38.0})
    gallery.set_retention(rules)
    assert gallery.retention == rules
    tidied = apply_retention(gallery, rules, now_s=1040.0)
    left = [one for batch in gallery.iterate() for one in batch]
    assert tidied.expired == 40 - len(left)
    assert {int(one.time_s - 1000) for one in left if one.person_id} == {9, 17, 25, 33}
    nobodys = [one for one in left if one.person_id is None]
    assert {int(one.time_s - 1000) for one in nobodys if one.camera_id == 1} == {37}
    assert min(one.time_s for one in nobodys if one.camera_id != 1) == 1020.0


def test_strangers_leave_with_their_last_sighting_so_that_people_are_bounded_too(
    gallery: SqliteGallery,
) -> None:
    rows = unit_rows(30)
    anna = gallery.enrol("Anna")
    old, new, enrolling = gallery.enrol(), gallery.enrol(), gallery.enrol()
    persons = [anna] * 5 + [old] * 5 + [new] * 20
    gallery.add(sightings(rows, persons=persons))
    # Sightings are a second apart; the first ten are too old.
    tidied = apply_retention(gallery, Retention(keep_s=20.0), now_s=1030.0)
    assert (tidied.expired, tidied.people) == (10, 1)
    # A name is kept until it is forgotten; who has had no sighting yet is being enrolled.
    assert [one.person_id for one in gallery.persons()] == [anna, new, enrolling]
    again = apply_retention(gallery, Retention(keep_s=20.0), now_s=1030.0)
    assert (again.expired, again.people) == (0, 0)


def test_the_oldest_sightings_of_nobody_go_first(gallery: SqliteGallery) -> None:
    gallery.add(sightings(unit_rows(30)))
    tidied = apply_retention(gallery, Retention(max_unnamed=12), now_s=2000.0)
    assert tidied.surplus_unnamed == 18
    assert min(one.time_s for batch in gallery.iterate() for one in batch) == 1018.0


def test_compacting_gives_slots_back_and_changes_no_answer(gallery: SqliteGallery) -> None:
    rows = unit_rows(9000)
    ids = gallery.add(sightings(rows))
    gallery.delete([one for one in ids[:8000] if one is not None])
    expected = best(gallery, rows[8500])
    assert gallery.compact_if_worthwhile()
    assert not gallery.compact_if_worthwhile()
    assert best(gallery, rows[8500]) == expected
    (codes,) = gallery.folder.glob("codes-*")
    assert codes.stat().st_size == 4096 * DIM


def test_searches_are_logged_if_wanted_and_the_log_is_sound(tmp_path: Path) -> None:
    with SqliteGallery(
        tmp_path, create=True, actor="ada", audit_searches=True, clock=lambda: 5.0
    ) as gallery:
        gallery.add(sightings(unit_rows(3)))
        best(gallery, unit_rows(1)[0], where=Filter(not_cameras=frozenset({2})))
        gallery.forget(gallery.enrol("Eve"))
        entries = gallery.audit_entries()
        assert [one.action for one in entries] == ["search", "enrol", "forget", "forgotten"]
        assert entries[0].details["where"] == {"not_cameras": [2]}
        assert {(one.actor, one.time_s) for one in entries} == {("ada", 5.0)}
        assert "Eve" not in str(entries)
        check = gallery.check_audit(expected_digest=entries[1].digest)
        assert check.is_sound
        assert check.newest_digest == entries[-1].digest


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET actor = 'nobody' WHERE number = 2",
        "DELETE FROM audit WHERE number = 2",
        "UPDATE audit SET number = number + 1 WHERE number = 3",
    ],
)
def test_rewriting_the_log_is_found_out(tmp_path: Path, tampering: str) -> None:
    with SqliteGallery(tmp_path, create=True) as gallery:
        for _ in range(3):
            gallery.enrol()
    connection = sqlite3.connect(tmp_path / "gallery.db", isolation_level=None)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(tampering)
    connection.execute("DROP TRIGGER audit_is_not_changed")
    connection.execute("DROP TRIGGER audit_is_not_removed")
    connection.execute(tampering)
    connection.close()
    with SqliteGallery(tmp_path) as gallery:
        assert gallery.check_audit().first_broken in (2, 3, 4)


def test_a_log_that_was_cut_off_is_found_out_by_its_newest_digest(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path, create=True) as gallery:
        for _ in range(3):
            gallery.enrol()
        newest = gallery.check_audit().newest_digest
    connection = sqlite3.connect(tmp_path / "gallery.db", isolation_level=None)
    connection.execute("DROP TRIGGER audit_is_not_removed")
    connection.execute("DELETE FROM audit WHERE number = 3")
    connection.close()
    with SqliteGallery(tmp_path) as gallery:
        assert gallery.check_audit().is_sound
        assert not gallery.check_audit(expected_digest=newest).is_sound


def test_depths_are_never_compared_with_each_other(gallery: SqliteGallery) -> None:
    row = unit_rows(1)[0]
    shallow, deep = ModelKey("a" * 64, 1, DIM), ModelKey("a" * 64, 3, DIM)
    first, second = sightings(np.stack([row, row]))
    vars_first = {**vars(first), "model": shallow}
    vars_second = {**vars(second), "model": deep}
    ids = gallery.add([type(first)(**vars_first), type(first)(**vars_second)])
    for model, expected in ((shallow, ids[0]), (deep, ids[1])):
        (result,) = gallery.search(row, model=model)
        assert result.sighting_ids.tolist() == [expected]


def test_other_peoples_files_in_the_folder_do_not_matter(gallery: SqliteGallery) -> None:
    (gallery.folder / "notes.txt").write_text("hello")
    gallery.add(sightings(unit_rows(3)))
    gallery.compact()
    assert (gallery.folder / "notes.txt").read_text() == "hello"
    assert os.access(gallery.folder / "gallery.db", os.R_OK)
