"""Formats of the pixels that foreign networks take, to run them or train in their space."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adln.atomic import suffix_of
from adln.errors import ModelFileError

_REVERSED = re.compile(r'<reverse_input_channels value="(true|false)"', re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class PixelForm:
    """Input format of a foreign network.

    Attributes:
        colours: "rgb" or "bgr", the order of the channels.
        mean: subtracted from pixels scaled to 0..1, in that channel order; None leaves pixels at
            0..255.
        std: divisor of the difference; None likewise.
        layout: "nchw" or "nhwc".

    Raises:
        ModelFileError: a value is invalid.
    """

    colours: str = "rgb"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    layout: str = "nchw"

    def __post_init__(self) -> None:
        if self.colours not in ("rgb", "bgr") or self.layout not in ("nchw", "nhwc"):
            raise ModelFileError(
                'colours must be "rgb" or "bgr" and layout "nchw" or "nhwc", got '
                f"{self.colours!r} and {self.layout!r}."
            )
        if (self.mean is None) != (self.std is None):
            raise ModelFileError("mean and std belong together: give both or neither.")
        for name in ("mean", "std"):
            values = getattr(self, name)
            if values is not None and (len(values) != 3 or not np.isfinite(values).all()):
                raise ModelFileError(f"{name} must be three numbers, got {values}.")
        if self.std is not None and min(self.std) <= 0:
            raise ModelFileError(f"std must be above 0, got {self.std}.")

    @classmethod
    def own(cls, path: Path) -> "PixelForm":
        """The format of a file as far as it states it; otherwise RGB pixels of 0..255."""
        return cls(colours=told_colours(path) or "rgb")

    def identity(self, sha256: str, path: Path) -> str:
        """Digest of a file, whose own hex digest is given, and of its input format.

        The embeddings of two formats cannot be compared, though the file is the same. In its own
        format a file has its own digest.
        """
        return sha256 if self == PixelForm.own(path) else self._mixed(sha256)

    def is_identity(self, identity: str, sha256: str, path: Path) -> bool:
        """Whether a description is of a file in this format, given the file's digest."""
        # Earlier versions wrote the digest of the file alone whatever the format, or never.
        return identity in (sha256, self._mixed(sha256))

    def _mixed(self, sha256: str) -> str:
        return hashlib.sha256(json.dumps([sha256, asdict(self)]).encode()).hexdigest()

    def prepare(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert (N, H, W, 3) uint8 RGB crops to the network's format."""
        pixels = crops.astype(np.float32)
        if self.colours == "bgr":
            pixels = pixels[..., ::-1]
        if self.mean is not None and self.std is not None:
            mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
            pixels = (pixels / np.float32(255) - mean) / std
        if self.layout == "nchw":
            pixels = pixels.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(pixels)


def told_colours(path: Path) -> str | None:
    """The channel order that an OpenVINO file was converted for; None if not stated.

    Source: `reverse_input_channels` in the parameters that the converter records in the file.
    """
    if suffix_of(path) != ".xml" or not path.is_file():
        return None
    said = _REVERSED.search(path.read_text(encoding="utf-8", errors="replace"))
    return None if said is None else ("bgr" if said[1].lower() == "true" else "rgb")
