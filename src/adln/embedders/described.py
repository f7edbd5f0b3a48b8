"""Properties of an embedder from its network file's manifest."""

from adln.manifest import Manifest


class Described:
    """An embedder whose file has a manifest, which gives its properties.

    Attributes:
        depths: depths that `embed` returns, ascending.
        dim: length D of an embedding.
        crop_size: height H and width W of input crops, in px.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.depths = manifest.depths
        self.dim = manifest.dim
        self.crop_size = manifest.height_px, manifest.width_px
