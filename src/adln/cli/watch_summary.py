"""What is said at the end of a watch: how many people, who, when, and where things were written."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from adln.cli.gallery_words import many
from adln.cli.options import clock

if TYPE_CHECKING:
    from adln.pipeline.timeline import Timeline, TimelineVisit
    from adln.pipeline.watch_parts import WatchProgress

_MOST_LISTED = 20


def summary_lines(
    progress: "WatchProgress",
    timeline: "Timeline",
    names: Mapping[int, str | None],
    written: Sequence[tuple[str, Path]],
) -> list[str]:
    """The summary, line by line.

    Args:
        progress: where the watch stood at the end.
        timeline: who was where and when.
        names: person -> name, where somebody has given one.
        written: what was written, and where.
    """
    people = timeline.by_person()
    unknown = sum(visit.person_id is None for visit in timeline.visits)
    seen_s = progress.video_s
    lines = ["", f"{many(len(people), 'person', 'people')} in {clock(seen_s)} of video"]
    titles = {person: names.get(person) or f"Person {person}" for person in people}
    width = max(map(len, titles.values()), default=0)
    for person, visits in list(people.items())[:_MOST_LISTED]:
        lines.append(f"  {titles[person]:<{width}}  {_visits(visits)}")
    if len(people) > _MOST_LISTED:
        lines.append(f"  and {len(people) - _MOST_LISTED} more")
    if unknown:
        lines.append(
            f"  {many(unknown, 'track')} of people of whom too little was seen to tell who they are"
        )
    if progress.failures:
        lines.append(
            f"  {progress.failures.total()} frames or tracks could not be used; see the log above"
        )
    label = max((len(what) for what, _ in written), default=0)
    lines += ["", *(f"{what:<{label}}  {path}" for what, path in written)]
    gallery = dict(written).get("gallery")
    if people and gallery is not None and not any(names.values()):
        first = next(iter(people))
        lines += ["", f'Give people names: adln gallery name "{gallery}" {first} "Anna"']
    return lines


def _visits(visits: "Sequence[TimelineVisit]") -> str:
    """Where and when somebody was seen, in local time."""
    cameras = list(dict.fromkeys(visit.camera_name for visit in visits))
    first, last = _local(visits[0].first_s), _local(max(visit.last_s for visit in visits))
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    when = f"{first:%Y-%m-%d %H:%M:%S} to {day}{last:%H:%M:%S}"
    times = "" if len(visits) == 1 else f", {len(visits)} times"
    doubt = ", to be confirmed" if visits[0].verdict == "candidate" else ""
    return f"{when}{times}  {', '.join(cameras)}{doubt}"


def _local(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s).astimezone()
