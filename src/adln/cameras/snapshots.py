"""Cameras that give one picture for each request, such as http://10.0.0.9/snapshot.jpg."""

import io
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

import numpy as np
from PIL import Image, UnidentifiedImageError

from adln.cameras.captures import Picture
from adln.cameras.proxies import proxies_for
from adln.cameras.redaction import public_name, public_text
from adln.errors import CameraError

_SNAPSHOT = re.compile(
    r"https?://[^?#]*?(?:\.(?:jpe?g|png)|snap[a-z_-]*(?:\.\w+)?)(?:[?#].*)?", re.I
)
_MOST_BYTES = 32 * 2**20

Fetch = Callable[[], bytes]


def is_snapshot(source: str) -> bool:
    """Whether an address gives one picture for each request."""
    return _SNAPSHOT.fullmatch(source) is not None


class SnapshotCapture:
    """Asks for a picture again and again.

    Args:
        source: the address, with user name and password if the camera asks for them.
        every_s: between two requests, at least.
        timeout_s: a camera that does not answer for this long gives no picture.
        fetch: gets the bytes of a picture; by urllib if left out.
        clock: seconds since any moment.
        sleep: waits for so many seconds.
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
        self._name = public_name(source)
        self._source = source
        self._every_s = every_s
        self._fetch = fetch or _fetcher(source, timeout_s)
        self._clock = clock
        self._sleep = sleep
        self._asked_s = float("-inf")

    @property
    def fps(self) -> float:
        """Pictures a second, at most."""
        return 1 / self._every_s

    def read(self) -> Picture | None:
        """The next picture; None if what came is no picture.

        Raises:
            CameraError: the camera did not answer.
        """
        self._sleep(max(0.0, self._asked_s + self._every_s - self._clock()))
        self._asked_s = self._clock()
        try:
            content = self._fetch()
        except (OSError, ValueError) as error:  # urllib's errors are OSErrors as well
            if isinstance(error, HTTPError):
                error.close()
            reason = public_text(str(error), self._source)
            raise CameraError(f"{self._name}: no picture came ({reason}).") from error
        try:
            with Image.open(io.BytesIO(content)) as image:
                return Picture(np.asarray(image.convert("RGB")), None)
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
            return None

    def close(self) -> None:
        """Nothing stays open between two requests."""


class _Closing:
    """urllib leaves the refusal open, when it has asked again with the password."""

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
    """Gets a picture, and says who asks where the camera wants to know."""
    scheme, _, rest = source.partition("://")
    place = rest.split("/", 1)
    owner, at, host = place[0].rpartition("@")
    address = f"{scheme}://{'/'.join([host, *place[1:]])}"
    handlers: list[urllib.request.BaseHandler] = [proxies_for(address)]
    if at:
        user, _, password = owner.partition(":")
        known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        root = f"{scheme}://{urlsplit(address).netloc}/"
        known.add_password(None, root, unquote(user), unquote(password))
        handlers += [
            _Digest(known),
            _Basic(known),
        ]
    opener = urllib.request.build_opener(*handlers)

    def fetch() -> bytes:
        with opener.open(address, timeout=timeout_s) as answer:
            content: bytes = answer.read(_MOST_BYTES)
            return content

    return fetch
