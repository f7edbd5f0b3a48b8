"""A Frigate that answers as its public API documents: parameters, fields and bodies are strict."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Colour = tuple[int, int, int]
TOKEN = "token-of-frigate"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EventsQuery(_Strict):
    """Of GET /api/events: those of its parameters that every version since 0.12 knows."""

    labels: str = "all"
    label: str = "all"
    cameras: str = "all"
    limit: Annotated[int, Field(ge=1)] = 100
    after: float = 0.0
    before: float = 1e12
    has_snapshot: int | None = None
    has_clip: int | None = None
    in_progress: int | None = None
    include_thumbnails: int = 1


class SubLabelBody(_Strict):
    """Of POST /api/events/<id>/sub_label."""

    subLabel: Annotated[str, Field(max_length=100)]  # noqa: N815
    subLabelScore: Annotated[float, Field(gt=0.0, le=1.0)] | None = None  # noqa: N815
    camera: str | None = None


class LoginBody(_Strict):
    """Of POST /api/login."""

    user: str
    password: str


class EventAnswer(_Strict):
    """What is answered of an event."""

    id: str
    label: str
    sub_label: str | None
    camera: str
    start_time: float
    end_time: float | None
    false_positive: bool | None
    zones: list[str]
    thumbnail: str | None
    has_clip: bool
    has_snapshot: bool
    retain_indefinitely: bool
    plus_id: str | None
    model_hash: str | None
    detector_type: str | None
    model_type: str | None
    data: dict[str, Any]


class FakeFrigate:
    """Runs until it is closed.

    Args:
        version: "0.16", "0.17" or "0.18": what clean snapshots are called.
        guarded: whether one must log in.
    """

    def __init__(self, *, version: str = "0.17", guarded: bool = False) -> None:
        self.version, self.guarded = version, guarded
        self.events: dict[str, EventAnswer] = {}
        self.frames: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.scores: dict[str, float | None] = {}
        self.faults: list[str] = []
        self.refused: set[str] = set()
        self.rubbish: list[Any] = []
        handler = type("Handler", (_Handler,), {"frigate": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def somebody(
        self, colour: Colour, start_s: float, *, camera: str = "front_door", **changes: Any
    ) -> str:
        """Somebody of this colour was before a camera."""
        rng = np.random.default_rng(round(start_s))
        frame = rng.integers(90, 120, (180, 320, 3)).astype(np.uint8)
        frame[20:160, 100:160] = colour
        stream = io.BytesIO()
        Image.fromarray(frame).save(stream, "PNG")
        # Those who come into view together have one start, and ids that end otherwise.
        event_id = f"{start_s:.6f}-{len(self.frames):06d}"
        facts: dict[str, Any] = {
            "id": event_id,
            "label": "person",
            "sub_label": None,
            "camera": camera,
            "start_time": start_s,
            "end_time": start_s + 9.5,
            "false_positive": False,
            "zones": ["yard"],
            "thumbnail": None,
            "has_clip": True,
            "has_snapshot": True,
            "retain_indefinitely": False,
            "plus_id": None,
            "model_hash": None,
            "detector_type": "cpu",
            "model_type": "ssd",
            "data": {
                "type": "object",
                "score": 0.83,
                "top_score": 0.87,
                "box": [100 / 320, 20 / 180, 60 / 320, 140 / 180],
                "region": [0.0, 0.0, 1.0, 1.0],
                "attributes": [],
            },
        }
        self.events[event_id] = EventAnswer.model_validate({**facts, **changes})
        self.frames[event_id] = stream.getvalue()
        return event_id

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    frigate: FakeFrigate
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        place, fake = urlsplit(self.path), self.frigate
        fake.asked.append(f"GET {self.path}")
        if not self._is_let_in():
            self._answer(401, b"")
            return
        parts = place.path.strip("/").split("/")
        if place.path == "/api/events":
            try:
                query = EventsQuery.model_validate(dict(parse_qsl(place.query)))
            except ValueError as error:
                fake.faults.append(str(error))
                self._answer(422, b"")
                return
            label = query.label if query.labels == "all" else query.labels
            found = [
                event
                for event in sorted(fake.events.values(), key=lambda one: -one.start_time)
                if query.after < event.start_time < query.before
                and label in ("all", event.label)
                and (query.has_snapshot is None or event.has_snapshot == bool(query.has_snapshot))
                and (query.in_progress is None or query.in_progress == (event.end_time is None))
            ]
            page = TypeAdapter(list[EventAnswer]).dump_python(found[: query.limit])
            self._json(json.dumps([*fake.rubbish, *page]).encode())
        elif len(parts) == 3 and parts[2] in fake.events:
            self._json(fake.events[parts[2]].model_dump_json().encode())
        elif len(parts) == 4 and parts[3] == self._clean() and parts[2] in fake.frames:
            self._answer(200, fake.frames[parts[2]])
        else:
            self._json(b'{"success": false, "message": "Event not found"}', 404)

    def do_POST(self) -> None:
        fake = self.frigate
        fake.asked.append(f"POST {self.path}")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        parts = self.path.strip("/").split("/")
        try:
            if self.path == "/api/login":
                login = LoginBody.model_validate(body)
                if (login.user, login.password) != ("ann", "secret"):
                    self._json(b'{"message": "Login failed"}', 401)
                    return
                cookie = f"frigate_token={TOKEN}; Path=/; HttpOnly"
                self._answer(200, b"", {"Set-Cookie": cookie})
                return
            if not self._is_let_in():
                self._answer(401, b"")
                return
            label = SubLabelBody.model_validate(body)
        except ValueError as error:
            fake.faults.append(str(error))
            self._answer(422, b"")
            return
        if parts[2] in fake.refused:
            self._json(b'{"success": false}', 400)
            return
        fake.events[parts[2]].sub_label = label.subLabel
        fake.scores[parts[2]] = label.subLabelScore
        self._json(b'{"success": true, "message": "Event sub label set"}')

    def _clean(self) -> str:
        names = {"0.16": "snapshot-clean.png", "0.17": "snapshot-clean.webp"}
        return names.get(self.frigate.version, "snapshot.jpg")

    def _is_let_in(self) -> bool:
        if not self.frigate.guarded:
            return True
        by_cookie = f"frigate_token={TOKEN}" in self.headers.get("Cookie", "")
        return by_cookie or self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _json(self, body: bytes, status: int = 200) -> None:
        self._answer(status, body, {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass
