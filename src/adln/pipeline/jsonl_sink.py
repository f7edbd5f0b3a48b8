"""Sightings as a JSONL file (one JSON object per line), rotated by size.

A line is acknowledged once it is on the disk (fsync). A torn line, left by a crash or a full disk,
is cut off before the next line is written.
"""

import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from adln.errors import DeliveryError, UndeliveredError
from adln.pipeline.outbox import StoredEvent

MAX_BYTES = 64 * 2**20
KEEP = 10


class JsonlSink:
    """Appends sightings to a file.

    When the file would exceed `max_bytes` it becomes ``<name>.1``, the earlier ``<name>.1`` becomes
    ``<name>.2`` and so on; of more than `keep` parts, the last is removed. The file may also be
    renamed or removed by other programs (logrotate): a new one is started.

    Only the owner may read the file (mode 600). If the owner gives a group access (`chmod g+r`),
    the parts that follow get the same permission.

    Raises:
        DeliveryError: A number is out of range, or the path is that of another kind of file.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, keep: int = KEEP) -> None:
        if max_bytes < 1 or keep < 1:
            raise DeliveryError(
                f"A JSONL file needs max_bytes and keep of 1 or more, got {max_bytes} and {keep}."
            )
        _require_sightings(path)
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._file = -1
        self._size = 0
        self._let_in = 0

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Append sightings; on return they are on the disk.

        Raises:
            UndeliveredError: The disk is full or broken; the file keeps only whole lines.
        """
        lines = "".join(event.body + "\n" for event in events).encode("utf-8")
        try:
            self._open_current()
            if self._size > 0 and self._size + len(lines) > self._max_bytes:
                self._rotate()
                self._open_current()
            self._write(lines)
        except OSError as error:
            self.close()
            raise UndeliveredError(f"{self._path} cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open_current(self) -> None:
        if self._file >= 0:
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file), self._path.stat()):
                    return
            self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # Private to its owner, like the gallery: it says who was seen where.
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        mode = stat.S_IMODE(os.fstat(self._file).st_mode)
        # Only the owner, and whoever the owner let read the previous part.
        wanted = mode & ~0o007 | self._let_in
        if mode != wanted:
            # The file may belong to another owner.
            with suppress(OSError):
                os.fchmod(self._file, wanted)
        self._sync_folder()
        self._size = _end_of_last_line(self._file)
        os.ftruncate(self._file, self._size)

    def _write(self, lines: bytes) -> None:
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(self._file, left) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(lines)

    def _rotate(self) -> None:
        self._let_in = self._path.stat().st_mode & 0o060
        self.close()
        numbered = (f"{self._path.name}.{number}" for number in range(self._keep, 0, -1))
        for older, newer in pairwise([*map(self._path.with_name, numbered), self._path]):
            if newer.exists():
                newer.replace(older)
        self._sync_folder()

    def _sync_folder(self) -> None:
        """Sync the folder: a new or renamed file is on the disk only after that."""
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _require_sightings(path: Path) -> None:
    """Leave other files alone: the last line of a file that does not end with it is cut off."""
    # What cannot be opened is reported, and retried, when a sighting is written.
    with suppress(OSError), path.open("rb") as file:
        # A power cut may leave zeros.
        if file.read(1) not in (b"", b"{", b"\0"):
            raise DeliveryError(
                f"{path} is there already, and is not a file of sightings (JSON lines). Set "
                "jsonl.path to a new file."
            )


def _end_of_last_line(file: int) -> int:
    """Offset after the last line break; what follows is the rest of a torn line."""
    end = os.fstat(file).st_size
    while end > 0:
        start = max(end - 65536, 0)
        found = os.pread(file, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
