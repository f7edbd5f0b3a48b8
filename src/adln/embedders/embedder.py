"""Embeds people on a device with an exported network: the edge's `adln.embeddings.Embedder`.

Sec. III.B of the paper: features after batch norm, compared by cosine; averaging with the mirrored
crop is optional, because on a device its cost is better spent on depth.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.crops import flip
from adln.embedders.described import Described
from adln.embedders.handover import Handover, handovers
from adln.embedders.pixels import Picture, PixelWriter
from adln.embedders.proving import require_verdict, run_alone
from adln.embedders.session import OpenModel, open_session, require_threads, usable_cores
from adln.embedders.workers import Workers
from adln.embeddings import flip_average, no_direction, without_direction
from adln.errors import ImageError, ModelFileError, SettingsError
from adln.manifest import CROPS

# A network cut for the edge keeps a core busy with one crop; larger batches gain little and cost
# memory.
DEFAULT_BATCH_SIZE = 8


@dataclass(frozen=True)
class Unusable:
    """A picture that could not be embedded: which one, its path or "picture 17", and why.

    `index` is its position among those given; `reason` includes its name.
    """

    index: int
    name: str
    reason: str


@dataclass(frozen=True)
class EmbeddedPictures:
    """Result for N pictures, of which M could be used.

    Attributes:
        indices: (M,) int64, ascending: positions of the usable pictures among the given ones.
        embeddings: depth -> (M, D) float32 of unit length.
    """

    indices: NDArray[np.int64]
    embeddings: dict[int, NDArray[np.float32]]
    unusable: tuple[Unusable, ...]


class OnnxEmbedder(Described):
    """Embeds crops with an ONNX file of `adln export`. Thread-safe.

    Crops are distributed over the threads, each of which uses one core: this is faster than one
    crop after the other on all cores.

    Args:
        path: the file.
        flip: average with the mirrored crop (the paper's test protocol, twice the work).
        threads: cores to use; all available to this process if left out.
        provider: onnxruntime's execution provider ("cpu", "cuda", ...); the CPU if left out.
        batch_size: most crops per thread and batch.

    Raises:
        ModelFileError: see `adln.embedders.session.open_session`; or the file continues from
            another file's map and takes no crops.
        DeviceError: its outputs are wrong on this device, see `adln.embedders.proving`.
        SettingsError: `threads` or `batch_size` is below one, or there is no such provider.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        flip: bool = False,
        threads: int | None = None,
        provider: str | None = None,
        batch_size: int = DEFAULT_BATCH_SIZE,
    ) -> None:
        if batch_size < 1:
            raise SettingsError(f"batch_size must be at least 1, got {batch_size}.")
        if threads is not None:
            require_threads(threads)
        self.model = open_session(path, threads=1, provider=provider)
        super().__init__(self.model.manifest)
        if self.manifest.starts_after != 0:
            raise ModelFileError(
                f"{path}: this file continues from the map of stage {self.manifest.starts_after} "
                "and takes no crops; name the shallower file that it belongs to."
            )
        # The open files, shallowest first, and those of them that are run: see `ChainedEmbedder`.
        self.models: tuple[OpenModel, ...] = (self.model,)
        self._used: tuple[OpenModel, ...] = self.models
        self.verdict = require_verdict(self.models, run_alone(self.model))
        self._flip = flip
        self._batch_size = batch_size
        self._threads = usable_cores() if threads is None else threads
        self._own = threading.local()
        # A single thread needs no pool: the caller's own does the work.
        self._pool = Workers(self._threads) if self._threads > 1 else None

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) RGB uint8 of `crop_size`.

        Returns:
            depth -> (N, D) float32 of unit length; see `adln.embeddings.without_direction`.

        Raises:
            ImageError: the array has another shape or type. `embed_pictures` accepts pictures of
                any size.
        """
        self.require_crops(crops)

        def work(start: int, stop: int) -> list[NDArray[np.float32]]:
            return self._run(crops[start:stop])

        return self._by_depth(self._share_out(len(crops), work, None))

    def embed_with_maps(
        self, crops: NDArray[np.uint8]
    ) -> tuple[dict[int, NDArray[np.float32]], dict[int, Handover]]:
        """Like `embed`, and also return stage -> its map, and what else a deeper file needs.

        The stages are those in the manifest's `maps`; see `adln.embedders.deeper`. `flip` is
        ignored: the mirrored crop would need its own maps.
        """
        self.require_crops(crops)
        names = [*self.manifest.embedding_names, *self.manifest.handed_over]

        def work(start: int, stop: int) -> list[NDArray[np.float32]]:
            answers: list[NDArray[np.float32]] = self.model.session.run(
                names, {CROPS: np.ascontiguousarray(crops[start:stop])}
            )
            return answers

        # At least one run, so that empty arrays get their shapes.
        parts = self._share_out(len(crops), work, None) or [work(0, 0)]
        joined = [np.concatenate(answers) for answers in zip(*parts, strict=True)]
        count = len(self.manifest.depths)
        embeddings = dict(zip(self.manifest.depths, joined[:count], strict=True))
        return embeddings, handovers(self.manifest, joined[count:])

    def hand_over(self, crops: NDArray[np.uint8]) -> dict[int, Handover]:
        """Only the maps of `embed_with_maps`."""
        return self.embed_with_maps(crops)[1]

    def require_crops(self, crops: NDArray[np.uint8]) -> None:
        """Raise an `ImageError` about crops that are not (N, H, W, 3) uint8 of `crop_size`."""
        height, width = self.crop_size
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (height, width, 3):
            raise ImageError(
                f"expected crops of shape (N, {height}, {width}, 3) and type uint8 in RGB, got "
                f"shape {crops.shape} and type {crops.dtype}; embed_pictures takes any size."
            )

    def embed_pictures(
        self,
        pictures: Sequence[Picture],
        *,
        names: Sequence[str] | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> EmbeddedPictures:
        """Embed pictures of people in any usual form and size, skipping unusable ones.

        Args:
            pictures: N paths, contents of picture files, or (H, W, 3) uint8 RGB arrays, such as
                people cut out of one frame.
            names: their names; paths or numbers if left out.
            on_progress: called in the calling thread with the number of pictures just finished.
        """
        if names is None:
            names = [
                str(picture) if isinstance(picture, str | Path) else f"picture {index}"
                for index, picture in enumerate(pictures)
            ]
        elif len(names) != len(pictures):
            raise SettingsError(f"got {len(pictures)} pictures but {len(names)} names.")
        unusable: list[Unusable] = []

        def work(start: int, stop: int) -> list[NDArray[np.float32]]:
            writer = self._writer()
            batch = np.empty((stop - start, *self.crop_size, 3), dtype=np.uint8)
            written: list[int] = []
            for index in range(start, stop):
                try:
                    writer.write(pictures[index], batch[len(written)], name=names[index])
                    written.append(index)
                except ImageError as error:
                    unusable.append(Unusable(index, names[index], str(error)))
            answers = self._run(batch[: len(written)])
            good = ~np.any([without_direction(rows) for rows in answers], axis=0)
            for at in np.flatnonzero(~good).tolist():
                name = names[written[at]]
                unusable.append(Unusable(written[at], name, no_direction(name)))
            return [rows[good] for rows in answers]

        parts = self._share_out(len(pictures), work, on_progress)
        unusable.sort(key=lambda picture: picture.index)
        usable = np.ones(len(pictures), dtype=bool)
        usable[[picture.index for picture in unusable]] = False
        return EmbeddedPictures(
            indices=np.flatnonzero(usable).astype(np.int64),
            embeddings=self._by_depth(parts),
            unusable=tuple(unusable),
        )

    def embed_picture(self, picture: Picture, *, name: str = "picture") -> dict[int, Any]:
        """Embed one picture, as `embed_pictures` does: depth -> (D,) float32 of unit length.

        Raises:
            ImageError: it cannot be used; the message calls it `name`, if it is not a path.
        """
        given = [str(picture) if isinstance(picture, str | Path) else name]
        answer = self.embed_pictures([picture], names=given)
        if answer.unusable:
            raise ImageError(answer.unusable[0].reason)
        return {depth: rows[0] for depth, rows in answer.embeddings.items()}

    def _writer(self) -> PixelWriter:
        writer: PixelWriter | None = getattr(self._own, "writer", None)
        if writer is None:
            height, width = self.crop_size
            writer = self._own.writer = PixelWriter(height_px=height, width_px=width)
        return writer

    def _share_out(
        self,
        count: int,
        work: Callable[[int, int], list[NDArray[np.float32]]],
        on_progress: Callable[[int], None] | None,
    ) -> list[list[NDArray[np.float32]]]:
        """Run work(start, stop) for all crops; returns the results in order."""
        # Distribute a few people in a frame over all cores, not all to the first.
        size = max(1, min(self._batch_size, -(-count // self._threads)))
        spans = [(start, min(start + size, count)) for start in range(0, count, size)]
        if self._pool is None or len(spans) == 1:
            answers: Iterable[list[NDArray[np.float32]]] = (work(*span) for span in spans)
        else:
            answers = self._pool.map(work, *zip(*spans, strict=True))
        parts = []
        for (start, stop), answer in zip(spans, answers, strict=True):
            parts.append(answer)
            if on_progress is not None:
                on_progress(stop - start)
        return parts

    def _run(self, batch: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Embeddings (B, D) of a batch, one array per depth."""
        if len(batch) == 0:
            return [np.empty((0, self.dim), dtype=np.float32) for _ in self.depths]
        ahead = self._outputs(batch)
        if not self._flip:
            return [embedding for embedding, *_ in ahead]
        # Features as they left the batch norm are averaged: embedding times norm.
        return [
            flip_average(embedding * norm, other * other_norm)
            for (embedding, norm), (other, other_norm) in zip(
                ahead, self._outputs(flip(batch)), strict=True
            )
        ]

    def _outputs(self, batch: NDArray[np.uint8]) -> list[list[NDArray[np.float32]]]:
        """For each depth its embeddings (B, D) and, to flip, their norms (B, 1) before scaling."""
        outputs_per_depth = 2 if self._flip else 1
        found: dict[str, NDArray[Any]] = {CROPS: np.ascontiguousarray(batch)}
        answers = []
        for model, after in zip_longest(self._used, self._used[1:]):
            manifest = model.manifest
            names = [
                name
                for depth in manifest.depths
                if depth in self.depths
                for name in manifest.output_names(depth)[:outputs_per_depth]
            ]
            passed_on = list(after.manifest.input_names) if after is not None else []
            feeds = {name: found[name] for name in manifest.input_names}
            outputs = model.session.run(names + passed_on, feeds)
            starts = range(0, len(names), outputs_per_depth)
            answers += [outputs[start : start + outputs_per_depth] for start in starts]
            found = dict(zip(passed_on, outputs[len(names) :], strict=True))
        return answers

    def _by_depth(self, parts: list[list[NDArray[np.float32]]]) -> dict[int, NDArray[np.float32]]:
        empty = np.empty((0, self.dim), dtype=np.float32)
        return {
            depth: np.concatenate([empty, *(part[at] for part in parts)])
            for at, depth in enumerate(self.depths)
        }
