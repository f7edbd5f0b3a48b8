"""Nothing of somebody who is forgotten is left, and the proof says so only where it is true."""

import errno
import io
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adln.errors import GalleryError
from adln.gallery import database, rows
from adln.gallery import names as names_of_people
from adln.gallery.codes import encode_embeddings
from adln.gallery.erasing import all_pieces, find_traces
from adln.gallery.records import ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import MODEL, sightings, unit_rows


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery", create=True) as opened:
        yield opened


def all_bytes(folder: Path) -> bytes:
    # Another process reads: closing SQLite's files here would take this one's locks.
    files = sorted(map(str, folder.iterdir()))
    return subprocess.run(["cat", *files], check=True, capture_output=True).stdout


def wait_until_wiped(folder: Path) -> None:
    until = time.monotonic() + 20
    connection = sqlite3.connect(folder / "gallery.db")
    while connection.execute("SELECT COUNT(*) FROM unwiped").fetchone()[0]:
        assert time.monotonic() < until
        time.sleep(0.05)
    connection.close()


def test_a_name_without_sightings_is_gone_from_every_file(gallery: SqliteGallery) -> None:
    gallery.add(sightings(unit_rows(5)))
    person = gallery.enrol("Wilhelmina Quetzal")
    assert b"Quetzal" in all_bytes(gallery.folder)
    assert gallery.forget(person).is_proved
    assert b"Quetzal" not in all_bytes(gallery.folder)


@pytest.mark.parametrize("new", [None, "Ann"])
def test_an_earlier_name_is_gone_from_every_file_soon(
    gallery: SqliteGallery, new: str | None
) -> None:
    person = gallery.enrol("Wilhelmina Quetzal")
    gallery.name_person(person, new)
    wait_until_wiped(gallery.folder)
    assert b"Quetzal" not in all_bytes(gallery.folder)
    assert [one.name for one in gallery.persons()] == [new]


def test_a_name_that_went_with_a_merge_is_gone_from_every_file_soon(gallery: SqliteGallery) -> None:
    ann, other = gallery.enrol("Ann"), gallery.enrol("Wilhelmina Quetzal")
    gallery.merge([other], ann)
    wait_until_wiped(gallery.folder)
    assert b"Quetzal" not in all_bytes(gallery.folder)


