"""Checksums with which a gallery detects damaged data.

Each sighting has checksums of its facts, embedding, code and picture. So a code file that is
damaged or belongs to another state of the database (such as a restored backup) is detected and
rewritten, and a damaged row causes an error instead of a wrong answer.
"""

import sqlite3
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Damaged text may be no UTF-8, for which SQLite calls no function but fails as if one had failed.
# The box is bytes, which a single wrong bit makes text. No checksum is below 0.
ROW_SUM_SQL = (
    "CASE typeof(box) WHEN 'text' THEN -1 ELSE adln_row_sum(sighting_id, person_id, camera_id, "
    "time_s, depth, track_id, box, quality, model_id, embedding_sum, jpeg_sum) END"
)
"""Checksum of a sighting's row, in SQL; without the slot, which the code's checksum covers."""
NAME_SUM_SQL = "adln_name_sum(person_id, typeof(name), CAST(name AS BLOB))"
"""Checksum of a person's row, in SQL."""


def add_functions(connection: sqlite3.Connection) -> None:
    """Register the SQL functions used above with a connection."""
    connection.create_function("adln_row_sum", -1, row_sum, deterministic=True)
    connection.create_function("adln_name_sum", 3, _name_sum, deterministic=True)
    connection.create_function("adln_blob_sum", 1, _blob_sum, deterministic=True)


def row_sum(*facts: Any) -> int:
    """CRC-32 of values as SQLite returns them."""
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


def _name_sum(person_id: int, kind: str, name: bytes | None) -> int:
    if kind != "text" or name is None:
        return row_sum(person_id, name)
    return row_sum(person_id, name.decode("utf-8", "surrogateescape"))


def _blob_sum(blob: object) -> int | None:
    # If a damaged page changes its type, the row's checksum detects it.
    return blob_sum(blob) if isinstance(blob, bytes) else None
