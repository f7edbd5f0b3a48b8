"""What the queue finds in a gallery that is adapted to its cameras."""

from pathlib import Path

import numpy as np
import pytest
from tests.matching import made_calibration

from adln.embeddings import unit_length
from adln.gallery.adapting import space_name
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.adaptation import TrackedCrops, fit_adaptation
from adln.matching.adaptation_gate import CENTRINGS
from adln.matching.calibration import Scales
from adln.service.people import People
from adln.service.review_queue import ReviewQueue

DIM = 32
MODEL = ModelKey("a" * 64, 2, DIM)
PEOPLE, EACH = 12, 6


def test_strangers_stay_apart_and_suggestions_know_the_camera(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    numbers = np.arange(PEOPLE * EACH)
    who, cameras = numbers // EACH, numbers % 2
    # What each camera adds makes strangers alike, and one person before two cameras less so.
    looks = unit_length(
        3 * np.eye(DIM)[cameras] + np.eye(DIM)[2 + who] + 0.02 * np.eye(DIM)[20 + numbers % 12]
    ).astype(np.float32)
    crops = TrackedCrops(looks, cameras, numbers)
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        anna = gallery.enrol("Anna")
        gallery.add(
            [
                Sighting(
                    embedding=look,
                    model=MODEL,
                    camera_id=int(camera),
                    time_s=1e9 + at,
                    # Anna was seen as all others were, and is known from one camera.
                    person_id=anna if at < EACH and camera == 0 else None,
                )
                for at, (look, camera) in enumerate(zip(looks, cameras, strict=True))
            ]
        )
        adaptation = fit_adaptation(crops, CENTRINGS[1], space=space_name(MODEL))
        gallery.adapt(adaptation, made_calibration.CALIBRATION)
        found = ReviewQueue(gallery, People(gallery), Scales()).look()
    groups = [one for one in found.items if one.kind == "group"]
    owners = [{(number - 1) // EACH for number in one.sighting_ids} for one in groups]
    assert sorted(owners, key=min) == [{person} for person in range(PEOPLE)]
    (hers,) = [one for one, its in zip(groups, owners, strict=True) if its == {0}]
    (look,) = [number - 1 for number in hers.sighting_ids[:1]]
    adapted = adaptation.apply(looks, cameras)
    best = (adapted[look] @ adapted[:EACH:2].T).max()
    assert (hers.other_id, hers.likeness) == (anna, pytest.approx(float(best), abs=1e-5))
