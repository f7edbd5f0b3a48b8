"""Person crops as arrays: decode, cut, mirror, and the only resize in the project.

Implements the input of Sec. III.B: RGB crops of 256 x 128 px. Every crop in the project is
``(H, W, 3)`` uint8, colours in the order red, green, blue, range 0..255, row 0 on top.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from adln.atomic import require_regular
from adln.errors import ImageError

CROP_HEIGHT_PX = 256
CROP_WIDTH_PX = 128

# Pillow itself begins to warn of a "decompression bomb" above this number of pixels; an RGB
# picture of this size takes a quarter of a gigabyte.
MAX_PIXELS = 89_478_485
# A baseline JPEG can be decoded at 1/2, 1/4 or 1/8 of its size without ever holding it whole.
MAX_REDUCED_JPEG_PIXELS = 512_000_000
# Below this size a JPEG is always decoded whole, so that ordinary pictures give exactly the
# pixels that a plain "open and resize" gives.
REDUCE_JPEG_ABOVE_PIXELS = 16_000_000

# JPEG quality of kept crops.
_KEPT_QUALITY = 90
_JPEG_START = b"\xff\xd8\xff"
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = [_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)]


def read_bytes(path: str | Path) -> bytes:
    """Read a picture file without decoding it.

    Raises:
        ImageError: it is missing, cannot be read, or is a pipe or a device, which might never end.
    """
    require_regular(Path(path), raises=ImageError, expected="a picture file")
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{path}: there is no such picture file.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ImageError(f"{path}: the picture file cannot be read ({reason}).") from error


def picture_size(path: str | Path) -> tuple[int, int]:
    """Width and height of a picture, upright, in px; only its header is decoded.

    Raises:
        ImageError: see `read_bytes`; or it is no picture.
    """
    with _open(read_bytes(path), str(path)) as picture:
        width, height = picture.size
        return (height, width) if _turn_of(picture) in _ON_ITS_SIDE else (width, height)


def decode_image(data: bytes, *, name: str = "image") -> NDArray[np.uint8]:
    """Decode the bytes of a picture file, of any format that Pillow reads, at its full size.

    The EXIF orientation is applied. Transparent pixels are laid on black, the colour that training
    pads with. Grey pictures of 16 bits are scaled to 8 bits (65535 becomes 255), not clipped. Of an
    animation, the first frame is taken. Error messages call the picture `name`.

    Returns:
        (H, W, 3) uint8 RGB, writable.

    Raises:
        ImageError: the bytes are no picture, are truncated or damaged, hold no pixels, or more than
            `MAX_PIXELS`.
    """
    return np.array(_decode(data, name, reduce_to_px=None), dtype=np.uint8)


def to_rgb(picture: Image.Image, *, name: str = "picture") -> NDArray[np.uint8]:
    """The pixels of a Pillow picture of any mode, as `decode_image` gives those of its file.

    `picture.convert("RGB")` is not that: it leaves a picture on its side, clips 16 bits to 8 and
    shows what is hidden under transparent pixels.

    Raises:
        ImageError: it is closed or damaged, holds no pixels or too many, or its numbers have no
            range that is defined.
    """
    _require_sane_size(picture, name, None)
    return np.array(_load(picture, name), dtype=np.uint8)


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read and decode a picture file at its full size; see `read_bytes` and `decode_image`."""
    return decode_image(read_bytes(path), name=str(path))


def resize(
    image: NDArray[np.uint8],
    *,
    height_px: int = CROP_HEIGHT_PX,
    width_px: int = CROP_WIDTH_PX,
) -> NDArray[np.uint8]:
    """Resize (H, W, 3) uint8 RGB with Pillow's bilinear filter, which averages when it shrinks.

    The proportions are not kept: a person crop is stretched to the network's input.

    Returns:
        (height_px, width_px, 3) uint8 RGB, writable.

    Raises:
        ImageError: it is no such picture, or a size is below one.

    Source:
        Sec. III.B; the resize of "Bag of Tricks" (torchvision ``Resize`` on a Pillow image).
    """
    require_picture(image)
    return _to_crop(Image.fromarray(image), height_px, width_px)


