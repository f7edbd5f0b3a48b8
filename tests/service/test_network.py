import io
import resource
import struct
import zlib

import pytest
from fake_service import Served, person_picture
from PIL import Image

from adln.errors import SettingsError
from adln.service.network import (
    PictureRefusedError,
    check_picture,
    make_thumbnail,
    open_network,
)
from adln.service.settings import ServeSettings

MOST = 1_000_000


def png_of(width: int, height: int, *rows: bytes) -> bytes:
    """A PNG that says it is so large, whatever is in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(rows) + chunk(b"IEND", b"")


def webp() -> bytes:
    return person_picture(1, kind="WEBP")


HOSTILE = {
    "nothing": b"",
    "text": b"hello",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "svg with xml": b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "html": b"<html><img src=x onerror=alert(1)>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "gif": person_picture(1, kind="GIF"),
    "bmp": person_picture(1, kind="BMP"),
    "tiff": person_picture(1, kind="TIFF"),
    "zip before jpeg": b"PK\x03\x04" + person_picture(1),
    "only the start of a jpeg": b"\xff\xd8\xff",
    "truncated jpeg": person_picture(1)[:300],
    "truncated png": person_picture(1, kind="PNG")[:60],
    "truncated webp": webp()[:40],
    "riff that is sound": b"RIFF\x24\x00\x00\x00WAVEfmt ",
    "huge png": png_of(60_000, 60_000),
    "endless png": png_of(2**31 - 1, 2**31 - 1),
    "png without pixels": png_of(0, 0),
    "damaged png": png_of(20, 20, b"\x00\x00\x00\x10IDAT" + bytes(20)),
}


def test_hostile_files_get_a_refusal_and_no_memory(served: Served) -> None:
    served.client.get("/api/v1/health")
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, content in HOSTILE.items():
        for kind in ("image/jpeg", "image/png"):
            answer = served.client.post(
                "/api/v1/search/picture", content=content, headers={"Content-Type": kind}
            )
            assert answer.status_code in (413, 422), (name, answer.text)
            assert set(answer.json()) == {"problem", "message"}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 30 * 1024


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    stream = io.BytesIO()
    Image.new("L", (8000, 8000)).save(stream, "PNG")
    assert len(stream.getvalue()) < 100_000
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PictureRefusedError, match="8000 x 8000") as refusal:
        check_picture(stream.getvalue(), max_pixels=MOST)
    assert refusal.value.too_large
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 10 * 1024


def test_what_follows_a_picture_is_not_kept() -> None:
    polyglot = person_picture(1) + b"<script>alert(1)</script>PK\x03\x04"
    thumbnail = make_thumbnail(polyglot, max_pixels=MOST)
    assert b"script" not in thumbnail
    with Image.open(io.BytesIO(thumbnail)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (128, 256))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_usual_pictures_are_fine(kind: str) -> None:
    check_picture(person_picture(1, kind=kind), max_pixels=MOST)


def test_another_content_type_is_refused(served: Served) -> None:
    for kind in ("image/svg+xml", "text/html", "multipart/form-data; boundary=x", ""):
        answer = served.client.post(
            "/api/v1/embed/picture", content=person_picture(1), headers={"Content-Type": kind}
        )
        assert answer.status_code == 415


@pytest.mark.parametrize(("orientation", "size"), [(1, (30, 20)), (6, (20, 30))])
def test_the_size_of_a_picture_is_that_of_the_upright_one(
    orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.new("RGB", (30, 20)).save(stream, "JPEG", exif=exif)
    assert check_picture(stream.getvalue(), max_pixels=MOST) == size


def test_quality_decides_which_of_the_shipped_networks_are_open() -> None:
    best, _ = open_network(ServeSettings())
    fast, _ = open_network(ServeSettings(quality="fast"))
    balanced, _ = open_network(ServeSettings(quality="balanced"))
    assert best is not None
    assert fast is not None
    assert balanced is not None
    assert balanced.first is not None
    assert best.first is fast.first is None
    assert (fast.model.depth, best.model.depth) == (1, 2)
    assert (balanced.first.model, balanced.model) == (fast.model, best.model)
    assert sorted(balanced.scales.own) == [1, 2]
    assert balanced.model.shares_space(fast.model)


def test_a_quality_that_the_network_cannot_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="gives Res1 only"):
        open_network(ServeSettings(network="res1", quality="balanced"))
    with pytest.raises(SettingsError, match="depth needs quality"):
        ServeSettings(depth=1, quality="fast")
