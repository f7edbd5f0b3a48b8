"""The parts of Frigate's HTTP API in use: past events, their pictures and sub labels.

Source: https://docs.frigate.video/integrations/api; tokens as
https://docs.frigate.video/configuration/authentication describes them.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, Request

from adln.errors import DeliveryError, EventRefusedError
from adln.pipeline.connections import HttpClient, is_exposed
from adln.strict import parse_json

TIMEOUT_S = 15.0
LONGEST_SUB_LABEL = 100
_PAGE = 100
_MOST_BYTES = 64 * 1024 * 1024
# Whole frames without drawings, as offered by Frigate 0.17, by earlier versions, and by 0.18.
_PICTURES = ("snapshot-clean.webp", "snapshot-clean.png", "snapshot.jpg?bbox=0&timestamp=0&crop=0")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FrigateEvent:
    """A person in front of a camera, as tracked by Frigate.

    Attributes:
        event_id: Frigate's id.
        start_s: Unix time.
        has_name: whether it already has a sub label.
        box_xywh: relative to width and height of the frame; None if unknown.
    """

    event_id: str
    camera: str
    start_s: float
    has_name: bool
    box_xywh: tuple[float, float, float, float] | None


class FrigateApi:
    """Client of one Frigate, with a limited request rate.

    The address is such as http://frigate:5000 or https://frigate:8971. It logs in as a user with a
    password, by a token of Frigate, or not at all; only with `allow_plain_http` do these travel
    unencrypted beyond this machine. The certificates in `ca_file` (PEM) are trusted in place of the
    system's. `clock` and `sleep` are in s.

    Raises:
        DeliveryError: the address or the certificates cannot be used, or they would expose the
            password.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "",
        password: str = "",
        token: str = "",
        ca_file: Path | None = None,
        allow_plain_http: bool = False,
        per_second: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query:
            # The message leaves out the address, which holds a secret.
            raise DeliveryError(
                "Frigate's address must not hold a user, a password or a query: they would end up "
                "in logs. Give the user and the password's environment variable separately."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DeliveryError(f"Frigate needs an address like http://frigate:5000, got {url!r}.")
        if (password or token) and is_exposed(parts) and not allow_plain_http:
            raise DeliveryError(
                f"{url}: the password or token would travel unencrypted. Use https (port 8971), "
                "or explicitly allow plain http."
            )
        if not per_second > 0:
            raise DeliveryError(f"per_second must be above 0, got {per_second:g}.")
        self._client = HttpClient(url, ca_file, HTTPCookieProcessor(CookieJar()))
        self._root = url.rstrip("/")
        self._login = (user, password) if user else None
        self._headers = {"User-Agent": "adln"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._pause_s = 1.0 / per_second
        self._clock, self._sleep = clock, sleep
        self._next_s = clock()
        self._pictures = list(_PICTURES)

    def events(
        self, *, after_s: float, before_s: float, in_progress: bool = False
    ) -> Iterator[FrigateEvent]:
        """Events with people that started between two Unix times, newest first.

        With `in_progress`, those that have not ended, in place of those that have.

        Raises:
            DeliveryError: Frigate cannot be reached, or its answer is malformed.
        """
        known: set[str] = set()
        while True:
            query = {
                "labels": "person",
                "has_snapshot": 1,
                "in_progress": int(in_progress),
                "include_thumbnails": 0,
                "limit": _PAGE,
                "after": repr(after_s),
                "before": repr(before_s),
            }
            path = f"/api/events?{urlencode(query)}"
            found = self._read(path, *self._ask(path))
            if not isinstance(found, list):
                raise DeliveryError(f"{self._root}: /api/events did not return a list of events.")
            page: list[FrigateEvent] = []
            broken: list[DeliveryError] = []
            for one in found:
                try:
                    page.append(self._event(one))
                except DeliveryError as error:
                    broken.append(error)
            if broken and not page:
                raise broken[-1]
            if broken:
                _log.warning("%d events are left out: %s", len(broken), broken[-1])
            new = [one for one in page if one.event_id not in known]
            yield from new
            known |= {one.event_id for one in new}
            earliest_s = min((one.start_s for one in page), default=before_s)
            if len(found) < _PAGE or earliest_s >= before_s:
                return
            # People who come into view together have one start: the page may end between them.
            before_s = math.nextafter(earliest_s, math.inf) if new else earliest_s

    def event(self, event_id: str) -> FrigateEvent:
        """One event.

        Raises:
            EventRefusedError: there is no such event (any more).
            DeliveryError: Frigate cannot be reached.
        """
        path = f"/api/events/{quote(event_id, safe='')}"
        status, body = self._ask(path)
        if status == 404:
            raise EventRefusedError(f"{self._root}: {path} returned status {status}.")
        return self._event(self._read(path, status, body))

    def picture(self, event_id: str) -> bytes | None:
        """The whole frame that shows the person best; None if there is none (any more).

        Raises:
            EventRefusedError: Frigate refuses this event.
            DeliveryError: Frigate cannot be reached.
        """
        for name in list(self._pictures):
            status, body = self._ask(f"/api/events/{quote(event_id, safe='')}/{name}")
            if status == 200 and body:
                # Next time, first try the picture that this version of Frigate has.
                self._pictures.remove(name)
                self._pictures.insert(0, name)
                return body
            if status not in (400, 404, 405, 422):
                raise EventRefusedError(
                    f"{self._root}: a snapshot request returned status {status}."
                )
        return None

    def set_sub_label(self, event_id: str, name: str, score: float) -> None:
        """Write a person's name, at most 100 characters of it, and a score of 0..1 to an event.

        Raises:
            EventRefusedError: Frigate refuses this event.
            DeliveryError: Frigate cannot be reached.
        """
        content = {
            "subLabel": name[:LONGEST_SUB_LABEL],
            "subLabelScore": min(1.0, max(0.01, round(score, 4))),
        }
        status, _ = self._ask(f"/api/events/{quote(event_id, safe='')}/sub_label", content)
        if status != 200:
            raise EventRefusedError(f"{self._root}: a sub label request returned status {status}.")

    def _event(self, found: Any) -> FrigateEvent:
        try:
            box = found["data"].get("box") if isinstance(found.get("data"), Mapping) else None
            usable = isinstance(box, list) and len(box) == 4
            start_s = float(found["start_time"])
            if not math.isfinite(start_s):
                raise ValueError(f"start_time is {start_s}")
            return FrigateEvent(
                event_id=str(found["id"]),
                camera=str(found["camera"]),
                start_s=start_s,
                has_name=bool(found.get("sub_label")),
                box_xywh=tuple(map(float, box)) if usable else None,  # type: ignore[arg-type]
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DeliveryError(
                f"{self._root}: an event is not as in Frigate's documentation: {error!r}."
            ) from error

    def _read(self, path: str, status: int, body: bytes) -> Any:
        if status != 200:
            raise DeliveryError(f"{self._root}: {path.partition('?')[0]} returned status {status}.")
        try:
            return parse_json(body)
        except ValueError as error:
            raise DeliveryError(
                f"{self._root}: {path.partition('?')[0]} did not return JSON; is this Frigate?"
            ) from error

    def _ask(self, path: str, content: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
        status, body = self._request(path, content)
        if status == 401 and self._login is not None:
            user, password = self._login
            status, _ = self._request("/api/login", {"user": user, "password": password})
            if status != 200:
                raise DeliveryError(f"{self._root}: Frigate refused to log in {user!r} ({status}).")
            status, body = self._request(path, content)
        if status in (401, 403):
            raise DeliveryError(
                f"{self._root}: Frigate refused access ({status}); give a user or a token."
            )
        return status, body

    def _request(self, path: str, content: Mapping[str, Any] | None) -> tuple[int, bytes]:
        now_s = self._clock()
        if now_s < self._next_s:
            self._sleep(self._next_s - now_s)
        self._next_s = max(now_s, self._next_s) + self._pause_s
        request = Request(self._root + path, headers=self._headers)
        if content is not None:
            request.data = json.dumps(content).encode("utf-8")
            request.add_header("Content-Type", "application/json")
        status, reason, body = self._client.send(
            request, timeout_s=TIMEOUT_S, most_bytes=_MOST_BYTES
        )
        if not status:
            raise DeliveryError(f"{self._root}: Frigate {reason}")
        return status, body
