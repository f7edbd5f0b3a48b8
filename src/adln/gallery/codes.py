"""Codes: embeddings quantised to one byte per component, in memory-mapped files.

A code has a quarter of its embedding's size, so comparing a query with the whole gallery reads a
quarter of the memory. The error bound of each code is stored with it, which proves for most
embeddings that no exact comparison is needed.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.database import open_private
from adln.gallery.sums import code_sums, row_sums

# float32 rounding may make an error bound slightly too small; this factor corrects it.
_ROUND_UP = np.float32(1 + 1e-5)
# Files grow by a quarter, so that reading processes rarely need to map them again.
_GROWTH = 1.25
_LEAST_SLOTS = 4096
_SUFFIX = ".bin"


@dataclass(frozen=True, eq=False)
class Codes:
    """N embeddings with one byte per component: ``embedding = scale * numbers + rest``.

    Attributes:
        numbers: (N, D) int8, -127..127.
        scales: (N,) float32.
        errors: (N,) float32, at least the length of each rest.
    """

    numbers: NDArray[np.int8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float32]

    @property
    def embeddings(self) -> None:
        """None: embeddings are not in memory, but read from the database."""

    @property
    def sums(self) -> NDArray[np.uint32]:
        """(N,) checksum of each."""
        return code_sums(self.numbers, self.scales, self.errors)


def encode_embeddings(embeddings: NDArray[np.float32]) -> Codes:
    """Quantise embeddings to one byte per component, each with its own scale.

    Args:
        embeddings: (N, D).
    """
    scales = np.abs(embeddings).max(axis=1, initial=0) / np.float32(127)
    # For an embedding of zeros, the scale would be 0.
    divisors = np.where(scales > 0, scales, np.float32(1))
    numbers = np.rint(embeddings / divisors[:, np.newaxis]).astype(np.int8)
    rests = embeddings - scales[:, np.newaxis] * numbers
    errors = np.sqrt(np.vecdot(rests, rests)) * _ROUND_UP
    return Codes(numbers, scales.astype(np.float32), errors.astype(np.float32))


class CodeFiles:
    """The codes of a gallery by slot, and optionally its embeddings, mapped into memory.

    A slot is the place of one embedding; slot s starts at byte s x (size of one) in each file. All
    content can be recomputed from the database. Only the process with the database's write lock may
    write, and only to slots without a sighting (others may be reading the rest) or with wrong
    content.

    Args:
        folder: folder of the gallery.
        epoch: number of this generation of files, part of their names.
        dim: D.
        with_embeddings: whether there is also a file of float32 embeddings.
    """

    def __init__(self, folder: Path, epoch: int, dim: int, *, with_embeddings: bool) -> None:
        self._paths: dict[str, tuple[Path, np.dtype[Any], tuple[int, ...]]] = {
            "codes": (_path(folder, "codes", epoch), np.dtype(np.int8), (dim,)),
            "scales": (_path(folder, "scales", epoch), np.dtype(np.float32), ()),
            "errors": (_path(folder, "errors", epoch), np.dtype(np.float32), ()),
        }
        if with_embeddings:
            embeddings = _path(folder, "embeddings", epoch)
            self._paths["embeddings"] = (embeddings, np.dtype(np.float32), (dim,))
        self._maps: dict[str, NDArray[Any]] = {}
        self.capacity = 0

    @property
    def numbers(self) -> NDArray[np.int8]:
        """(capacity, D) int8."""
        return self._maps["codes"]

    @property
    def scales(self) -> NDArray[np.float32]:
        """(capacity,) float32."""
        return self._maps["scales"]

    @property
    def errors(self) -> NDArray[np.float32]:
        """(capacity,) float32."""
        return self._maps["errors"]

    @property
    def embeddings(self) -> NDArray[np.float32] | None:
        """(capacity, D) float32; None if there is no file of embeddings."""
        return self._maps.get("embeddings")

    def open(self, slots: int) -> bool:
        """Map the files, unless enough of them is mapped already.

        Args:
            slots: number of slots in use.

        Returns:
            Whether the files exist and are large enough; if not, they must be rebuilt.
        """
        if slots <= self.capacity and self._maps:
            return True
        sizes = []
        for path, dtype, shape in self._paths.values():
            try:
                sizes.append(path.stat().st_size // _row_bytes(dtype, shape))
            except FileNotFoundError:
                return False
        capacity = min(sizes)
        if capacity < max(slots, 1):
            return False
        self._maps = {
            name: np.memmap(path, dtype, "r", shape=(capacity, *shape)).view(np.ndarray)
            for name, (path, dtype, shape) in self._paths.items()
        }
        self.capacity = capacity
        return True

    def reserve(self, slots: int) -> None:
        """Grow the files to at least that many slots, and map them."""
        if slots <= self.capacity and self._maps:
            return
        capacity = max(_LEAST_SLOTS, int(slots * _GROWTH) if self.capacity else slots)
        for path, dtype, shape in self._paths.values():
            with open_private(path, "ab") as file:
                if file.tell() < capacity * _row_bytes(dtype, shape):
                    file.truncate(capacity * _row_bytes(dtype, shape))
        self._maps = {}
        if not self.open(slots):
            raise GalleryError(
                "The gallery's code files disappeared while they were being enlarged."
            )

    def write(
        self,
        slots: NDArray[np.int64],
        embeddings: NDArray[np.float32],
        compared: NDArray[np.float32] | None = None,
    ) -> NDArray[np.uint32]:
        """Write embeddings and codes; call `reserve` first.

        Args:
            slots: (N,) target slots.
            embeddings: (N, D) as in the database.
            compared: (N, D) adapted embeddings, from which codes are made; by default
                `embeddings`.

        Returns:
            (N,) checksums of the codes.

        Raises:
            OSError: The disk is full. (Written through the file, not the map: on a full disk,
                writing to a map kills the process.)
        """
        codes = encode_embeddings(embeddings if compared is None else compared)
        self._write("codes", slots, codes.numbers)
        self._write("scales", slots, codes.scales)
        self._write("errors", slots, codes.errors)
        if "embeddings" in self._paths:
            self._write("embeddings", slots, embeddings)
        return codes.sums

    def sums(self, start: int, stop: int) -> NDArray[np.uint32]:
        """Checksums of the codes in a range of slots, computed from the files."""
        part = slice(start, stop)
        return code_sums(self.numbers[part], self.scales[part], self.errors[part])

    def embedding_sums(self, start: int, stop: int) -> NDArray[np.uint32]:
        """Checksums of the embeddings in a range of slots, computed from the file."""
        assert self.embeddings is not None
        return row_sums(self.embeddings[start:stop])

    def wipe(self, slots: NDArray[np.int64]) -> None:
        """Overwrite slots with zeros; on the disk after `sync`. Missing files are ignored."""
        for name, (path, dtype, shape) in self._paths.items():
            if path.exists():
                self._write(name, slots, np.zeros((len(slots), *shape), dtype))

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        for path, _, _ in self._paths.values():
            with suppress(FileNotFoundError), path.open("rb+") as file:
                os.fsync(file.fileno())

    def close(self) -> None:
        """Release the maps."""
        self._maps = {}
        self.capacity = 0

    def _write(self, name: str, slots: NDArray[np.int64], rows: NDArray[Any]) -> None:
        path, dtype, shape = self._paths[name]
        size = _row_bytes(dtype, shape)
        # Neighbouring slots are written together.
        starts = np.flatnonzero(np.diff(slots, prepend=slots[:1] - 2) != 1)
        with path.open("rb+", buffering=0) as file:
            for start, stop in zip(starts, [*starts[1:], len(slots)], strict=True):
                file.seek(int(slots[start]) * size)
                _write_all(file, rows[start:stop].tobytes())


def remove_other_epochs(folder: Path, epoch: int | None) -> None:
    """Overwrite and remove the files of other generations.

    Args:
        folder: folder of the gallery.
        epoch: the generation to keep; None to keep none.
    """
    for name in ("codes", "scales", "errors", "embeddings"):
        for path in folder.glob(f"{name}-*{_SUFFIX}"):
            if epoch is None or path != _path(folder, name, epoch):
                wipe_file(path)


def wipe_file(path: Path) -> None:
    """Overwrite a file with zeros, down to the disk, and remove it."""
    try:
        with path.open("rb+") as file:
            left = file.seek(0, os.SEEK_END)
            file.seek(0)
            while left > 0:
                left -= file.write(bytes(min(left, 2**20)))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    path.unlink(missing_ok=True)


def _write_all(file: Any, data: bytes) -> None:
    # A short write may mean a full disk; the next attempt then raises the error.
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _path(folder: Path, name: str, epoch: int) -> Path:
    return folder / f"{name}-{epoch:06d}{_SUFFIX}"


def _row_bytes(dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> int:
    return int(dtype.itemsize * np.prod(shape))
