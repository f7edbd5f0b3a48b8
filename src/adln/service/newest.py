"""The newest sightings of a gallery that may hold millions, a page at a time.

A gallery counts quickly and lists by number only. So the time from which on there are about as
many as wanted is found by counting, each time in half of what is left.
"""

import heapq
import struct
from dataclasses import replace

from adln.gallery.interface import Gallery
from adln.gallery.records import Filter, StoredSighting

Cursor = tuple[float, int]
"""Time and number of a sighting: what comes after it on the next page is older."""

# A few too many are quicker to sort than to be counted away.
_ENOUGH_TIMES = 4


def newest_sightings(
    gallery: Gallery, where: Filter, *, limit: int, before: Cursor | None = None
) -> list[StoredSighting]:
    """The newest sightings that pass, newest first; of one moment, the highest number first.

    Args:
        gallery: any.
        where: only these.
        limit: at most so many.
        before: only what comes after this one in the list.

    Raises:
        GalleryError: the gallery cannot be read.
    """
    if before is not None:
        # The same moment belongs to it: others of the same time may come yet.
        until = _float(_number(before[0]) + 1)
        where = replace(
            where, until_s=until if where.until_s is None else min(until, where.until_s)
        )
    wanted = limit
    while True:
        narrowed = replace(where, from_s=_from_when(gallery, where, wanted))
        found = heapq.nlargest(
            limit,
            (
                record
                for batch in gallery.iterate(narrowed, batch_size=200)
                for record in batch
                if before is None or (record.time_s, record.sighting_id) < before
            ),
            key=lambda record: (record.time_s, record.sighting_id),
        )
        if len(found) == limit or narrowed.from_s == where.from_s:
            return found
        # Some of those counted were on the page before.
        wanted *= 2


def _from_when(gallery: Gallery, where: Filter, wanted: int) -> float | None:
    """A time from which on at least so many pass, but hardly more; as `where` if there are few."""
    if gallery.count(where) <= _ENOUGH_TIMES * wanted:
        return where.from_s
    low = _number(float("-inf") if where.from_s is None else where.from_s)
    high = _number(float("inf"))
    # At least `wanted` pass from `low` on, fewer from `high` on.
    while high - low > 1:
        middle = (low + high) // 2
        count = gallery.count(replace(where, from_s=_float(middle)))
        if wanted <= count <= _ENOUGH_TIMES * wanted:
            return _float(middle)
        low, high = (middle, high) if count >= wanted else (low, middle)
    return _float(low)


def _number(value: float) -> int:
    """The place of a float64 among all of them, so that halves can be taken."""
    bits: int = struct.unpack("<q", struct.pack("<d", value))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def _float(place: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<q", abs(place)))[0]
    return value if place >= 0 else -value
