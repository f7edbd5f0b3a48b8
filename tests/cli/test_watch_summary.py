from typing import Any

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
    assert title.startswith("2 people in ")
    assert title.endswith(", and 1 visit in doubt")
    assert first.startswith("  Anna ")
    assert "times" not in first
    assert doubt.startswith("  Anna? ")
    assert doubt.endswith("entrance, 77 %, perhaps somebody else")
    assert second.startswith("  Person 2  ")