def test_a_kill_after_the_forgetting_leaves_no_name_behind(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.gallery.wiping import Wiper
gallery = SqliteGallery(sys.argv[1], create=True)
person = gallery.enrol("Wilhelmina Quetzal")
Wiper.wipe = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
gallery.forget(person)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    assert b"Quetzal" in all_bytes(tmp_path)
    with SqliteGallery(tmp_path) as gallery:
        assert b"Quetzal" not in all_bytes(tmp_path)
        assert gallery.persons() == []
        # Numbers go on where they were.
        assert gallery.enrol() == 2


@pytest.fixture
def quick_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of names that cost next to nothing, where there are many."""
    monkeypatch.setitem(names_of_people._SCRYPT, "n", 2)


@pytest.mark.usefixtures("quick_digests")
def test_names_that_sqlite_has_moved_about_leave_no_copies(gallery: SqliteGallery) -> None:
    rng = np.random.default_rng(0)
    names = [f"{rng.bytes(int(rng.integers(40, 90))).hex()}@{number}" for number in range(120)]
    people = [gallery.enrol(name) for name in names]
    for number in rng.permutation(120)[:110].tolist():
        gallery.name_person(people[number], None if number % 2 else f"n{number}")
    wait_until_wiped(gallery.folder)
    kept = {one.name for one in gallery.persons()}
    content = all_bytes(gallery.folder)
    assert [name for name in names if name not in kept and name.encode() in content] == []
    assert sum(name.encode() in content for name in names) == 10


@pytest.mark.usefixtures("quick_digests")
@pytest.mark.parametrize("dim", [64, 512])
def test_no_byte_of_the_forgotten_is_left_after_many_came_and_went(
    tmp_path: Path, dim: int
) -> None:
    rng, folder = np.random.default_rng(dim), tmp_path / "gallery"
    model = ModelKey("a" * 64, 2, dim)
    rows = unit_rows(60, dim=dim)
    with SqliteGallery(folder, create=True) as gallery:
        people = [gallery.enrol(f"somebody called {number:02d}!") for number in range(12)]
        given = [
            replace(one, model=model, thumbnail=rng.bytes(int(rng.integers(200, 3000))))
            for one in sightings(rows, persons=[people[at % 12] for at in range(60)])
        ]
        ids = gallery.add(given)
        gallery.delete([one for one in ids[::7] if one is not None])
        order = rng.permutation(12)[:9].tolist()
        for number in order:
            assert gallery.forget(people[number]).is_proved
        left = set(people) - {people[number] for number in order}
        gone: list[bytes] = []
        kept: list[bytes] = []
        for at, one in enumerate(given):
            stored = np.asarray(one.embedding, np.float32)
            code = encode_embeddings(stored[np.newaxis]).numbers.tobytes()
            needles = [
                piece
                for data in (stored.tobytes(), code, one.thumbnail or b"")
                for piece in all_pieces(data)
            ]
            if one.person_id not in left or at % 7 == 0:
                gone += needles
            else:
                kept += needles
        assert find_traces(folder, gone).found == 0
        assert find_traces(folder, kept).found >= len(kept)
        content = all_bytes(folder)
        names = {f"somebody called {number:02d}!".encode() for number in range(12)}
        assert {name for name in names if name in content} == {
            f"somebody called {number:02d}!".encode() for number in set(range(12)) - set(order)
        }


def drawn_on_white(number: int) -> bytes:
    """A small crop of somebody before a white wall: most of it is the same in all."""
    pixels = np.full((128, 64, 3), 255, np.uint8)
    colours = np.random.default_rng(number).integers(0, 256, (3, 3))
    pixels[30:50, 26:38], pixels[50:90, 22:42], pixels[90:126, 24:40] = colours
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=80)
    return stream.getvalue()


@pytest.mark.usefixtures("quick_digests")
def test_the_proof_is_not_shaken_by_others_before_the_same_white_wall(
    gallery: SqliteGallery,
) -> None:
    people = [gallery.enrol() for _ in range(30)]
    given = sightings(unit_rows(30), persons=people)
    gallery.add([replace(one, thumbnail=drawn_on_white(at)) for at, one in enumerate(given)])
    assert all(gallery.forget(person).is_proved for person in people[:12])
    # Two pictures that are the same: those of the other one stay, rightly.
    twin = replace(given[20], thumbnail=drawn_on_white(21))
    extra = gallery.split([one for one in gallery.add([replace(twin, person_id=None)]) if one])
    assert gallery.forget(extra).is_proved
    assert gallery.count() == 18


def test_traces_that_are_really_there_are_told(gallery: SqliteGallery) -> None:
    person = gallery.enrol()
    (given,) = sightings(unit_rows(1), persons=[person])
    gallery.add([given])
    (gallery.folder / "copy").write_bytes(b"." + np.asarray(given.embedding).tobytes())
    erasure = gallery.forget(person)
    assert erasure.traces_found > 0
    assert not erasure.is_proved


def test_all_names_a_person_ever_had_are_barred_in_every_spelling(gallery: SqliteGallery) -> None:
    person = gallery.enrol("Zoë Müller")
    gallery.name_person(person, "Zoë")
    other = gallery.enrol("Chloé")
    gallery.name_person(other, "Chloe")
    gallery.merge([other], person)
    gallery.forget(person)
    for name in ("zoe\u0308  mu\u0308ller", "ZOË", "Chloe\u0301", "chloe"):
        with pytest.raises(GalleryError, match="forgotten on request"):
            gallery.enrol(name)
    assert gallery.enrol("Zoey")


def test_a_name_costs_one_digest_however_many_were_forgotten(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    for number in range(3):
        gallery.forget(gallery.enrol(f"Somebody {number}"))
    real, calls = hashlib.scrypt, []

    def counted(*args: object, **more: object) -> bytes:
        assert not gallery._connection.in_transaction
        calls.append(args)
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "scrypt", counted)
    gallery.enrol("Anna")
    assert len(calls) == 1


def test_merging_is_followed_and_taken_back_with_the_old_number(gallery: SqliteGallery) -> None:
    ids = [one for one in gallery.add(sightings(unit_rows(6))) if one is not None]
    first, second = gallery.split(ids[:2], "Ann"), gallery.split(ids[2:4], "Annie")
    third = gallery.split(ids[4:])
    gallery.merge([third], second)
    gallery.merge([second], first)
    assert gallery.merged_into(first) == {second, third}
    assert gallery.gone([first, second, third, 99]) == {99}
    assert gallery.unmerge(second, ids[2:4], name="Annie") == 2
    assert [(one.person_id, one.name) for one in gallery.persons()] == [
        (first, "Ann"),
        (second, "Annie"),
    ]
    assert gallery.merged_into(second) == {third}
    gallery.forget(second)
    assert gallery.gone([first, second, third]) == {second, third}
    for person in (second, third):
        with pytest.raises(GalleryError, match="was not merged"):
            gallery.unmerge(person, [])
    # Nobody who came later was called so.
    with pytest.raises(GalleryError, match="forgotten on request"):
        gallery.enrol("Annie")
    assert gallery.forget(first).is_proved


def test_erasing_waits_for_nobody_who_reads(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path, create=True) as gallery:
        ids = gallery.add(sightings(unit_rows(20)))
        reader = sqlite3.connect(tmp_path / "gallery.db", isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT COUNT(*) FROM sightings").fetchone()
        begun = time.monotonic()
        assert gallery.delete([one for one in ids[:5] if one is not None]) == 5
        gallery.add(sightings(unit_rows(1, seed=5)))
        # The reader never lets go: waiting for it would take half a minute.
        assert time.monotonic() - begun < 10
        assert gallery.count() == 16
        reader.execute("ROLLBACK")
        reader.close()
        wait_until_wiped(tmp_path)


def test_an_erasure_whose_bytes_cannot_be_overwritten_yet_says_that_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adln.gallery import wiping

    monkeypatch.setattr(wiping, "empty_log", lambda connection, wait_s: False)
    with SqliteGallery(tmp_path, create=True) as gallery:
        person = gallery.enrol("Ann")
        gallery.add(sightings(unit_rows(1), persons=[person]))
        with pytest.raises(GalleryError, match="the erasure itself is complete"):
            gallery.forget(person)
        assert gallery.count() == 0
        monkeypatch.undo()
    with SqliteGallery(tmp_path) as gallery:
        wait_until_wiped(tmp_path)
        assert b"Ann" not in all_bytes(tmp_path)


def test_everything_of_a_gallery_belongs_to_its_owner(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    old = os.umask(0o022)
    try:
        with SqliteGallery(tmp_path, create=True) as gallery:
            gallery.add(sightings(unit_rows(6000)))
            modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(old)
    modes |= {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {name for name, mode in modes.items() if mode != 0o600} == set()
    assert any(name.startswith("columns") for name in modes)


def test_files_of_earlier_versions_are_closed_to_everybody(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path, create=True) as gallery:
        gallery.add(sightings(unit_rows(5)))
    for path in tmp_path.iterdir():
        path.chmod(0o664)
    with SqliteGallery(tmp_path) as gallery:
        gallery.search(unit_rows(1), model=MODEL)
        assert {path.stat().st_mode & 0o007 for path in tmp_path.glob("*.[bd]*")} == {0}


@pytest.mark.parametrize("what", ["delete", "expire", "forget"])
def test_on_a_full_disk_erasing_uses_the_room_that_was_set_aside(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    person = gallery.enrol()
    ids = [one for one in gallery.add(sightings(unit_rows(250), persons=[person] * 250)) if one]
    reserve, real, most = gallery.folder / "reserve.bin", rows.erase_rows, 250
    assert reserve.stat().st_size == 2 * 2**20

    def full(connection: sqlite3.Connection, chosen: Sequence[int]) -> dict[int, int]:
        if reserve.exists() or len(chosen) > most:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error
        return real(connection, chosen)

    monkeypatch.setattr(rows, "erase_rows", full)
    if what == "forget":
        assert gallery.forget(person).sightings == 250
    else:
        # In small pieces, each of which needs little room.
        most = 100
        done = gallery.delete(ids) if what == "delete" else gallery.expire_before(1e12)
        assert done == 250
    assert gallery.count() == 0
    assert reserve.exists()


def test_on_a_full_disk_somebody_with_many_pictures_is_forgotten_in_pieces(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = gallery.enrol()
    alike = unit_rows(1) + 0.02 * unit_rows(250, seed=1)
    alike /= np.linalg.norm(alike, axis=1, keepdims=True)
    gallery.add(sightings(alike, persons=[person] * 250))
    real = rows.erase_rows

    def full(connection: sqlite3.Connection, chosen: Sequence[int]) -> dict[int, int]:
        if len(chosen) > 100:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorname = "SQLITE_FULL"
            raise error
        return real(connection, chosen)

    monkeypatch.setattr(rows, "erase_rows", full)
    erasure = gallery.forget(person, suppress_above=0.9)
    assert (erasure.sightings, erasure.traces_found, gallery.count()) == (250, 0, 0)
    logged = [one.details["sightings"] for one in gallery.audit_entries(action="forget")]
    assert logged == [100, 100, 50]
    # Refused as before, by what was kept of all sightings.
    assert gallery.add(sightings(unit_rows(1))) == [None]
    assert (gallery.folder / "reserve.bin").stat().st_size == 2 * 2**20


def test_what_is_new_does_not_take_the_room_that_erasing_needs(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = gallery.enrol()
    gallery.add(sightings(unit_rows(5), persons=[person] * 5))
    reserve = gallery.folder / "reserve.bin"
    os.truncate(reserve, 2**20)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(database, "open_private", full)
        with pytest.raises(GalleryError, match="reserved for erasing"):
            gallery.add(sightings(unit_rows(5, seed=9)))
        assert gallery.forget(person).sightings == 5
        assert reserve.stat().st_size == 2**20
    # There is room again, and it is set aside first.
    assert None not in gallery.add(sightings(unit_rows(5, seed=9)))
    assert reserve.stat().st_size == 2 * 2**20


def test_a_gallery_that_is_closed_sets_aside_again_what_opening_it_took(
    gallery: SqliteGallery,
) -> None:
    reserve = gallery.folder / "reserve.bin"
    os.truncate(reserve, 2**20)
    gallery.close()
    assert reserve.stat().st_size == 2 * 2**20


def test_the_room_set_aside_is_given_back_a_little_at_a_time(tmp_path: Path) -> None:
    assert database.fill_reserve(tmp_path)
    sizes = []
    while database.release_reserve(tmp_path):
        path = tmp_path / "reserve.bin"
        sizes.append(path.stat().st_size // 2**10 if path.exists() else 0)
    assert sizes == [1536, 1024, 512, 0]


def test_a_full_disk_without_any_room_set_aside_changes_nothing_and_says_so(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [one for one in gallery.add(sightings(unit_rows(5))) if one]
    (gallery.folder / "reserve.bin").unlink()

    def full(*_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorname = "SQLITE_FULL"
        raise error

    monkeypatch.setattr(rows, "erase_rows", full)
    with pytest.raises(GalleryError, match="Nothing was changed"):
        gallery.delete(ids)
    assert gallery.count() == 5
