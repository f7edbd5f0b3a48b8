"""The newest sightings, a page at a time."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from adln.embeddings import unit_length
from adln.gallery.records import EVERYTHING, Filter, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery

sys.path.insert(0, str(Path(__file__).parent))
from made_up import MODEL


def test_pages_give_everything_once_newest_first_whatever_the_times(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = [*rng.uniform(1.7e9, 1.8e9, 60), *[1.75e9] * 45, -5.0, 0.0, 4e9, *[1.75e9 + 1e-6] * 3]
    look = Sighting(
        embedding=unit_length(rng.normal(size=MODEL.dim)), model=MODEL, camera_id=0, time_s=0.0
    )
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        gallery.add(
            [replace(look, time_s=float(t), camera_id=at % 3) for at, t in enumerate(times)]
        )
        for where in (EVERYTHING, Filter(cameras=frozenset({1})), Filter(from_s=1.74e9)):
            wanted = sorted(
                (
                    (one.time_s, one.sighting_id)
                    for batch in gallery.iterate(where)
                    for one in batch
                ),
                reverse=True,
            )
            found: list[tuple[float, int]] = []
            before = None
            while page := gallery.newest(where, limit=7, before=before):
                found += [(one.time_s, one.sighting_id) for one in page]
                before = found[-1]
            assert found == wanted


def test_of_many_only_a_page_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    embeddings = unit_length(rng.normal(size=(3000, MODEL.dim)))
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        gallery.add(
            [
                Sighting(embedding=one, model=MODEL, camera_id=0, time_s=1.7e9 + at)
                for at, one in enumerate(embeddings)
            ]
        )
        read = 0
        get = gallery.get

        def counted(ids):  # type: ignore[no-untyped-def]
            nonlocal read
            records = get(ids)
            read += len(records)
            return records

        gallery.get = counted  # type: ignore[method-assign]
        page = gallery.newest(EVERYTHING, limit=50)
        assert [one.time_s for one in page] == [1.7e9 + at for at in range(2999, 2949, -1)]
        assert read <= 200


def test_an_empty_gallery_has_no_newest(tmp_path: Path) -> None:
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        assert gallery.newest(EVERYTHING, limit=5) == []


def test_neither_facts_nor_people_read_blobs_or_scan_the_sightings(tmp_path: Path) -> None:
    look = Sighting(embedding=unit_length(np.ones(MODEL.dim)), model=MODEL, camera_id=0, time_s=0.0)
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        anna = gallery.enrol("Anna")
        gallery.add([replace(look, time_s=float(at), person_id=anna) for at in range(50)])
        # What was added is taken in first.
        assert gallery.count() == 50
        asked: list[str] = []
        connection = gallery._connection
        connection.set_trace_callback(asked.append)
        assert len(gallery.newest_facts(limit=20)) == 20
        assert gallery.persons()[0].num_sightings == 50
        connection.set_trace_callback(None)
        reads = [text for text in asked if text.startswith("SELECT") and "sightings" in text]
        assert len(reads) == 1
        assert "thumbnails" not in reads[0]
        assert "embeddings" not in reads[0]
        plan = " ".join(row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {reads[0]}"))
        assert "USING INTEGER PRIMARY KEY" in plan
        assert "SCAN" not in plan
