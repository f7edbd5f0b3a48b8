from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from adln.gallery.records import Filter, ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Decision, Scales
from adln.matching.identification import (
    LEAST_GALLERY,
    MARGIN,
    SAME_CAMERA,
    Identification,
    identify,
    not_asked,
)
from adln.matching.thresholds import StatedThresholds

DIM = 64
MODEL = ModelKey("a" * 64, 2, DIM)
SCALES = Scales(otherwise=StatedThresholds(match=0.75, candidate=0.6))
QUERY = np.eye(DIM, dtype=np.float32)[0]


def look(cosine: float, person_id: int | None, axis: int = 1, depth: int = 2) -> Sighting:
    """A sighting at a cosine to the query."""
    embedding = cosine * np.eye(DIM)[0] + np.sqrt(1 - cosine**2) * np.eye(DIM)[axis]
    return Sighting(
        embedding=embedding.astype(np.float32),
        model=ModelKey(MODEL.digest, depth, DIM, "one-space") if depth != 2 else MODEL,
        camera_id=1,
        time_s=1e9,
        person_id=person_id,
    )


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery", create=True) as opened:
        yield opened


def who(gallery: SqliteGallery, **asked: object) -> Identification:
    return identify(gallery, QUERY, model=MODEL, scales=SCALES, **asked)  # type: ignore[arg-type]


def fill(gallery: SqliteGallery, people: Sequence[tuple[str | None, float]]) -> list[int]:
    ids = [gallery.enrol(name) for name, _ in people]
    gallery.add(
        [
            look(cosine, person, axis=2 + at)
            for at, (person, (_, cosine)) in enumerate(zip(ids, people, strict=True))
        ]
    )
    return ids


def test_a_person_behind_any_number_of_sightings_of_nobody_is_found(
    gallery: SqliteGallery,
) -> None:
    (anna,) = fill(gallery, [("Anna", 0.8)])
    before = who(gallery)
    gallery.add([look(0.95, None, axis=9)] * 50)
    assert who(gallery) == before
    assert before.verdict == "matched"
    assert before.person is not None
    assert (before.person.person_id, before.person.name) == (anna, "Anna")
    assert before.reason == "Anna 0.80 reaches 0.75; nobody else was compared"


@pytest.mark.parametrize(
    ("cosine", "verdict", "reason"),
    [
        (0.80, "matched", "Anna 0.80 reaches 0.75; next is Bela 0.30"),
        (0.71, "candidate", "Anna 0.71 is below 0.75, the threshold of a match"),
        (0.41, "unknown", "nearest is Anna 0.41, below 0.60"),
    ],
)
def test_the_reason_says_score_threshold_and_who_is_next(
    gallery: SqliteGallery, cosine: float, verdict: str, reason: str
) -> None:
    fill(gallery, [("Bela", 0.3), ("Anna", cosine)])
    answer = who(gallery)
    assert (answer.verdict, answer.reason) == (verdict, reason)
    assert (answer.threshold, answer.gallery_size) == (0.75, 2)
    assert answer.score == pytest.approx(cosine, abs=1e-6)
    assert [one.name for one in answer.runners_up] == ["Bela"]
    assert (answer.person is None) == (verdict == "unknown")
    numbered = who(gallery, names=False)
    assert numbered.reason == reason.replace("Anna", "person 2").replace("Bela", "person 1")


def test_two_people_too_close_are_a_candidate_at_even_odds_at_best(gallery: SqliteGallery) -> None:
    fill(gallery, [("Anna", 0.92), ("Bela", 0.9)])
    answer = who(gallery)
    assert answer.verdict == "candidate"
    assert answer.probability == 0.5
    assert answer.reason == ("Anna 0.92 and Bela 0.90 are too close; a match needs a lead of 0.03")
    assert who(gallery, margin=0.01).verdict == "matched"


def test_nobody_to_compare_with_is_said(gallery: SqliteGallery) -> None:
    assert who(gallery).reason == "nobody is enrolled"
    fill(gallery, [("Anna", 0.9)])
    answer = who(gallery, where=Filter(cameras=frozenset({7})))
    assert (answer.verdict, answer.person, answer.gallery_size) == ("unknown", None, 0)
    assert answer.reason == "nobody enrolled may be compared"


def test_without_a_scale_the_nearest_is_named_and_there_is_no_verdict(
    gallery: SqliteGallery,
) -> None:
    fill(gallery, [("Anna", 0.9)])
    answer = identify(gallery, QUERY, model=MODEL, scales=Scales())
    assert answer.verdict is None
    assert answer.person is not None
    assert answer.reason == "nearest is Anna 0.90; there is no calibration to judge it"


def test_a_named_person_goes_before_those_without_a_name_who_are_about_as_alike(
    gallery: SqliteGallery,
) -> None:
    pieces: list[tuple[str | None, float]] = [(None, 0.9 + 0.001 * at) for at in range(9)]
    fill(gallery, [("Anna", 0.89), *pieces])
    answer = who(gallery)
    assert answer.verdict == "matched"
    assert answer.person is not None
    assert answer.person.name == "Anna"
    assert answer.lead < 0
    assert answer.reason.endswith("who has no name, may be the same person")


def test_somebody_without_a_name_who_is_clearly_more_alike_is_the_answer(
    gallery: SqliteGallery,
) -> None:
    _, nameless = fill(gallery, [("Anna", 0.8), (None, 0.95)])
    answer = who(gallery)
    assert answer.verdict == "matched"
    assert answer.person is not None
    assert answer.person.person_id == nameless
    assert answer.reason == "person 2 0.95 reaches 0.75; next is Anna 0.80"


