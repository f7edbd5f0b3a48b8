"""Limits the time of a whole HTTP answer, not of each read."""

import http.client
import io
import socket
import ssl
import time
import urllib.request
from functools import partial
from typing import Any

# Informational answers before the real one (RFC 9110, section 15.2); `http.client` knows only 100.
_BEFOREHAND = (102, 103)


class _Parts(io.RawIOBase):
    """What a connection receives in time; the limit of its socket holds for each part."""

    def __init__(self, received: Any, connection: socket.socket, timeout_s: float) -> None:
        self._received, self._connection = received, connection
        self._until_s, self._timeout_s = time.monotonic() + timeout_s, timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> Any:
        left_s = self._until_s - time.monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError
            self._connection.settimeout(left_s)
            return self._received.readinto(buffer)
        except TimeoutError as error:
            told = f"the answer was not complete after {self._timeout_s:g} s"
            raise TimeoutError(told) from error

    def close(self) -> None:
        self._received.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    def __init__(
        self, connection: socket.socket, *args: Any, timeout_s: float, **options: Any
    ) -> None:
        super().__init__(connection, *args, **options)
        # Made when the request is sent, for which the socket has the same limit once more.
        self.fp = io.BufferedReader(_Parts(self.fp.detach(), connection, timeout_s))

    def begin(self) -> None:
        super().begin()
        while self.status in _BEFOREHAND:
            self.headers = None  # type: ignore[assignment]
            super().begin()


class _Http(http.client.HTTPConnection):
    def __init__(self, host: str, *, timeout: float = 10.0, **options: Any) -> None:
        super().__init__(host, timeout=timeout, **options)
        self.response_class = partial(_Answer, timeout_s=timeout)  # type: ignore[assignment]


class _Https(_Http, http.client.HTTPSConnection):
    pass


class TimedHttp(urllib.request.HTTPHandler):
    """For an opener: the `timeout` that it is given holds for the whole answer, body included."""

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request; an answer that is late is a TimeoutError."""
        return self.do_open(_Http, request)


class TimedHttps(urllib.request.HTTPSHandler):
    """The same, encrypted."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__()
        self._trusting = context

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Send a request; an answer that is late is a TimeoutError."""
        return self.do_open(_Https, request, context=self._trusting)
