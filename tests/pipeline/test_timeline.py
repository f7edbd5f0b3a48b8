import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adln.errors import SettingsError
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.timeline import Timeline
from adln.pipeline.timeline_page import timeline_html, write_timeline
from adln.pipeline.watch import TrackEnd

MakeEvent = Callable[..., SightingEvent]
CROP = np.concatenate(
    [np.full((64, 64, 3), (200, 0, 0)), np.full((64, 64, 3), (0, 0, 200))]
).astype(np.uint8)


def visit(make_event: MakeEvent, number: int, **changes: Any) -> TrackEnd:
    return TrackEnd(event=make_event(number, **changes), crop=CROP)


class Balance(HTMLParser):
    """Counts tags that are opened and not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(page: str) -> list[str]:
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    return balance.seen


def test_clothes_are_told_by_their_colours(make_event: MakeEvent) -> None:
    timeline = Timeline()
    timeline.add(visit(make_event, 1))
    (one,) = timeline.visits
    assert (one.upper, one.lower) == ((200, 0, 0), (0, 0, 200))
    assert one.picture == ""


def test_the_newest_visits_are_kept_and_the_others_counted(make_event: MakeEvent) -> None:
    timeline = Timeline(most=3)
    for number in range(10):
        timeline.add(visit(make_event, number))
    assert len(timeline.visits) == 3
    assert timeline.forgotten == 7
    assert "7 older tracks" in timeline_html(timeline, names={})


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(make_event: MakeEvent) -> None:
    timeline = Timeline()
    timeline.add(visit(make_event, 1, person_id=1, camera_name="door"))
    timeline.add(visit(make_event, 2, person_id=1, camera_name="yard"))
    timeline.add(visit(make_event, 3, person_id=2, verdict="candidate"))
    timeline.add(visit(make_event, 4, person_id=None, verdict="unknown"))
    page = timeline_html(timeline, names={1: "<Ann> & Bob", 2: None})
    tags = checked(page)
    assert "img" not in tags
    assert not {"script", "link"} & set(tags)
    assert "&lt;Ann&gt; &amp; Bob (1)" in page
    assert "<b>2</b><span>identities</span>" in page
    assert "<b>1</b><span>seen by several cameras</span>" in page


def test_pictures_are_shown_only_where_they_were_kept(make_event: MakeEvent) -> None:
    timeline = Timeline(pictures=True)
    timeline.add(visit(make_event, 1))
    assert checked(timeline_html(timeline, names={})).count("img") == 1


def test_pictures_are_kept_of_the_cameras_that_are_named(make_event: MakeEvent) -> None:
    timeline = Timeline(pictures=frozenset({"yard"}))
    for number, name in enumerate(("yard", "hall")):
        timeline.add(visit(make_event, number, camera_name=name))
    assert [one.picture != "" for one in timeline.visits] == [True, False]
    # The colours of figures are no pictures.
    assert all(one.upper is not None for one in timeline.visits)


def test_a_picture_is_kept_no_larger_than_it_is_shown(make_event: MakeEvent) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (800, 400, 3)).astype(np.uint8)
    timeline = Timeline(pictures=True)
    timeline.add(TrackEnd(event=make_event(1), crop=noise))
    (one,) = timeline.visits
    jpeg = base64.b64decode(one.picture.removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(jpeg)).size == (64, 128)
    assert len(one.picture) < 20_000
    assert one.picture in timeline_html(timeline, names={})


def test_a_page_of_nobody_says_so() -> None:
    page = timeline_html(Timeline(), names={})
    checked(page)
    assert "Nobody was seen" in page


def test_a_track_without_a_crop_and_without_length_is_drawn(make_event: MakeEvent) -> None:
    timeline = Timeline()
    event = make_event(1, first_time_s=5.0, last_time_s=5.0)
    timeline.add(TrackEnd(event=event, crop=None))
    checked(timeline_html(timeline, names={}))


def test_the_data_is_written_for_programs(make_event: MakeEvent, tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.add(visit(make_event, 1))
    write_timeline(tmp_path / "out", timeline, names={7: "Ann"})
    (row,) = json.loads((tmp_path / "out" / "identities.json").read_text())["visits"]
    assert (row["person_id"], row["name"]) == (7, "Ann")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SettingsError, match="cannot be written"):
        write_timeline(tmp_path / "out", Timeline(), names={})


@pytest.mark.parametrize(
    ("days", "ticks"),
    [
        (0.5, ["00:00:00", "02:00:00", "04:00:00", "06:00:00", "08:00:00", "10:00:00"]),
        (4.5, ["2023-11-15", "2023-11-16", "2023-11-17", "2023-11-18", "2023-11-19"]),
        (30, ["2023-11-15", "2023-11-19", "2023-11-23", "2023-11-27", "2023-12-01", "2023-12-05"]),
    ],
)
def test_the_axis_of_days_has_dates(make_event: MakeEvent, days: float, ticks: list[str]) -> None:
    first_s = 1_700_000_000.0  # 2023-11-14 22:13:20
    timeline = Timeline()
    for number, at_s in enumerate((first_s, first_s + days * 86_400)):
        seen = {"first_time_s": at_s, "last_time_s": at_s + 1}
        timeline.add(visit(make_event, number, person_id=None, verdict="unknown", **seen))
    page = timeline_html(timeline, names={})
    found = re.findall(r'<text class="tick"[^>]*>([^<]*)<', page)
    assert found[: len(ticks)] == ticks
    assert len(found) <= 9
    first = "2023-11-14 22:13:20 UTC" if days > 4 else "22:13:20"
    assert f"entrance {first}<" in page


def test_a_visit_in_doubt_is_not_counted_as_a_persons_own(make_event: MakeEvent) -> None:
    timeline = Timeline()
    timeline.add(visit(make_event, 1, person_id=1, verdict="unknown"))
    timeline.add(visit(make_event, 40, person_id=1, verdict="candidate", probability=0.77))
    page = timeline_html(timeline, names={})
    assert "<b>0</b><span>seen more than once</span>" in page
    assert "<b>1</b><span>tracks in doubt</span>" in page
    assert "1 visit, 2023-11-14 22:13:21 UTC to 2023-11-14 22:13:23 UTC; 1 visit in doubt" in page
