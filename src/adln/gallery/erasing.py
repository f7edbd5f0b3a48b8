"""Verifies that erased bytes are gone, by searching for them in all files of a gallery."""

import errno
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from adln.gallery.database import DATABASE_NAME

_NEEDLE_BYTES = 16
_CHUNK_BYTES = 8 * 2**20
# Pieces with fewer different bytes may occur anywhere by chance.
_LEAST_DIFFERENT = 8
# Size, in bits of the index, of the table that says where a piece may begin.
_TABLE_BITS = 22
_SPREAD = np.uint64(0x9E37_79B9_7F4A_7C15)
# Prints files, each after its size in 8 bytes.
_COPY = """
import os, sys
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        left = os.fstat(file.fileno()).st_size
        sys.stdout.buffer.write(left.to_bytes(8, "little"))
        while left:
            part = file.read(min(left, 2**20)) or bytes(min(left, 2**20))
            sys.stdout.buffer.write(part)
            left -= len(part)
"""


@dataclass(frozen=True)
class Traces:
    """Result of a search for traces.

    Attributes:
        files: number of files searched.
        found: number of places with one of the pieces.
        in_database: how many of these are in the database file.
    """

    files: int
    found: int
    in_database: int = 0


class Needles:
    """The pieces of bytes that are searched for.

    Args:
        needles: pieces of 16 bytes each.
        texts: pieces of other lengths, searched for one by one.
    """

    def __init__(self, needles: Iterable[bytes], texts: Iterable[bytes] = ()) -> None:
        self._wanted = set(needles)
        self._texts = {text for text in texts if text}
        self._table = np.zeros(0, np.bool_)
        self._heads = np.zeros(0, np.uint64)
        self._prepare()

    def __len__(self) -> int:
        return len(self._wanted) + len(self._texts)

    def leave_out(self, data: bytes) -> None:
        """Drop pieces that also occur in data that is kept."""
        shared = {data[at : at + _NEEDLE_BYTES] for at in self._places(data)} & self._wanted
        self._texts -= {text for text in self._texts if text in data}
        if shared:
            self._wanted -= shared
            self._prepare()

    def count(self, data: bytes) -> int:
        """Number of places in the data with one of the pieces."""
        found = sum(data[at : at + _NEEDLE_BYTES] in self._wanted for at in self._places(data))
        return found + sum(data.count(text) for text in self._texts)

    @property
    def longest(self) -> int:
        """Length of the longest piece, in bytes."""
        return max([_NEEDLE_BYTES, *map(len, self._texts)])

    def _prepare(self) -> None:
        joined = np.frombuffer(b"".join(self._wanted), "<u8").reshape(-1, 2)
        self._heads = np.sort(joined[:, 0])
        self._table = np.zeros(2**_TABLE_BITS, np.bool_)
        self._table[_spread(self._heads)] = True

    def _places(self, data: bytes) -> list[int]:
        """Places where the first eight bytes of a piece occur."""
        places: list[int] = []
        for shift in range(8):
            count = (len(data) - shift) // 8
            if count < 1 or not len(self._heads):
                continue
            words = np.frombuffer(data, "<u8", count, shift)
            hits = np.flatnonzero(self._table[_spread(words)])
            # Looks up the few that may be one; `np.isin` would go through all heads every time.
            nearest = np.searchsorted(self._heads[:-1], words[hits])
            hits = hits[self._heads[nearest] == words[hits]]
            places += (hits * 8 + shift).tolist()
        return places


def pieces(data: bytes) -> list[bytes]:
    """Pieces of 16 bytes from start, middle and end that identify the data."""
    last = len(data) - _NEEDLE_BYTES
    return _telling(data, (0, last // 2, last))


def all_pieces(data: bytes) -> list[bytes]:
    """Pieces of 16 bytes that cover the data: any 31 consecutive bytes contain at least one."""
    last = len(data) - _NEEDLE_BYTES
    return _telling(data, (*range(0, last, _NEEDLE_BYTES), last))


def find_traces(folder: Path, needles: Iterable[bytes] | Needles) -> Traces:
    """Search for pieces in all files of a folder, at any position.

    Takes about as long as reading the files, however many pieces there are.

    Args:
        folder: searched with its sub-folders.
        needles: pieces of 16 bytes each.

    Raises:
        OSError: a file cannot be read.
    """
    wanted = needles if isinstance(needles, Needles) else Needles(needles)
    files = found = in_database = 0
    for path, chunks in _contents(sorted(path for path in folder.rglob("*") if path.is_file())):
        files += 1
        here, tail = 0, b""
        for chunk in chunks:
            data = tail + chunk
            # A piece may span two chunks.
            kept = data[-(wanted.longest - 1) :]
            here += wanted.count(data) - wanted.count(kept)
            tail = kept
        here += wanted.count(tail)
        found += here
        in_database += here if path.name == DATABASE_NAME else 0
    return Traces(files, found, in_database)


def _telling(data: bytes, places: Iterable[int]) -> list[bytes]:
    found = {data[at : at + _NEEDLE_BYTES] for at in places if at >= 0}
    return [piece for piece in found if len(set(piece)) >= _LEAST_DIFFERENT]


def _spread(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    spread: NDArray[np.uint64] = (words * _SPREAD) >> np.uint64(64 - _TABLE_BITS)
    return spread


def _contents(paths: list[Path]) -> Iterator[tuple[Path, Iterator[bytes]]]:
    """Files and their contents, in chunks."""
    of_sqlite = [path for path in paths if path.name.startswith(DATABASE_NAME)]
    for path in paths:
        if path not in of_sqlite:
            with path.open("rb") as file:
                yield path, iter(partial(file.read, _CHUNK_BYTES), b"")
    if not of_sqlite:
        return
    # When a process closes one of SQLite's files, it loses its locks on it, including those of
    # other threads. So another process reads them.
    command = [sys.executable, "-I", "-S", "-c", _COPY, *map(str, of_sqlite)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for path in of_sqlite:
            size = process.stdout.read(8)
            if len(size) < 8:
                raise _unread(path)
            yield path, _limited(path, process.stdout, int.from_bytes(size, "little"))


def _limited(path: Path, file: IO[bytes], size: int) -> Iterator[bytes]:
    while size > 0:
        chunk = file.read(min(size, _CHUNK_BYTES))
        if not chunk:
            # What was not read proves nothing.
            raise _unread(path)
        size -= len(chunk)
        yield chunk


def _unread(path: Path) -> OSError:
    return OSError(errno.EIO, f"{path.name} could not be searched for what was erased")
