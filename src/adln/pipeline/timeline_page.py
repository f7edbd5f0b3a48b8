"""The report of a watch: one self-contained page with everybody's timeline across cameras.

People are shown as figures in the colours of their clothes; as pictures only if pictures are
enabled.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from adln.atomic import atomic_write, suffix_of
from adln.errors import SettingsError
from adln.pipeline.drawing import person_colour
from adln.pipeline.timeline import Timeline, TimelineVisit
from adln.reports.pages import render

PAGE_NAME = "identities.html"
DATA_NAME = "identities.json"
# Later times are dates (Unix time), not seconds since the start of a recording.
_DATES_FROM_S = 10 * 365 * 86_400.0
_MOST_SHOWN, _MOST_STRANGERS = 300, 60
_GREY = (200, 200, 200)
_LEFT_PX, _WIDTH_PX, _LANE_PX = 120, 760, 22
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 43_200)
_DAY_S = 86_400


def write_timeline(target: Path, timeline: Timeline, *, names: Mapping[int, str | None]) -> Path:
    """Write the page to a file that ends in .html, or as ``identities.html`` into a folder.

    A folder, created if missing, also gets ``identities.json``, for programs.

    Returns:
        The path of the page.

    Raises:
        SettingsError: the page cannot be written.
    """
    page = target if suffix_of(target) == ".html" else target / PAGE_NAME
    written = {page: timeline_html(timeline, names=names)}
    if page != target:
        written[target / DATA_NAME] = _data(timeline, names) + "\n"
    for path, text in written.items():
        with atomic_write(path, raises=SettingsError) as file:
            file.write(text.encode())
    return page


def timeline_html(timeline: Timeline, *, names: Mapping[int, str | None]) -> str:
    """The page as text; see `write_timeline`."""
    visits, people = timeline.visits, timeline.by_person()
    cameras = sorted({visit.camera_name for visit in visits})
    strangers = [visit for visit in visits if visit.person_id is None]
    sure = [[visit for visit in seen if not visit.is_doubtful] for seen in people.values()]
    axis = _Axis(visits) if visits else None
    return render(
        "timeline.html",
        facts=[
            (len(people), "identities"),
            (len(visits), "tracks"),
            (sum(len(seen) > 1 for seen in sure), "seen more than once"),
            (
                sum(len({visit.camera_name for visit in seen}) > 1 for seen in sure),
                "seen by several cameras",
            ),
            (sum(visit.is_doubtful for visit in visits), "tracks in doubt"),
            (len(strangers), "tracks of unknown people"),
            (len(cameras), "cameras"),
        ],
        forgotten=timeline.forgotten,
        overview=axis and _overview(people, names, axis, cameras),
        people=[
            _person(person_id, names, seen, axis)
            for person_id, seen in list(people.items())[:_MOST_SHOWN]
            if axis
        ],
        num_people=len(people),
        strangers=[
            {**_figure(visit), "caption": f"{visit.camera_name} {axis.moment(visit.first_s)}"}
            for visit in strangers[:_MOST_STRANGERS]
            if axis
        ],
        num_strangers=len(strangers),
    )


class _Axis:
    """Time from left to right, in px."""

    def __init__(self, visits: Sequence[TimelineVisit]) -> None:
        self.first_s = min(visit.first_s for visit in visits)
        self.last_s = max(max(visit.last_s for visit in visits), self.first_s + 1.0)
        self.is_date = self.first_s >= _DATES_FROM_S
        wanted = (self.last_s - self.first_s) / 8
        days_s = math.ceil(wanted / _DAY_S) * _DAY_S
        self.step_s = next((step for step in _STEPS_S if step >= wanted), days_s)
        # Ticks of whole days are dates: the time of all of them is midnight.
        self.is_in_days = self.step_s >= _DAY_S

    def x(self, time_s: float) -> float:
        share = (time_s - self.first_s) / (self.last_s - self.first_s)
        return _LEFT_PX + share * _WIDTH_PX

    def ticks(self) -> list[float]:
        first = math.ceil(self.first_s / self.step_s) * self.step_s
        return [float(at) for at in np.arange(first, self.last_s + 1e-9, self.step_s)]

    def chart(self, lanes: Sequence[Mapping[str, Any]], height: int) -> dict[str, Any]:
        return {
            "width": _LEFT_PX + _WIDTH_PX + 30,
            "height": height,
            "ticks": [(self.x(at), self.label(at)) for at in self.ticks()],
            "lanes": lanes,
        }

    def label(self, time_s: float) -> str:
        if self.is_date:
            form = "%Y-%m-%d" if self.is_in_days else "%H:%M:%S"
            return f"{datetime.fromtimestamp(time_s, UTC):{form}}"
        minutes, seconds = divmod(round(time_s), 60)
        return f"{minutes}:{seconds:02d}"

    def moment(self, time_s: float) -> str:
        return self.whole(time_s) if self.is_in_days else self.label(time_s)

    def whole(self, time_s: float) -> str:
        if self.is_date:
            return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return self.label(time_s)


def _overview(
    people: Mapping[int, Sequence[TimelineVisit]],
    names: Mapping[int, str | None],
    axis: _Axis,
    cameras: Sequence[str],
) -> dict[str, Any]:
    """Lanes for each camera, with everybody's visits in their colours."""
    lanes: list[dict[str, Any]] = []
    y = 8
    for camera in cameras:
        visits = sorted(
            (visit for seen in people.values() for visit in seen if visit.camera_name == camera),
            key=lambda visit: visit.first_s,
        )
        ends: list[float] = []
        bars = []
        for visit in visits:
            lane = next((at for at, end in enumerate(ends) if end <= visit.first_s), len(ends))
            ends[lane : lane + 1] = [visit.last_s]
            bars.append(_bar(visit, names, axis, y + lane * _LANE_PX, with_label=True))
        height = max(1, len(ends)) * _LANE_PX
        lanes.append({"camera": camera, "y": y, "height": height, "bars": bars})
        y += height + 12
    return axis.chart(lanes, y)


