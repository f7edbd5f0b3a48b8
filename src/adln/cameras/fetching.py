"""Fetches the detector's file from its authors' release on request, verified by SHA-256."""

import hashlib
import os
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from adln.atomic import atomic_write, file_sha256, user_folder
from adln.errors import ModelFileError

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0

DETECTOR_VARIABLE = "ADLN_DETECTOR"
"""Environment variable with the path of the detector's file."""

Opener = Callable[[str], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True)
class Release:
    """A file published by its authors.

    Attributes:
        file_name: in the cache folder.
        sha256: hex digest of its content.
        licence: of its authors' repository.
    """

    file_name: str
    url: str
    sha256: str
    size_bytes: int
    licence: str


YOLOX_NANO = Release(
    file_name="yolox_nano.onnx",
    url="https://github.com/Megvii-BaseDetection/YOLOX/releases/download/0.1.1rc0/yolox_nano.onnx",
    # The release publishes no digest; several independent projects pin this one.
    sha256="c789161ed43c8269fcd4e67c67eeeb4e80c622da2eb296a20bc6007bd18a0b7d",
    size_bytes=3_659_407,
    licence="Apache-2.0",
)
"""The smallest of YOLOX's detectors with a full-size input of 416 x 416 px."""


def default_cache() -> Path:
    """Folder for fetched files: $XDG_CACHE_HOME/adln, or ~/.cache/adln."""
    return user_folder("cache")


def default_detector() -> Path:
    """The default detector: $ADLN_DETECTOR, or the fetched one."""
    named = os.environ.get(DETECTOR_VARIABLE)
    return Path(named) if named else default_cache() / YOLOX_NANO.file_name


def fetch(
    release: Release = YOLOX_NANO, *, cache: Path | None = None, opener: Opener | None = None
) -> Path:
    """Fetch a released file once; later calls find it in the cache folder.

    Args:
        release: the file to fetch.
        cache: folder to keep it in; default: `default_cache()`.
        opener: opens an address for reading; default: urllib.

    Raises:
        ModelFileError: it cannot be fetched or stored, or its content differs from the release.
            The cache is then unchanged.
    """
    target = (cache or default_cache()) / release.file_name
    expected = f"{release.file_name} as it was released"
    if (
        target.is_file()
        and file_sha256(target, raises=ModelFileError, expected=expected) == release.sha256
    ):
        return target
    instead = "set XDG_CACHE_HOME to a folder of your own"
    with atomic_write(target, raises=ModelFileError, instead=instead) as file:
        try:
            with (opener or _open_url)(release.url) as answer:
                digest = _copy(answer, file, release)
        except OSError as error:  # includes urllib's errors
            raise ModelFileError(
                f"{release.url}: cannot be fetched ({error}); fetch it on another machine and name "
                "the file."
            ) from error
        if digest != release.sha256:
            raise ModelFileError(
                f"{release.url}: the content differs from the release: expected sha256 "
                f"{release.sha256}, got {digest}. Try again, or name a file of your own."
            )
    return target


def _copy(answer: IO[bytes], file: IO[bytes], release: Release) -> str:
    digest = hashlib.sha256()
    length = 0
    while chunk := answer.read(_CHUNK_BYTES):
        length += len(chunk)
        if length > release.size_bytes:
            raise ModelFileError(
                f"{release.url}: longer than the release's {release.size_bytes:,} bytes, so it is "
                "another file. Name a file of your own."
            )
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def _open_url(url: str) -> AbstractContextManager[IO[bytes]]:
    answer: AbstractContextManager[IO[bytes]] = urllib.request.urlopen(url, timeout=_TIMEOUT_S)
    return answer
