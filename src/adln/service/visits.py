"""Visits: sightings of one person at one camera with no long gap between them."""

from collections.abc import Iterable
from dataclasses import dataclass

from adln.gallery.interface import Gallery
from adln.gallery.records import Filter, StoredSighting

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
        sightings: how many.
        picture_id: the sighting whose picture shows them best; None where none is kept.
        best_quality: of that picture.
    """

    person_id: int | None
    camera_id: int
    first_s: float
    last_s: float
    sightings: int = 0
    picture_id: int | None = None
    best_quality: float = -1.0


def group_visits(records: Iterable[StoredSighting], *, gap_s: float = GAP_S) -> list[Visit]:
    """Group sightings into visits.

    Sightings of nobody yet belong together only if they are of one track.

    Args:
        records: newest first.
        gap_s: a longer gap begins another visit.

    Returns:
        Visits, the one that ended last first.
    """
    visits: list[Visit] = []
    open_now: dict[tuple[int, ...], Visit] = {}
    for record in records:
        key = _who_and_where(record)
        visit = open_now.get(key)
        if visit is None or visit.first_s - record.time_s > gap_s:
            visit = Visit(record.person_id, record.camera_id, record.time_s, record.time_s)
            open_now[key] = visit
            visits.append(visit)
        visit.first_s = record.time_s
        visit.sightings += 1
        if record.thumbnail is not None and record.quality > visit.best_quality:
            visit.picture_id, visit.best_quality = record.sighting_id, record.quality
    return visits


def newest_visits(
    gallery: Gallery, where: Filter, *, gap_s: float = GAP_S, limit: int = 500
) -> tuple[list[Visit], bool]:
    """The newest visits that pass.

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
    is_all = False

    def pages() -> Iterable[StoredSighting]:
        nonlocal is_all
        before: tuple[float, int] | None = None
        for _ in range(MOST_SIGHTINGS // _AT_A_TIME):
            page = gallery.newest(where, limit=_AT_A_TIME, before=before)
            yield from page
            if len(page) < _AT_A_TIME:
                is_all = True
                return
            before = page[-1].time_s, page[-1].sighting_id

    visits = group_visits(pages(), gap_s=gap_s)
    return visits[:limit], is_all and len(visits) <= limit


def _who_and_where(record: StoredSighting) -> tuple[int, ...]:
    if record.person_id is not None:
        return record.person_id, record.camera_id
    if record.track_id is not None:
        return -1, record.camera_id, record.track_id
    return -2, record.sighting_id
