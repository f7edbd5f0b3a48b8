import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adln import crops
from adln.crops import cut, decode_image, flip, picture_size, read_crop, read_image, resize
from adln.errors import ImageError

LEFT_RED, RIGHT_BLUE = (255, 0, 0), (0, 0, 255)


def encode(picture: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, format_name, **options)
    return stream.getvalue()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def red_and_blue(width: int = 32, height: int = 16) -> Image.Image:
    picture = Image.new("RGB", (width, height), RIGHT_BLUE)
    picture.paste(LEFT_RED, (0, 0, width // 2, height))
    return picture


def png_header_of_size(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    length, check = struct.pack(">I", 13), struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + length + body + check + struct.pack(">I", 9) + b"IDAT"


def jpeg_header_of_size(width: int, height: int, *, progressive: bool = False) -> bytes:
    """A small JPEG whose header is changed so that it claims to be large."""
    data = bytearray(encode(red_and_blue(), "JPEG", progressive=progressive))
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def test_decoded_picture_is_writable_rgb_uint8_with_row_zero_on_top() -> None:
    pixels = noise(5, 7)
    decoded = decode_image(encode(Image.fromarray(pixels)))
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_usual_formats_keep_red_left_and_blue_right(format_name: str) -> None:
    decoded = decode_image(encode(red_and_blue(), format_name))
    assert decoded.shape == (16, 32, 3)
    np.testing.assert_allclose(decoded[8, 2], LEFT_RED, atol=12)
    np.testing.assert_allclose(decoded[8, 29], RIGHT_BLUE, atol=12)


def test_cmyk_jpeg_becomes_rgb() -> None:
    decoded = decode_image(encode(red_and_blue().convert("CMYK"), "JPEG", quality=95))
    np.testing.assert_allclose(decoded[8, 2], LEFT_RED, atol=12)


def test_grey_and_one_bit_pictures_get_three_equal_channels() -> None:
    for mode in ("L", "1"):
        decoded = decode_image(encode(Image.new(mode, (4, 4), 255)))
        assert decoded.shape == (4, 4, 3)
        assert (decoded == 255).all()


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    values = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    decoded = decode_image(encode(Image.fromarray(values)))
    np.testing.assert_array_equal(decoded[0, :, 0], [0, 1, 128, 255])
    assert decoded.shape == (1, 4, 3)


def test_grey_values_beyond_sixteen_bits_are_refused() -> None:
    values = np.array([[0, 70_000]], dtype=np.int32)
    with pytest.raises(ImageError, match=r"odd\.tif: a grey picture with values 0\.\.70000"):
        decode_image(encode(Image.fromarray(values), "TIFF"), name="odd.tif")


def test_floating_point_pictures_are_refused() -> None:
    with pytest.raises(ImageError, match="floating-point"):
        decode_image(encode(Image.new("F", (2, 2)), "TIFF"))


def test_transparent_pixels_are_laid_on_black() -> None:
    clear_white = Image.new("RGBA", (2, 1), (255, 255, 255, 0))
    clear_white.putpixel((1, 0), (10, 20, 30, 255))
    np.testing.assert_array_equal(decode_image(encode(clear_white))[0], [[0, 0, 0], [10, 20, 30]])


def test_palette_picture_takes_its_colours_and_its_transparency() -> None:
    picture = Image.new("P", (2, 1), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    np.testing.assert_array_equal(decode_image(encode(picture))[0], [LEFT_RED, RIGHT_BLUE])
    transparent_red = encode(picture, transparency=0)
    np.testing.assert_array_equal(decode_image(transparent_red)[0], [(0, 0, 0), RIGHT_BLUE])


def test_transparent_colour_of_an_rgb_picture_is_laid_on_black() -> None:
    data = encode(red_and_blue(), transparency=LEFT_RED)
    np.testing.assert_array_equal(decode_image(data)[0, [0, -1]], [(0, 0, 0), RIGHT_BLUE])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_like_pillow_does(orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(noise(6, 10)), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_image(data), np.asarray(expected))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_does_not_cost_the_picture() -> None:
    data = encode(red_and_blue(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert decode_image(data).shape == (16, 32, 3)


def test_empty_file_is_named() -> None:
    with pytest.raises(ImageError, match=r"a\.jpg: the file is empty"):
        decode_image(b"", name="a.jpg")


@pytest.mark.parametrize("data", [b"hello, this is text", b"\xff\xd8\xff but no JPEG", b"GIF89a"])
def test_what_is_no_picture_is_named(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^notes\.jpg: "):
        decode_image(data, name="notes.jpg")


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_truncated_file_is_named(format_name: str, tmp_path: Path) -> None:
    data = encode(Image.fromarray(noise(64, 32)), format_name)
    path = tmp_path / "truncated.img"
    path.write_bytes(data[: len(data) // 2])
    for read in (read_image, read_crop):
        with pytest.raises(ImageError, match=r"truncated\.img: "):
            read(path)


def test_damaged_bytes_never_raise_anything_but_an_image_error() -> None:
    generator = np.random.default_rng(0)
    for format_name in ("JPEG", "PNG", "WEBP", "BMP", "GIF"):
        data = encode(red_and_blue(), format_name)
        for _ in range(60):
            damaged = bytearray(data)
            for at in generator.integers(0, len(data), size=4):
                damaged[at] = generator.integers(0, 256)
            try:
                decoded = decode_image(bytes(damaged))
            except ImageError:
                continue
            assert decoded.ndim == 3


def test_picture_without_pixels_is_refused() -> None:
    with pytest.raises(ImageError, match=r"none\.png"):
        decode_image(png_header_of_size(0, 0), name="none.png")
    with pytest.raises(ImageError, match=r"none\.jpg"):
        decode_image(jpeg_header_of_size(0, 0), name="none.jpg")


# Pillow warns of the smaller one and refuses the larger one by itself.
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bomb_is_refused_with_size_and_limit(side: int) -> None:
    for name, data in {
        "bomb.png": png_header_of_size(side, side),
        "bomb.jpg": jpeg_header_of_size(side, side),
    }.items():
        with pytest.raises(ImageError, match="too large") as caught:
            decode_image(data, name=name)
        message = str(caught.value).replace(",", "")
        for part in (name, str(side * side), "89478485"):
            assert part in message


def test_warnings_turned_into_errors_do_not_hide_the_reason() -> None:
    with pytest.raises(ImageError, match="too large"):
        decode_image(png_header_of_size(10_000, 10_000))


def test_large_jpeg_is_read_at_reduced_scale_and_still_upright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crops, "REDUCE_JPEG_ABOVE_PIXELS", 1_000_000)
    monkeypatch.setattr(crops, "MAX_PIXELS", 2_000_000)
    exif = Image.Exif()
    exif[0x0112] = 3
    path = tmp_path / "scan.jpg"
    red_and_blue(4096, 2048).save(path, exif=exif)
    with pytest.raises(ImageError, match="4096 x 2048 px"):
        read_image(path)
    crop = read_crop(path, height_px=32, width_px=16)
    np.testing.assert_allclose(crop[:, 2], [RIGHT_BLUE] * 32, atol=3)
    np.testing.assert_allclose(crop[:, 13], [LEFT_RED] * 32, atol=3)


def test_large_progressive_jpeg_is_refused_since_its_decoder_holds_it_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "scan.jpg"
    path.write_bytes(jpeg_header_of_size(20_000, 20_000, progressive=True))
    with pytest.raises(ImageError, match="20000 x 20000 px"):
        read_crop(path)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.jpg: there is no such picture file"):
        read_image(tmp_path / "absent.jpg")
    with pytest.raises(ImageError, match="cannot be read"):
        read_crop(tmp_path)


def test_resize_is_pillow_bilinear() -> None:
    pixels = noise(100, 37)
    expected = Image.fromarray(pixels).resize((128, 256), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(resize(pixels), np.asarray(expected))


def test_resize_to_the_same_size_changes_nothing() -> None:
    pixels = noise(256, 128)
    result = resize(pixels)
    np.testing.assert_array_equal(result, pixels)
    assert not np.shares_memory(result, pixels)


def test_read_crop_is_read_then_resize(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(noise(128, 64)).save(path)
    np.testing.assert_array_equal(read_crop(path), resize(read_image(path)))
    assert read_crop(str(path), height_px=8, width_px=4).shape == (8, 4, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_what_is_not_a_picture_array_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ImageError, match="H, W, 3"):
        resize(wrong)
    with pytest.raises(ImageError, match="H, W, 3"):
        cut(wrong, (0, 0, 1, 1))


def test_resize_below_one_pixel_is_refused() -> None:
    with pytest.raises(ImageError, match="at least 1 x 1"):
        resize(noise(4, 4), height_px=0)


def test_cut_takes_the_box_and_copies_it() -> None:
    pixels = noise(10, 8)
    part = cut(pixels, (2, 1, 5, 7))
    np.testing.assert_array_equal(part, pixels[1:7, 2:5])
    assert not np.shares_memory(part, pixels)


def test_cut_is_clipped_to_the_picture() -> None:
    pixels = noise(10, 8)
    np.testing.assert_array_equal(cut(pixels, (-5, -5, 100, 3)), pixels[:3])


def test_cut_rounds_fractions_outwards() -> None:
    pixels = noise(10, 8)
    np.testing.assert_array_equal(cut(pixels, (1.9, 2.5, 3.1, 4.0)), pixels[2:4, 1:4])


@pytest.mark.parametrize(
    "box",
    [(3, 3, 3, 6), (5, 5, 2, 7), (8, 0, 12, 5), (-9, 0, 0, 5), (float("nan"), 0, 1, 1), (0, 1, 2)],
)
def test_box_without_pixels_is_refused(box: tuple[float, ...]) -> None:
    with pytest.raises(ImageError, match="box"):
        cut(noise(10, 8), box)


def test_flip_mirrors_left_and_right_only_and_twice_is_the_identity() -> None:
    batch = np.stack([noise(6, 4, seed) for seed in range(3)])
    flipped = flip(batch)
    for n in range(3):
        for column in range(4):
            np.testing.assert_array_equal(flipped[n, :, column], batch[n, :, 3 - column])
    assert flipped.flags.c_contiguous
    np.testing.assert_array_equal(flip(flipped), batch)
    np.testing.assert_array_equal(flip(batch[0]), flipped[0])


def test_flip_refuses_channels_first() -> None:
    with pytest.raises(ImageError, match=r"\(\.\.\., H, W, 3\)"):
        flip(np.zeros((2, 3, 8, 4), np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_of_a_picture_is_that_of_the_upright_one(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    path.write_bytes(encode(Image.fromarray(noise(20, 30)), "JPEG", exif=exif))
    height, width, _ = read_image(path).shape
    assert picture_size(path) == (width, height)


def test_the_size_of_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "words.jpg"
    path.write_text("no picture")
    with pytest.raises(ImageError, match="not a picture"):
        picture_size(path)
