"""Reads and writes sightings as rows of the database."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.gallery.index import SearchIndex
from adln.gallery.records import ModelKey, Sighting, SightingFacts, StoredSighting
from adln.gallery.sums import ROW_SUM_SQL, blob_sum, row_sum

IDS_AT_A_TIME = 500
_RECORD_SQL = (
    "SELECT sighting_id, embedding, model_id, camera_id, time_s, person_id, track_id, box, "
    f"quality, jpeg, embedding_sum, jpeg_sum, row_sum IS {ROW_SUM_SQL} FROM sightings "
    "LEFT JOIN embeddings USING (sighting_id) LEFT JOIN thumbnails USING (sighting_id)"
)

_FACTS_SQL = (
    "SELECT sighting_id, person_id, camera_id, time_s, track_id, quality, jpeg_sum, "
    f"row_sum IS {ROW_SUM_SQL} FROM sightings"
)


def read_records(
    connection: sqlite3.Connection, index: SearchIndex, ids: Sequence[int]
) -> dict[int, StoredSighting]:
    """Complete records by id; ids that no longer exist are left out.

    Raises:
        GalleryError: One is damaged.
    """
    return {row[0]: _record(row, index) for row in _rows_of(connection, _RECORD_SQL, ids)}


def read_facts(
    connection: sqlite3.Connection, index: SearchIndex, ids: Sequence[int]
) -> dict[int, SightingFacts]:
    """Facts by id, without embeddings and pictures; ids that no longer exist are left out.

    Raises:
        GalleryError: One is damaged.
    """
    found: dict[int, SightingFacts] = {}
    rows = _rows_of(connection, _FACTS_SQL, ids)
    for sighting_id, person_id, camera_id, time_s, track_id, quality, jpeg_sum, right in rows:
        if not right:
            raise index.damaged(f"sighting {sighting_id} is not what was stored")
        found[sighting_id] = SightingFacts(
            sighting_id=sighting_id,
            person_id=person_id,
            camera_id=camera_id,
            time_s=time_s,
            track_id=_track(track_id),
            quality=quality,
            has_picture=jpeg_sum is not None,
        )
    return found


def _rows_of(
    connection: sqlite3.Connection, select: str, ids: Sequence[int]
) -> Iterator[tuple[Any, ...]]:
    """Rows of a SELECT for these sightings, in batches."""
    for start in range(0, len(ids), IDS_AT_A_TIME):
        part = ids[start : start + IDS_AT_A_TIME]
        marks = ",".join("?" * len(part))
        # An open cursor would outlive the connection if a row turns out to be damaged.
        yield from connection.execute(f"{select} WHERE sighting_id IN ({marks})", part).fetchall()


def write_rows(
    connection: sqlite3.Connection,
    ids: Sequence[int],
    slots: Sequence[int],
    sightings: Sequence[Sighting],
    model_ids: Sequence[int],
    embeddings: NDArray[np.float32],
    code_sums: NDArray[np.uint32],
) -> None:
    """Insert sightings, in the caller's transaction."""
    blobs = [row.astype("<f4").tobytes() for row in embeddings]
    rows = []
    for sighting_id, slot, one, model_id, blob, code_sum in zip(
        ids, slots, sightings, model_ids, blobs, code_sums.tolist(), strict=True
    ):
        box = None if one.box_xyxy is None else np.array(one.box_xyxy, "<f8").tobytes()
        # SQLite has no negative zero.
        facts = (one.camera_id, float(one.time_s) + 0.0, one.model.depth, one.track_id, box)
        quality = float(one.quality) + 0.0
        sums = (blob_sum(blob), None if one.thumbnail is None else blob_sum(one.thumbnail))
        row = row_sum(sighting_id, one.person_id, *facts, quality, model_id, *sums)
        stored = (sighting_id, slot, one.person_id, *facts, quality, model_id)
        rows.append((*stored, sums[0], code_sum, sums[1], row))
    connection.executemany(f"INSERT INTO sightings VALUES ({','.join('?' * 14)})", rows)
    connection.executemany("INSERT INTO embeddings VALUES (?, ?)", zip(ids, blobs, strict=True))
    connection.executemany(
        "INSERT INTO thumbnails VALUES (?, ?)",
        [
            (sighting_id, one.thumbnail)
            for sighting_id, one in zip(ids, sightings, strict=True)
            if one.thumbnail is not None
        ],
    )


