from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from adln.errors import GalleryError, SettingsError
from adln.gallery.records import NO_PERSON, Filter
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Decision, Scales
from adln.matching.identification import LEAST_GALLERY
from adln.matching.thresholds import StatedThresholds
from adln.pipeline.evidence import Answer, EmbeddedCrop, Evidence
from adln.pipeline.identity import IdentityBook, IdentitySettings

DIM = 64
SET_ASIDE = Filter(persons=frozenset({NO_PERSON}))
SCALE = StatedThresholds(match=0.7, candidate=0.5)
SCALES = Scales(own=dict.fromkeys((1, 2, 3, 4), SCALE))


def face(person: int, *, like: float = 1.0, other: int = 99) -> np.ndarray:
    """The embedding of a person, mixed with that of another one to a cosine of `like`."""

    def axis(number: int) -> np.ndarray:
        return np.eye(DIM, dtype=np.float32)[number % DIM]

    return (like * axis(person) + np.sqrt(1 - like**2) * axis(other)).astype(np.float32)


def evidence(
    camera: int,
    track: int,
    embedding: np.ndarray,
    *,
    first_s: float = 0.0,
    last_s: float = 5.0,
    crops: int = 2,
    quality: float = 0.8,
    first_crop: int = 1,
    is_last: bool = False,
    depths: tuple[int, ...] = (2,),
    most_crops: int = 4,
) -> Evidence:
    return Evidence(
        camera=camera,
        track=track,
        first_s=first_s,
        last_s=last_s,
        crops=tuple(
            EmbeddedCrop(
                crop_id=first_crop + at,
                time_s=first_s + at,
                box_xyxy=(0.0, 0.0, 10.0, 30.0),
                quality=quality,
                embeddings=dict.fromkeys(depths, embedding),
            )
            for at in range(crops)
        ),
        is_last=is_last,
        most_crops=most_crops,
    )


Open = Callable[..., IdentityBook]


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[SqliteGallery]:
    with SqliteGallery(tmp_path / "gallery", create=True) as opened:
        yield opened


def make_book(
    gallery: SqliteGallery,
    *,
    spaces: dict[int, str] | None = None,
    pairs: dict[tuple[int, int], StatedThresholds] | None = None,
    **changes: float,
) -> IdentityBook:
    settings = IdentitySettings(**changes)  # type: ignore[arg-type]
    return IdentityBook(
        gallery,
        digest="ab",
        dim=DIM,
        scales=Scales(own=SCALES.own, pairs=pairs or {}),
        spaces=spaces,
        settings=settings,
    )


def only(answers: list[Answer]) -> Answer:
    (answer,) = answers
    return answer


def seen_before(book: IdentityBook, embedding: np.ndarray, camera: int = 1, track: int = 1) -> int:
    """Somebody who was before a camera for a while and left."""
    answer = only(book.decide([evidence(camera, track, embedding, is_last=True)]))
    assert answer.person_id is not None
    return answer.person_id


