"""Decodes video with OpenCV: files, RTSP and USB cameras, one picture at a time.

OpenCV because its Linux wheels contain an LGPL FFmpeg, support time limits for opening and reading,
and continue after damaged pictures. PyAV's wheels bundle x264 and x265, which are GPL.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adln.cameras.proxies import exempt
from adln.cameras.redaction import public_name, public_text
from adln.errors import CameraError, require_package

# USB cameras as written in settings, and as named by Linux and other programs.
_USB = re.compile(r"(?:usb:|/dev/video)?(\d{1,3})")
_STREAM = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        time_s: in the recording; None if unknown.
    """

    image: NDArray[np.uint8]
    time_s: float | None


class Capture(Protocol):
    """An open video or camera."""

    @property
    def fps(self) -> float:
        """Pictures per second stated by the source; 0 if unknown."""

    @property
    def announced_frames(self) -> int:
        """Number of pictures stated by a file; 0 if unknown."""

    def read(self) -> Picture | None:
        """The next picture; None if it is damaged, at the end, or after a timeout."""

    def close(self) -> None:
        """Release the source."""


class OpenCvCapture:
    """A video file, a stream or a USB camera that OpenCV has opened.

    Args:
        capture: cv2.VideoCapture, open.
        name: source without password.
    """

    def __init__(self, capture: Any, name: str) -> None:
        self._cv2 = load_opencv()
        self._capture, self._name = capture, name

    @property
    def fps(self) -> float:
        """See `Capture`."""
        fps = float(self._capture.get(self._cv2.CAP_PROP_FPS))
        return fps if 0 < fps < 1000 else 0.0

    @property
    def announced_frames(self) -> int:
        """See `Capture`."""
        frames = float(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        return int(frames) if 0 < frames < 1e9 else 0

    def read(self) -> Picture | None:
        """The next picture, or None.

        Raises:
            CameraError: OpenCV failed.
        """
        try:
            came, bgr = self._capture.read()
            if not came or bgr is None or bgr.size == 0:
                return None
            image = self._cv2.cvtColor(bgr, self._cv2.COLOR_BGR2RGB)
        except self._cv2.error as error:
            raise CameraError(
                f"{self._name}: OpenCV cannot continue reading ({public_text(str(error))})."
            ) from error
        return Picture(image, float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC)) / 1000)

    def close(self) -> None:
        """Release the source."""
        self._capture.release()


def open_capture(source: str | Path, *, timeout_s: float = 5.0) -> OpenCvCapture:
    """Open a video file, a stream or a USB camera.

    Args:
        source: path of a video file; URL such as rtsp://...; or "usb:0", "0" or "/dev/video0" for
            the first USB camera.
        timeout_s: a stream that does not answer for this long counts as unreachable.

    Raises:
        CameraError: it cannot be opened, or OpenCV is not installed.
    """
    cv2 = load_opencv()
    text, name = str(source), public_name(source)
    usb = _usb_number(text)
    if usb is None and not is_stream(text) and not Path(text).is_file():
        raise CameraError(f"{name}: there is no such video file.")
    if usb is not None:
        capture = cv2.VideoCapture(usb)
    else:
        limit_ms = int(1000 * timeout_s)
        # One thread per video: cameras share the cores anyway, and decoding of damaged files is
        # reproducible.
        options = [cv2.CAP_PROP_N_THREADS, 1]
        if is_stream(text):
            options += [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms]
            options += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
            exempt(text)
        with _openable(text) as address:
            capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, options)
    if capture.isOpened():
        return OpenCvCapture(capture, name)
    capture.release()
    if usb is not None:
        reason = "there is no such camera, or another program is using it"
    elif is_stream(text):
        reason = (
            f"no video (waited up to {timeout_s:g} s); check the address, user name and "
            "password, and that the camera is on"
        )
    else:
        reason = "not a video that OpenCV can decode; it may be empty, damaged or cut short"
    raise CameraError(f"{name}: {reason}.")


def is_live(source: str | Path) -> bool:
    """Whether a source is live: a stream or a USB camera, not a file."""
    text = str(source)
    return is_stream(text) or _usb_number(text) is not None


def is_stream(text: str) -> bool:
    """Whether a source is a URL."""
    return _STREAM.match(text) is not None and not text.startswith("file:")


@contextmanager
def _openable(text: str) -> Iterator[str]:
    """A name for a source that FFmpeg accepts: it would parse "12:30.mp4" as a URL.

    OpenCV crashes on names that are not UTF-8; such a file is opened through a symbolic link.
    """
    if is_stream(text):
        yield text
        return
    path = Path(text).absolute()
    try:
        str(path).encode()
    except UnicodeEncodeError:
        suffix = path.suffix if path.suffix.isascii() else ""
        with tempfile.TemporaryDirectory(prefix="adln-") as folder:
            link = Path(folder) / f"video{suffix}"
            link.symlink_to(path)
            yield str(link)
    else:
        yield str(path)


def _usb_number(text: str) -> int | None:
    found = _USB.fullmatch(text)
    # A file may be called "0"; if it exists, it is meant.
    if found is None or (text.isdecimal() and Path(text).exists()):
        return None
    return int(found[1])


def load_opencv() -> Any:
    """Import OpenCV on demand, and keep it from writing to the terminal.

    Raises:
        CameraError: it is not installed.
    """
    if "cv2" in sys.modules:
        return sys.modules["cv2"]
    # FFmpeg prints each damaged block to standard error; the sources count and log damage.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    return require_package("cv2", extra="camera", purpose="reading video", raises=CameraError)
