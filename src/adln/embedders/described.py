"""What the manifest of a network file says of the embedder that runs it."""

from adln.manifest import Manifest


class Described:
    """An embedder whose file has a manifest.

    Attributes:
        manifest: what the file says of itself.
        depths: that `embed` answers, ascending.
        dim: length D of an embedding.
        crop_size: height H and width W in px of the crops that `embed` takes.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.depths = manifest.depths
        self.dim = manifest.dim
        self.crop_size = manifest.height_px, manifest.width_px
