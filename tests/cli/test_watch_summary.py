import time
from datetime import datetime
from typing import Any

import pytest

from adln.cli.watch_summary import summary_lines
from adln.pipeline.sightings import SightingEvent, make_event_id
from adln.pipeline.timeline import Timeline
from adln.pipeline.watch import TrackEnd
from adln.pipeline.watch_parts import WatchProgress


def visit(number: int, **changes: Any) -> TrackEnd:
    values: dict[str, Any] = {
        "event_id": make_event_id("run", number),
        "camera_id": 1,
        "camera_name": "entrance",
        "track_id": number,
        "first_time_s": 1_700_000_000.0 + 10 * number,
        "last_time_s": 1_700_000_005.0 + 10 * number,
        "verdict": "unknown",
        "probability": 0.9,
        "depth": 2,
        "model": "ab" * 32,
        "box_xyxy": (10.0, 20.0, 60.0, 150.0),
        "quality": 0.8,
    }
    return TrackEnd(event=SightingEvent(**{**values, **changes}), crop=None)


def test_a_visit_in_doubt_has_a_line_of_its_own_and_is_not_the_persons() -> None:
    timeline = Timeline()
    timeline.add(visit(1, person_id=1))
    timeline.add(visit(2, person_id=2))
    timeline.add(visit(3, person_id=1, verdict="candidate", probability=0.77))
    title, first, doubt, second = summary_lines(WatchProgress(), timeline, {1: "Anna"}, [])[1:5]
    assert title.startswith("2 or 3 people in ")
    assert title.endswith(", 1 visit in doubt")
    assert first.startswith("  Anna ")
    assert "times" not in first
    assert doubt.startswith("  Anna? ")
    assert doubt.endswith("entrance, 77 %, perhaps somebody else")
    assert second.startswith("  Person 2  ")


def test_each_visit_in_doubt_may_be_another_person_than_those_counted() -> None:
    timeline = Timeline()
    for number in (1, 2, 3):
        timeline.add(visit(number, person_id=1, verdict="candidate", probability=0.7))
    assert summary_lines(WatchProgress(), timeline, {}, [])[1].startswith("1 to 3 people in ")
    known = Timeline()
    known.add(visit(1, person_id=1, verdict="candidate", probability=0.7))
    assert summary_lines(WatchProgress(), known, {}, [])[1].startswith("1 person in ")


@pytest.mark.parametrize(
    ("start", "shown"),
    [
        ("2026-10-25T02:59:57+02:00", "2026-10-25 02:59:57+02 to 02:00:04+01  entrance"),
        ("2026-03-29T01:59:57+01:00", "2026-03-29 01:59:57+01 to 03:00:04+02  entrance"),
        ("2026-11-30T23:59:57+01:00", "2026-11-30 23:59:57 to 2026-12-01 00:00:04  entrance"),
        ("2026-11-30T12:00:00+01:00", "2026-11-30 12:00:00 to 12:00:07  entrance"),
    ],
)
def test_a_visit_ends_after_it_began_also_when_clocks_are_set(
    start: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        begun_s = datetime.fromisoformat(start).timestamp()
        timeline = Timeline()
        timeline.add(visit(1, person_id=1, first_time_s=begun_s, last_time_s=begun_s + 7))
        line = summary_lines(WatchProgress(), timeline, {}, [])[2]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert line == f"  Person 1  {shown}"
