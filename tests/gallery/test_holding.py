"""A merge erases nothing for as long as it may be undone."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adln.gallery import holding
from adln.gallery.holding import HELD_S
from adln.gallery.records import Filter
from adln.gallery.retention import Retention, apply_retention, surplus_templates
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import sightings, unit_rows


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery", create=True) as opened:
        yield opened


def ids_of(gallery: SqliteGallery, person_id: int) -> set[int]:
    where = Filter(persons=frozenset({person_id}))
    return {one.sighting_id for batch in gallery.iterate(where) for one in batch}


def two_people(gallery: SqliteGallery) -> tuple[int, int]:
    """Ten sightings each, which is as many as a person may have."""
    gallery.set_retention(Retention(max_templates=10))
    ann, bob = gallery.enrol("Ann"), gallery.enrol("Bob")
    for seed, person in enumerate((ann, bob)):
        gallery.add(sightings(unit_rows(10, seed=seed), persons=[person] * 10))
    return ann, bob


def test_whoever_is_merged_and_restored_has_all_of_their_sightings(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = two_people(gallery)
    before = {person: ids_of(gallery, person) for person in (ann, bob)}
    gallery.merge([bob], ann)
    assert gallery.held() == {ann}
    # Seen again, and tidied up meanwhile.
    (new,) = gallery.add(sightings(unit_rows(1, seed=2), persons=[ann]))
    apply_retention(gallery, gallery.retention, now_s=0.0)
    gallery.unmerge(bob, sorted(before[bob]), name="Bob")
    assert ids_of(gallery, bob) == before[bob]
    assert ids_of(gallery, ann) == before[ann] | {new}
    gallery.merge([bob], ann)
    now_s = time.time()
    monkeypatch.setattr(holding.time, "time", lambda: now_s + HELD_S + 1)
    assert gallery.held() == frozenset()
    assert len(surplus_templates(gallery, 10)) == 11
    gallery.add(sightings(unit_rows(1, seed=3), persons=[ann]))
    assert len(ids_of(gallery, ann)) == 10


def test_what_is_given_to_somebody_erases_nothing_of_theirs(gallery: SqliteGallery) -> None:
    ann, bob = two_people(gallery)
    before = {person: ids_of(gallery, person) for person in (ann, bob)}
    gallery.assign(before[bob], ann)
    gallery.add(sightings(unit_rows(1, seed=2), persons=[ann]))
    gallery.assign(before[bob], bob)
    assert ids_of(gallery, bob) == before[bob]
    assert ids_of(gallery, ann) > before[ann]


def test_another_process_holds_too_and_a_clock_that_was_ahead_does_not_hold_for_ever(
    gallery: SqliteGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = two_people(gallery)
    now_s = time.time()
    monkeypatch.setattr(holding.time, "time", lambda: now_s + 86400)
    gallery.merge([bob], ann)
    with SqliteGallery(gallery.folder) as other:
        assert other.held() == {ann}
        monkeypatch.setattr(holding.time, "time", lambda: now_s)
        assert other.held() == frozenset()
