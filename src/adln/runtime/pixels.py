"""Pictures to network input on the device, in as little time as Python allows.

Implements the input of Sec. III.B for exported networks. The pixels are those of `adln.crops`,
bit for bit; only the way there is shorter for the two commonest cases, an ordinary JPEG file and
a crop of exactly half the network's size (the size at which Market-1501 is stored).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.crops import REDUCE_JPEG_ABOVE_PIXELS, decode_crop, read_bytes, resize
from adln.errors import ImageError
from adln.manifest import InputForm

try:  # decodes a small JPEG in a quarter of Pillow's time; not on every platform
    from simplejpeg import decode_jpeg
except ImportError:
    decode_jpeg = None

Picture = str | Path | bytes | NDArray[np.uint8]
"""A picture file, its bytes, or an RGB array (H, W, 3) uint8 of any size."""

_JFIF_START = b"\xff\xd8\xff\xe0"
# Segments that say nothing about how pixels become colours: JFIF, tables, comment, restarts.
_HARMLESS_SEGMENTS = frozenset({0xE0, 0xDB, 0xC4, 0xDD, 0xFE})
_BASELINE_FRAME = 0xC0


class PixelWriter:
    """Writes one picture after the other into the network's input.

    Holds its working memory, so each thread needs its own.

    Args:
        form: what the network expects; see `adln.manifest.Manifest.input_form`.
        height_px: height of the network's input.
        width_px: its width.
        mean_rgb: mean of the pixels 0..255, for "float32_nchw".
        std_rgb: their standard deviation.
    """

    def __init__(
        self,
        form: InputForm,
        *,
        height_px: int,
        width_px: int,
        mean_rgb: Sequence[float],
        std_rgb: Sequence[float],
    ) -> None:
        self._normalises = form == "float32_nchw"
        self._size_px = height_px, width_px
        std = np.array(std_rgb, dtype=np.float64)
        self._scale = (1 / std).astype(np.float32)[:, np.newaxis, np.newaxis]
        offset = -np.array(mean_rgb, dtype=np.float64) / std
        self._offset = offset.astype(np.float32)[:, np.newaxis, np.newaxis]
        self._doubling = Doubling(height_px // 2, width_px // 2)
        self._can_double = height_px % 2 == 0 and width_px % 2 == 0

    def new_batch(self, count: int) -> NDArray[Any]:
        """Make room for N crops: (N, 3, H, W) float32 or (N, H, W, 3) uint8."""
        if self._normalises:
            return np.empty((count, 3, *self._size_px), dtype=np.float32)
        return np.empty((count, *self._size_px, 3), dtype=np.uint8)

    def write(self, picture: Picture, slot: NDArray[Any], *, name: str) -> None:
        """Decode, resize and (if the network wants it) normalise one picture.

        Args:
            picture: any usual form.
            slot: one crop's place in the array of `new_batch`.
            name: what error messages call the picture.

        Raises:
            ImageError: the picture cannot be used.
        """
        height, width = self._size_px
        if isinstance(picture, str | Path):
            picture = read_bytes(picture)
        if isinstance(picture, bytes):
            pixels = decode_plain_jpeg(picture)
            if pixels is None:
                pixels = decode_crop(picture, name=name, height_px=height, width_px=width)
        else:
            pixels = _require_rgb(picture, name)
        planes = slot if self._normalises else slot.transpose(2, 0, 1)
        if self._can_double and pixels.shape == (height // 2, width // 2, 3):
            self._doubling.write(pixels, planes)
        elif pixels.shape[:2] == (height, width):
            np.copyto(planes, pixels.transpose(2, 0, 1))
        else:
            small = resize(pixels, height_px=height, width_px=width)
            np.copyto(planes, small.transpose(2, 0, 1))
        if self._normalises:
            np.multiply(slot, self._scale, out=slot)
            np.add(slot, self._offset, out=slot)

    def write_crops(self, crops: NDArray[np.uint8], batch: NDArray[Any]) -> None:
        """Write crops that already have the network's size: (N, H, W, 3) uint8 RGB."""
        if not self._normalises:
            np.copyto(batch, crops)
            return
        for crop, slot in zip(crops, batch, strict=True):
            np.copyto(slot, crop.transpose(2, 0, 1))
            np.multiply(slot, self._scale, out=slot)
            np.add(slot, self._offset, out=slot)

    def mirror(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Mirror a batch of `new_batch` left to right."""
        if self._normalises:
            return np.ascontiguousarray(batch[..., ::-1])
        return np.ascontiguousarray(batch[:, :, ::-1])


class Doubling:
    """Doubles a picture in height and width to the very pixels of Pillow's bilinear filter.

    At a factor of two each new pixel is (3 a + b + 2) // 4 of its two nearest neighbours, first
    along the rows, then along the columns, with bytes in between: what Pillow's fixed-point
    arithmetic comes to. On the border b is a.

    Args:
        height_px: height before.
        width_px: width before.
    """

    def __init__(self, height_px: int, width_px: int) -> None:
        self._narrow = np.empty((3, 3, height_px, width_px), dtype=np.uint16)
        self._wide = np.empty((3, 3, height_px, 2 * width_px), dtype=np.uint16)

    def write(self, image: NDArray[np.uint8], planes: NDArray[Any]) -> None:
        """Double a picture.

        Args:
            image: (H, W, 3) uint8.
            planes: (3, 2H, 2W) of any type that holds 0..255; written to.
        """
        pixels, left, right = self._narrow
        np.copyto(pixels, image.transpose(2, 0, 1))
        np.multiply(pixels, 3, out=right)
        np.add(right, 2, out=right)
        # Along rows one flat shift serves all rows; it is only wrong where a row begins or ends.
        np.add(right.ravel()[1:], pixels.ravel()[:-1], out=left.ravel()[1:])
        np.multiply(pixels[..., 0], 4, out=left[..., 0])
        np.add(right.ravel()[:-1], pixels.ravel()[1:], out=right.ravel()[:-1])
        np.multiply(pixels[..., -1], 4, out=right[..., -1])
        # Left and right pixel become the two bytes of one number, which puts them side by side.
        np.right_shift(left, 2, out=left)
        np.left_shift(right, 6, out=right)
        np.bitwise_and(right, 0xFF00, out=right)
        np.bitwise_or(left, right, out=left)
        if not np.little_endian:
            left.byteswap(inplace=True)

        pixels, upper, lower = self._wide
        np.copyto(pixels, left.view(np.uint8))
        np.multiply(pixels, 3, out=lower)
        np.add(lower, 2, out=lower)
        np.add(lower[:, 1:], pixels[:, :-1], out=upper[:, 1:])
        np.multiply(pixels[:, 0], 4, out=upper[:, 0])
        np.add(lower[:, :-1], pixels[:, 1:], out=lower[:, :-1])
        np.multiply(pixels[:, -1], 4, out=lower[:, -1])
        np.right_shift(upper, 2, out=upper)
        np.right_shift(lower, 2, out=lower)
        np.copyto(planes[:, 0::2], upper, casting="unsafe")
        np.copyto(planes[:, 1::2], lower, casting="unsafe")


def decode_plain_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode an ordinary JPEG by the short way.

    Ordinary is: baseline, three colours of 8 bits, marked as JFIF, and without EXIF or Adobe
    segments, so that nothing has to be turned or converted; and not so large that it should be
    decoded at a reduced scale.

    Args:
        data: content of a picture file.

    Returns:
        (H, W, 3) uint8 RGB, the same pixels as `adln.crops.decode_image`; None if the file is
        not ordinary or is damaged, so that the long way must decode it or find the words.
    """
    size_px = _plain_jpeg_size(data)
    if size_px is None or not 0 < size_px[0] * size_px[1] <= REDUCE_JPEG_ABOVE_PIXELS:
        return None
    try:
        if decode_jpeg is not None:
            pixels: NDArray[np.uint8] = decode_jpeg(data)
            return pixels
        # Straight to Pillow's decoder: reading the header its usual way costs more than decoding.
        return np.asarray(Image.frombytes("RGB", size_px, data, "jpeg", "RGB", ""))
    except (ValueError, OSError):
        return None


def _plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height if the segments before the pixels are all of an ordinary JPEG."""
    if not data.startswith(_JFIF_START) or data[6:11] != b"JFIF\x00":
        return None
    at = 2
    while at + 10 <= len(data) and data[at] == 0xFF:
        segment = data[at + 1]
        if segment == _BASELINE_FRAME:
            bits, colours = data[at + 4], data[at + 9]
            if bits != 8 or colours != 3:
                return None
            return (data[at + 7] << 8 | data[at + 8], data[at + 5] << 8 | data[at + 6])
        if segment not in _HARMLESS_SEGMENTS:
            return None
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return None


def _require_rgb(picture: Any, name: str) -> NDArray[np.uint8]:
    if not isinstance(picture, np.ndarray):
        raise ImageError(
            f"{name}: expected a path, bytes or an array, "
            f"got {type(picture).__name__}."
        )
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ImageError(
            f"{name}: expected an RGB picture of shape (H, W, 3) and type uint8, H and W at least "
            f"1; got shape {picture.shape} and type {picture.dtype}."
        )
    return picture
