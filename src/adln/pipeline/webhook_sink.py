"""Sightings by HTTP POST, signed, over verified HTTPS.

Every request carries an ``Idempotency-Key`` and, with a shared secret, a signature over time and
body (`sign`), so that the receiver can verify sender and time, and drop duplicates.
"""

import hashlib
import hmac
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import Request

from adln.errors import DeliveryError, UndeliveredError
from adln.pipeline.connections import HttpClient, is_exposed
from adln.pipeline.outbox import StoredEvent

TIMEOUT_S = 10.0
# The request itself is invalid; a retry would be refused again.
_REFUSED = {400, 413, 415, 422}


class WebhookSink:
    """Posts sightings to an address.

    With ``batch_size`` 1 the body is one sighting and the ``Idempotency-Key`` its ``event_id``;
    otherwise it is a JSON array, and the key a digest of all their ids. Any 2xx status
    acknowledges; redirections are not followed.

    The address is https, or http to this machine only unless ``allow_plain_http``. A user and a
    password in it are sent as ``Authorization: Basic``. Without a secret shared with the receiver,
    requests are not signed. The certificates in `ca_file` (PEM) are trusted in place of the
    system's. `clock` gives Unix time in s.

    Raises:
        DeliveryError: The address or the certificate file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        batch_size: int = 1,
        timeout_s: float = TIMEOUT_S,
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        parts, self._shown = _require_address(url)
        if is_exposed(parts) and not allow_plain_http:
            raise DeliveryError(
                f"The webhook {self._shown} would send sightings of people unencrypted. Use https, "
                "or, if everybody with access to that network may see them, set "
                "webhook.allow_plain_http = true."
            )
        if batch_size < 1:
            raise DeliveryError(f"batch_size must be at least 1, got {batch_size}.")
        self._client = HttpClient(url, ca_file)
        self._url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        self._secret = secret
        self._headers = {**_credentials(parts), **(headers or {})}
        self._batch_size = batch_size
        self._timeout_s = timeout_s
        self._clock = clock

    def deliver(self, events: Sequence[StoredEvent]) -> None:
        """Post sightings in order; on return the receiver has answered 2xx to all of them.

        Raises:
            UndeliveredError: The receiver cannot be reached in time, or returns another status.
        """
        done = alone = 0
        while done < len(events):
            size = 1 if done < alone else self._batch_size
            batch = events[done : done + size]
            status, reason = self._post(batch)
            if 200 <= status < 300:
                done += len(batch)
            elif status in _REFUSED and len(batch) > 1:
                # One sighting is invalid; send these one by one.
                alone = done + len(batch)
            else:
                raise UndeliveredError(
                    f"{self._shown}: {reason}", acknowledged=done, refused=status in _REFUSED
                )

    def close(self) -> None:
        """Nothing to release between requests."""

    def _post(self, batch: Sequence[StoredEvent]) -> tuple[int, str]:
        """Send one request; return status and reason, status 0 if there was no response."""
        if self._batch_size == 1:
            body, key = batch[0].body, batch[0].event_id
        else:
            body = f"[{','.join(event.body for event in batch)}]"
            ids = "\n".join(event.event_id for event in batch)
            key = hashlib.sha256(ids.encode("utf-8")).hexdigest()[:32]
        payload = body.encode("utf-8")
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "adln",
            **self._headers,
            "Idempotency-Key": key,
        }
        if self._secret is not None:
            sent_at = str(int(self._clock()))
            headers["Adln-Timestamp"] = sent_at
            headers["Adln-Signature"] = sign(self._secret, sent_at, payload)
        request = Request(self._url, data=payload, headers=headers, method="POST")
        status, reason, _ = self._client.send(request, timeout_s=self._timeout_s)
        return status, reason


def _require_address(url: str) -> tuple[SplitResult, str]:
    """The parts of an address, and what of it may be shown: path and query are often secret, too.

    Raises:
        DeliveryError: It is no address of a webhook; nothing could ever be delivered.
    """
    shown = "something else"
    try:
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        is_reachable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_reachable = False
    if not is_reachable:
        raise DeliveryError(f"A webhook needs an address like https://host/path, got {shown!r}.")
    if not (url.isascii() and url.isprintable() and " " not in url):
        raise DeliveryError(
            f"The address of the webhook {shown!a} has spaces or characters other than ASCII; "
            "write them as %20, %C3%A4 and so on, and in a host's name as xn--..."
        )
    return parts, shown


def _credentials(parts: SplitResult) -> dict[str, str]:
    """The header for the user and password in an address; urllib does not send them by itself."""
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """The header ``Adln-Signature`` for a body and the header ``Adln-Timestamp``.

    It is "sha256=" and the HMAC-SHA256 of ``timestamp + "." + body`` in hex. A receiver computes
    the same, compares with `hmac.compare_digest`, and refuses timestamps that are some minutes old.
    """
    message = timestamp.encode("ascii") + b"." + body
    return "sha256=" + hmac.new(secret, message, hashlib.sha256).hexdigest()
