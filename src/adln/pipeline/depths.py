"""Embeds crops at a depth that may change from batch to batch.

Each file of a split export continues from the feature maps of the previous one, so a shallower
embedding costs less and a deeper one includes the shallower ones. Files that start from crops, such
as the shipped res1 and res2, run independently; they may come from different trainings into one
space. A single file costs the same at every depth. Embeddings of depths that share a space can be
compared with each other.
"""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from timeit import repeat

import numpy as np
from numpy.typing import NDArray

from adln.embedders.deeper import DeeperEmbedder
from adln.embedders.embedder import DEFAULT_BATCH_SIZE, OnnxEmbedder
from adln.embedders.session import OpenModel, open_session
from adln.errors import ModelFileError, SettingsError

_MEASURED_BATCHES = 5


class DepthEmbedder:
    """One file of `adln export`, all of a split export, or several that each start from crops.

    Files are of one network or of one space, the shallowest first; `threads` is the number of cores
    to use.

    Attributes:
        depths: depths that `embed` offers, ascending.
        priced_depths: depths that differ in cost, ascending: the deepest of each file.
        digest: identifies the weights; the SHA-256 of a single file.
        dim: length D of an embedding.
        crop_size: height and width of input crops, in px.
        spaces: depth -> space of its embeddings; "" if unknown.

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
        self._batch_size = batch_size
        # Files that take crops, each with those that continue from its feature maps.
        self._chains: list[tuple[OnnxEmbedder, list[DeeperEmbedder]]] = []
        self._parts: list[OnnxEmbedder | DeeperEmbedder] = []
        self._files: dict[int, OpenModel] = {}
        for path in paths:
            if not self._chains or open_session(path, threads=threads).manifest.starts_after == 0:
                # With several files, feature maps pass from one to the next, and a run uses all
                # cores.
                first = OnnxEmbedder(path, threads=threads, batch_size=batch_size)
                self._chains.append((first, []))
                self._enter(first)
            else:
                deeper = DeeperEmbedder(path, self._parts[-1], threads=threads)
                self._chains[-1][1].append(deeper)
                self._enter(deeper)
        self.depths = tuple(sorted(self._files))
        self.priced_depths = tuple(max(part.depths) for part in self._parts)
        digests = [part.model.sha256 for part in self._parts]
        joined = hashlib.sha256("".join(digests).encode("ascii")).hexdigest()
        self.digest = joined if len(digests) > 1 else digests[0]
        self.dim, self.crop_size = self._parts[0].dim, self._chains[0][0].crop_size
        self.spaces = {
            depth: model.manifest.space_of(depth) for depth, model in self._files.items()
        }

    @property
    def verdict(self) -> str:
        """Whether the outputs on this device equal those of the export, in words."""
        verdicts = [part.verdict for part in self._parts]
        return next((found for found in verdicts if not found.proved), verdicts[0]).text

    def _enter(self, part: OnnxEmbedder | DeeperEmbedder) -> None:
        """Add the depths of a file; refuse one whose embeddings are of another kind."""
        first, model = self._chains[0][0].model, part.model
        ours, its = first.manifest, model.manifest
        facts = ["height_px", "width_px", "dim"]
        if not set(ours.spaces) & set(its.spaces) - {""}:
            facts.insert(0, "source_sha256")
        other = [fact for fact in facts if getattr(its, fact) != getattr(ours, fact)]
        if other:
            raise ModelFileError(
                f"{model.path}: belongs to another network than {first.path}: they differ "
                f"in {', '.join(other)}. Name the files of one `adln export`, or one file."
            )
        twice = sorted(set(part.depths) & self._files.keys())
        if twice:
            raise ModelFileError(
                f"{model.path}: depth {twice[0]} already comes from {self._files[twice[0]].path}; "
                "name each depth once."
            )
        if self._files and min(part.depths) < max(self._files):
            raise ModelFileError(
                f"{model.path}: name the files shallowest first; this one gives Res"
                f"{min(part.depths)}, the one before it Res{max(self._files)}."
            )
        self._files |= dict.fromkeys(part.depths, model)
        self._parts.append(part)

    def file_of(self, depth: int) -> tuple[Path, str]:
        """The file that gives a depth, and its SHA-256."""
        model = self._files[depth]
        return model.path, model.sha256

    def depth_name(self, depth: int) -> str:
        """See `OpenModel.depth_name`."""
        return self._files[depth].depth_name(depth)

    def on_the_way(self, depth: int) -> tuple[int, ...]:
        """Depths that `embed` gives at this depth, itself the last of them; none if unknown."""
        chains = [
            [one for part in (first, *deeper) for one in part.depths]
            for first, deeper in self._chains
        ]
        return tuple(one for chain in chains if depth in chain for one in chain if one <= depth)

    def embed(self, crops: NDArray[np.uint8], depth: int) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) uint8 RGB of `crop_size`.

        Returns:
            depth -> (N, D) float32 of unit length, for this depth and the shallower ones computed
            on the way.

        Raises:
            ModelFileError: no file gives this depth.
        """
        for first, deeper in self._chains:
            if depth in first.depths:
                answers = first.embed(crops)
            elif any(depth in part.depths for part in deeper):
                answers = self._embed_deeper(crops, depth, first, deeper)
            else:
                continue
            return {at: rows for at, rows in sorted(answers.items()) if at <= depth}
        raise ModelFileError(f"no file gives depth {depth}; available: {list(self.depths)}.")

    def _embed_deeper(
        self,
        crops: NDArray[np.uint8],
        depth: int,
        first: OnnxEmbedder,
        deeper: Sequence[DeeperEmbedder],
    ) -> dict[int, NDArray[np.float32]]:
        answers: dict[int, list[NDArray[np.float32]]] = {}
        for start in range(0, max(len(crops), 1), self._batch_size):
            found, maps = first.embed_with_maps(crops[start : start + self._batch_size])
            for part in deeper:
                more, maps = part.embed_with_maps(maps[part.starts_after])
                found |= more
                if depth in part.depths:
                    break
            for at, rows in found.items():
                answers.setdefault(at, []).append(rows)
        return {at: np.concatenate(rows) for at, rows in answers.items()}

    def embed_all(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) uint8 RGB at every depth: depth -> (N, D)."""
        ends = [(first, *deeper)[-1] for first, deeper in self._chains]
        answers = [self.embed(crops, max(part.depths)) for part in ends]
        return {depth: rows for found in answers for depth, rows in found.items()}

    def measure_ms(self) -> dict[int, float]:
        """Cost of a crop at each priced depth on this machine, in ms: the best of a few batches."""
        crops = np.zeros((self._batch_size, *self.crop_size, 3), np.uint8)

        def fastest_s(depth: int) -> float:
            return min(
                repeat(partial(self.embed, crops, depth), number=1, repeat=_MEASURED_BATCHES)
            )

        return {depth: 1000 * fastest_s(depth) / len(crops) for depth in self.priced_depths}
