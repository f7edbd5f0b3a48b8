"""Continues from a shallower file's feature map, for crops that need a deeper embedding.

Sec. III.C of the paper: the depths share their stages, so only the missing ones are computed.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.embedders.described import Described
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.handover import Handover, handovers
from adln.embedders.proving import require_verdict
from adln.embedders.session import OpenModel, open_session
from adln.errors import ImageError, ModelFileError, SettingsError


class DeeperEmbedder(Described):
    """Embeds the maps of a shallower file of the same network, by one that starts after a stage.

    Attributes:
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
        self.models: tuple[OpenModel, ...] = (*shallower.models, self.model)
        # Maps of an int8 file are uint8, those of an fp16 file float16.
        no_crops = np.empty((0, *shallower.crop_size, 3), dtype=np.uint8)
        self._no_crop = shallower.hand_over(no_crops)[self.starts_after]
        self._shallower = shallower
        self.verdict = require_verdict(
            self.models, lambda crops: self.embed(shallower.hand_over(crops)[self.starts_after])
        )

    @property
    def starts_after(self) -> int:
        """Stage whose map is the input of `embed`."""
        return self.manifest.starts_after

    def embed(self, maps: Handover) -> dict[int, NDArray[np.float32]]:
        """Embed crops by maps of stage `starts_after`: depth -> (N, D) float32 of unit length."""
        return self.embed_with_maps(maps)[0]

    def embed_with_maps(
        self, maps: Handover
    ) -> tuple[dict[int, NDArray[np.float32]], dict[int, Handover]]:
        """Like `embed`, and also return stage -> its map, for a still deeper file.

        Raises:
            ImageError: the maps have another shape or type.
        """
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


class ChainedEmbedder(OnnxEmbedder):
    """Runs one file, or all files of a split export, each on the previous one's feature map.

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
        super().__init__(paths[0], flip=flip, threads=threads, batch_size=batch_size)
        files: list[OnnxEmbedder | DeeperEmbedder] = [self, *chained(self, paths[1:])]
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
