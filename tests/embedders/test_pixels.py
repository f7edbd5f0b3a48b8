import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adln import crops
from adln.crops import decode_crop, decode_image, resize
from adln.embedders import pixels
from adln.embedders.pixels import Doubling, PixelWriter, decode_plain_jpeg
from adln.errors import ImageError


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encode(picture: np.ndarray | Image.Image, format_name: str = "JPEG", **options: Any) -> bytes:
    image = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    stream = io.BytesIO()
    image.save(stream, format_name, **options)
    return stream.getvalue()


def written(picture: pixels.Picture, height_px: int = 256, width_px: int = 128) -> np.ndarray:
    slot = np.empty((height_px, width_px, 3), dtype=np.uint8)
    PixelWriter(height_px=height_px, width_px=width_px).write(picture, slot, name="it")
    return slot


@pytest.fixture(params=["fast decoder if installed", "Pillow alone"])
def either_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "Pillow alone":
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
    pixels._fast_decoder.cache_clear()


@pytest.mark.parametrize("size", [(128, 64), (1, 1), (3, 5), (2, 1), (17, 40)])
def test_doubling_gives_the_pixels_of_pillow(size: tuple[int, int]) -> None:
    height, width = size
    doubling = Doubling(height, width)
    for seed in range(3):
        image = noise(height, width, seed)
        doubled = np.empty((2 * height, 2 * width, 3), dtype=np.uint8)
        doubling.write(image, doubled)
        expected = resize(image, height_px=2 * height, width_px=2 * width)
        np.testing.assert_array_equal(doubled, expected)


def test_doubling_keeps_black_and_white() -> None:
    for value in (0, 255):
        assert (written(np.full((128, 64, 3), value, dtype=np.uint8)) == value).all()


@pytest.mark.usefixtures("either_decoder")
@pytest.mark.parametrize("size", [(128, 64), (256, 128), (320, 140), (50, 31), (1, 1)])
@pytest.mark.parametrize("options", [{}, {"quality": 95, "subsampling": 0}, {"progressive": True}])
def test_jpeg_gives_the_pixels_of_the_project_s_only_resize(
    size: tuple[int, int], options: dict[str, Any]
) -> None:
    smooth = Image.fromarray(noise(7, 5)).resize(size[::-1], Image.Resampling.BICUBIC)
    data = encode(smooth, **options)
    np.testing.assert_array_equal(written(data), decode_crop(data))


@pytest.mark.usefixtures("either_decoder")
def test_plain_jpeg_decodes_to_the_pixels_of_pillow() -> None:
    data = encode(noise(37, 23))
    decoded = decode_plain_jpeg(data)
    assert decoded is not None
    np.testing.assert_array_equal(decoded, decode_image(data))


@pytest.mark.parametrize("size", [(128, 64), (256, 128), (320, 140)])
def test_arrays_and_files_of_the_same_pixels_agree(size: tuple[int, int], tmp_path: Path) -> None:
    image = noise(*size)
    (tmp_path / "it.png").write_bytes(encode(image, "PNG"))
    for form in (image, tmp_path / "it.png", str(tmp_path / "it.png"), encode(image, "PNG")):
        np.testing.assert_array_equal(written(form), resize(image))


def test_a_view_that_is_cut_out_of_a_frame_is_taken() -> None:
    frame = noise(400, 300)
    np.testing.assert_array_equal(written(frame[10:138, 20:84]), resize(frame[10:138, 20:84]))


def test_networks_of_other_sizes_are_served() -> None:
    image = noise(64, 32)
    np.testing.assert_array_equal(
        written(image, 128, 64), resize(image, height_px=128, width_px=64)
    )
    np.testing.assert_array_equal(written(image, 31, 15), resize(image, height_px=31, width_px=15))


def test_what_is_turned_or_coloured_otherwise_goes_the_long_way() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encode(noise(128, 64), exif=exif)
    cmyk = encode(Image.fromarray(noise(128, 64)).convert("CMYK"))
    grey = encode(Image.fromarray(noise(128, 64)).convert("L"))
    for data in (turned, cmyk, grey):
        assert decode_plain_jpeg(data) is None
        np.testing.assert_array_equal(written(data), decode_crop(data))


def test_sixteen_bit_grey_is_scaled() -> None:
    values = np.linspace(0, 65535, 128 * 64).astype(np.uint16).reshape(128, 64)
    data = encode(Image.fromarray(values), "PNG")
    np.testing.assert_array_equal(written(data), decode_crop(data))


@pytest.mark.usefixtures("either_decoder")
@pytest.mark.parametrize("cut", [0, 10, 30, 200, -200, -40])
def test_cut_off_jpeg_is_an_error_that_names_it(cut: int) -> None:
    data = encode(noise(128, 64))
    with pytest.raises(ImageError, match=r"^it: "):
        written(data[:cut])


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"])
def test_what_is_no_picture_is_named(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^it: "):
        written(data)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: there is no such picture file"):
        written(tmp_path / "gone.jpg")


def test_a_large_jpeg_is_left_to_reduced_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("RGB", (2000, 1000), (200, 100, 50)))
    monkeypatch.setattr(pixels, "REDUCE_JPEG_ABOVE_PIXELS", 1_000_000)
    monkeypatch.setattr(crops, "REDUCE_JPEG_ABOVE_PIXELS", 1_000_000)
    assert decode_plain_jpeg(data) is None
    np.testing.assert_array_equal(written(data), decode_crop(data))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 64, 3), np.uint8),
        np.zeros((128, 0, 3), np.uint8),
        np.zeros((128, 64), np.uint8),
        np.zeros((128, 64, 4), np.uint8),
        np.zeros((128, 64, 3), np.uint16),
        np.zeros((128, 64, 3), np.float32),
    ],
)
def test_arrays_that_are_no_rgb_picture_are_refused(array: Any) -> None:
    with pytest.raises(ImageError, match=r"it: expected an RGB picture .* got shape \("):
        written(array)


def test_anything_else_is_refused() -> None:
    with pytest.raises(ImageError, match="expected a path, bytes or an array, got int"):
        written(17)  # type: ignore[arg-type]