def read_crop(
    path: str | Path,
    *,
    height_px: int = CROP_HEIGHT_PX,
    width_px: int = CROP_WIDTH_PX,
) -> NDArray[np.uint8]:
    """Read a picture file and resize it to the network's input; see `decode_crop`."""
    data = read_bytes(path)
    return decode_crop(data, name=str(path), height_px=height_px, width_px=width_px)


def decode_crop(
    data: bytes,
    *,
    name: str = "image",
    height_px: int = CROP_HEIGHT_PX,
    width_px: int = CROP_WIDTH_PX,
) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file and resize it to the network's input, uint8 RGB.

    A JPEG of more than `REDUCE_JPEG_ABOVE_PIXELS` pixels is decoded at a reduced scale (still at
    least four times the crop), so that a scan of 20,000 px does not take gigabytes.

    Raises:
        ImageError: see `decode_image`; or a size is below one.
    """
    picture = _decode(data, name, reduce_to_px=4 * max(height_px, width_px))
    return _to_crop(picture, height_px, width_px)


def cut(image: NDArray[np.uint8], box_xyxy: Sequence[float]) -> NDArray[np.uint8]:
    """Cut a box out of a picture (H, W, 3) uint8 RGB; the part outside the picture is left away.

    The box is left, top, right, bottom in pixels; right and bottom are exclusive. Fractions are
    rounded outwards, so that every pixel the box touches is kept. The result is a copy, which does
    not keep the whole picture in memory.

    Raises:
        ImageError: it is no such picture, the box is not four finite numbers, or nothing of it lies
            in the picture.
    """
    require_picture(image)
    sides = [float(side) for side in box_xyxy]
    if len(sides) != 4 or not all(math.isfinite(side) for side in sides):
        raise ImageError(
            f"A box is four finite numbers (left, top, right, bottom); this one is {sides}."
        )
    height, width = image.shape[:2]
    left, top, right, bottom = sides
    x1, x2 = max(math.floor(left), 0), min(math.ceil(right), width)
    y1, y2 = max(math.floor(top), 0), min(math.ceil(bottom), height)
    if right <= left or bottom <= top or x2 <= x1 or y2 <= y1:
        raise ImageError(
            f"The box {sides} (left, top, right, bottom) holds no pixel of a picture that is "
            f"{width} px wide and {height} px high."
        )
    return image[y1:y2, x1:x2].copy()


def to_jpeg(image: NDArray[np.uint8] | Image.Image, *, quality: int) -> bytes:
    """A picture, or (H, W, 3) uint8 RGB, as the bytes of a JPEG file of a quality of 1 to 95."""
    stream = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def kept_jpeg(crop: NDArray[np.uint8]) -> bytes:
    """A crop (H, W, 3) uint8 RGB as a JPEG that another network may embed later.

    Measured with a site's network on CUHK01: 89.6 mAP with crops of 256x128 px that were kept so,
    89.5 with 192x96, 89.8 with the pictures themselves; 87.7 with 128x64 px at a quality of 80.
    """
    return to_jpeg(crop, quality=_KEPT_QUALITY)


def flip(crops: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror crops (..., H, W, 3) uint8 RGB left to right; the result is contiguous.

    Raises:
        ImageError: the last axis is not the three colours.
    """
    if crops.ndim < 3 or crops.shape[-1] != 3:
        raise ImageError(f"Expected crops of shape (..., H, W, 3), got {crops.shape}.")
    return np.ascontiguousarray(crops[..., ::-1, :])


def _decode(data: bytes, name: str, *, reduce_to_px: int | None) -> Image.Image:
    """Decode to an upright Pillow picture of mode RGB."""
    if not data:
        raise ImageError(f"{name}: the file is empty (0 bytes); expected a picture.")
    picture = _open(data, name)
    _require_sane_size(picture, name, reduce_to_px)
    return _load(picture, name)


def _load(picture: Image.Image, name: str) -> Image.Image:
    """Read the pixels, and bring them upright and to RGB."""
    try:
        picture.load()
        turn = _turn_of(picture)
        return _to_rgb(picture if turn is None else picture.transpose(turn), name)
    except ImageError:
        raise
    except Exception as error:
        # Pillow's readers answer damaged data with whatever their parsing runs into.
        raise ImageError(
            f"{name}: the picture is damaged or truncated ({error}); copy it again from its source."
        ) from error


