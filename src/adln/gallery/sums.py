"""Checksums by which a gallery notices that what it reads is not what it wrote.

Each sighting carries the sums of its facts, its embedding, its code and its picture. So a code file
that is damaged, or belongs to another state of the database (one put back from a backup), is found
out and rewritten, and a damaged row is an error instead of a wrong answer.
"""

import sqlite3
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROW_SUM_SQL = (
    "adln_row_sum(sighting_id, person_id, camera_id, time_s, depth, track_id, box, quality, "
    "model_id, embedding_sum, jpeg_sum)"
)
"""The sum of a sighting's row, in SQL; it leaves out the slot, which its code's sum vouches for."""
NAME_SUM_SQL = "adln_row_sum(person_id, name)"
"""The sum of a person's row, in SQL."""


def add_functions(connection: sqlite3.Connection) -> None:
    """Make the functions of the SQL texts above known to a connection."""
    connection.create_function("adln_row_sum", -1, row_sum, deterministic=True)
    connection.create_function("adln_blob_sum", 1, _blob_sum, deterministic=True)


def row_sum(*facts: Any) -> int:
    """CRC-32 of facts as SQLite gives them."""
    return zlib.crc32(repr(facts).encode("utf-8", "surrogatepass"))


def blob_sum(blob: bytes) -> int:
    """CRC-32 of an embedding or a picture."""
    return zlib.crc32(blob)


def row_sums(rows: NDArray[np.float32]) -> NDArray[np.uint32]:
    """CRC-32 of each contiguous row of an array."""
    return np.fromiter((zlib.crc32(row) for row in rows), np.uint32)


def code_sums(
    numbers: NDArray[np.int8], scales: NDArray[np.float32], errors: NDArray[np.float32]
) -> NDArray[np.uint32]:
    """CRC-32 of each code with its scale and its error.

    Args:
        numbers: (N, D).
        scales: (N,).
        errors: (N,).
    """
    tails = np.stack([scales, errors], axis=1).astype("<f4")
    return np.fromiter(
        (zlib.crc32(tail, zlib.crc32(code)) for tail, code in zip(tails, numbers, strict=True)),
        np.uint32,
    )


def _blob_sum(blob: object) -> int | None:
    # Where a damaged page makes something else of it, the row's sum tells.
    return blob_sum(blob) if isinstance(blob, bytes) else None
