"""What the manifest of a network file says of the embedder that runs it."""

from adln.manifest import Manifest


class Described:
    """An embedder whose file has a manifest.

    Args:
        manifest: what the file says of itself.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self._manifest

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that `embed` answers, ascending."""
        return self._manifest.depths

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self._manifest.dim

    @property
    def crop_size(self) -> tuple[int, int]:
        """Height H and width W in px of the crops that `embed` takes."""
        return self._manifest.height_px, self._manifest.width_px
