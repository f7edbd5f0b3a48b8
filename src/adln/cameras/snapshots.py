"""Cameras that return one picture per request, such as http://10.0.0.9/snapshot.jpg."""

import io
import re
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image

from adln.cameras.captures import Picture
from adln.cameras.deadlines import TimedHttp, TimedHttps
from adln.cameras.proxies import proxies_for
from adln.cameras.redaction import public_name, public_text
from adln.crops import MAX_PIXELS
from adln.errors import CameraError

_SNAPSHOT = re.compile(
    r"https?://[^?#]*?(?:\.(?:jpe?g|png)|snap[a-z_-]*(?:\.\w+)?)(?:[?#].*)?", re.I
)
_MOST_BYTES = 32 * 2**20
_PART_BYTES = 64 * 1024
# No other decoder of Pillow ever sees what a camera sends.
_FORMATS = ("JPEG", "PNG", "WEBP")
_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)

Fetch = Callable[[], bytes]


def is_snapshot(source: str) -> bool:
    """Whether an address returns one picture per request."""
    return _SNAPSHOT.fullmatch(source) is not None


class SnapshotCapture:
    """Requests pictures repeatedly.

    Args:
        source: the address, with user name and password if the camera requires them.
        every_s: shortest time between two requests.
        timeout_s: a connection or an answer that takes longer gives no picture.
        fetch: gets the bytes of a picture; default: urllib.
        clock: monotonic, in s.
        sleep: waits this many seconds.
    """

    announced_frames = 0

    def __init__(
        self,
        source: str,
        *,
        every_s: float = 0.5,
        timeout_s: float = 5.0,
        fetch: Fetch | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._source, self._name = source, public_name(source)
        self._every_s = every_s
        self.fps = 1 / every_s
        """Upper bound of pictures per second."""
        self._fetch = fetch or _fetcher(source, timeout_s)
        self._clock, self._sleep = clock, sleep
        self._asked_s = float("-inf")

    def read(self) -> Picture | None:
        """The next picture; None if the response is not a JPEG, PNG or WebP of a sane size.

        Raises:
            CameraError: the camera did not respond, or not as HTTP servers do.
        """
        self._sleep(max(0.0, self._asked_s + self._every_s - self._clock()))
        self._asked_s = self._clock()
        try:
            content = self._fetch()
        except (OSError, ValueError, HTTPException) as error:  # OSError includes urllib's errors
            if isinstance(error, HTTPError):
                error.close()
            text = repr(error) if isinstance(error, HTTPException) else str(error)
            raise CameraError(
                f"{self._name}: no picture received ({public_text(text, self._source)}); check the "
                "address, its port, user name and password."
            ) from error
        try:
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    return None
                return Picture(np.asarray(image.convert("RGB")), None)
        except (OSError, ValueError, SyntaxError, *_BOMBS):  # OSError includes Pillow's own
            return None

    def close(self) -> None:
        """Nothing stays open between requests."""


class _Closing:
    """Closes the 401 response, which urllib leaves open after repeating the request."""

    def http_error_401(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        try:
            answer = super().http_error_401(req, fp, code, msg, headers)  # type: ignore[misc]
        except OSError:
            fp.close()
            raise
        if answer is not None:
            fp.close()
        return answer


class _Digest(_Closing, urllib.request.HTTPDigestAuthHandler):
    pass


class _Basic(_Closing, urllib.request.HTTPBasicAuthHandler):
    pass


def _fetcher(source: str, timeout_s: float) -> Fetch:
    """A function that gets a picture, with the credentials in the address if required."""
    scheme, _, rest = source.partition("://")
    place = rest.split("/", 1)
    owner, at, host = place[0].rpartition("@")
    address = f"{scheme}://{'/'.join([host, *place[1:]])}"
    handlers: list[urllib.request.BaseHandler] = [proxies_for(address), TimedHttp(), TimedHttps()]
    if at:
        user, _, password = owner.partition(":")
        known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        root = f"{scheme}://{urlsplit(address).netloc}/"
        known.add_password(None, root, unquote(user), unquote(password))
        handlers += [_Digest(known), _Basic(known)]
    opener = urllib.request.build_opener(*handlers)

    def fetch() -> bytes:
        content = bytearray()
        with opener.open(address, timeout=timeout_s) as answer:
            while len(content) < _MOST_BYTES and (part := answer.read1(_PART_BYTES)):
                content += part
        return bytes(content)

    return fetch
