"""Shared by all outgoing connections: trusted certificates, and no redirections."""

import ssl
import urllib.request
from pathlib import Path
from typing import Any

from adln.errors import DeliveryError


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """A TLS context that verifies certificates.

    Args:
        ca_file: Trusted certificates (PEM) in place of the system's.

    Raises:
        DeliveryError: The file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise DeliveryError(f"{ca_file} has no usable certificates: {error}") from error


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirection, so that a token never reaches another host.

    A redirected POST would also become a GET, whose 200 acknowledges nothing.
    """

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Refuse the redirection."""
        return
