"""Single people are looked up, and nobody reads all others for it."""

import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from adln.gallery.enrolling import make_person, person_called
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.gallery.sums import row_sum

sys.path.insert(0, str(Path(__file__).parent))
from made_up import MODEL, sightings, unit_rows

ROWS = unit_rows(4)


def enrol(gallery: SqliteGallery) -> None:
    assert person_called(gallery, "Zoe") is None
    (stored,) = gallery.add(sightings(ROWS[2:3]))
    assert stored is not None
    make_person(gallery, [stored], "Zoe")


def enrol_again(gallery: SqliteGallery) -> None:
    assert person_called(gallery, " A\N{ZERO WIDTH SPACE}nn") == 1


def search(gallery: SqliteGallery) -> None:
    (result,) = gallery.search_persons(ROWS[0], model=MODEL, k=3)
    assert result.names == ("Ann",)


def name_those_found(gallery: SqliteGallery) -> None:
    assert gallery.names([1, 1_000_000]) == {1: "Ann"}


def ask_who_is_gone(gallery: SqliteGallery) -> None:
    assert gallery.gone([1, 3, 1_000_000]) == {1_000_000}


def ask_who_was_merged(gallery: SqliteGallery) -> None:
    assert gallery.merged_into(4) == {2, 3}


def ask_for_earlier_names(gallery: SqliteGallery) -> None:
    assert gallery.ever_called(1, ["Ann"]) == {"Ann"}


def steps(gallery: SqliteGallery, use: Callable[[SqliteGallery], None]) -> int:
    """Steps of the database's machine."""
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    gallery._connection.set_progress_handler(step, 1)
    use(gallery)
    gallery._connection.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize(
    "use",
    [
        enrol,
        enrol_again,
        search,
        name_those_found,
        ask_who_is_gone,
        ask_who_was_merged,
        ask_for_earlier_names,
    ],
)
def test_one_person_is_looked_up_without_reading_all_others(
    tmp_path: Path, use: Callable[[SqliteGallery], None]
) -> None:
    took = []
    for others in (10, 3_000):
        with SqliteGallery(tmp_path / str(others), create=True) as gallery:
            gallery.add(sightings(ROWS[:1], persons=[gallery.enrol("Ann")]))
            for _ in range(2, 5):
                gallery.enrol()
            gallery.merge([2], into=3)
            gallery.merge([3], into=4)
            with gallery._writing("enrol"):
                rows = [(number, f"n{number}") for number in range(100, 100 + others)]
                gallery._connection.executemany(
                    "INSERT INTO persons VALUES (?, ?, ?)",
                    [(*row, row_sum(*row)) for row in rows],
                )
                gallery._connection.executemany(
                    "INSERT INTO merged VALUES (?, ?)",
                    [(number + 100_000, number) for number, _ in rows],
                )
        with SqliteGallery(tmp_path / str(others)) as gallery:
            took.append(steps(gallery, use))
    assert took[1] < took[0] + 1_000


def test_names_that_an_earlier_version_kept_are_found(tmp_path: Path) -> None:
    before = ["Zo\N{ZERO WIDTH SPACE}e", "Ann", "A\N{SOFT HYPHEN}nn", "Bea  C"]
    with SqliteGallery(tmp_path, create=True) as gallery:
        numbers = [gallery.enrol() for _ in before]
    connection = sqlite3.connect(tmp_path / "gallery.db", isolation_level=None)
    connection.execute("DROP INDEX IF EXISTS merged_by_into")
    for number, name in zip(numbers, before, strict=True):
        connection.execute(
            "UPDATE persons SET name = ?, name_sum = ? WHERE person_id = ?",
            (name, row_sum(number, name), number),
        )
    connection.close()
    with SqliteGallery(tmp_path) as gallery:
        # Two that look alike stay two.
        assert [one.name for one in gallery.persons()] == ["Zoe", "Ann", before[2], "Bea C"]
        assert [gallery.person_called(name) for name in before] == [1, 2, 2, 4]
    for path in tmp_path.iterdir():
        assert before[0].encode() not in path.read_bytes(), path


def test_people_whom_an_earlier_version_merged_are_found_by_an_index(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path, create=True) as gallery:
        gallery.merge([gallery.enrol()], into=gallery.enrol("Ann"))
        # As it is before the index.
        gallery._connection.execute("DROP INDEX IF EXISTS merged_by_into")
    with SqliteGallery(tmp_path) as gallery:
        (plan,) = gallery._connection.execute(
            "EXPLAIN QUERY PLAN SELECT person_id FROM merged WHERE into_id = 2"
        ).fetchall()
        assert "merged_by_into" in plan[-1]
        assert gallery.merged_into(2) == {1}
