from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.gallery.made_up import DIM, MODEL, sightings, unit_rows
from tests.matching import made_calibration

from adln.errors import GalleryError
from adln.gallery.adapting import as_compared, space_name
from adln.gallery.look_alikes import find_look_alikes
from adln.gallery.moving import move_gallery
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.adaptation import Method, TrackedCrops, fit_adaptation
from adln.matching.calibration import Level, Scales
from adln.matching.identification import identify
from adln.matching.thresholds import StatedThresholds

WHITENED = Method(name="camera means and whitening", by_camera=True, whitening=1.0)
COUNT = 200


def fitted(space=None):
    rows = unit_rows(COUNT, seed=5) + 1.0
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    numbers = np.arange(COUNT)
    crops = TrackedCrops(rows, numbers % 4, numbers // 8 * 4 + numbers % 4)
    return fit_adaptation(crops, WHITENED, space=space_name(MODEL) if space is None else space)


def code_bytes(folder: Path):
    return {
        path.name.split("-")[0]: path.read_bytes()[: COUNT * DIM] for path in folder.glob("*.bin")
    }


@pytest.mark.parametrize("low_memory", [False, True])
def test_stored_and_query_are_compared_adapted(tmp_path: Path, low_memory):
    rows = unit_rows(COUNT)
    queries = unit_rows(3, seed=9)
    with SqliteGallery(tmp_path / "g", create=True, low_memory=low_memory) as gallery:
        gallery.add(sightings(rows[: COUNT // 2]))
        gallery.adapt(adaptation := fitted())
        gallery.add(sightings(rows[COUNT // 2 :]))
        results = gallery.search(queries, model=MODEL, k=COUNT, cameras=[2, 0, -1])
        # Each half was numbered anew, and 100 is a multiple of the four cameras.
        adapted = adaptation.apply(rows, np.arange(COUNT) % 4)
        scores = adaptation.apply(queries, np.array([2, 0, -1])) @ adapted.T
        for result, expected in zip(results, scores, strict=True):
            np.testing.assert_array_equal(result.sighting_ids, np.argsort(-expected) + 1)
            np.testing.assert_allclose(result.similarity, -np.sort(-expected), atol=1e-5)


def test_sightings_are_handed_out_as_searches_compare_them(tmp_path: Path):
    rows = unit_rows(COUNT)
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        gallery.add(sightings(rows))
        records = gallery.get([7, 3, 90])
        np.testing.assert_array_equal(gallery.compared(records), rows[[6, 2, 89]])
        gallery.adapt(adaptation := fitted())
        expected = adaptation.apply(rows[[6, 2, 89]], np.array([6, 2, 89]) % 4)
        np.testing.assert_allclose(gallery.compared(records), expected, atol=1e-6)
        given = as_compared(gallery, records)
        assert [one.sighting_id for one in given] == [7, 3, 90]
        np.testing.assert_allclose([one.embedding for one in given], expected, atol=1e-6)
        assert as_compared(gallery, []) == []


def test_undo_gives_back_every_bit(tmp_path: Path):
    folder = tmp_path / "g"
    queries = unit_rows(5, seed=9)
    with SqliteGallery(folder, create=True) as gallery:
        gallery.add(sightings(unit_rows(COUNT)))
        before = code_bytes(folder)
        answers = gallery.search(queries, model=MODEL, k=20)
        stored = [one.embedding.tobytes() for one in gallery.get(range(1, COUNT + 1))]
        gallery.adapt(fitted())
        assert [one.embedding.tobytes() for one in gallery.get(range(1, COUNT + 1))] == stored
        assert code_bytes(folder) != before
        assert gallery.undo_adaptation() == 1
        assert code_bytes(folder) == before
        for one, other in zip(answers, gallery.search(queries, model=MODEL, k=20), strict=True):
            np.testing.assert_array_equal(one.sighting_ids, other.sighting_ids)
            np.testing.assert_array_equal(one.similarity, other.similarity)
        assert gallery.undo_adaptation() == 0
        assert gallery.adaptations == ()


def test_other_processes_and_later_openings_see_it(tmp_path: Path):
    folder = tmp_path / "g"
    adaptation = fitted()
    with SqliteGallery(folder, create=True) as gallery, SqliteGallery(folder) as other:
        gallery.add(sightings(unit_rows(COUNT)))
        assert other.adaptations == ()
        gallery.adapt(adaptation)
        assert [one.id for one in other.adaptations] == [adaptation.id]
    with SqliteGallery(folder) as gallery:
        gallery.compact()
        assert [one.id for one in gallery.adaptations] == [adaptation.id]


def test_missing_code_files_are_rebuilt_adapted(tmp_path: Path):
    folder = tmp_path / "g"
    with SqliteGallery(folder, create=True) as gallery:
        gallery.add(sightings(unit_rows(COUNT)))
        gallery.adapt(fitted())
    before = code_bytes(folder)
    for path in folder.glob("*.bin"):
        path.unlink()
    with SqliteGallery(folder) as gallery:
        gallery.count()
        assert code_bytes(folder) == before


def test_look_alikes_are_found_with_the_cameras_of_both(tmp_path: Path):
    rows = unit_rows(COUNT)
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        anna = gallery.enrol("Anna")
        given = sightings(rows, persons=[anna] * 2 + [None] * (COUNT - 2))
        gallery.add(given)
        gallery.adapt(adaptation := fitted())
        adapted = adaptation.apply(rows, np.arange(COUNT) % 4)
        scores = (adapted[2:] @ adapted[:2].T).max(axis=1)
        least = float(np.sort(scores)[-20]) - 1e-4
        (nobody,) = find_look_alikes(gallery, anna, least=least)
        alike = set((np.flatnonzero(scores >= least) + 3).tolist())
        assert set(nobody.sighting_ids) == alike
        assert nobody.similarity == pytest.approx(float(scores.max()), abs=1e-5)


def test_an_adapted_person_is_forgotten_with_proof(tmp_path: Path):
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        person = gallery.enrol("Noor")
        gallery.add(sightings(unit_rows(COUNT), persons=[person] * 40 + [None] * (COUNT - 40)))
        gallery.adapt(fitted())
        erasure = gallery.forget(person)
        assert erasure.is_proved
        assert erasure.sightings == 40


def test_embeddings_of_another_space_are_left_alone(tmp_path: Path):
    other = ModelKey(MODEL.digest, 3, DIM)
    rows = unit_rows(10)
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        gallery.add(sightings(unit_rows(COUNT)))
        gallery.add([Sighting(embedding=row, model=other, camera_id=0, time_s=1.0) for row in rows])
        gallery.adapt(fitted())
        (result,) = gallery.search(rows[3], model=other, k=1)
        assert result.similarity[0] == pytest.approx(1, abs=1e-5)


def test_an_adaptation_of_a_foreign_space_is_refused(tmp_path: Path):
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        gallery.add(sightings(unit_rows(COUNT)))
        with pytest.raises(GalleryError, match="there are no embeddings here"):
            gallery.adapt(fitted(space="elsewhere"))
        with pytest.raises(GalleryError, match="cameras, got 2"):
            gallery.search(unit_rows(1), model=MODEL, cameras=[1, 2])


def test_persons_are_found_with_adapted_queries(tmp_path: Path):
    rows, queries = unit_rows(COUNT), unit_rows(3, seed=9)
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        persons = [gallery.enrol() for _ in range(20)]
        whose = [persons[at % 20] for at in range(COUNT)]
        gallery.add(sightings(rows, persons=whose))
        gallery.adapt(adaptation := fitted())
        adapted = adaptation.apply(rows, np.arange(COUNT) % 4)
        for cameras in ([2, 0, -1], None):
            seen_by = np.array([-1] * 3 if cameras is None else cameras)
            scores = adaptation.apply(queries, seen_by) @ adapted.T
            results = gallery.search_persons(queries, model=MODEL, k=20, cameras=cameras)
            for result, expected in zip(results, scores, strict=True):
                best = expected.reshape(-1, 20).max(axis=0)
                np.testing.assert_array_equal(
                    result.best.person_ids, np.array(persons)[np.argsort(-best)]
                )
                np.testing.assert_allclose(result.best.similarity, -np.sort(-best), atol=1e-5)
        with pytest.raises(GalleryError, match="cameras, got 2"):
            gallery.search_persons(unit_rows(1), model=MODEL, cameras=[1, 2])


@pytest.mark.parametrize("engine", ["numpy", None])
@pytest.mark.parametrize("name", ["codes", "embeddings"])
def test_damaged_files_are_repaired_adapted(tmp_path: Path, engine, name):
    folder, queries = tmp_path / "g", unit_rows(3, seed=9)
    with SqliteGallery(folder, create=True, engine=engine) as gallery:
        gallery.add(sightings(unit_rows(COUNT)))
        gallery.adapt(fitted())
        answers = gallery.search(queries, model=MODEL, k=COUNT)
    before = code_bytes(folder)
    (damaged,) = folder.glob(f"{name}-*.bin")
    with damaged.open("rb+") as file:
        file.write(b"\x11" * 500)
    with SqliteGallery(folder, engine=engine) as gallery:
        for one, other in zip(answers, gallery.search(queries, model=MODEL, k=COUNT), strict=True):
            np.testing.assert_array_equal(one.sighting_ids, other.sighting_ids)
            np.testing.assert_array_equal(one.similarity, other.similarity)
    assert code_bytes(folder) == before


def test_a_space_that_becomes_known_later_leaves_the_adaptation_on(tmp_path: Path):
    rows = unit_rows(COUNT)
    known = replace(MODEL, space="a space")
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        gallery.add(sightings(rows))
        gallery.adapt(adaptation := fitted(space=space_name(MODEL)))
        (new,) = sightings(unit_rows(1, seed=3))
        gallery.add([replace(new, model=known)])
        query = unit_rows(1, seed=9)
        (result,) = gallery.search(query, model=known, k=COUNT)
        adapted = adaptation.apply(rows, np.arange(COUNT) % 4)
        scores = adaptation.apply(query, np.array([-1])) @ adapted.T
        found = dict(zip(result.sighting_ids.tolist(), result.similarity.tolist(), strict=True))
        for at, score in enumerate(scores[0], 1):
            if at in found:
                assert found[at] == pytest.approx(float(score), abs=1e-5)


def test_a_folder_is_moved_with_its_adaptation(tmp_path: Path):
    with (
        SqliteGallery(tmp_path / "old", create=True) as old,
        SqliteGallery(tmp_path / "new", create=True) as new,
    ):
        old.add(sightings(unit_rows(COUNT)))
        old.adapt(adaptation := fitted())
        assert move_gallery(old, new).searches == 20
        assert [one.id for one in new.adaptations] == [adaptation.id]


def test_an_adapted_folder_is_not_moved_to_a_server(tmp_path: Path):
    class Server:
        """A gallery of another kind."""

    with SqliteGallery(tmp_path / "old", create=True) as old:
        old.add(sightings(unit_rows(COUNT)))
        old.adapt(fitted())
        with pytest.raises(GalleryError, match="adln adapt --undo"):
            move_gallery(old, Server())


def test_who_it_is_is_decided_with_the_camera_of_the_query(tmp_path: Path):
    rows = unit_rows(COUNT)
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        person = gallery.enrol("Noor")
        gallery.add(sightings(rows, persons=[person] * COUNT))
        gallery.adapt(adaptation := fitted())
        query = unit_rows(1, seed=9)[0]
        adapted = adaptation.apply(rows, np.arange(COUNT) % 4)
        for camera in (1, None):
            answer = identify(gallery, query, model=MODEL, scales=Scales(), camera=camera)
            seen_by = np.array([-1 if camera is None else camera])
            best = (adaptation.apply(query[np.newaxis], seen_by) @ adapted.T).max()
            assert answer.score == pytest.approx(float(best), abs=1e-5)


CALIBRATION = replace(
    made_calibration.CALIBRATION,
    depth=1,
    sizes=(1, 100),
    match=Level(rate=0.01, thresholds=(0.1, 0.2)),
    candidate=Level(rate=0.05, thresholds=(0.0, 0.1)),
    slope=10.0,
    size_slope=0.0,
    intercept=0.0,
)


def test_what_scores_mean_is_stored_with_the_adaptation_and_goes_with_it(tmp_path: Path):
    strict = Scales(otherwise=StatedThresholds(match=0.999, candidate=0.998))
    query = unit_rows(1, seed=9)[0]
    with SqliteGallery(tmp_path / "g", create=True) as gallery:
        who = gallery.enrol("anna")
        gallery.add([replace(one, person_id=who) for one in sightings(unit_rows(COUNT))])
        assert gallery.calibration_of(MODEL) is None
        assert identify(gallery, query, model=MODEL, scales=strict).verdict == "unknown"
        gallery.adapt(fitted(), CALIBRATION)
    with SqliteGallery(tmp_path / "g") as gallery:
        assert gallery.calibration_of(MODEL) == CALIBRATION
        answer = identify(gallery, query, model=MODEL, scales=strict)
        assert answer.verdict == "matched"
        assert answer.threshold == pytest.approx(0.2)
        with SqliteGallery(tmp_path / "moved", create=True) as moved:
            move_gallery(gallery, moved)
            assert moved.calibration_of(MODEL) == CALIBRATION
        # Fitted anew without one, the old one means nothing any more.
        gallery.adapt(fitted())
        assert gallery.calibration_of(MODEL) is None
        gallery.adapt(fitted(), CALIBRATION)
        gallery.undo_adaptation()
        assert gallery.calibrations == {}
        assert identify(gallery, query, model=MODEL, scales=strict).verdict == "unknown"
