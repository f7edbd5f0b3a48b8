from typing import Any

from adln.pipeline.presence import Presence
from adln.pipeline.watch_parts import NamedBox


def box(track: int, person: int | None, verdict: Any = "matched", sure: float = 0.9) -> NamedBox:
    return NamedBox(
        track_id=track,
        box_xyxy=(0.0, 0.0, 10.0, 20.0),
        person_id=person,
        verdict=verdict,
        probability=sure,
    )


def who(presence: Presence, now_s: float, camera: str = "door") -> list[int | None]:
    return [one.person_id for one in presence.at(camera, now_s)]


def test_somebody_stays_until_they_were_not_seen_for_a_while() -> None:
    presence = Presence(absent_after_s=30.0)
    presence.saw("door", 1000.0, [box(1, 7)], now_s=0.0)
    presence.saw("door", 1020.0, [box(1, 7)], now_s=20.0)
    presence.saw("door", 1040.0, [], now_s=40.0)
    assert who(presence, 49.9) == [7]
    assert presence.at("door", 49.9)[0].since_s == 1000.0
    assert who(presence, 50.0) == []
    assert who(presence, 21.0, "yard") == []


def test_a_track_that_is_recognised_later_is_no_second_person() -> None:
    presence = Presence(absent_after_s=30.0)
    presence.saw("door", 1000.0, [box(1, None, "unknown")], now_s=0.0)
    assert who(presence, 0.0) == [None]
    presence.saw("door", 1001.0, [box(1, 7)], now_s=1.0)
    assert who(presence, 1.0) == [7]
    assert presence.at("door", 1.0)[0].since_s == 1000.0


def test_two_tracks_of_one_person_are_one_stay_that_began_with_the_first() -> None:
    presence = Presence(absent_after_s=30.0)
    presence.saw("door", 1000.0, [box(1, 7)], now_s=0.0)
    presence.saw("door", 1020.0, [box(2, 7)], now_s=20.0)
    presence.saw("door", 1045.0, [box(2, 7)], now_s=45.0)
    (stay,) = presence.at("door", 45.0)
    assert (stay.since_s, stay.last_s) == (1000.0, 1045.0)


def test_a_candidate_counts_as_somebody_unknown() -> None:
    presence = Presence(absent_after_s=30.0)
    presence.saw("door", 1000.0, [box(1, 7, "candidate")], now_s=0.0)
    assert who(presence, 0.0) == [None]
    assert presence.last_of(7) is None


def test_who_is_ignored_is_not_there() -> None:
    presence = Presence(absent_after_s=30.0, is_ignored=lambda person: person == 7)
    presence.saw("door", 1000.0, [box(1, 7), box(2, 8)], now_s=0.0)
    assert who(presence, 0.0) == [8]


def test_who_is_no_longer_known_was_last_seen_nowhere() -> None:
    presence = Presence(absent_after_s=30.0)
    presence.saw("door", 1000.0, [box(1, 7), box(2, 8)], now_s=0.0)
    presence.keep_only([8])
    assert presence.last_of(7) is None
    assert presence.last_of(8) is not None
