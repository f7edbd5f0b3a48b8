"""A gallery moved elsewhere is the same gallery, and a copy that differs is not called a move."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.moving import move_gallery, renew_gallery, verify_move
from adln.gallery.records import Filter, ModelKey, Sighting, StoredSighting
from adln.gallery.retention import Retention
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.gallery.sums import row_sum

MODEL = ModelKey("a" * 64, 2, 16)


def filled(path: Path) -> SqliteGallery:
    rng = np.random.default_rng(0)
    gallery = SqliteGallery(path, create=True)
    # Numbers that the new place will not give again.
    gone = gallery.enrol("Nobody")
    anna, nameless = gallery.enrol("Anna"), gallery.enrol()
    gallery.forget(gone)
    people = [anna, None, nameless]
    sightings = [
        Sighting(
            embedding=embedding,
            model=replace(MODEL, depth=2 + number % 2),
            camera_id=number % 4,
            time_s=1e9 + number / 3,
            person_id=people[number % 3],
            track_id=number // 2 if number % 5 else None,
            box_xyxy=(0.1, 0.2, 3.3, 4.4) if number % 2 else None,
            quality=number / 100,
            thumbnail=b"jpeg %d" % number if number % 7 == 0 else None,
        )
        for number, embedding in enumerate(unit_length(rng.normal(size=(100, 16))))
    ]
    ids = gallery.add(sightings)
    gallery.delete([number for number in ids[:10] if number is not None])
    return gallery


def test_everything_arrives_under_new_numbers(tmp_path: Path) -> None:
    done: list[int] = []
    with filled(tmp_path / "old") as old, SqliteGallery(tmp_path / "new", create=True) as new:
        moved = move_gallery(old, new, on_progress=done.append)
        assert sum(done) == len(moved.sighting_ids) == new.count() == old.count() == 90
        assert moved.searches == 20
        assert list(moved.person_ids) == [2, 3]
        assert [(p.name, p.num_sightings) for p in new.persons()] == [
            (p.name, p.num_sightings) for p in old.persons()
        ]
        ((first, *_),) = old.iterate(batch_size=90)
        (copy,) = new.get([moved.sighting_ids[first.sighting_id]])
        assert (copy.box_xyxy, copy.thumbnail, copy.time_s, copy.track_id) == (
            first.box_xyxy,
            first.thumbnail,
            first.time_s,
            first.track_id,
        )
        # A second move would mix people up.
        with pytest.raises(GalleryError, match="must be empty"):
            move_gallery(old, new)


def test_a_name_that_earlier_versions_kept_otherwise_moves_too(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "old", create=True) as old:
        person_id = old.enrol("Anna Bell")
    with closing(sqlite3.connect(tmp_path / "old" / "gallery.db")) as connection:
        name = "An\u200cna  Bell"
        connection.execute(
            "UPDATE persons SET name = ?, name_sum = ?", (name, row_sum(person_id, name))
        )
        connection.commit()
    with SqliteGallery(tmp_path / "old") as old, SqliteGallery(tmp_path / "n", create=True) as new:
        move_gallery(old, new)
        assert [person.name for person in new.persons()] == ["Anna Bell"]


def test_an_empty_gallery_moves_too(tmp_path: Path) -> None:
    with (
        SqliteGallery(tmp_path / "old", create=True) as old,
        SqliteGallery(tmp_path / "new", create=True) as new,
    ):
        assert move_gallery(old, new).sighting_ids == {}


@pytest.mark.parametrize("fault", ["lost", "person", "quality", "extra"])
def test_a_copy_that_differs_is_found(tmp_path: Path, fault: str) -> None:
    with filled(tmp_path / "old") as old, SqliteGallery(tmp_path / "new", create=True) as new:
        moved = move_gallery(old, new)
        last = list(moved.sighting_ids.values())[-1]
        (record,) = new.get([last])
        if fault == "lost":
            new.delete([last])
        elif fault == "extra":
            new.add([_again(record)])
        elif fault == "person":
            new.assign([last], None if record.person_id is not None else new.persons()[0].person_id)
        else:
            new.delete([last])
            (given,) = new.add([replace(_again(record), quality=0.123)])
            assert given is not None
            old_id = next(old for old, new_id in moved.sighting_ids.items() if new_id == last)
            moved.sighting_ids[old_id] = given
        with pytest.raises(GalleryError, match="After the move"):
            verify_move(old, new, moved.person_ids, moved.sighting_ids)


def _again(record: StoredSighting) -> Sighting:
    names: Sequence[str] = list(Sighting.__dataclass_fields__)
    return Sighting(**{name: getattr(record, name) for name in names})


def ruled(path: Path) -> SqliteGallery:
    """A gallery with rules, and somebody who was forgotten and is to be refused."""
    gallery = filled(path)
    anna, nameless = (one.person_id for one in gallery.persons())
    gallery.name_person(anna, "Ann")
    ((first, *_),) = gallery.iterate(batch_size=90)
    look = replace(_again(first), embedding=np.eye(16)[3], person_id=None, thumbnail=b"jpeg")
    gallery.forget(
        gallery.split([one for one in gallery.add([look]) if one], "\uff23leo"), suppress_above=0.9
    )
    gallery.set_retention(
        Retention(
            keep_s=9e9,
            camera_keep_s={2: 8e9},
            # Of one who is gone, too.
            person_keep_s={nameless: 7e9, 1: 6e9},
            max_templates=20,
        )
    )
    return gallery


def require_ruled(new: SqliteGallery, person_ids: dict[int, int]) -> None:
    anna, nameless = person_ids.values()
    assert new.retention == Retention(
        keep_s=9e9, camera_keep_s={2: 8e9}, person_keep_s={nameless: 7e9}, max_templates=20
    )
    for name in ("Nobody", "nobody", "\uff23leo", "cleo"):
        with pytest.raises(GalleryError, match="forgotten on request"):
            new.enrol(name)
    # Names of their own that nobody was told here are forgotten with them.
    new.forget(anna)
    for name in ("Ann", "Anna"):
        with pytest.raises(GalleryError, match="forgotten on request"):
            new.enrol(name)
    assert new.enrol("Bela")


def test_rules_and_who_was_forgotten_move_too(tmp_path: Path) -> None:
    with ruled(tmp_path / "old") as old, SqliteGallery(tmp_path / "new", create=True) as new:
        # Barred in the new place before, with another salt.
        new.forget(new.enrol("\uff24ora"))
        moved = move_gallery(old, new)
        look = Sighting(embedding=np.eye(16)[3], model=MODEL, camera_id=1, time_s=1e9)
        assert new.add([look]) == [None]
        require_ruled(new, moved.person_ids)
        for name in ("\uff24ora", "dora"):
            with pytest.raises(GalleryError, match="forgotten on request"):
                new.enrol(name)
    with (
        SqliteGallery(tmp_path / "new") as new,
        SqliteGallery(tmp_path / "own", create=True) as own,
    ):
        own.set_retention(Retention(keep_s=5.0))
        move_gallery(new, own)
        assert own.retention == Retention(keep_s=5.0)
        with pytest.raises(GalleryError, match="forgotten on request"):
            own.enrol("Cleo")


@pytest.mark.parametrize("shared", [True, False])
def test_rules_and_who_was_forgotten_go_over_to_another_network(
    tmp_path: Path, shared: bool
) -> None:
    look = Sighting(embedding=np.eye(16)[1], model=MODEL, camera_id=1, time_s=1e9)
    # The depths of one file share its family, so that the old ones tell their spaces by now.
    spaces = {2: "two", 3: "three"}
    with ruled(tmp_path / "old") as old, SqliteGallery(tmp_path / "new", create=True) as new:
        for depth, space in spaces.items():
            old.add([replace(look, model=replace(MODEL, depth=depth, space=space))])
        ((model_id,),) = old._connection.execute("SELECT model_id FROM suppressed").fetchall()
        space = old._index.models[model_id].space if shared else "four"
        model = ModelKey("c" * 64, 4, 16, space)
        renewal = renew_gallery(old, new, lambda _: [np.eye(16)[1]] * len(_), model)
        assert renewal.templates_left_out == (0 if shared else 1)
        given = new.add([replace(look, model=model, embedding=np.eye(16)[3])])
        assert (given == [None]) == shared
        require_ruled(new, renewal.person_ids)


def test_searches_that_differ_are_found(tmp_path: Path) -> None:
    class Forgetful(SqliteGallery):
        """Answers as an index that misses some."""

        def search(self, *args: object, **kwargs: object) -> list:  # type: ignore[override]
            where = Filter(not_cameras=frozenset({1}))
            return super().search(*args, **{**kwargs, "where": where})  # type: ignore[arg-type]

    with (
        filled(tmp_path / "old") as old,
        Forgetful(tmp_path / "new", create=True) as new,
        pytest.raises(GalleryError, match="different answers"),
    ):
        move_gallery(old, new)


def test_a_place_that_refuses_somebody_is_no_place_to_move_to(tmp_path: Path) -> None:
    with filled(tmp_path / "old") as old, SqliteGallery(tmp_path / "new", create=True) as new:
        ((first, *_),) = old.iterate(batch_size=90)
        (given,) = new.add([replace(_again(first), person_id=None)])
        assert given is not None
        new.forget(new.split([given]), suppress_above=0.99)
        with pytest.raises(GalleryError, match="refuses sighting"):
            move_gallery(old, new)


def test_kept_pictures_are_embedded_by_the_new_network(tmp_path: Path) -> None:
    new_model = ModelKey("c" * 64, 3, 16, "space-one")
    with filled(tmp_path / "old") as old, SqliteGallery(tmp_path / "new", create=True) as new:
        anna = next(one.person_id for one in old.persons() if one.name == "Anna")
        seen: list[bytes] = []

        def embed(pictures: Sequence[bytes]) -> list[np.ndarray | None]:
            seen.extend(pictures)
            broken = b"jpeg 14"
            return [None if one == broken else np.eye(16)[len(one)] for one in pictures]

        renewal = renew_gallery(old, new, embed, new_model)
        pictured = [one for one in old.newest(limit=200) if one.thumbnail is not None]
        assert sorted(seen) == sorted(one.thumbnail or b"" for one in pictured)
        assert (renewal.renewed, renewal.kept, renewal.left_out) == (12, 0, 78)
        assert {one.name for one in new.persons()} == {"Anna", None}
        copies = {one.thumbnail: one for one in new.newest(limit=200)}
        for record in pictured:
            if record.thumbnail == b"jpeg 14":
                continue
            copy = copies[record.thumbnail]
            assert copy.model == new_model
            assert int(np.argmax(copy.embedding)) == len(record.thumbnail or b"")
            assert (copy.camera_id, copy.track_id) == (record.camera_id, record.track_id)
            assert copy.person_id == renewal.person_ids.get(record.person_id or 0)
        assert renewal.unseen == ()
        assert old.count() == 90
        with pytest.raises(GalleryError, match="must be empty"):
            renew_gallery(old, new, embed, new_model)
        assert renewal.person_ids[anna] in {one.person_id for one in copies.values()}


def test_without_pictures_a_space_in_common_decides(tmp_path: Path) -> None:
    old_model = ModelKey("a" * 64, 2, 16, "space-one")
    look = Sighting(embedding=np.eye(16)[0], model=old_model, camera_id=1, time_s=5.0)
    for space, kept, unseen in (("space-one", 1, 0), ("space-two", 0, 1)):
        folder = tmp_path / space
        with SqliteGallery(folder / "old", create=True) as old:
            old.add([replace(look, person_id=old.enrol("Bela"))])
            with SqliteGallery(folder / "new", create=True) as new:
                model = ModelKey("c" * 64, 2, 16, space)
                renewal = renew_gallery(old, new, lambda pictures: [], model)
                assert (renewal.kept, renewal.left_out) == (kept, 1 - kept)
                assert len(renewal.unseen) == unseen
                assert new.count() == kept