def _open(data: bytes, name: str) -> Image.Image:
    """Read the header. JPEG goes past Pillow's own size limit, for the sake of reduced decoding."""
    stream = io.BytesIO(data)
    try:
        if data.startswith(_JPEG_START):
            return JpegImagePlugin.JpegImageFile(stream)
        return Image.open(stream)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"{name}: the picture is too large; at most {MAX_PIXELS:,} pixels are decoded. {error}"
        ) from error
    except Exception as error:
        raise ImageError(
            f"{name}: not a picture in a known format (first bytes: {data[:8]!r}); "
            "expected JPEG, PNG, WebP, BMP, TIFF or another format that Pillow reads."
        ) from error


def _require_sane_size(picture: Image.Image, name: str, reduce_to_px: int | None) -> None:
    """Refuse pictures without pixels or with too many; set large JPEGs to a reduced scale."""
    width, height = picture.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the picture holds no pixels ({width} x {height} px).")
    pixels = width * height
    # A progressive JPEG is held whole by the decoder at any scale: no gain from reducing it.
    progressive = "progressive" in picture.info
    reducible = (
        reduce_to_px is not None
        and isinstance(picture, JpegImagePlugin.JpegImageFile)
        and not (progressive and pixels > MAX_PIXELS)
        and pixels <= MAX_REDUCED_JPEG_PIXELS
    )
    if reducible and reduce_to_px is not None and pixels > REDUCE_JPEG_ABOVE_PIXELS:
        picture.draft(None, (reduce_to_px, reduce_to_px))
    if picture.size[0] * picture.size[1] > MAX_PIXELS:
        raise ImageError(
            f"{name}: the picture is too large: {width} x {height} px are {pixels:,} pixels; "
            f"at most {MAX_PIXELS:,} are decoded. Make it smaller first."
        )


def _turn_of(picture: Image.Image) -> Image.Transpose | None:
    """The turn that brings a picture upright."""
    try:
        orientation = picture.getexif().get(_ORIENTATION_TAG)
    except Exception:
        # A broken EXIF block says nothing about the pixels.
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _to_rgb(picture: Image.Image, name: str) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode.startswith("I"):
        return _scale_16_bits(picture, name)
    if picture.mode == "F":
        raise ImageError(
            f"{name}: the picture holds floating-point numbers, whose range is not defined; "
            "convert it to 8 bits first."
        )
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layer).convert("RGB")
    return picture.convert("RGB")


def _scale_16_bits(picture: Image.Image, name: str) -> Image.Image:
    values: NDArray[Any] = np.asarray(picture)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ImageError(
            f"{name}: a grey picture with values {low}..{high}; expected 16 bits (0..65535). "
            "Convert it to 8 bits first."
        )
    grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")


def _to_crop(picture: Image.Image, height_px: int, width_px: int) -> NDArray[np.uint8]:
    if height_px < 1 or width_px < 1:
        raise ImageError(
            f"A crop must be at least 1 x 1 px; {height_px} px high and {width_px} px wide was "
            "asked for."
        )
    small = picture.resize((width_px, height_px), Image.Resampling.BILINEAR)
    return np.array(small, dtype=np.uint8)


def require_picture(image: NDArray[Any], *, name: str = "") -> None:
    """Raise an `ImageError`, about `name`, if this is not (H, W, 3) uint8 with pixels."""
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return
    hint = ""
    if image.dtype != np.uint8:
        hint = " Scale its numbers to 0..255 and hand in picture.astype(numpy.uint8)."
    elif image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.size:
        hint = " Colours come last: hand in picture.transpose(1, 2, 0)."
    elif image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1 and image.size):
        hint = " Of a grey picture, hand in numpy.dstack([picture] * 3)."
    elif image.ndim == 3 and image.shape[2] == 4:
        hint = " Of a picture with transparency, hand in picture[:, :, :3]."
    raise ImageError(
        f"{name}{': ' if name else ''}expected an RGB picture of shape (H, W, 3) and type uint8, "
        f"got shape {image.shape} and type {image.dtype}.{hint}"
    )
