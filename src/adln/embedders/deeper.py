"""Continues from a shallower file's feature map, for crops that need a deeper embedding.

Sec. III.C of the paper: the depths share their stages, so a deeper embedding costs only the missing
stages.
"""

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.crops import flip as flip_crops
from adln.embedders.described import Described
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.handover import Handover, handovers
from adln.embedders.proving import require_verdict
from adln.embedders.session import OpenModel, open_session, require_threads
from adln.embedders.workers import Workers
from adln.embeddings import flip_average
from adln.errors import ImageError, ModelFileError, SettingsError
from adln.manifest import CROPS


class DeeperEmbedder(Described):
    """Embeds the maps of a shallower file of the same network.

    Args:
        path: a file of `adln export` that starts after a stage.
        shallower: the embedder whose maps it continues from.
        threads: cores for one run.

    Attributes:
        model: the open file.
        verdict: result of its validation on this device, together with the shallower files.

    Raises:
        ModelFileError: the file cannot be opened, starts from crops, or differs from the shallower
            one in network, size or precision.
        DeviceError: its outputs are wrong on this device, see `adln.embedders.proving`.
    """

    def __init__(
        self,
        path: str | Path,
        shallower: "OnnxEmbedder | DeeperEmbedder",
        *,
        threads: int = 1,
    ) -> None:
        self.model = open_session(path, threads=threads)
        super().__init__(self.model.manifest)
        _require_same_export(self.model, shallower.model)
        # Maps of an int8 file are uint8, those of an fp16 file float16.
        no_crops = np.empty((0, *shallower.crop_size, 3), dtype=np.uint8)
        self._no_crop = shallower.hand_over(no_crops)[self.starts_after]
        self._shallower = shallower
        self.verdict = require_verdict(
            self.models, lambda crops: self.embed(shallower.hand_over(crops)[self.starts_after])
        )

    @property
    def models(self) -> tuple[OpenModel, ...]:
        """The open files involved, shallowest first."""
        return (*self._shallower.models, self.model)

    @property
    def starts_after(self) -> int:
        """Stage whose map is the input of `embed`."""
        return self.manifest.starts_after

    def embed(self, maps: Handover) -> dict[int, NDArray[np.float32]]:
        """Embed crops by their maps of stage `starts_after`: depth -> (N, D) float32, unit length.

        Raises:
            ImageError: the maps have another shape or type.
        """
        return self.embed_with_maps(maps)[0]

    def embed_with_maps(
        self, maps: Handover
    ) -> tuple[dict[int, NDArray[np.float32]], dict[int, Handover]]:
        """Like `embed`, and also return stage -> its map, for a still deeper file."""
        if maps.form != self._no_crop.form:
            raise ImageError(
                f"expected maps of stage {self.starts_after} with {self._no_crop.form} for each "
                f"crop, got {maps.form}."
            )
        names = [*self.manifest.embedding_names, *self.manifest.handed_over]
        answers = self.model.session.run(names, maps.arrays)
        embeddings = dict(zip(self.depths, answers[: len(self.depths)], strict=True))
        return embeddings, handovers(self.manifest, answers[len(self.depths) :])

    def hand_over(self, crops: NDArray[np.uint8]) -> dict[int, Handover]:
        """Maps of crops (N, H, W, 3) uint8 RGB, which first pass through all shallower files."""
        maps = self._shallower.hand_over(crops)[self.starts_after]
        return self.embed_with_maps(maps)[1]