def test_a_named_person_is_no_candidate_for_what_only_the_other_reaches(
    gallery: SqliteGallery,
) -> None:
    _, nameless = fill(gallery, [("Anna", 0.59), (None, 0.61)])
    answer = who(gallery)
    assert answer.verdict == "candidate"
    assert answer.person is not None
    assert answer.person.person_id == nameless


def test_of_equal_scores_the_named_and_then_the_older_one_is_nearest(
    gallery: SqliteGallery,
) -> None:
    fill(gallery, [(None, 0.5), ("Bela", 0.5), ("Anna", 0.5)])
    answer = who(gallery)
    assert answer.nearest is not None
    assert answer.nearest.name == "Bela"
    assert [one.name for one in answer.runners_up] == ["Anna", None]


class BySize:
    """A scale that remembers the sizes of galleries that it was asked about."""

    def __init__(self) -> None:
        self.sizes: set[int] = set()

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        self.sizes.add(gallery_size)
        return Decision(verdict="unknown", probability=0.0)


def test_scores_are_judged_as_among_a_hundred_people_or_more(gallery: SqliteGallery) -> None:
    fill(gallery, [(None, 0.5)] * 3)
    scale = BySize()
    identify(gallery, QUERY, model=MODEL, scales=Scales(otherwise=scale))
    identify(gallery, QUERY, model=MODEL, scales=Scales(otherwise=scale), least_gallery=2)
    assert scale.sizes == {LEAST_GALLERY, 3}


def test_a_sighting_by_the_querys_own_camera_is_judged_as_among_twice_as_many(
    gallery: SqliteGallery,
) -> None:
    fill(gallery, [(None, 0.5)] * 3)  # all seen by camera 1
    for camera, size in ((None, LEAST_GALLERY), (7, LEAST_GALLERY), (1, 200)):
        scale = BySize()
        answer = identify(
            gallery, QUERY, model=MODEL, scales=Scales(otherwise=scale), camera=camera
        )
        assert (answer.judged_among, scale.sizes) == (size, {size})
    gallery.add([look(0.4, gallery.enrol(None), axis=9) for _ in range(LEAST_GALLERY)])
    answer = who(gallery, camera=1)
    assert answer.judged_among == SAME_CAMERA * answer.gallery_size == 206


def test_a_look_at_the_query_itself_says_nothing(gallery: SqliteGallery) -> None:
    anna = gallery.enrol("Anna")
    own, _ = gallery.add([look(1.0, anna), look(0.65, anna)])
    assert who(gallery).verdict == "matched"
    assert who(gallery, without={own}).verdict == "candidate"


@pytest.mark.parametrize(
    ("whole", "of_others", "alone", "said"),
    [
        ("matched", False, "matched", "matched"),
        ("matched", True, "matched", "candidate"),
        ("candidate", False, "matched", "candidate"),
        ("unknown", True, "matched", "unknown"),
        ("matched", False, "unknown", "unknown"),
    ],
)
def test_no_sighting_is_said_to_be_more_than_the_whole_answer(
    gallery: SqliteGallery, whole: str, of_others: bool, alone: str, said: str
) -> None:
    cosine = {"matched": 0.9, "candidate": 0.7, "unknown": 0.2}[whole]
    anna, bela = fill(gallery, [("Anna", cosine), ("Bela", 0.1)])
    answer = who(gallery)
    assert answer.verdict == whole
    decision = Decision(verdict=alone, probability=0.5)  # type: ignore[arg-type]
    assert answer.verdict_on(bela if of_others else anna, decision) == said
    assert answer.verdict_on(None, decision) == alone


def test_nobody_is_named_where_nobody_was_asked() -> None:
    answer = not_asked("not asked: no crop")
    assert (answer.verdict, answer.person, answer.score) == ("unknown", None, None)
    assert answer.lead == -np.inf


def drawn_vectors(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    rows = QUERY + 0.12 * rng.standard_normal((count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


Rule = Callable[[SqliteGallery], Identification]


@given(seed=st.integers(0, 10_000), people=st.integers(1, 8), nameless=st.integers(0, 8))
@settings(deadline=None, max_examples=30)
def test_the_answer_is_that_of_comparing_everybody_one_by_one(
    seed: int, people: int, nameless: int
) -> None:
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as folder, SqliteGallery(folder, create=True) as gallery:
        ids = [gallery.enrol(f"P{at}") for at in range(people)]
        ids += [gallery.enrol() for _ in range(nameless)]
        best = dict.fromkeys(ids, -1.0)
        for person in ids:
            rows = drawn_vectors(rng, int(rng.integers(1, 4)))
            best[person] = float(np.max(np.vecdot(rows, QUERY)))
            gallery.add(
                [
                    Sighting(embedding=r, model=MODEL, camera_id=0, time_s=0.0, person_id=person)
                    for r in rows
                ]
            )
        before = who(gallery)
        nobody = drawn_vectors(rng, 30)
        gallery.add([Sighting(embedding=r, model=MODEL, camera_id=0, time_s=0.0) for r in nobody])
        assert who(gallery) == before
        top = max(best.values())
        close = [one for one in ids if top - best[one] < MARGIN]
        names = {one for one in close if one in ids[:people] and best[one] >= 0.6}
        meant = max(names or close, key=best.__getitem__)
        assert before.nearest is not None
        assert before.nearest.person_id == meant
        assert before.score == pytest.approx(best[meant], abs=1e-6)
        if before.verdict == "matched":
            others = [one for one in ids if one != meant and (meant not in names or one in names)]
            assert all(best[meant] - best[one] >= MARGIN - 1e-6 for one in others)
