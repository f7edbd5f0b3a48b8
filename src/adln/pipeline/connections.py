"""Shared by all outgoing connections: trusted certificates, and no redirections."""

import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

from adln.cameras.deadlines import TimedHttp, TimedHttps
from adln.cameras.proxies import proxies_for
from adln.errors import DeliveryError

# Of a reason for the log, in characters.
_LONGEST = 200


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """A TLS context that verifies certificates, by this file (PEM) in place of the system's.

    Raises:
        DeliveryError: The file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise DeliveryError(f"{ca_file} has no usable certificates: {error}") from error


def is_exposed(address: SplitResult) -> bool:
    """Whether what is sent to an address leaves this machine unencrypted."""
    return address.scheme != "https" and address.hostname not in ("localhost", "127.0.0.1", "::1")


class HttpClient:
    """Sends requests to the host of one address, and verifies its certificate; see `trusting`."""

    def __init__(
        self, url: str, ca_file: Path | None, *handlers: urllib.request.BaseHandler
    ) -> None:
        self._opener = urllib.request.build_opener(
            proxies_for(url),
            TimedHttp(),
            TimedHttps(trusting(ca_file)),
            _NoRedirect(),
            *handlers,
        )

    def send(
        self, request: urllib.request.Request, *, timeout_s: float, most_bytes: int = 0
    ) -> tuple[int, str, bytes]:
        """Status, reason in words, and the beginning of a body that is not an error's.

        The status is 0 if there was no answer, or none that was complete after `timeout_s`.
        """
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                return answer.status, "answered", answer.read(most_bytes) if most_bytes else b""
        except urllib.error.HTTPError as error:
            with error:
                return error.code, f"answered {error.code} {error.reason}", b""
        except (OSError, ValueError, HTTPException) as error:
            # A receiver that does not speak HTTP is quoted, which may be long.
            reason = getattr(error, "reason", None) or repr(error)
            return 0, f"cannot be reached: {reason}"[:_LONGEST], b""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, so that a token never reaches another host.

    A redirected POST would also become a GET, whose 200 acknowledges nothing.
    """

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return
