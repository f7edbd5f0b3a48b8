"""The report of a watch: one page, by itself, with everybody's timeline across the cameras.

People are shown as figures in the colours of their clothes; pictures of them only if the operator
wanted pictures.
"""

import base64
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.errors import SettingsError
from adln.pipeline.annotated_video import person_colour
from adln.pipeline.timeline import Colour, Timeline, Visit

PAGE_NAME = "identities.html"
DATA_NAME = "identities.json"
# A later time than this is a date, not seconds since the start of a recording.
_DATES_FROM_S = 10 * 365 * 86_400.0
_MOST_SHOWN = 300
_LEFT_PX, _WIDTH_PX, _LANE_PX = 120, 760, 22
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14_400, 43_200, 86_400)


def write_timeline(folder: Path, timeline: Timeline, *, names: Mapping[int, str | None]) -> Path:
    """Write ``identities.html`` and, for programs, ``identities.json``.

    Args:
        folder: made if it is missing.
        timeline: who was where.
        names: person -> name, where somebody has given one.

    Returns:
        The page.

    Raises:
        SettingsError: the folder cannot be written.
    """
    page = folder / PAGE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        page.write_text(timeline_html(timeline, names=names), encoding="utf-8")
        (folder / DATA_NAME).write_text(_data(timeline, names) + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{page}: cannot be written ({error}).") from error
    return page


def timeline_html(timeline: Timeline, *, names: Mapping[int, str | None]) -> str:
    """The page as text; see `write_timeline`."""
    visits = timeline.visits
    people = timeline.by_person()
    cameras = sorted({visit.camera_name for visit in visits})
    strangers = [visit for visit in visits if visit.person_id is None]
    parts = [_summary(people, visits, strangers, cameras, timeline.forgotten)]
    if visits:
        axis = _Axis(visits)
        parts.append(_overview(people, names, axis, cameras))
        shown = list(people.items())[:_MOST_SHOWN]
        parts.append("<h2>People</h2>")
        if len(shown) < len(people):
            parts.append(
                f"<p>The first {len(shown)} of {len(people)}; identities.json has all.</p>"
            )
        parts += [_person(person_id, names, seen, axis) for person_id, seen in shown]
        if strangers:
            parts.append(_strangers(strangers, axis))
    else:
        parts.append("<p>Nobody was seen.</p>")
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Who was where</title><style>{_STYLE}</style></head>\n"
        f"<body><main><h1>Who was where</h1>\n{body}\n</main></body></html>\n"
    )


class _Axis:
    """Time from left to right, in px."""

    def __init__(self, visits: Sequence[Visit]) -> None:
        self.first_s = min(visit.first_s for visit in visits)
        self.last_s = max(max(visit.last_s for visit in visits), self.first_s + 1.0)
        self.is_date = self.first_s >= _DATES_FROM_S

    def x(self, time_s: float) -> float:
        share = (time_s - self.first_s) / (self.last_s - self.first_s)
        return _LEFT_PX + share * _WIDTH_PX

    def ticks(self) -> list[float]:
        wanted = (self.last_s - self.first_s) / 8
        step = next((step for step in _STEPS_S if step >= wanted), _STEPS_S[-1])
        first = math.ceil(self.first_s / step) * step
        return [float(at) for at in np.arange(first, self.last_s + 1e-9, step)]

    def label(self, time_s: float) -> str:
        if self.is_date:
            return f"{datetime.fromtimestamp(time_s, UTC):%H:%M:%S}"
        minutes, seconds = divmod(round(time_s), 60)
        return f"{minutes}:{seconds:02d}"

    def whole(self, time_s: float) -> str:
        if self.is_date:
            return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return self.label(time_s)


def _summary(
    people: Mapping[int, Sequence[Visit]],
    visits: Sequence[Visit],
    strangers: Sequence[Visit],
    cameras: Sequence[str],
    forgotten: int,
) -> str:
    across = sum(len({visit.camera_name for visit in seen}) > 1 for seen in people.values())
    again = sum(len(seen) > 1 for seen in people.values())
    facts = [
        (len(people), "identities"),
        (len(visits), "tracks"),
        (again, "seen more than once"),
        (across, "seen by several cameras"),
        (len(strangers), "tracks of nobody known"),
        (len(cameras), "cameras"),
    ]
    tiles = "".join(f"<div><b>{count}</b><span>{what}</span></div>" for count, what in facts)
    note = f"<p>{forgotten} older tracks are not on this page.</p>" if forgotten else ""
    return f'<div class="tiles">{tiles}</div>{note}'


