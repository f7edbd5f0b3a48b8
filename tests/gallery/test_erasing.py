import sqlite3
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adln.errors import GalleryError
from adln.gallery import erasing, wiping
from adln.gallery.erasing import Needles, find_traces, pieces
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import sightings, unit_rows


@given(at=st.integers(0, 3000), seed=st.integers(0, 100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_pieces_are_found_at_any_position(
    tmp_path_factory: object, tmp_path: Path, at: int, seed: int
) -> None:
    secret = np.random.default_rng(seed).bytes(16)
    (tmp_path / "file").write_bytes(b"x" * at + secret + b"y" * 7)
    assert find_traces(tmp_path, [secret]).found == 1
    assert find_traces(tmp_path, [secret[::-1]]).found == 0


@given(
    pieces=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=8),
    content=st.lists(st.integers(0, 3), max_size=40),
    shift=st.integers(0, 9),
)
def test_the_places_counted_are_those_where_a_piece_is(
    pieces: set[tuple[int, int]], content: list[int], shift: int
) -> None:
    # Pieces that share a half, at both ends of the order, and halves that are in none.
    halves = [bytes([value]) * 7 + bytes([255 * (value % 2)]) for value in range(4)]
    needles = {halves[one] + halves[other] for one, other in pieces}
    data = bytes(shift) + b"".join(halves[value] for value in content)
    expected = sum(data[at : at + 16] in needles for at in range(len(data)))
    assert Needles(needles).count(data) == expected


def test_a_piece_across_two_chunks_is_found_once(tmp_path: Path) -> None:
    secret = np.random.default_rng(1).bytes(16)
    content = bytearray(20 * 2**20)
    for at in (8 * 2**20 - 5, 16 * 2**20 - 15):
        content[at : at + 16] = secret
    (tmp_path / "large").write_bytes(content)
    traces = find_traces(tmp_path, [secret])
    assert (traces.files, traces.found) == (1, 2)


def test_data_that_could_be_anything_is_not_looked_for() -> None:
    assert pieces(bytes(64)) == []
    assert pieces(b"short") == []
    assert len(pieces(np.random.default_rng(0).bytes(64))) == 3


def steps_of_wiping(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Steps of SQLite to overwrite so many sightings, while as many others change."""
    steps = 0

    def counted() -> None:
        nonlocal steps
        steps += 1

    def open_counting(place: Path) -> sqlite3.Connection:
        connection = open_again(place)
        connection.set_progress_handler(counted, 100)
        return connection

    def empty_later(connection: sqlite3.Connection, **how: float) -> bool:
        assert gallery.assign(ids[count:], person) == count
        return empty_log(connection, **how)

    open_again, empty_log = wiping.open_again, wiping.empty_log
    with SqliteGallery(folder, create=True) as gallery, monkeypatch.context() as patch:
        patch.setattr(gallery._wiper, "wipe_soon", lambda: None)
        person = gallery.enrol()
        ids = [one for one in gallery.add(sightings(unit_rows(2 * count))) if one is not None]
        gallery.delete(ids[:count])
        patch.setattr(wiping, "open_again", open_counting)
        patch.setattr(wiping, "empty_log", empty_later)
        gallery._wiper.wipe()
        (left,) = gallery._connection.execute("SELECT count(*) FROM unwiped").fetchone()
        assert left == 0
    return steps


def test_overwriting_takes_steps_in_proportion_whatever_changes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few, many = (
        steps_of_wiping(tmp_path / str(count), count, monkeypatch) for count in (250, 1000)
    )
    assert many < 8 * few


@pytest.mark.parametrize("program", ["exit", "print('1234567', end='')", "print('x' * 99)"])
def test_files_that_could_not_be_read_prove_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        ann = gallery.enrol("Ann")
        gallery.add(sightings(unit_rows(3), persons=[ann] * 3))
        monkeypatch.setattr(erasing, "_COPY", program)
        with pytest.raises(GalleryError, match="The erasure itself is complete"):
            gallery.forget(ann)
        assert gallery.count() == 0
