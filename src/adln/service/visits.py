"""Visits: sightings of one person at one camera with no long gap between them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from adln.gallery.interface import Gallery
from adln.gallery.records import Filter, SightingFacts

GAP_S = 300.0
MOST_SIGHTINGS = 5000
"""So many sightings are looked through for one answer."""
_AT_A_TIME = 500


@dataclass
class Visit:
    """Somebody at a camera, from when to when.

    Attributes:
        person_id: who; None for nobody yet.
        camera_id: where.
        first_s: time of the first sighting.
        last_s: time of the last one.
        sighting_ids: all of them, newest first.
        picture_id: the sighting whose picture shows them best; None where none is kept.
        best_quality: of that picture.
    """

    person_id: int | None
    camera_id: int
    first_s: float
    last_s: float
    sighting_ids: list[int] = field(default_factory=list)
    picture_id: int | None = None
    best_quality: float = -1.0

    @property
    def sightings(self) -> int:
        """How many."""
        return len(self.sighting_ids)


def newest_visits(
    gallery: Gallery, where: Filter, *, gap_s: float = GAP_S, limit: int = 500
) -> tuple[list[Visit], bool]:
    """The newest visits that pass; no more sightings are read than they need.

    Sightings of nobody yet belong together only if they are of one track.

    Args:
        gallery: any.
        where: only these sightings.
        gap_s: a longer gap begins another visit.
        limit: at most so many.

    Returns:
        Visits, the one that ended last first, and whether these are all.

    Raises:
        GalleryError: the gallery cannot be read.
    """
    visits: list[Visit] = []
    open_now: dict[_Key, Visit] = {}
    before: tuple[float, int] | None = None
    for _ in range(MOST_SIGHTINGS // _AT_A_TIME):
        page = gallery.newest_facts(where, limit=_AT_A_TIME, before=before)
        _add(page, visits, open_now, gap_s)
        if len(page) < _AT_A_TIME:
            return visits[:limit], len(visits) <= limit
        before = page[-1].time_s, page[-1].sighting_id
        if len(visits) > limit and before[0] < min(one.first_s for one in visits[:limit]) - gap_s:
            # What is older belongs to none of those that are wanted.
            break
    return visits[:limit], False


_Key = tuple[int, ...]


def _add(
    records: Iterable[SightingFacts],
    visits: list[Visit],
    open_now: dict[_Key, Visit],
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


def _who_and_where(record: SightingFacts) -> _Key:
    if record.person_id is not None:
        return record.person_id, record.camera_id
    if record.track_id is not None:
        return -1, record.camera_id, record.track_id
    return -2, record.sighting_id