class ChainedEmbedder:
    """Runs one file, or all files of a split export, each on the previous one's feature map.

    Batches are distributed over the threads, each of which uses one core.

    Args:
        paths: the files, shallowest first.
        batch_size: crops per thread and batch.
        depths: depths to compute; all that the files have if left out. Files needed only for other
            depths are opened but not run.
        flip: average with the mirrored crop; twice the work.
        threads: cores to use.

    Attributes:
        models: the open files, shallowest first.
        verdict: result of their validation on this device; proved only if all are.
        depths: depths that `embed` returns, ascending.
        dim: length D of an embedding.
        crop_size: height H and width W of input crops, in px.

    Raises:
        ModelFileError: a file cannot be opened, they do not belong together, or no file has a
            requested depth.
        SettingsError: no file is named, or `batch_size` or `threads` is below one.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        batch_size: int,
        depths: Sequence[int] = (),
        flip: bool = False,
        threads: int = 1,
    ) -> None:
        if not paths:
            raise SettingsError("name at least one network file.")
        require_threads(threads)
        self._first = OnnxEmbedder(paths[0], threads=1, batch_size=batch_size)
        self.dim, self.crop_size = self._first.dim, self._first.crop_size
        files: list[OnnxEmbedder | DeeperEmbedder] = [self._first]
        files += chained(self._first, paths[1:])
        known = [depth for file in files for depth in file.depths]
        missing = sorted(set(depths) - set(known))
        if missing:
            raise ModelFileError(
                f"no file gives depth {missing}; {', '.join(map(str, paths))} have {known}."
            )
        self.depths = tuple(depth for depth in known if not depths or depth in depths)
        last = max(at for at, file in enumerate(files) if set(file.depths) & set(self.depths))
        verdicts = [file.verdict for file in files]
        self.verdict = next((v for v in verdicts if not v.proved), verdicts[0])
        self.models = tuple(file.model for file in files)
        self._used = self.models[: last + 1]
        self._batch_size = batch_size
        self._flip = flip
        self._pool = Workers(threads) if threads > 1 else None

    def embed(self, crops: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        """Embed crops (N, H, W, 3) uint8 RGB: depth -> (N, D) float32 of unit length.

        Raises:
            ImageError: the array has another shape or type.
        """
        self._first.require_crops(crops)
        starts = range(0, len(crops), self._batch_size)
        batches = (crops[start : start + self._batch_size] for start in starts)
        parts = list(
            map(self._run, batches) if self._pool is None else self._pool.map(self._run, batches)
        )
        empty = np.empty((0, self.dim), dtype=np.float32)
        return {
            depth: np.concatenate([empty, *(part[depth] for part in parts)])
            for depth in self.depths
        }

    def _run(self, batch: NDArray[np.uint8]) -> dict[int, NDArray[np.float32]]:
        ahead = self._answers(batch)
        if not self._flip:
            return {depth: embedding for depth, (embedding, _) in ahead.items()}
        mirrored = self._answers(flip_crops(batch))
        # Features as they left the batch norm are averaged: embedding times norm.
        return {
            depth: flip_average(embedding * norm, mirrored[depth][0] * mirrored[depth][1])
            for depth, (embedding, norm) in ahead.items()
        }

    def _answers(
        self, batch: NDArray[np.uint8]
    ) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Depth -> embedding (B, D) and its norm (B, 1) before normalisation."""
        found: dict[str, NDArray[Any]] = {CROPS: np.ascontiguousarray(batch)}
        answers = {}
        for model, after in zip_longest(self._used, self._used[1:]):
            manifest = model.manifest
            wanted = [depth for depth in manifest.depths if depth in self.depths]
            names = [name for depth in wanted for name in manifest.output_names(depth)]
            passed_on = list(after.manifest.input_names) if after is not None else []
            feeds = {name: found[name] for name in manifest.input_names}
            outputs = model.session.run(names + passed_on, feeds)
            found = dict(zip(passed_on, outputs[len(names) :], strict=True))
            for at, depth in enumerate(wanted):
                answers[depth] = outputs[2 * at], outputs[2 * at + 1]
        return answers


def chained(
    first: OnnxEmbedder, paths: Sequence[str | Path], *, threads: int = 1
) -> list[DeeperEmbedder]:
    """The further files of a split export, each continuing from the previous one."""
    files: list[DeeperEmbedder] = []
    for path in paths:
        files.append(DeeperEmbedder(path, files[-1] if files else first, threads=threads))
    return files


def _require_same_export(deeper: OpenModel, shallower: OpenModel) -> None:
    """Refuse files that do not belong together."""
    manifest, first = deeper.manifest, shallower.manifest
    if manifest.starts_after == 0:
        raise ModelFileError(
            f"{deeper.path}: starts from crops, not from another file's map, so it cannot follow "
            f"{shallower.path}; networks that are not of one `adln export --split` run one by one."
        )
    if manifest.starts_after not in first.maps:
        raise ModelFileError(
            f"{deeper.path}: starts after stage {manifest.starts_after}; the shallower file "
            f"{shallower.path} outputs the maps of {list(first.maps) or 'no stage'}."
        )
    facts = ("source_sha256", "precision", "height_px", "width_px")
    other = [name for name in facts if getattr(first, name) != getattr(manifest, name)]
    if other:
        raise ModelFileError(
            f"{deeper.path}: not from the same export as {shallower.path}: "
            f"they differ in {', '.join(other)}. Export both again with `adln export`."
        )
