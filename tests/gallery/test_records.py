"""What is stored is what was meant: any integer is an integer, the rest is refused at the door."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adln.errors import GalleryError
from adln.gallery.exchange import export_parquet
from adln.gallery.records import Filter, ModelKey, pool_track
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import DIM, MODEL, sightings, unit_rows

Constant = IntEnum("Constant", {f"NUMBER_{number}": number for number in range(64)})
INTEGERS = [int, np.int64, np.int32, np.uint8, np.uint64, Constant]


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery", create=True, audit_searches=True) as opened:
        yield opened


@pytest.mark.parametrize("kind", INTEGERS)
def test_integers_of_any_type_are_stored_as_integers(
    gallery: SqliteGallery, tmp_path: Path, kind: Callable[[int], Any]
) -> None:
    person = kind(gallery.enrol("Ann"))
    (one,) = sightings(unit_rows(1))
    given = replace(
        one,
        track_id=kind(7),
        camera_id=kind(3),
        person_id=person,
        time_s=np.float32(1024.0),
        quality=np.float64(0.5),
        model=ModelKey(MODEL.digest, kind(2), kind(DIM)),
    )
    gallery.add([given])
    ((record,),) = gallery.iterate()
    assert (record.track_id, record.camera_id, record.person_id) == (7, 3, 1)
    for value in (record.track_id, record.camera_id, record.person_id, record.model.depth):
        assert type(value) is int
    assert (type(record.time_s), type(record.quality)) == (float, float)
    assert export_parquet(gallery, tmp_path / "all.parquet") == 1


def test_a_truth_value_does_not_damage_the_gallery(gallery: SqliteGallery) -> None:
    (one,) = sightings(unit_rows(1))
    gallery.add([replace(one, camera_id=True, track_id=False)])
    ((record,),) = gallery.iterate()
    assert (record.camera_id, record.track_id) == (1, 0)


@pytest.mark.parametrize("kind", INTEGERS)
def test_numbers_from_a_search_can_be_used_everywhere(
    gallery: SqliteGallery, kind: Callable[[int], Any]
) -> None:
    rows = unit_rows(6)
    gallery.add(sightings(rows, persons=[gallery.enrol("Ann")] * 3 + [gallery.enrol()] * 3))
    where = Filter(persons=frozenset({kind(1)}), cameras=frozenset({kind(0), kind(1)}))
    (result,) = gallery.search(rows[0], model=MODEL, k=kind(9), where=where)
    person, (first, second) = result.person_ids[0], result.sighting_ids
    gallery.name_person(person, "Anna")
    assert [one.sighting_id for one in gallery.get([kind(first), second])] == [first, second]
    assert gallery.assign([first], kind(2)) == 1
    assert gallery.assign(result.sighting_ids[:1], person) == 1
    assert gallery.split([second], "Bob") == 3
    assert gallery.merge([kind(3)], person) == 1
    assert gallery.merged_into(person) == {3}
    assert gallery.unmerge(kind(3), [second]) == 1
    assert gallery.gone([person, kind(9)]) == {9}
    assert gallery.delete(result.sighting_ids) == 2
    assert gallery.forget(person).is_proved


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("camera_id", 2**31),
        ("camera_id", "door"),
        ("camera_id", None),
        ("camera_id", 1.5),
        ("track_id", "7"),
        ("track_id", 1.0),
        ("track_id", b"\x07" * 8),
        ("track_id", 2**63),
        ("track_id", np.uint64(2**64 - 1)),
        ("track_id", -1),
        ("person_id", 1.5),
        ("time_s", "now"),
        ("time_s", np.nan),
        ("quality", None),
        ("quality", np.inf),
        ("box_xyxy", (1.0, 2.0, 3.0, "4")),
        ("thumbnail", "picture"),
        ("thumbnail", b""),
        ("thumbnail", bytes(5 * 2**20)),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_name(
    gallery: SqliteGallery, field: str, value: object
) -> None:
    good, one = sightings(unit_rows(2))
    with pytest.raises(GalleryError, match=field):
        gallery.add([good, replace(one, **{field: value})])
    assert gallery.count() == 0


@pytest.mark.parametrize(
    "row",
    [
        np.full(DIM, np.nan, np.float32),
        np.zeros(DIM, np.float32),
        np.full(DIM, np.inf, np.float32),
        np.ones(DIM, np.int64),
        np.ones((2, DIM), np.float32),
        np.ones(DIM - 1, np.float32),
    ],
)
def test_embeddings_that_mean_nothing_are_refused(gallery: SqliteGallery, row: np.ndarray) -> None:
    good, one = sightings(unit_rows(2))
    with pytest.raises(GalleryError):
        gallery.add([good, replace(one, embedding=row)])
    with pytest.raises(GalleryError):
        gallery.search(row, model=MODEL)
    assert gallery.count() == 0


@pytest.mark.parametrize("number", ["1", 1.0, None, 2**63, 2**70])
def test_numbers_that_nobody_can_have_are_errors(gallery: SqliteGallery, number: Any) -> None:
    gallery.add(sightings(unit_rows(1), persons=[gallery.enrol()]))
    for ask in (
        lambda: gallery.get([number]),
        lambda: gallery.name_person(number, "Ann"),
        lambda: gallery.delete([number]),
        lambda: gallery.forget(number),
        lambda: gallery.merge([number], 1),
        lambda: Filter(persons=frozenset({number})),
    ):
        with pytest.raises(GalleryError):
            ask()


@pytest.mark.parametrize(
    "condition",
    [
        {"cameras": 1},
        {"not_persons": 1},
        {"from_s": "2026"},
        {"until_s": datetime(2026, 1, 1)},
        {"from_s": float("nan")},
        {"from_s": 2.0, "until_s": 1.0},
        {"from_s": 2, "until_s": 2},
    ],
)
def test_a_filter_that_would_select_something_else_is_refused(condition: dict[str, Any]) -> None:
    with pytest.raises(GalleryError, match=next(iter(condition))):
        Filter(**condition)


def test_the_pooled_embedding_of_a_track_has_unit_length_and_leans_to_quality() -> None:
    pooled = pool_track(np.eye(2, dtype=np.float32), np.array([3.0, 1.0]))
    np.testing.assert_allclose(pooled, np.array([3, 1]) / np.sqrt(10), rtol=1e-6)
    with pytest.raises(GalleryError, match="N at least 1"):
        pool_track(np.zeros((0, 2)), np.zeros(0))


@pytest.mark.parametrize("until_s", [5.0, 4.0, float("-inf")])
def test_a_period_in_which_nothing_can_be_seen_is_refused(until_s: float) -> None:
    with pytest.raises(GalleryError, match="until_s must be later than from_s"):
        Filter(from_s=5.0, until_s=until_s)
    assert Filter(from_s=5.0, until_s=5.5).until_s == 5.5
