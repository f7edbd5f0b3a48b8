import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.gallery import killing_a_bridge
from tests.gallery.made_up import DIM, sightings, unit_rows

from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.adapting import space_name
from adln.gallery.moving import move_gallery, renew_gallery
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.adaptation import Method, TrackedCrops, fit_adaptation
from adln.matching.bridge import Bridge, bridge_bytes, exit_name

SPACE = "ab" * 8
OLD, NEW, NEWEST = (ModelKey(letter * 64, 2, DIM, SPACE) for letter in "abc")
COUNT = 120


def bridge(source: ModelKey = OLD, target: ModelKey = NEW, *, seed: int = 3) -> Bridge:
    rng = np.random.default_rng(seed)
    return Bridge(
        source=exit_name(*source.exit),
        target=exit_name(*target.exit),
        space=SPACE,
        fitted_on="nobody",
        mean=0.1 * rng.standard_normal(DIM).astype(np.float32),
        matrix=(np.eye(DIM) + 0.5 * rng.standard_normal((DIM, DIM))).astype(np.float32),
        offset=0.1 * rng.standard_normal(DIM).astype(np.float32),
    )


def of(model: ModelKey, rows, **more) -> list[Sighting]:
    return [replace(one, model=model) for one in sightings(rows, **more)]


def filled(folder: Path, **more) -> SqliteGallery:
    gallery = SqliteGallery(folder, create=True, **more)
    persons = [gallery.enrol(name) for name in ("Noor", None, "Ada")]
    whose = [persons[at % 3] for at in range(COUNT)]
    gallery.add(of(OLD, unit_rows(COUNT), persons=whose, thumbnails=True))
    return gallery


def told(gallery: SqliteGallery):
    """All that a gallery tells but for likeness."""
    records = [record for batch in gallery.iterate() for record in batch]
    fields = set(Sighting.__dataclass_fields__) - {"embedding"}
    return (
        gallery.persons(),
        gallery.count(),
        [(one.sighting_id, *(getattr(one, name) for name in sorted(fields))) for one in records],
        [one.embedding.tobytes() for one in records],
    )


def codes(folder: Path) -> dict[str, bytes]:
    return {
        path.name.split("-")[0]: path.read_bytes()[: COUNT * DIM] for path in folder.glob("*.bin")
    }


@pytest.mark.parametrize("low_memory", [False, True])
def test_stored_embeddings_are_compared_as_they_are_carried(tmp_path: Path, low_memory) -> None:
    rows, later, queries = unit_rows(COUNT), unit_rows(10, seed=4), unit_rows(4, seed=9)
    with filled(tmp_path / "g", low_memory=low_memory) as gallery:
        assert gallery.build_bridge(bridge()) == COUNT
        # The new network's own need no way; the old one may go on adding.
        gallery.add(of(NEW, later))
        gallery.add(of(OLD, later))
        everything = np.concatenate([bridge().apply(rows), later, bridge().apply(later)])
        for model, asked in ((NEW, queries), (OLD, bridge().apply(queries))):
            found = gallery.search(queries, model=model, k=COUNT + 20)
            for result, expected in zip(found, asked @ everything.T, strict=True):
                np.testing.assert_array_equal(result.sighting_ids, np.argsort(-expected) + 1)
                np.testing.assert_allclose(result.similarity, -np.sort(-expected), atol=1e-5)


def test_nothing_but_likeness_changes_and_undo_gives_back_every_bit(tmp_path: Path) -> None:
    folder, queries = tmp_path / "g", unit_rows(5, seed=9)
    with filled(folder) as gallery:
        before, at_first = told(gallery), codes(folder)
        answers = gallery.search(queries, model=NEW, k=20)
        gallery.build_bridge(bridge())
        assert told(gallery) == before
        assert codes(folder) != at_first
        assert gallery.remove_bridge(bridge().target) == 1
        assert told(gallery) == before
        assert codes(folder) == at_first
        for one, other in zip(answers, gallery.search(queries, model=NEW, k=20), strict=True):
            np.testing.assert_array_equal(one.sighting_ids, other.sighting_ids)
            np.testing.assert_array_equal(one.similarity, other.similarity)
        assert gallery.remove_bridge(bridge().target) == 0
        assert gallery.bridges == ()
        log = [entry.action for entry in gallery.audit_entries()]
    assert log[-3:] == ["build_bridge", "remove_bridge", "remove_bridge"]


@pytest.mark.parametrize("point", ["before the commit", "after the commit"])
def test_kill_9_leaves_it_built_or_not_built(tmp_path: Path, point) -> None:
    folder, file = tmp_path / "g", tmp_path / "bridge"
    file.write_bytes(bridge_bytes(bridge()))
    with filled(folder) as gallery:
        before = told(gallery)
        plain = gallery.search(unit_rows(1, seed=9), model=NEW, k=5)[0].similarity
        gallery.build_bridge(bridge())
        over = gallery.search(unit_rows(1, seed=9), model=NEW, k=5)[0].similarity
        gallery.remove_bridge(bridge().target)
    was_built = False
    for _ in range(2):
        ended = subprocess.run([sys.executable, killing_a_bridge.__file__, folder, file, point])
        assert ended.returncode == -signal.SIGKILL
        is_built = was_built if point == "before the commit" else not was_built
        with SqliteGallery(folder) as gallery:
            assert len(gallery.bridges) == is_built
            assert told(gallery) == before
            found = gallery.search(unit_rows(1, seed=9), model=NEW, k=5)[0].similarity
            np.testing.assert_array_equal(found, over if is_built else plain)
        was_built = is_built


