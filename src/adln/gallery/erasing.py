"""Proof that erased bytes are gone: a search for them in every file of a gallery's folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_NEEDLE_BYTES = 16
_CHUNK_BYTES = 8 * 2**20
# Fewer different bytes than this may stand anywhere by chance.
_LEAST_DIFFERENT = 8


@dataclass(frozen=True)
class Traces:
    """What was found.

    Attributes:
        files: number of files looked through.
        found: number of places that hold one of the pieces.
    """

    files: int
    found: int


def pieces(data: bytes) -> list[bytes]:
    """Pieces of 16 bytes from start, middle and end, by which the data would be recognised."""
    last = len(data) - _NEEDLE_BYTES
    found = {data[at : at + _NEEDLE_BYTES] for at in (0, last // 2, last) if at >= 0}
    return [piece for piece in found if len(set(piece)) >= _LEAST_DIFFERENT]


def find_traces(folder: Path, needles: Iterable[bytes]) -> Traces:
    """Look for pieces in all files of a folder, at any position.

    Takes about as long as reading the files, however many pieces there are.

    Args:
        folder: with its sub-folders.
        needles: pieces of 16 bytes each.
    """
    wanted = set(needles)
    # A place is looked at closely only if four of its bytes begin a piece.
    first, second = np.zeros(2**16, np.bool_), np.zeros(2**16, np.bool_)
    for needle in wanted:
        first[int.from_bytes(needle[0:2], "little")] = True
        second[int.from_bytes(needle[2:4], "little")] = True
    files = found = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        files += 1
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(_CHUNK_BYTES):
                data = tail + chunk
                found += sum(
                    data[at : at + _NEEDLE_BYTES] in wanted for at in _starts(data, first, second)
                )
                # A piece may lie across two chunks.
                tail = data[-(_NEEDLE_BYTES - 1) :]
    return Traces(files, found)


def _starts(data: bytes, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> list[int]:
    """Places where a piece may begin; those cut short at the end are left to the next chunk."""
    places: list[int] = []
    for shift in (0, 1):
        count = (len(data) - shift) // 2
        if count < 2:
            continue
        pairs = np.frombuffer(data, "<u2", count, shift)
        hits = np.flatnonzero(first[pairs[:-1]])
        hits = hits[second[pairs[hits + 1]]]
        places += (hits * 2 + shift).tolist()
    return places