def _overview(
    people: Mapping[int, Sequence[Visit]],
    names: Mapping[int, str | None],
    axis: _Axis,
    cameras: Sequence[str],
) -> str:
    """A lane for each camera, with everybody's visits in their colours."""
    rows: list[str] = []
    y = 8
    for camera in cameras:
        visits = sorted(
            (visit for seen in people.values() for visit in seen if visit.camera_name == camera),
            key=lambda visit: visit.first_s,
        )
        ends: list[float] = []
        drawn = []
        for visit in visits:
            lane = next((at for at, end in enumerate(ends) if end <= visit.first_s), len(ends))
            ends[lane : lane + 1] = [visit.last_s]
            drawn.append(_bar(visit, names, axis, y + lane * _LANE_PX, with_label=True))
        height = max(1, len(ends)) * _LANE_PX
        rows.append(f'<rect class="lane" x="0" y="{y - 3}" width="100%" height="{height + 4}"/>')
        rows.append(f'<text x="8" y="{y + 14}">{html.escape(camera)}</text>')
        rows += drawn
        y += height + 12
    return (
        "<h2>Cameras</h2><p>Each bar is a person before a camera; the same colour and number is "
        "the same person. Hollow bars are candidates: probably, not surely, this person.</p>"
        + _chart(rows, axis, y)
    )


def _person(
    person_id: int, names: Mapping[int, str | None], visits: Sequence[Visit], axis: _Axis
) -> str:
    cameras = sorted({visit.camera_name for visit in visits})
    rows = []
    for at, camera in enumerate(cameras):
        y = 8 + at * _LANE_PX
        rows.append(f'<text x="8" y="{y + 14}">{html.escape(camera)}</text>')
        rows += [
            _bar(visit, names, axis, y, with_label=False)
            for visit in visits
            if visit.camera_name == camera
        ]
    first, last = visits[0].first_s, max(visit.last_s for visit in visits)
    sure = min((v.probability for v in visits if v.verdict == "matched"), default=None)
    text = (
        f"{len(visits)} {'visit' if len(visits) == 1 else 'visits'}, {axis.whole(first)} to "
        f"{axis.whole(last)}"
    )
    if sure is not None:
        text += f"; least sure match {100 * sure:.0f} %"
    figures = "".join(_figure(visit) for visit in visits[:8])
    return (
        f'<section><div class="head">{_dot(person_id)}<h3>{_name(person_id, names)}</h3>'
        f"<p>{text}</p></div>"
        f'<div class="figures">{figures}</div>'
        + _chart(rows, axis, 12 + len(cameras) * _LANE_PX)
        + "</section>"
    )


def _strangers(visits: Sequence[Visit], axis: _Axis) -> str:
    cells = "".join(
        f"<figure>{_figure(visit)}<figcaption>{html.escape(visit.camera_name)} "
        f"{axis.label(visit.first_s)}</figcaption></figure>"
        for visit in visits[:60]
    )
    return (
        "<h2>Nobody known</h2><p>Tracks of which too little was seen to enrol anybody: too short, "
        f'too small, hidden or cut off. {len(visits)} in all.</p><div class="figures">{cells}</div>'
    )


def _chart(rows: Sequence[str], axis: _Axis, height: int) -> str:
    grid = "".join(
        f'<line x1="{axis.x(at):.1f}" y1="0" x2="{axis.x(at):.1f}" y2="{height}"/>'
        f'<text class="tick" x="{axis.x(at):.1f}" y="{height + 14}">{axis.label(at)}</text>'
        for at in axis.ticks()
    )
    whole = _LEFT_PX + _WIDTH_PX + 30
    return (
        f'<svg viewBox="0 0 {whole} {height + 20}" role="img" '
        f'aria-label="times before the cameras">{grid}{"".join(rows)}</svg>'
    )