def test_a_second_bridge_goes_on_from_the_first(tmp_path: Path) -> None:
    second = bridge(NEW, NEWEST, seed=8)
    queries, rows = unit_rows(2, seed=9), unit_rows(COUNT)
    with filled(tmp_path / "g") as gallery:
        gallery.build_bridge(bridge())
        gallery.add(of(NEW, unit_rows(5, seed=4)))
        assert gallery.build_bridge(second) == COUNT + 5
        everything = second.apply(np.concatenate([bridge().apply(rows), unit_rows(5, seed=4)]))
        for result, expected in zip(
            gallery.search(queries, model=NEWEST, k=3), queries @ everything.T, strict=True
        ):
            np.testing.assert_array_equal(result.sighting_ids, np.argsort(-expected)[:3] + 1)
        carried = gallery.carried(gallery.get([1, COUNT + 1]))
        np.testing.assert_array_equal(carried, everything[[0, COUNT]])
        with pytest.raises(GalleryError, match=r"there is a bridge .* back to cccc"):
            gallery.build_bridge(bridge(NEWEST, OLD))
        assert gallery.remove_bridge(second.target) == 1
        assert [one.id for one in gallery.bridges] == [bridge().id]


def test_later_openings_and_missing_codes_go_over_it(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    with filled(folder) as gallery, SqliteGallery(folder) as other:
        gallery.build_bridge(bridge())
        assert [one.id for one in other.bridges] == [bridge().id]
    before = codes(folder)
    for path in folder.glob("*.bin"):
        path.unlink()
    with SqliteGallery(folder) as gallery:
        gallery.count()
        assert codes(folder) == before


def test_somebody_is_forgotten_with_proof(tmp_path: Path) -> None:
    with filled(tmp_path / "g") as gallery:
        gallery.build_bridge(bridge())
        erasure = gallery.forget(1)
        assert erasure.is_proved
        assert erasure.sightings == COUNT // 3


def test_what_cannot_be_carried_is_refused_and_nothing_happens(tmp_path: Path) -> None:
    with filled(tmp_path / "g") as gallery:
        with pytest.raises(GalleryError, match="has no embeddings of network bbbb"):
            gallery.build_bridge(bridge(NEW, NEWEST))
        short = replace(bridge(), mean=np.zeros(3, np.float32))
        with pytest.raises(GalleryError, match="holds embeddings of 32 numbers"):
            gallery.build_bridge(short)
        elsewhere = replace(bridge(), space="cd" * 8)
        with pytest.raises(GalleryError, match="is for space cdcd"):
            gallery.build_bridge(elsewhere)
        assert gallery.bridges == ()


def test_an_adaptation_is_switched_off_before_and_fitted_anew_after(tmp_path: Path) -> None:
    numbers = np.arange(COUNT)
    with filled(tmp_path / "g") as gallery:
        records = gallery.get(range(1, COUNT + 1))

        def fitted():
            rows = unit_length(np.stack(gallery.carried(records)) + 1.0)
            crops = TrackedCrops(rows, numbers % 4, numbers // 8 * 4 + numbers % 4)
            method = Method(name="camera means", by_camera=True)
            return fit_adaptation(crops, method, space=space_name(OLD))

        gallery.adapt(fitted())
        with pytest.raises(GalleryError, match="adapted to its cameras for the old network"):
            gallery.build_bridge(bridge())
        gallery.undo_adaptation()
        gallery.build_bridge(bridge())
        gallery.adapt(adaptation := fitted())
        (result,) = gallery.search(query := unit_rows(1, seed=9), model=NEW, k=3, cameras=[2])
        rows = adaptation.apply(bridge().apply(unit_rows(COUNT)), numbers % 4)
        expected = rows @ adaptation.apply(query, np.array([2]))[0]
        np.testing.assert_array_equal(result.sighting_ids, np.argsort(-expected)[:3] + 1)
        with pytest.raises(GalleryError, match="Undo that first"):
            gallery.remove_bridge(bridge().target)


def test_bridges_come_along_when_a_gallery_is_moved_or_renewed(tmp_path: Path) -> None:
    second = bridge(NEW, NEWEST, seed=8)
    with filled(tmp_path / "g") as gallery:
        gallery.build_bridge(bridge())
        gallery.build_bridge(second)
        with SqliteGallery(tmp_path / "moved", create=True) as target:
            move_gallery(gallery, target)
            assert {one.id for one in target.bridges} == {bridge().id, second.id}
        with SqliteGallery(tmp_path / "renewed", create=True) as target:
            # One picture is broken: that sighting stays as it was, and is carried as before.
            renewal = renew_gallery(
                gallery, target, lambda many: [None, *unit_rows(len(many) - 1)], NEWEST
            )
            assert renewal.kept == 1
            assert {one.id for one in target.bridges} == {bridge().id, second.id}


def test_who_asked_not_to_be_enrolled_is_not_as_the_new_network_sees_them_either(
    tmp_path: Path,
) -> None:
    rows = unit_rows(2, seed=7)
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        gone = gallery.enrol("Mo")
        gallery.add(of(OLD, rows[:1], persons=[gone]))
        gallery.forget(gone, suppress_above=0.9)
        as_seen_now = of(NEW, bridge().apply(rows))
        gallery.add(of(OLD, rows[1:]))  # there must be something to carry over
        assert gallery.add(as_seen_now)[0] is not None
        gallery.build_bridge(bridge())
        assert gallery.add(as_seen_now)[0] is None
        assert gallery.add(as_seen_now)[1] is not None
        assert gallery.add(of(OLD, rows))[0] is None