def test_somebody_of_whom_enough_was_seen_is_enrolled(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    answer = only(book.decide([evidence(1, 1, face(1))]))
    assert (answer.verdict, answer.changed) == ("unknown", True)
    assert [person.person_id for person in gallery.persons()] == [answer.person_id]
    assert book.num_persons == 1


@pytest.mark.parametrize(
    "poor", [{"crops": 1}, {"quality": 0.1}, {"last_s": 0.5}], ids=["few", "bad", "short"]
)
def test_nobody_is_enrolled_on_little_evidence(
    gallery: SqliteGallery, poor: dict[str, float]
) -> None:
    answer = only(make_book(gallery).decide([evidence(1, 1, face(1), **poor)]))  # type: ignore[arg-type]
    assert answer.person_id is None
    assert gallery.count() == 0


def test_one_crop_suffices_when_the_load_allows_no_more(gallery: SqliteGallery) -> None:
    answer = only(make_book(gallery).decide([evidence(1, 1, face(1), crops=1, most_crops=1)]))
    assert answer.person_id is not None


def test_a_track_that_was_too_short_is_enrolled_once_it_is_not(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    book.saw(1, 0.5, [1])
    assert only(book.decide([evidence(1, 1, face(1), last_s=0.5)])).person_id is None
    book.saw(1, 0.8, [1])
    assert book.decide([]) == []
    book.saw(1, 1.2, [1])
    assert only(book.decide([])).person_id is not None


def test_a_person_is_found_again_by_another_camera(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    answer = only(book.decide([evidence(2, 1, face(1, like=0.8))]))
    assert (answer.person_id, answer.verdict) == (person, "matched")
    assert gallery.persons()[0].cameras == (1, 2)


def test_ids_survive_a_restart_even_of_tracks_that_were_open(
    gallery: SqliteGallery, tmp_path: Path
) -> None:
    book = make_book(gallery)
    left = seen_before(book, face(1))
    open_one = only(book.decide([evidence(1, 2, face(2))])).person_id
    # Another process on the same folder, as after a kill -9: nothing was closed or told.
    with SqliteGallery(tmp_path / "gallery") as again:
        after = make_book(again)
        assert only(after.decide([evidence(2, 10, face(1))])).person_id == left
        assert only(after.decide([evidence(1, 10, face(2))])).person_id == open_one
        assert after.num_persons == 2


def test_people_seen_together_are_never_one_person(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    book.saw(1, 10.0, [2, 3])
    answers = book.decide(
        [
            evidence(1, 2, face(1, like=0.8), first_s=10, last_s=12),
            evidence(1, 3, face(1, like=0.95), first_s=10, last_s=12),
        ]
    )
    second, third = answers
    assert (third.person_id, third.verdict) == (person, "matched")
    assert second.person_id not in (None, person)


def test_the_same_holds_for_a_track_that_is_over_by_now(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    book.saw(1, 0.0, [1, 2])
    first = only(book.decide([evidence(1, 1, face(1), is_last=True)]))
    second = only(book.decide([evidence(1, 2, face(1))]))
    assert None not in (first.person_id, second.person_id)
    assert first.person_id != second.person_id


def test_two_tracks_of_one_person_that_meet_are_parted(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    book.saw(1, 10.0, [2])
    book.saw(1, 10.1, [3])
    answers = book.decide(
        [
            evidence(1, 2, face(1, like=0.9), first_s=10, last_s=12),
            evidence(1, 3, face(1, like=0.8, other=40), first_s=10, last_s=12),
        ]
    )
    assert [answer.person_id for answer in answers] == [person, person]
    book.saw(1, 12.0, [2, 3])
    parted = only(book.decide([]))
    assert parted.track == 3
    assert parted.person_id not in (None, person)
    assert book.who(1, 2) == (person, "matched")


@pytest.mark.parametrize(
    ("first_s", "is_possible"), [(2.0, False), (9.0, False), (16.0, True)], ids=str
)
@pytest.mark.parametrize("is_over", [True, False])
def test_nobody_is_faster_than_the_way_between_two_cameras(
    gallery: SqliteGallery, first_s: float, is_possible: bool, is_over: bool
) -> None:
    book = IdentityBook(gallery, digest="ab", dim=DIM, scales=SCALES, travel_s={(2, 1): 10.0})
    here = only(book.decide([evidence(1, 1, face(1), is_last=is_over)])).person_id  # until 5 s
    there = only(
        book.decide([evidence(2, 1, face(1), first_s=first_s, last_s=first_s + 4)])
    ).person_id
    elsewhere = only(
        book.decide([evidence(3, 1, face(1), first_s=first_s, last_s=first_s + 4)])
    ).person_id
    assert (there == here) == is_possible
    assert elsewhere in (here, there)


def test_two_cameras_that_see_a_new_person_at_once_enrol_one(gallery: SqliteGallery) -> None:
    answers = make_book(gallery).decide([evidence(1, 1, face(1)), evidence(2, 1, face(1))])
    assert len({answer.person_id for answer in answers}) == 1
    assert len(gallery.persons()) == 1


def test_a_candidate_stays_open_and_is_settled_by_better_crops(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    first = only(book.decide([evidence(2, 1, face(1, like=0.6))]))
    assert (first.person_id, first.verdict) == (person, "candidate")
    assert gallery.persons()[0].cameras == (1,)  # nothing is stored of a guess
    better = only(book.decide([evidence(2, 1, face(1, like=0.9), first_crop=7)]))
    assert (better.person_id, better.verdict, better.changed) == (person, "matched", True)


@pytest.mark.parametrize(("camera", "is_new"), [(1, True), (2, False)])
def test_before_the_camera_that_knows_somebody_a_candidate_must_be_more_probable(
    gallery: SqliteGallery, camera: int, is_new: bool
) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    # Of two strangers before one camera the scores are higher; 0.65 means 0.76 by the scale.
    asked = evidence(camera, 7, face(1, like=0.65), first_s=60, last_s=64, is_last=True)
    answer = only(book.decide([asked]))
    assert (answer.verdict == "unknown") is is_new
    assert (answer.person_id != person) is is_new
    assert book.num_persons == 1 + is_new


def test_a_doubtful_candidate_is_somebody_new_after_some_seconds_without_being_asked_again(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    asked = evidence(1, 7, face(1, like=0.65), first_s=60, last_s=62)
    assert only(book.decide([asked])).verdict == "candidate"
    book.saw(1, 65.0, [7])
    assert book.decide([]) == []
    book.saw(1, 66.5, [7])
    answer = only(book.decide([]))
    assert (answer.verdict, answer.changed) == ("unknown", True)
    assert answer.person_id not in (None, person)
    # With better crops it may yet turn out to be the one of before.
    better = evidence(1, 7, face(1, like=0.9), first_s=60, last_s=68, first_crop=9, quality=0.9)
    assert only(book.decide([better])).person_id == person
    assert book.num_persons == 1


def test_a_doubtful_candidate_is_enrolled_at_its_end(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    answer = only(book.decide([evidence(2, 1, face(1, like=0.55), is_last=True)]))
    assert answer.person_id not in (None, person)


def test_a_likely_candidate_ends_as_one_and_is_kept_for_a_look(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    answer = only(book.decide([evidence(2, 1, face(1, like=0.65), is_last=True)]))
    assert (answer.person_id, answer.verdict) == (person, "candidate")
    assert gallery.count(Filter(persons=frozenset({-1}))) == 1


def test_who_just_left_this_camera_is_matched_from_the_candidates_score_on(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))  # until 5 s
    late = only(book.decide([evidence(1, 2, face(1, like=0.65), first_s=60, last_s=65)]))
    soon = only(book.decide([evidence(1, 3, face(1, like=0.65), first_s=8, last_s=12)]))
    assert late.verdict == "candidate"
    assert (soon.verdict, soon.person_id) == ("matched", person)


def test_a_track_keeps_its_person_when_another_is_a_little_more_alike(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    one, two = seen_before(book, face(1)), seen_before(book, face(2), track=2)
    mixed = face(1, like=0.65, other=2)  # 0.76 like the other one
    assert only(book.decide([evidence(2, 1, face(1, like=0.9))])).person_id == one
    kept = only(book.decide([evidence(2, 1, mixed, first_crop=9)]))
    assert kept.person_id == one
    assert not kept.changed
    assert two != one
    # What makes it no match now is not said as if it were the reason for one.
    assert kept.verdict == "matched"
    assert kept.why.reason.startswith("matched earlier in this track and kept: person 1")


def test_a_track_is_given_to_another_person_when_clearly_contradicted(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    one, two = seen_before(book, face(1)), seen_before(book, face(2), track=2)
    assert only(book.decide([evidence(2, 1, face(1, like=0.8))])).person_id == one
    switched = only(book.decide([evidence(2, 1, face(2), first_crop=9)]))
    assert (switched.person_id, switched.verdict, switched.changed) == (two, "matched", True)
    assert gallery.persons()[0].cameras == (1,)  # its crops went along


def test_a_track_that_is_given_to_another_person_on_a_narrow_match_teaches_neither(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    seen_before(book, face(1))
    two = seen_before(book, face(2), track=2)
    book.decide([evidence(2, 1, face(1, like=0.8))])
    switched = only(book.decide([evidence(2, 1, face(2, like=0.72), first_crop=9)]))
    assert (switched.person_id, switched.verdict, switched.changed) == (two, "matched", True)
    assert [one.cameras for one in gallery.persons()] == [(1,), (1,)]
    assert gallery.count(SET_ASIDE) == 1
    # Nor does another look change that: it matched narrowly once.
    book.decide([evidence(2, 1, face(2, like=0.9), first_crop=17)])
    assert [one.cameras for one in gallery.persons()] == [(1,), (1,)]
    assert gallery.count(SET_ASIDE) == 1


def test_who_was_enrolled_too_early_and_is_merged_on_a_narrow_match_is_no_template(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    book.decide([evidence(2, 1, face(1, like=0.3))])
    late = only(book.decide([evidence(2, 1, face(1, like=0.72), first_crop=9)]))
    assert (late.person_id, late.verdict) == (person, "matched")
    assert [(one.person_id, one.cameras) for one in gallery.persons()] == [(person, (1,))]
    assert gallery.count(SET_ASIDE) == 1


def test_who_was_enrolled_too_early_is_merged_into_whom_they_turn_out_to_be(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    early = only(book.decide([evidence(2, 1, face(1, like=0.3))]))
    assert early.person_id not in (None, person)
    late = only(book.decide([evidence(2, 1, face(1, like=0.95), first_crop=9, quality=0.9)]))
    assert (late.person_id, late.verdict) == (person, "matched")
    assert [one.person_id for one in gallery.persons()] == [person]
    assert book.num_persons == 1


def test_a_track_is_one_template_which_better_crops_replace(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    book.decide([evidence(1, 1, face(1), crops=4)])
    assert gallery.count() == 1
    book.decide([evidence(1, 1, face(1), crops=4, first_crop=9, quality=0.9)])
    ((stored,),) = list(gallery.iterate())
    assert stored.quality == 0.9


def test_crops_that_the_gallery_has_erased_by_its_rules_are_no_trouble(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    seen_before(book, face(1)), seen_before(book, face(2), track=2)
    book.decide([evidence(2, 1, face(1, like=0.8))])
    state = book._tracks[2, 1]
    gallery.delete(list(state.own_sightings)[:1])
    switched = only(book.decide([evidence(2, 1, face(2), first_crop=9)]))
    assert switched.changed
    assert book.failures == 0


def test_depths_are_never_compared_and_all_that_were_computed_are_stored(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    deep = only(book.decide([evidence(1, 1, face(1), depths=(1, 2), is_last=True)]))
    assert {one.model.depth for batch in gallery.iterate() for one in batch} == {1, 2}
    shallow = only(book.decide([evidence(2, 1, face(1), depths=(1,))]))
    other = only(book.decide([evidence(3, 1, face(1), depths=(4,))]))
    assert shallow.person_id == deep.person_id
    assert other.person_id not in (None, deep.person_id)


def test_who_was_enrolled_at_a_low_depth_is_found_when_the_depth_has_risen(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    low = only(book.decide([evidence(1, 1, face(1), depths=(1,), is_last=True)]))
    high = only(book.decide([evidence(2, 1, face(1), depths=(1, 2))]))
    assert (high.person_id, high.verdict, high.depth) == (low.person_id, "matched", 1)


ONE_SPACE = dict.fromkeys((1, 2, 3, 4), "space-one")


def test_depths_of_one_space_find_each_other_and_one_of_them_is_stored(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery, spaces=ONE_SPACE)
    deep = only(book.decide([evidence(1, 1, face(1), depths=(1, 2, 4), is_last=True)]))
    ((stored,),) = gallery.iterate()
    assert (stored.model.depth, stored.model.space) == (4, "space-one")
    # The load has risen: less depth, the same person; then it falls again.
    shallow = only(book.decide([evidence(2, 1, face(1, like=0.8), depths=(1,), is_last=True)]))
    again = only(book.decide([evidence(3, 1, face(1, like=0.8), depths=(1, 2))]))
    for answer, depth in ((shallow, 1), (again, 2)):
        assert (answer.person_id, answer.verdict) == (deep.person_id, "matched")
        assert answer.depth == depth
    depths = [one.model.depth for batch in gallery.iterate() for one in batch]
    assert depths == [4, 1, 2]
    assert book.failures == 0


def test_a_score_is_judged_by_the_depths_of_both_embeddings(gallery: SqliteGallery) -> None:
    strict = StatedThresholds(match=0.95, candidate=0.9)
    book = make_book(gallery, spaces=ONE_SPACE, pairs={(1, 4): strict})
    seen_before(book, face(1))
    deep = only(book.decide([evidence(1, 2, face(2), depths=(4,), is_last=True)]))
    for track, query, depth, verdict in (
        (1, face(2, like=0.8), 1, "unknown"),
        (2, face(2, like=0.8), 2, "matched"),
        (3, face(2, like=0.96), 1, "matched"),
    ):
        # Too short to be enrolled if nobody is found.
        asked = evidence(2, track, query, depths=(depth,), last_s=0.1, is_last=True)
        answer = only(book.decide([asked]))
        assert answer.verdict == verdict
        assert answer.person_id == (deep.person_id if verdict == "matched" else None)


def test_spaces_of_some_depths_are_kept_apart_from_the_others(gallery: SqliteGallery) -> None:
    book = make_book(gallery, spaces={1: "space-one", 2: "space-two", 3: "space-two", 4: ""})
    book.decide([evidence(1, 1, face(1), depths=(1, 2, 3, 4), is_last=True)])
    depths = {one.model.depth for batch in gallery.iterate() for one in batch}
    assert depths == {1, 3, 4}
    low = only(book.decide([evidence(1, 2, face(2), depths=(1,), is_last=True)]))
    high = only(book.decide([evidence(2, 1, face(2), depths=(1, 2, 3))]))
    assert (high.person_id, high.verdict, high.depth) == (low.person_id, "matched", 1)


def test_who_asked_not_to_be_enrolled_is_not(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    gallery.forget(seen_before(book, face(1)), suppress_above=0.8)
    answer = only(make_book(gallery).decide([evidence(1, 5, face(1))]))
    assert (answer.person_id, answer.verdict) == (None, "unknown")
    assert gallery.count() == 0


def test_a_person_who_is_forgotten_meanwhile_is_let_go(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = only(book.decide([evidence(1, 1, face(1))])).person_id
    assert person is not None
    gallery.forget(person)
    book.decide([evidence(1, 1, face(1), first_crop=9, quality=0.9)])
    assert book.who(1, 1)[0] != person


class FullDisk(SqliteGallery):
    is_full = False

    def add(self, sightings):  # type: ignore[no-untyped-def]
        if self.is_full:
            raise GalleryError("the disk is full")
        return super().add(sightings)


def test_a_full_disk_leaves_tracks_undecided_until_there_is_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with FullDisk(tmp_path / "full", create=True) as gallery:
        book = make_book(gallery)
        gallery.is_full = True
        assert only(book.decide([evidence(1, 1, face(1))])).person_id is None
        assert "the disk is full" in caplog.text
        gallery.is_full = False
        book.saw(1, 7.0, [1])
        assert only(book.decide([])).person_id is not None
        assert book.failures == 1


def test_nothing_is_kept_of_tracks_that_are_over(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    for track in range(1, 30):
        book.saw(1, track * 100.0, [track])
        book.decide(
            [
                evidence(
                    1, track, face(track), first_s=track * 100, last_s=track * 100 + 5, is_last=True
                )
            ]
        )
    assert book.num_open == 0
    assert len(book._left) <= 2


def test_the_same_evidence_gives_the_same_answers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    steps = [
        [
            evidence(
                camera,
                track,
                face(int(rng.integers(6)), like=float(rng.uniform(0.3, 1))),
                first_crop=10 * track,
            )
            for camera in (1, 2)
        ]
        for track in range(12)
    ]
    answers = []
    for name in "ab":
        with SqliteGallery(tmp_path / name, create=True) as gallery:
            book = make_book(gallery)
            answers.append([book.decide(step) for step in steps])
    assert answers[0] == answers[1]


class BySize:
    """A scale that remembers the sizes of galleries that it was asked about."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def decide(self, score: float | None, gallery_size: int) -> Decision:
        self.sizes.append(gallery_size)
        return SCALE.decide(score, gallery_size)


def test_a_small_gallery_is_judged_as_a_larger_one(gallery: SqliteGallery) -> None:
    scale = BySize()
    book = IdentityBook(gallery, digest="ab", dim=DIM, scales=Scales(own={2: scale}))
    book.decide([evidence(1, 1, face(1)), evidence(2, 1, face(2))])
    assert set(scale.sizes) == {LEAST_GALLERY}


def test_thresholds_must_be_in_order() -> None:
    with pytest.raises(SettingsError, match="candidate"):
        StatedThresholds(match=0.4, candidate=0.5)


def test_stated_thresholds_rise_with_the_score() -> None:
    chances = [SCALE.decide(score, 5).probability for score in (-1.0, 0.5, 0.6, 0.7, 1.0)]
    assert chances == sorted(chances)
    assert chances[2] == pytest.approx(0.5)
    assert SCALE.decide(None, 5).verdict == "unknown"


def between(one: int, like: float, other: int, other_like: float) -> np.ndarray:
    """An embedding at a cosine to two people."""
    rest = np.sqrt(1 - like**2 - other_like**2)
    return (like * face(one) + other_like * face(other) + rest * face(98)).astype(np.float32)


def test_a_template_that_is_nearer_to_somebody_else_is_not_learned(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    one = seen_before(book, face(1))
    seen_before(book, face(2), track=2)
    assert only(book.decide([evidence(2, 1, face(1, like=0.9))])).person_id == one
    before = [record.sighting_id for batch in gallery.iterate() for record in batch]
    kept = only(book.decide([evidence(2, 1, face(1, like=0.65, other=2), first_crop=9)]))
    assert (kept.person_id, kept.verdict) == (one, "matched")
    assert before == [record.sighting_id for batch in gallery.iterate() for record in batch]


@pytest.mark.parametrize(
    ("like", "learned"), [(0.71, False), (0.785, False), (0.795, True), (0.9, True)]
)
def test_a_track_that_only_just_matches_is_kept_for_review_and_not_learned(
    gallery: SqliteGallery, like: float, learned: bool
) -> None:
    book = make_book(gallery)  # a match begins at 0.7
    one = seen_before(book, face(1))
    elsewhere = Filter(cameras=frozenset({2}))
    for number, is_last in enumerate((False, False, True)):
        crops = evidence(2, 1, face(1, like=like), first_crop=1 + number, is_last=is_last)
        answer = only(book.decide([crops]))
        assert (answer.person_id, answer.verdict) == (one, "matched")
        assert gallery.count(elsewhere) == (learned or is_last)
    (kept,) = (each for batch in gallery.iterate(where=elsewhere) for each in batch)
    assert kept.person_id == (one if learned else None)


@pytest.mark.parametrize(("first", "learned"), [(0.72, False), (0.6, True)])
def test_a_track_that_matched_narrowly_at_one_look_is_not_learned_at_another(
    gallery: SqliteGallery, first: float, learned: bool
) -> None:
    book = make_book(gallery)
    anna = seen_before(book, face(1))
    book.decide([evidence(2, 1, face(1, like=first))])
    again = only(book.decide([evidence(2, 1, face(1, like=0.9), first_crop=9, is_last=True)]))
    assert (again.person_id, again.verdict) == (anna, "matched")
    (person,) = gallery.persons()
    assert person.cameras == ((1, 2) if learned else (1,))
    assert gallery.count(SET_ASIDE) == (not learned)


@pytest.mark.parametrize(("second", "learned"), [(2, False), (3, True)])
@pytest.mark.parametrize(("like", "first_s"), [(0.8, 60.0), (0.65, 8.0)], ids=["later", "back"])
def test_a_track_that_is_more_like_one_set_aside_than_like_its_person_is_not_learned(
    gallery: SqliteGallery, second: int, learned: bool, like: float, first_s: float
) -> None:
    book = make_book(gallery)
    one = seen_before(book, face(1))
    # Somebody who only just matches comes again, a little more like person 1.
    seen_before(book, face(1, like=0.72, other=2), camera=2)
    assert gallery.count(SET_ASIDE) == 1
    again = face(1, like=like, other=second)
    answer = only(book.decide([evidence(1, 9, again, first_s=first_s, last_s=first_s + 5)]))
    book.decide([evidence(1, 9, again, first_s=first_s, last_s=first_s + 5, is_last=True)])
    assert (answer.person_id, answer.verdict) == (one, "matched")
    kept = gallery.count(Filter(persons=frozenset({one}), from_s=first_s))
    assert (kept, gallery.count(SET_ASIDE)) == ((1, 1) if learned else (0, 2))


def test_once_a_track_set_aside_is_assigned_its_likes_are_learned(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    one = seen_before(book, face(1))
    seen_before(book, face(1, like=0.72, other=2), camera=2)
    (doubtful,) = (each for batch in gallery.iterate(SET_ASIDE) for each in batch)
    gallery.assign([doubtful.sighting_id], one)
    seen_before(book, face(1, like=0.8, other=2), camera=3)
    assert [person.cameras for person in gallery.persons()] == [(1, 2, 3)]


def test_a_track_between_two_people_is_a_candidate_and_learned_by_neither(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    seen_before(book, face(1)), seen_before(book, face(2), track=2)
    answer = only(book.decide([evidence(2, 1, between(1, 0.705, 2, 0.7))]))
    assert answer.verdict == "candidate"
    assert "are too close; a match needs a lead" in answer.why.reason
    assert gallery.count(Filter(cameras=frozenset({2}))) == 0


def test_who_was_here_a_moment_ago_is_held_without_learning_if_another_is_as_alike(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    seen_before(book, face(2), camera=2, track=2)
    back = only(book.decide([evidence(1, 3, between(1, 0.66, 2, 0.65), first_s=8, last_s=12)]))
    assert (back.person_id, back.verdict) == (person, "matched")
    assert "left this camera a moment ago" in back.why.reason
    assert gallery.count(Filter(cameras=frozenset({1}))) == 1


def test_who_was_here_a_moment_before_a_restart_is_back_too(gallery: SqliteGallery) -> None:
    person = seen_before(make_book(gallery), face(1))
    late, soon = (
        evidence(1, 5, face(1, like=0.65), first_s=60, last_s=65),
        evidence(1, 6, face(1, like=0.65), first_s=8, last_s=12),
    )
    assert only(make_book(gallery).decide([late])).verdict == "candidate"
    answer = only(make_book(gallery).decide([soon]))
    assert (answer.person_id, answer.verdict) == (person, "matched")


def test_a_person_who_was_named_meanwhile_is_never_merged_away(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    early = only(book.decide([evidence(2, 1, face(1, like=0.3))])).person_id
    assert early is not None
    gallery.name_person(early, "Anna")
    late = only(book.decide([evidence(2, 1, face(1, like=0.95), first_crop=9, quality=0.9)]))
    assert late.person_id == person
    assert [one.person_id for one in gallery.persons()] == [person, early]


def test_every_answer_says_why_and_none_names_anybody(gallery: SqliteGallery) -> None:
    book = make_book(gallery)
    person = seen_before(book, face(1))
    gallery.name_person(person, "Anna")
    reasons = [
        only(book.decide([asked])).why.reason
        for asked in (
            evidence(2, 1, face(1, like=0.9)),
            evidence(3, 1, face(1, like=0.6, other=40)),
            evidence(4, 1, face(1, like=0.3, other=41)),
            evidence(5, 1, face(5), last_s=0.1),
            evidence(6, 1, face(6), crops=0),
        )
    ]
    assert reasons == [
        "person 1 0.90 reaches 0.70; nobody else was compared",
        "person 1 0.60 is below 0.70, the threshold of a match",
        "enrolled as person 2: nearest is person 1 0.30, below 0.50",
        "nearest is person 1 0.00, below 0.50; too little was seen to enrol them",
        "not asked: the track has no usable crop",
    ]


def test_who_enrolled_somebody_and_is_unknown_for_that_gives_no_reason_against_it(
    gallery: SqliteGallery,
) -> None:
    book = make_book(gallery)
    founder = only(book.decide([evidence(1, 1, face(1))]))
    assert only(book.decide([evidence(2, 1, face(1))])).person_id == founder.person_id
    again = only(book.decide([evidence(1, 1, face(1), first_crop=4)]))
    assert (again.verdict, again.person_id) == ("unknown", founder.person_id)
    assert again.why.reason == (
        "enrolled as person 1 by this track, seen again since: person 1 1.00 reaches 0.70; nobody "
        "else was compared"
    )


def test_a_depth_that_nothing_is_known_of_leaves_a_track_undecided(
    gallery: SqliteGallery, caplog: pytest.LogCaptureFixture
) -> None:
    seen_before(make_book(gallery), face(1))
    book = IdentityBook(gallery, digest="ab", dim=DIM, scales=Scales())
    answer = only(book.decide([evidence(1, 9, face(1))]))
    assert (answer.verdict, answer.person_id) == ("unknown", None)
    assert answer.why.reason == "not asked: the gallery could not be used"
    assert "no calibration" in caplog.text
