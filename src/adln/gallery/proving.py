"""Erases the last traces of a person from a SQLite gallery, and verifies that none is left."""

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.gallery.codes import encode_embeddings
from adln.gallery.database import DATABASE_NAME, empty_log
from adln.gallery.erasing import Needles, Traces, all_pieces, find_traces
from adln.gallery.records import StoredSighting

Compared = Callable[[StoredSighting], NDArray[np.float32]]
"""Returns the adapted embedding (D,) of a sighting, from which its code is made."""

# Shorter names occur in other words and data by chance.
_LEAST_NAME_BYTES = 8
_SCAN = b"\xff\xda"
# Larger databases are rewritten on the disk, not in memory.
_MOST_IN_MEMORY_BYTES = 128 * 2**20


def needles_of(
    records: Iterable[StoredSighting], names: Iterable[str | None], compared: Compared
) -> Needles:
    """The bytes that must be gone after a person was forgotten.

    Args:
        records: their sightings.
        names: their names.
        compared: returns the adapted embedding of a sighting.
    """
    texts = [name.encode() for name in names if name is not None]
    return Needles(
        (
            piece
            for record in records
            for data in _blobs(record, compared)
            for piece in all_pieces(data)
        ),
        [text for text in texts if len(text) >= _LEAST_NAME_BYTES],
    )


def erase_traces(
    connection: sqlite3.Connection,
    folder: Path,
    needles: Needles,
    kept: Iterable[Sequence[StoredSighting]],
    compared: Compared,
) -> Traces:
    """Search for traces; if there are any, rewrite the whole database and search again.

    SQLite overwrites what it deletes, but leaves copies when it moves rows between pages, which
    only a rewrite of all pages removes.

    Args:
        connection: to the database, without a transaction; wiped, with an empty log.
        folder: folder of the gallery.
        needles: what to search for; pieces that also occur in kept data are dropped.
        kept: all records of the gallery, in batches; read only if there are traces.
        compared: returns the adapted embedding of a sighting.
    """
    traces = find_traces(folder, needles)
    if not traces.found:
        return traces
    # Parts of pictures can be identical, such as a white wall.
    for data in _kept_data(connection, kept, compared):
        needles.leave_out(data)
    traces = find_traces(folder, needles)
    if traces.in_database:
        in_memory = (folder / DATABASE_NAME).stat().st_size <= _MOST_IN_MEMORY_BYTES
        connection.execute(f"PRAGMA temp_store = {'MEMORY' if in_memory else 'FILE'}")
        connection.execute("VACUUM")
        connection.execute("PRAGMA temp_store = MEMORY")
        empty_log(connection)
    return find_traces(folder, needles) if traces.found else traces


def _blobs(record: StoredSighting, compared: Compared) -> Iterator[bytes]:
    yield record.embedding.astype("<f4").tobytes()
    row = compared(record)
    yield encode_embeddings(row[np.newaxis]).numbers.tobytes()
    if record.thumbnail is not None:
        # The bytes before the first scan of a JPEG are nearly the same in all files.
        yield record.thumbnail[record.thumbnail.find(_SCAN) + 1 :]


def _kept_data(
    connection: sqlite3.Connection, kept: Iterable[Sequence[StoredSighting]], compared: Compared
) -> Iterator[bytes]:
    """All data that the gallery keeps, in pieces."""
    apart = os.urandom(16)
    for batch in kept:
        yield apart.join(data for record in batch for data in _blobs(record, compared))
    for sql in (
        "SELECT name FROM persons WHERE name IS NOT NULL",
        "SELECT DISTINCT actor FROM audit",
        "SELECT DISTINCT action FROM audit",
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL",
        "SELECT digest || ' ' || space FROM models",
        "SELECT retention FROM state WHERE retention IS NOT NULL",
    ):
        yield apart.join(str(text).encode() for (text,) in connection.execute(sql))
