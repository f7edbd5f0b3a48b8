"""Converts pictures to network input on the device, as fast as Python allows.

The input of Sec. III.B. Pixels equal those of `adln.crops` bit for bit; two common cases have a
shortcut: an ordinary JPEG file, and a crop of exactly half the network's size (that of
Market-1501).
"""

import importlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.crops import REDUCE_JPEG_ABOVE_PIXELS, decode_crop, read_bytes, require_picture, resize
from adln.errors import ImageError

Picture = str | Path | bytes | NDArray[np.uint8]
"""A picture file, its bytes, or an RGB array (H, W, 3) uint8 of any size."""

_JFIF_START = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
# Start of a baseline frame of three 8-bit components.
_PLAIN_FRAME = b"\xff\xc0\x00\x11\x08"
# EXIF, Adobe and similar segments, which may state a rotation or a colour conversion.
_OTHER_SEGMENT = re.compile(rb"\xff[\xe1-\xef]")
_LONGEST_HEAD = 4096


class PixelWriter:
    """Writes pictures, one at a time, into the network's input.

    It owns working memory, so each thread needs its own.
    """

    def __init__(self, *, height_px: int, width_px: int) -> None:
        self._size_px = height_px, width_px
        self._half_shape = (height_px // 2, width_px // 2, 3)
        self._can_double = height_px % 2 == 0 and width_px % 2 == 0
        self._doubling: Doubling | None = None

    def write(self, picture: Picture, slot: NDArray[np.uint8], *, name: str) -> None:
        """Decode and resize a picture to RGB in a slot (height_px, width_px, 3) uint8, contiguous.

        An `ImageError` says why the picture, which it calls `name`, cannot be used.
        """
        height, width = self._size_px
        if isinstance(picture, str | Path):
            picture = read_bytes(picture)
        if isinstance(picture, bytes):
            pixels = decode_plain_jpeg(picture)
            if pixels is None:
                pixels = decode_crop(picture, name=name, height_px=height, width_px=width)
        else:
            if not isinstance(picture, np.ndarray):
                raise ImageError(
                    f"{name}: expected a path, bytes or an array, got {type(picture).__name__}."
                )
            require_picture(picture, name=name)
            pixels = picture
        if self._can_double and pixels.shape == self._half_shape:
            if self._doubling is None:
                self._doubling = Doubling(*self._half_shape[:2])
            self._doubling.write(pixels, slot)
        elif pixels.shape == slot.shape:
            np.copyto(slot, pixels)
        else:
            np.copyto(slot, resize(pixels, height_px=height, width_px=width))


class Doubling:
    """Doubles height and width of a picture with exactly the pixels of Pillow's bilinear filter.

    At a factor of two, each new pixel is (3 a + b + 2) // 4 of its two nearest neighbours, first
    along rows, then along columns, with uint8 in between, which equals Pillow's fixed-point
    arithmetic. At the border, b is a. It takes a third of Pillow's time.
    """

    def __init__(self, height_px: int, width_px: int) -> None:
        # All views are made once, and both steps share one buffer: after a network run, which
        # evicts the caches, that saves a third of the time.
        planes, rows = 3 * height_px * width_px, (3, height_px, 6 * width_px)
        memory = np.empty(6 * planes, dtype=np.uint16)
        self._pixels, self._left, self._right = memory[: 3 * planes].reshape(3, -1)
        by_plane = memory[: 3 * planes].reshape(3, 3, height_px, width_px)
        self._image = by_plane[0].transpose(1, 2, 0)
        self._first = by_plane[0, ..., 0], by_plane[1, ..., 0]
        self._last = by_plane[0, ..., -1], by_plane[2, ..., -1]
        self._wide = np.empty((height_px, 2 * width_px, 3), dtype=np.uint8)
        pairs = by_plane[1].view(np.uint8)
        self._colours = [(self._wide[..., colour], pairs[colour]) for colour in range(3)]
        self._wide_rows = self._wide.reshape(rows[1:])
        self._rows, self._upper, self._lower = memory.reshape(rows)

    def write(self, image: NDArray[np.uint8], doubled: NDArray[np.uint8]) -> None:
        """Double a picture (H, W, 3) uint8 into another one (2H, 2W, 3), contiguous."""
        self._widen(image)
        rows, upper, lower = self._rows, self._upper, self._lower
        np.copyto(rows, self._wide_rows)
        np.multiply(rows, 3, out=lower)
        np.add(lower, 2, out=lower)
        np.add(lower[1:], rows[:-1], out=upper[1:])
        np.multiply(rows[0], 4, out=upper[0])
        np.add(lower[:-1], rows[1:], out=lower[:-1])
        np.multiply(rows[-1], 4, out=lower[-1])
        np.right_shift(upper, 2, out=upper)
        np.right_shift(lower, 2, out=lower)
        both = doubled.reshape(-1, rows.shape[1])
        np.copyto(both[0::2], upper, casting="unsafe")
        np.copyto(both[1::2], lower, casting="unsafe")

    def _widen(self, image: NDArray[np.uint8]) -> None:
        """Fill self._wide by colour planes, in which neighbours are adjacent in memory."""
        pixels, left, right = self._pixels, self._left, self._right
        np.copyto(self._image, image)
        np.multiply(pixels, 3, out=right)
        np.add(right, 2, out=right)
        # One shift of the flat array serves all rows; it is wrong only where rows begin or end.
        np.add(right[1:], pixels[:-1], out=left[1:])
        np.multiply(self._first[0], 4, out=self._first[1])
        np.add(right[:-1], pixels[1:], out=right[:-1])
        np.multiply(self._last[0], 4, out=self._last[1])
        # The left and the right pixel become the two bytes of one 16-bit number.
        np.right_shift(left, 2, out=left)
        np.left_shift(right, 6, out=right)
        np.bitwise_and(right, 0xFF00, out=right)
        np.bitwise_or(left, right, out=left)
        if not np.little_endian:
            left.byteswap(inplace=True)
        for colour, plane in self._colours:
            np.copyto(colour, plane)


def decode_plain_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode an ordinary JPEG by a shortcut.

    Ordinary means: baseline, three 8-bit components, marked as JFIF, and without EXIF or Adobe
    segments, so that no rotation or conversion is needed; and not so large that it should be
    decoded at a reduced scale.

    Returns:
        (H, W, 3) uint8 RGB, the same pixels as `adln.crops.decode_image`; None if the file is not
            ordinary or is damaged: then `decode_image` must decode it or raise the error.
    """
    size_px = _plain_jpeg_size(data)
    if size_px is None or not 0 < size_px[0] * size_px[1] <= REDUCE_JPEG_ABOVE_PIXELS:
        return None
    try:
        fast_decoder = _fast_decoder()
        if fast_decoder is not None:
            return fast_decoder(data)
        # Calls Pillow's decoder directly: Pillow's parsing of the header costs more than decoding.
        return np.asarray(Image.frombytes("RGB", size_px, data, "jpeg", "RGB", ""))
    except (ValueError, OSError):
        return None


@cache
def _fast_decoder() -> Callable[[bytes], NDArray[np.uint8]] | None:
    """The decoder of simplejpeg, if it is installed: Pillow's pixels in a third of its time."""
    try:
        decoder: Callable[[bytes], NDArray[np.uint8]]
        decoder = importlib.import_module("simplejpeg").decode_jpeg
    except ImportError:
        return None
    return decoder


def _plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height if all segments before the pixels are those of an ordinary JPEG."""
    if not data.startswith(_JFIF_START):
        return None
    frame = data.find(_PLAIN_FRAME, 0, _LONGEST_HEAD)
    # A table may contain the bytes of a segment marker; such a file takes the normal way, too.
    if frame < 0 or len(data) < frame + 9 or _OTHER_SEGMENT.search(data, 2, frame):
        return None
    height = data[frame + 5] << 8 | data[frame + 6]
    width = data[frame + 7] << 8 | data[frame + 8]
    return width, height
