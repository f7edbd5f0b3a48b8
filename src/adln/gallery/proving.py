"""Erases somebody's last traces from a SQLite gallery, and proves that none is left."""

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
"""Gives the embedding (D,) of a sighting as it is compared, which its code is made of."""

# Shorter names stand in other words, and in numbers, by chance.
_LEAST_NAME_BYTES = 8
_SCAN = b"\xff\xda"
# A copy of a larger database is made on the disk, not in memory.
_MOST_IN_MEMORY_BYTES = 128 * 2**20


def needles_of(
    records: Iterable[StoredSighting], names: Iterable[str | None], compared: Compared
) -> Needles:
    """What is to be gone after somebody was forgotten.

    Args:
        records: of them.
        names: that they had.
        compared: gives an embedding as it is compared.
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
    """Look for traces; where there are some, rewrite the whole database and look again.

    SQLite overwrites what it deletes, but where it moves rows from page to page it leaves copies
    of them behind, which only rewriting all pages removes.

    Args:
        connection: to the database, without a transaction; everything is wiped, the log empty.
        folder: of the gallery.
        needles: what is looked for. Pieces that belong to what is kept are left out of it.
        kept: all records that the gallery holds, in batches; asked for only if there are traces.
        compared: gives an embedding as it is compared.
    """
    traces = find_traces(folder, needles)
    if not traces.found:
        return traces
    # Pictures are alike in parts: a white wall is the same white wall in another's.
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
        # What comes before the first scan of a JPEG file is much the same in all of them.
        yield record.thumbnail[record.thumbnail.find(_SCAN) + 1 :]


def _kept_data(
    connection: sqlite3.Connection, kept: Iterable[Sequence[StoredSighting]], compared: Compared
) -> Iterator[bytes]:
    """All that the gallery rightly holds, in pieces."""
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
