"""Embeds at a depth that may change from batch to batch.

Files of a split export go on from each other's maps, so a shallower answer costs less and a deeper
one brings the shallower ones with it. A single file has one price, whatever depth is asked of it.
Embeddings of depths that share a space can be compared with each other.
"""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.embedders.deeper import DeeperEmbedder
from adln.embedders.embedder import DEFAULT_BATCH_SIZE, OnnxEmbedder
from adln.errors import ModelFileError, SettingsError

_MEASURED_BATCHES = 5


class DepthEmbedder:
    """One file of `adln export`, or all files of a split export, from the shallowest on.

    Args:
        paths: the files.
        threads: cores to use.
        batch_size: crops computed at a time.

    Raises:
        ModelFileError: a file cannot be opened, or they do not belong together.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        threads: int = 1,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        if not paths:
            raise SettingsError("name at least one network file.")
        # With several files the maps go from one to the next, and a run takes all cores.
        self._first = OnnxEmbedder(paths[0], threads=threads, batch_size=batch_size)
        self._deeper: list[DeeperEmbedder] = []
        shallower: OnnxEmbedder | DeeperEmbedder = self._first
        for path in paths[1:]:
            shallower = DeeperEmbedder(path, shallower, threads=threads)
            self._deeper.append(shallower)
        self._batch_size = batch_size
        self._files = dict.fromkeys(self._first.depths, self._first.model)
        for part in self._deeper:
            self._files |= dict.fromkeys(part.depths, part.model)
        self._digest = _digest([self._first.model.sha256, *(p.model.sha256 for p in self._deeper)])

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that `embed` answers, ascending."""
        return tuple(sorted(self._files))

    @property
    def priced_depths(self) -> tuple[int, ...]:
        """Depths that differ in their price, ascending: the deepest of each file."""
        return (max(self._first.depths), *(max(part.depths) for part in self._deeper))

    @property
    def digest(self) -> str:
        """Names the weights for good; of a single file its SHA-256."""
        return self._digest

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self._first.dim

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height and width in px of the crops that it takes."""
        return self._first.crop_size

    @property
    def verdict(self) -> str:
        """Whether the files answer on this device as where they were made, in words."""
        verdicts = [self._first.verdict, *(part.verdict for part in self._deeper)]
        return next((found for found in verdicts if not found.proved), verdicts[0]).text

    @property
    def spaces(self) -> dict[int, str]:
        """Depth -> the space that its embeddings lie in; "" if unknown."""
        return {depth: model.manifest.space_of(depth) for depth, model in self._files.items()}

    def file_of(self, depth: int) -> tuple[Path, str]:
        """The file that answers a depth, and its SHA-256."""
        model = self._files[depth]
        return model.path, model.sha256

    def embed(self, crops: NDArray[np.uint8], depth: int) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) uint8 RGB.

        Args:
            crops: of `crop_size`.
            depth: one of `depths`.

        Returns:
            depth -> (N, D) float32 of unit length, for this depth and all shallower ones that
            come with it.

        Raises:
            ModelFileError: no file answers this depth.
        """
        if depth not in self._files:
            raise ModelFileError(f"no file answers depth {depth}; there are {list(self.depths)}.")
        if not self._deeper or depth in self._first.depths:
            answers = self._first.embed(crops)
            return {at: rows for at, rows in answers.items() if at <= depth}
        parts: dict[int, list[NDArray[np.float32]]] = {}
        for start in range(0, max(len(crops), 1), self._batch_size):
            batch = crops[start : start + self._batch_size]
            found, maps = self._first.embed_with_maps(batch)
            for part in self._deeper:
                deeper, maps = part.embed_with_maps(maps[part.starts_after])
                found |= deeper
                if depth in part.depths:
                    break
            for at, rows in found.items():
                parts.setdefault(at, []).append(rows)
        return {at: np.concatenate(rows) for at, rows in sorted(parts.items()) if at <= depth}

    def measure_ms(self) -> dict[int, float]:
        """Cost of a crop at each priced depth on this machine now: the best of a few batches."""
        costs = {}
        crops = np.zeros((self._batch_size, *self.crop_size, 3), np.uint8)
        for depth in self.priced_depths:
            times = []
            for _ in range(_MEASURED_BATCHES):
                start = time.perf_counter()
                self.embed(crops, depth)
                times.append(time.perf_counter() - start)
            costs[depth] = 1000 * min(times) / len(crops)
        return costs


def _digest(digests: Sequence[str]) -> str:
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode("ascii")).hexdigest()
