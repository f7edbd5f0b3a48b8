"""Goes deeper from a map that a shallower file has put out, where a crop is worth it.

Sec. III.C of the paper: the depths share their stages, so the deeper answer costs only the
stages that are still missing.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import ImageError, ModelFileError
from adln.manifest import Manifest
from adln.runtime.embedder import OnnxEmbedder
from adln.runtime.session import open_session


class DeeperEmbedder:
    """Embeds the maps of a shallower file of the same network.

    Args:
        path: a file of `adln export` that starts after a stage.
        shallower: the embedder whose maps it goes on from.
        threads: cores that one run may use.
        provider: see `adln.runtime.session.open_session`.

    Raises:
        ModelFileError: the file cannot be opened, starts from crops, or is not of the same
            network, size and precision as the shallower one.
    """

    def __init__(
        self,
        path: str | Path,
        shallower: OnnxEmbedder,
        *,
        threads: int = 1,
        provider: str | None = None,
    ) -> None:
        self._model = open_session(path, threads=threads, provider=provider)
        # Maps of an int8 file are bytes, those of an fp16 file halves.
        example = _empty_map(shallower, self.manifest, Path(path))
        self._shape, self._dtype = example.shape[1:], example.dtype

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self._model.manifest

    @property
    def starts_after(self) -> int:
        """Stage whose map `embed` takes."""
        return self.manifest.starts_after

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that `embed` answers, ascending."""
        return self.manifest.depths

    def embed(self, maps: NDArray[Any]) -> dict[int, NDArray[np.float32]]:
        """Embed crops by their maps, as `OnnxEmbedder.embed_with_maps` gave them.

        Args:
            maps: (N, C, H, W) of stage `starts_after`, in the type that the file puts out.

        Returns:
            depth -> (N, D) float32 of unit length.

        Raises:
            ImageError: the maps are of another shape or type.
        """
        if maps.dtype != self._dtype or maps.shape[1:] != self._shape:
            raise ImageError(
                f"expected maps of stage {self.starts_after}, (N, {self._shape}) {self._dtype}, "
                f"got shape {maps.shape} and type {maps.dtype}."
            )
        names = [self.manifest.output_names(depth)[0] for depth in self.depths]
        answers = self._model.session.run(names, {self.manifest.input_name: maps})
        return dict(zip(self.depths, answers, strict=True))


def _empty_map(shallower: OnnxEmbedder, manifest: Manifest, path: Path) -> NDArray[Any]:
    """Maps (0, C, H, W) of no crop; refuses files that do not belong together."""
    first = shallower.manifest
    if manifest.starts_after not in first.maps:
        raise ModelFileError(
            f"{path}: starts after stage {manifest.starts_after}; the shallower file "
            f"{shallower.model.path} puts out the maps of {list(first.maps) or 'no stage'}."
        )
    facts = ("source_sha256", "precision", "height_px", "width_px")
    other = [name for name in facts if getattr(first, name) != getattr(manifest, name)]
    if other:
        raise ModelFileError(
            f"{path}: not of the same export as {shallower.model.path}: "
            f"they differ in {', '.join(other)}. Export both again with `adln export`."
        )
    empty = np.empty((0, *shallower.crop_size, 3), dtype=np.uint8)
    return shallower.embed_with_maps(empty)[1][manifest.starts_after]
