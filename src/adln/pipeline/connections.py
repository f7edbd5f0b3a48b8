"""What all connections to other machines share: whom they trust, and that they go nowhere else."""

import ssl
import urllib.request
from pathlib import Path
from typing import Any

from adln.errors import DeliveryError


def trusting(ca_file: Path | None) -> ssl.SSLContext:
    """TLS with verified certificates.

    Args:
        ca_file: Certificates to trust in place of the system's, in PEM.

    Raises:
        DeliveryError: The file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise DeliveryError(f"{ca_file} holds no certificates to trust: {error}") from error


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: a token must not go to somebody else.

    Nor must a POST become a GET, whose 200 acknowledges nothing.
    """

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """No request."""
        return