def _person(
    person_id: int, names: Mapping[int, str | None], visits: Sequence[TimelineVisit], axis: _Axis
) -> dict[str, Any]:
    lanes: list[dict[str, Any]] = []
    for at, camera in enumerate(sorted({visit.camera_name for visit in visits})):
        y = 8 + at * _LANE_PX
        seen = [visit for visit in visits if visit.camera_name == camera]
        bars = [_bar(visit, names, axis, y, with_label=False) for visit in seen]
        lanes.append({"camera": camera, "y": y, "height": 0, "bars": bars})
    sure = [visit for visit in visits if not visit.is_doubtful]
    doubtful = len(visits) - len(sure)
    parts = []
    if sure:
        first, last = sure[0].first_s, max(visit.last_s for visit in sure)
        parts.append(f"{_visits(len(sure))}, {axis.whole(first)} to {axis.whole(last)}")
    if doubtful:
        parts.append(f"{_visits(doubtful)} in doubt: perhaps somebody else")
    matches = [visit.probability for visit in visits if visit.verdict == "matched"]
    if matches:
        parts.append(f"least certain match {100 * min(matches):.0f} %")
    return {
        "name": _name(person_id, names),
        "colour": person_colour(person_id),
        "text": "; ".join(parts),
        "figures": [_figure(visit) for visit in visits[:8]],
        "chart": axis.chart(lanes, 12 + len(lanes) * _LANE_PX),
    }


def _bar(
    visit: TimelineVisit, names: Mapping[int, str | None], axis: _Axis, y: int, *, with_label: bool
) -> dict[str, Any]:
    x = axis.x(visit.first_s)
    width = max(3.0, axis.x(visit.last_s) - x)
    return {
        "title": f"{_name(visit.person_id, names)}: {visit.camera_name}, "
        f"{axis.whole(visit.first_s)} to {axis.whole(visit.last_s)}, {_verdict(visit)}",
        "x": x,
        "y": y,
        "width": width,
        "height": _LANE_PX - 5,
        "colour": person_colour(visit.person_id),
        "is_hollow": visit.is_doubtful,
        "label": f"{visit.person_id}{'?' * visit.is_doubtful}"
        if with_label and width > 16
        else None,
    }


def _verdict(visit: TimelineVisit) -> str:
    if visit.verdict == "unknown":
        return "first seen" if visit.person_id is not None else "unknown"
    return f"{visit.verdict}, {100 * visit.probability:.0f} %"


def _figure(visit: TimelineVisit) -> dict[str, Any]:
    """The picture if there is one, otherwise the colours of the clothes."""
    return {
        "title": f"{visit.camera_name}: {_verdict(visit)}",
        "uri": visit.picture,
        "upper": visit.upper or _GREY,
        "lower": visit.lower or _GREY,
        "is_candidate": visit.is_doubtful,
    }


def _visits(count: int) -> str:
    return f"{count} {'visit' if count == 1 else 'visits'}"


def _name(person_id: int | None, names: Mapping[int, str | None]) -> str:
    if person_id is None:
        return "unknown"
    name = names.get(person_id)
    return f"person {person_id}" if name is None else f"{name} ({person_id})"


def _data(timeline: Timeline, names: Mapping[int, str | None]) -> str:
    visits = [
        {
            "person_id": visit.person_id,
            "name": None if visit.person_id is None else names.get(visit.person_id),
            "camera": visit.camera_name,
            "first_time_s": visit.first_s,
            "last_time_s": visit.last_s,
            "verdict": visit.verdict,
            "probability": visit.probability,
        }
        for visit in timeline.visits
    ]
    return json.dumps({"forgotten": timeline.forgotten, "visits": visits}, indent=1)
