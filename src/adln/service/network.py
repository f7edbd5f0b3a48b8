"""The network of a service: from pictures to embeddings, and what their similarities mean.

Pictures are untrusted: their format and size are checked before they are decoded.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.crops import decode_crop, kept_jpeg
from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.proving import UNPROVED
from adln.embedders.quality import depths_for, files_for
from adln.embedders.shipped import find_network
from adln.embeddings import chosen_depth
from adln.errors import ImageError
from adln.gallery.records import ModelKey
from adln.matching.calibration import Scale, Scales, read_calibration
from adln.matching.thresholds import StatedThresholds
from adln.service.settings import ServeSettings

# First bytes -> Pillow's name of the format. No other decoder is used: some of Pillow's run other
# programs or are not safe with untrusted files.
_FORMATS = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"RIFF", "WEBP"))
_ORIENTATION_TAG, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)


class PictureRefusedError(ImageError):
    """The service does not accept the format or size of a picture."""

    def __init__(self, reason: str, *, too_large: bool) -> None:
        super().__init__(reason)
        self.too_large = too_large


@dataclass(frozen=True, kw_only=True)
class Network:
    """Embeds pictures.

    Attributes:
        embed: content of a picture file -> (D,) float32 of unit length; raises `ImageError`.
        precision: of its arithmetic, as text.
        scales: calibrations of the depths of its file, as far as there are any.
        verdict: result of the self-check on this machine, in words.
        is_proved: whether the self-check was run and passed.
        first: a shallower network of the same space that pictures are searched with first; this
            network is used if that finds no match. None to use this one at once.
    """

    model: ModelKey
    embed: Callable[[bytes], NDArray[np.float32]]
    precision: str
    scales: Scales = field(default_factory=lambda: Scales(own={}))
    verdict: str = UNPROVED.text
    is_proved: bool = UNPROVED.proved
    first: "Network | None" = None


def open_network(settings: ServeSettings) -> tuple[Network | None, Scale | None]:
    """Open the network that the settings name, if any, and its scale.

    That is the calibration beside it, otherwise the thresholds of the settings, otherwise None.

    Raises:
        ModelFileError: the file or its calibration cannot be used, or it does not have the depth.
    """
    stated = None
    if settings.match is not None and settings.candidate is not None:
        stated = StatedThresholds(match=settings.match, candidate=settings.candidate)
    if not settings.network:
        return None, stated
    files = files_for([settings.network], settings.quality)
    depths = []
    network: Network | None = None
    calibration: Scale | None = None
    for file in files:
        network, calibration = _open(file, settings, first=network)
        depths.append(network.model.depth)
    depths_for(depths, settings.quality, files=files)
    return network, calibration or stated


def _open(
    file: str, settings: ServeSettings, *, first: Network | None
) -> tuple[Network, Scale | None]:
    """Open one file and its calibration, if there is one."""
    path = find_network(file)
    embedder = OnnxEmbedder(path, flip=settings.flip, threads=1)
    depth = chosen_depth(embedder.depths, settings.depth, network=path)
    calibrations = read_calibration(path, model_sha256=embedder.model.sha256)
    calibration = None if calibrations is None else calibrations.of(depth, flip=settings.flip)
    scales = Scales() if calibrations is None else calibrations.scales(flip=settings.flip)
    space = embedder.manifest.space_of(depth)
    network = Network(
        model=ModelKey(embedder.model.sha256, depth, embedder.dim, space),
        embed=lambda picture: embedder.embed_picture(picture)[depth],
        precision=embedder.manifest.precision,
        # Scores between two depths are judged by the calibrations of both.
        scales=scales if first is None else first.scales.joined(scales),
        verdict=embedder.verdict.text,
        is_proved=embedder.verdict.proved,
        first=first,
    )
    return network, calibration


def check_picture(data: bytes, *, max_pixels: int) -> tuple[int, int]:
    """Width and height of a picture when upright, in px; only its header is read.

    Raises:
        PictureRefusedError: it is not JPEG, PNG or WebP, or too large when decoded.
    """
    kind = next((kind for start, kind in _FORMATS if data.startswith(start)), None)
    if kind is None:
        raise PictureRefusedError(
            "This is not a JPEG, PNG or WebP picture; send one of these.", too_large=False
        )
    try:
        with Image.open(io.BytesIO(data), formats=(kind,)) as picture:
            width, height = picture.size
            is_turned = _is_on_its_side(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureRefusedError(
            f"The picture has too many pixels; the limit is {max_pixels:,}.", too_large=True
        ) from error
    except Exception as error:
        # On damaged data, Pillow's readers raise errors of many kinds.
        raise PictureRefusedError(
            f"The picture is damaged: it begins like a {kind} file but cannot be read as one.",
            too_large=False,
        ) from error
    if width * height > max_pixels:
        raise PictureRefusedError(
            f"The picture is {width} x {height} px; the limit is {max_pixels:,} pixels.",
            too_large=True,
        )
    return (height, width) if is_turned else (width, height)


def _is_on_its_side(picture: Image.Image) -> bool:
    try:
        return picture.getexif().get(_ORIENTATION_TAG) in _ON_ITS_SIDE
    except Exception:
        # Broken EXIF data does not mean broken pixels.
        return False


def make_thumbnail(data: bytes, *, max_pixels: int) -> bytes:
    """Re-encode a picture as a small JPEG, without anything else in the file (metadata).

    Raises:
        ImageError: the picture cannot be used.
    """
    check_picture(data, max_pixels=max_pixels)
    return kept_jpeg(decode_crop(data, name="picture"))