def _bar(
    visit: Visit, names: Mapping[int, str | None], axis: _Axis, y: int, *, with_label: bool
) -> str:
    colour = _css(person_colour(visit.person_id))
    x, width = axis.x(visit.first_s), max(3.0, axis.x(visit.last_s) - axis.x(visit.first_s))
    fill = "none" if visit.verdict == "candidate" else colour
    what = f"{_name(visit.person_id, names)}: {visit.camera_name}, {axis.whole(visit.first_s)} to "
    what += f"{axis.whole(visit.last_s)}, {_verdict(visit)}"
    label = ""
    if with_label and width > 16:
        label = f'<text class="bar" x="{x + 4:.1f}" y="{y + 13}">{visit.person_id}</text>'
    return (
        f'<g><title>{html.escape(what)}</title><rect x="{x:.1f}" y="{y}" width="{width:.1f}" '
        f'height="{_LANE_PX - 5}" rx="3" fill="{fill}" stroke="{colour}" stroke-width="1.5"/>'
        f"{label}</g>"
    )


def _verdict(visit: Visit) -> str:
    if visit.verdict == "unknown":
        return "first seen" if visit.person_id is not None else "unknown"
    return f"{visit.verdict}, {100 * visit.probability:.0f} %"


def _figure(visit: Visit) -> str:
    """A picture where there is one, else a figure in the colours of the clothes."""
    title = html.escape(f"{visit.camera_name}: {_verdict(visit)}")
    if visit.crop is not None:
        return f'<img src="{_data_uri(visit.crop)}" alt="{title}" title="{title}">'
    upper, lower = visit.upper or (200, 200, 200), visit.lower or (200, 200, 200)
    outline = ' stroke-dasharray="3 2"' if visit.verdict == "candidate" else ""
    return (
        f'<svg class="figure" viewBox="0 0 40 96" role="img" aria-label="{title}">'
        f'<title>{title}</title><g stroke="#888" stroke-width="1"{outline}>'
        '<circle cx="20" cy="11" r="8" fill="#d9d2c9"/>'
        f'<path d="M8 22 h24 a4 4 0 0 1 4 4 v26 h-6 v4 h-20 v-4 h-6 v-26 a4 4 0 0 1 4 -4z" '
        f'fill="{_css(upper)}"/>'
        f'<path d="M10 56 h20 v36 h-8 v-26 h-4 v26 h-8z" fill="{_css(lower)}"/></g></svg>'
    )


def _name(person_id: int | None, names: Mapping[int, str | None]) -> str:
    if person_id is None:
        return "nobody known"
    name = names.get(person_id)
    return f"person {person_id}" if name is None else f"{html.escape(name)} ({person_id})"


def _dot(person_id: int) -> str:
    return f'<i style="background:{_css(person_colour(person_id))}"></i>'


def _css(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _data_uri(crop: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(crop).resize((64, 128)).save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


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


_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:15px/1.45 system-ui,sans-serif;margin:0}
main{max-width:960px;margin:0 auto;padding:24px}
h1{font-size:26px;margin:0 0 16px}h2{font-size:19px;margin:32px 0 6px}h3{font-size:16px;margin:0}
p{margin:4px 0 10px}
.tiles{display:flex;flex-wrap:wrap;gap:10px}
.tiles div{border:1px solid var(--line);border-radius:8px;padding:8px 14px}
.tiles b{display:block;font-size:24px}.tiles span{font-size:13px}
svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:currentColor}svg .tick{font-size:11px;text-anchor:middle;opacity:.7}
svg .bar{fill:#111;font-size:11px;paint-order:stroke;stroke:#fff9;stroke-width:2px}
svg line{stroke:var(--line)}svg .lane{fill:var(--soft)}
section{border-top:1px solid var(--line);padding:14px 0}
.head{display:flex;align-items:baseline;gap:10px;flex-wrap:wrap}.head p{margin:0;opacity:.8}
.head i{width:12px;height:12px;border-radius:50%;align-self:center}
.figures{display:flex;flex-wrap:wrap;gap:8px;margin:8px 0}
.figures svg.figure{width:34px}.figures img{width:48px;border-radius:4px}
figure{margin:0;text-align:center}figcaption{font-size:11px;opacity:.8}
figure svg.figure{margin:0 auto}
"""
