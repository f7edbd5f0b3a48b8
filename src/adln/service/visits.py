"""Visits: sightings of one person at one camera with no long gap between them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from adln.gallery.interface import Gallery
from adln.gallery.records import Filter, SightingFacts

GAP_S = 300.0
MOST_SIGHTINGS = 5000
"""Most sightings read for one answer."""
_AT_A_TIME = 500


@dataclass
class Visit:
    """A person's stay at a camera; times in seconds since 1970, newest sighting first.

    `person_id` is None for unassigned sightings; `picture_id` is that of the best picture.
    """

    person_id: int | None
    camera_id: int
    first_s: float
    last_s: float
    sighting_ids: list[int] = field(default_factory=list)
    picture_id: int | None = None
    best_quality: float = -1.0


def newest_visits(
    gallery: Gallery, where: Filter, *, gap_s: float = GAP_S, limit: int = 500
) -> tuple[list[Visit], bool]:
    """The at most `limit` newest visits, most recently ended first, and whether these are all.

    Reads no more sightings than necessary. A gap longer than `gap_s` starts a new visit. Unassigned
    sightings belong to one visit only if they are from one track.

    Raises:
        GalleryError: the gallery cannot be read.
    """
    visits: list[Visit] = []
    open_now: dict[tuple[int, ...], Visit] = {}
    before: tuple[float, int] | None = None
    for _ in range(MOST_SIGHTINGS // _AT_A_TIME):
        page = gallery.newest_facts(where, limit=_AT_A_TIME, before=before)
        _add(page, visits, open_now, gap_s)
        if len(page) < _AT_A_TIME:
            return visits[:limit], len(visits) <= limit
        before = page[-1].time_s, page[-1].sighting_id
        if len(visits) > limit and before[0] < min(one.first_s for one in visits[:limit]) - gap_s:
            # Older sightings belong to none of the wanted visits.
            break
    return visits[:limit], False


def _add(
    records: Iterable[SightingFacts],
    visits: list[Visit],
    open_now: dict[tuple[int, ...], Visit],
    gap_s: float,
) -> None:
    for record in records:
        key = _who_and_where(record)
        visit = open_now.get(key)
        if visit is None or visit.first_s - record.time_s > gap_s:
            visit = Visit(record.person_id, record.camera_id, record.time_s, record.time_s)
            open_now[key] = visit
            visits.append(visit)
        visit.first_s = record.time_s
        visit.sighting_ids.append(record.sighting_id)
        if record.has_picture and record.quality > visit.best_quality:
            visit.picture_id, visit.best_quality = record.sighting_id, record.quality


def _who_and_where(record: SightingFacts) -> tuple[int, ...]:
    if record.person_id is not None:
        return record.person_id, record.camera_id
    if record.track_id is not None:
        return -1, record.camera_id, record.track_id
    return -2, record.sighting_id