def slots_of(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, int]:
    """Sighting -> slot, of existing sightings."""
    return dict(_rows_of(connection, "SELECT sighting_id, slot FROM sightings", ids))


def erase_rows(connection: sqlite3.Connection, ids: Sequence[int]) -> dict[int, int]:
    """Erase sightings, and mark their slots as not yet overwritten.

    Returns:
        Sighting -> slot, of those that existed.
    """
    slots = slots_of(connection, ids)
    keys = [(sighting_id,) for sighting_id in slots]
    for table in ("thumbnails", "embeddings", "sightings"):
        connection.executemany(f"DELETE FROM {table} WHERE sighting_id = ?", keys)
    connection.executemany(
        "INSERT OR IGNORE INTO unwiped VALUES (?)", [(slot,) for slot in slots.values()]
    )
    return slots


def assign_rows(
    connection: sqlite3.Connection, ids: Sequence[int], person_id: int | None
) -> list[int]:
    """Assign sightings to a person, or unassign them.

    Returns:
        The slots of those that changed.
    """
    changed = []
    for sighting_id, slot in slots_of(connection, ids).items():
        done = connection.execute(
            "UPDATE sightings SET person_id = ? WHERE sighting_id = ? AND person_id IS NOT ?",
            (person_id, sighting_id, person_id),
        ).rowcount
        if done:
            connection.execute(
                f"UPDATE sightings SET row_sum = {ROW_SUM_SQL} WHERE sighting_id = ?",
                (sighting_id,),
            )
            changed.append(slot)
    return changed


def ids_of(connection: sqlite3.Connection, person_id: int) -> list[int]:
    """The sightings of a person."""
    rows = connection.execute(
        "SELECT sighting_id FROM sightings WHERE person_id = ? ORDER BY sighting_id", (person_id,)
    )
    return [sighting_id for (sighting_id,) in rows]


def take_models(connection: sqlite3.Connection, admitted: Sequence[ModelKey]) -> None:
    """Store networks, and their spaces if these become known later."""
    connection.executemany(
        "INSERT INTO models (digest, depth, space) VALUES (?, ?, ?) "
        # The space may become known after the first sightings.
        "ON CONFLICT (digest, depth) DO UPDATE SET space = excluded.space "
        "WHERE models.space != excluded.space",
        [(model.digest, model.depth, model.space) for model in admitted],
    )


def plain_filter(set_ones: Mapping[str, Any]) -> dict[str, Any]:
    """The given conditions of a filter, JSON-serialisable."""
    values = {
        name: sorted(value) if isinstance(value, frozenset) else value
        for name, value in set_ones.items()
    }
    return {name: value for name, value in values.items() if value not in (None, [])}


def _record(row: tuple[Any, ...], index: SearchIndex) -> StoredSighting:
    sighting_id, blob, model_id, camera_id, time_s, person_id, track_id, box, quality, jpeg = row[
        :10
    ]
    embedding_sum, jpeg_sum, is_right = row[10:]
    if not is_right or (None if jpeg is None else blob_sum(jpeg)) != jpeg_sum:
        raise index.damaged(f"sighting {sighting_id} is not what was stored")
    left, top, right, bottom = (0.0,) * 4 if box is None else np.frombuffer(box, "<f8").tolist()
    return StoredSighting(
        sighting_id=sighting_id,
        embedding=index.checked_embedding(sighting_id, blob, embedding_sum),
        model=index.models[model_id],
        camera_id=camera_id,
        time_s=time_s,
        person_id=person_id,
        track_id=_track(track_id),
        box_xyxy=None if box is None else (left, top, right, bottom),
        quality=quality,
        thumbnail=jpeg,
    )


def _track(track_id: int | bytes | None) -> int | None:
    # Earlier versions stored numpy integers as bytes.
    return (
        int.from_bytes(track_id, "little", signed=True) if isinstance(track_id, bytes) else track_id
    )
