"""What is said at the end of a watch: how many people, who, when, and where things were written."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from adln.cli.gallery_words import many
from adln.cli.progress import clock
from adln.pipeline.timeline import Timeline, TimelineVisit
from adln.pipeline.watch_parts import WatchProgress

_MOST_LISTED = 20


def summary_lines(
    progress: WatchProgress,
    timeline: Timeline,
    names: Mapping[int, str | None],
    written: Sequence[tuple[str, Path]],
) -> list[str]:
    """What is said at the end, line by line.

    `names` are those that somebody has given to people, `written` is what was written, and where.
    """
    people = timeline.by_person()
    unknown = sum(visit.person_id is None for visit in timeline.visits)
    rows = []
    for person, visits in people.items():
        title = names.get(person) or f"Person {person}"
        sure = [visit for visit in visits if not visit.is_doubtful]
        if sure:
            rows.append((title, _visits(sure)))
        for visit in visits:
            if visit.is_doubtful:
                doubt = f"{100 * visit.probability:.0f} %, perhaps somebody else"
                rows.append((f"{title}?", f"{_visits([visit])}, {doubt}"))
    lines = ["", _title(people, clock(progress.video_s))]
    width = max((len(name) for name, _ in rows[:_MOST_LISTED]), default=0)
    lines += [f"  {name:<{width}}  {text}" for name, text in rows[:_MOST_LISTED]]
    if len(rows) > _MOST_LISTED:
        lines.append(f"  and {len(rows) - _MOST_LISTED} more")
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


def _title(people: Mapping[int, Sequence[TimelineVisit]], length: str) -> str:
    """How many people were seen; each visit in doubt may show another one."""
    doubtful = sum(visit.is_doubtful for visits in people.values() for visit in visits)
    sure = sum(not all(visit.is_doubtful for visit in visits) for visits in people.values())
    most = sure + doubtful
    if most == len(people):
        return f"{many(most, 'person', 'people')} in {length} of video"
    number = f"{len(people)} {'or' if most == len(people) + 1 else 'to'} {most}"
    return f"{number} people in {length} of video, {many(doubtful, 'visit')} in doubt"


def _visits(visits: Sequence[TimelineVisit]) -> str:
    """Where and when somebody was seen, in local time."""
    cameras = list(dict.fromkeys(visit.camera_name for visit in visits))
    first, last = _local(visits[0].first_s), _local(max(visit.last_s for visit in visits))
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    # In the hour in which clocks are set back a visit would end before it began.
    zones = first.utcoffset() != last.utcoffset()
    begun, ended = (f"{one:%z}"[:3] if zones else "" for one in (first, last))
    when = f"{first:%Y-%m-%d %H:%M:%S}{begun} to {day}{last:%H:%M:%S}{ended}"
    times = "" if len(visits) == 1 else f", {len(visits)} times"
    return f"{when}{times}  {', '.join(cameras)}"


def _local(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s).astimezone()
