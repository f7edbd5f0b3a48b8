"""Every route of the OpenAPI document against what nobody honest sends, and without a token."""

import asyncio
import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fake_service import Served, person_picture
from PIL import Image

_PUBLIC = frozenset({"/api/v1/health"})
# Pictures and embeddings to look for; and that they look now, which changes only their own "new".
_VIEWERS_POST = frozenset(
    {"/search", "/search/picture", "/embed/picture", "/frames/people", "/news"}
)
# A stream that does not end; who may follow it is asked below as of all others.
_ENDLESS = "/api/v1/events"
_JSON = "application/json"
_INNARDS = re.compile(r'Traceback|File "|site-packages|sqlite3|\.py\b|/tmp/')


@dataclass
class Route:
    """A route, and what it takes when it is asked properly.

    Attributes:
        method: of HTTP.
        path: with names of parameters in braces.
        parameters: of path and query: name -> where it stands.
        body: what JSON it takes; None if it takes none.
        takes_picture: whether its body is a picture.
    """

    method: str
    path: str
    parameters: dict[str, str] = field(default_factory=dict)
    body: Any = None
    takes_picture: bool = False


@dataclass
class Attack:
    """What is sent in place of what belongs there.

    Attributes:
        number: for numbers, in paths, queries and JSON, as text; None leaves them.
        text: for texts; None leaves them.
        content: makes the body of the proper one.
        kind: content type.
        picture: in place of a picture.
    """

    number: str | None = None
    text: str | None = None
    content: Callable[[bytes], bytes] = bytes
    kind: str = _JSON
    picture: Callable[[], bytes] = lambda: person_picture(0)


@cache
def _bomb() -> bytes:
    """A small file of a picture with 400 million pixels."""
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    return stream.getvalue()


def _deep(_: bytes) -> bytes:
    return b'{"a":' * 30_000 + b"1" + b"}" * 30_000


ATTACKS = {
    "oversized": Attack(content=lambda _: b'"' + b"a" * 6_000_000 + b'"'),
    "deep": Attack(content=_deep),
    "many keys": Attack(
        content=lambda _: json.dumps({f"k{at}": at for at in range(20_000)}).encode()
    ),
    "not a number": Attack(number="NaN"),
    "infinite": Attack(number="Infinity"),
    "beyond floats": Attack(number="1e999"),
    "huge ids": Attack(number="9" * 40),
    "ids of 64 bits": Attack(number=str(2**64)),
    "negative ids": Attack(number="-1"),
    "floats for ints": Attack(number="1.5"),
    "texts for numbers": Attack(number='"1; DROP TABLE persons"'),
    "path traversal": Attack(number='"../../../etc/passwd"', text="../../../etc/passwd"),
    "SQL": Attack(text="'); DROP TABLE persons; --"),
    "HTML": Attack(text="<script>alert(1)</script><img src=x onerror=alert(1)>"),
    "null bytes": Attack(text="a\x00b", picture=lambda: b"\x00" * 1000),
    "lone surrogates": Attack(text="\ud800"),
    "long text": Attack(text="a" * 50_000),
    "wrong content type": Attack(kind="text/html"),
    "no content type": Attack(kind=""),
    "wrong encoding": Attack(content=lambda body: b"\xff\xfe" + body.decode().encode("utf-16-le")),
    "no UTF-8": Attack(content=lambda _: b'{"name": "\xc3\x28\xa0\xa1"}'),
    "no body": Attack(content=lambda _: b"", picture=lambda: b""),
    "half a body": Attack(content=lambda body: body[: len(body) // 2]),
    "duplicate keys": Attack(
        content=lambda body: b"{" + b",".join([body.strip()[1:-1] or b'"a": 1'] * 2) + b"}"
    ),
    "a list": Attack(content=lambda body: b"[" + body + b"]"),
    "null": Attack(content=lambda _: b"null"),
    "truncated picture": Attack(picture=lambda: person_picture(0)[:200]),
    "decompression bomb": Attack(picture=_bomb),
    "no picture": Attack(picture=lambda: b"GIF89a" + b"\x00" * 100),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("hostile"), failed_tokens_per_minute=10**6)
    made.fill(thumbnails=True)
    yield made
    made.close()


def furnish(served: Served) -> None:
    """See to it that there is a camera and an alert to be attacked."""
    if served.client.get("/api/v1/setup/cameras").json()["cameras"] == []:
        camera = {"name": "yard", "source": "rtsp://eve:geheim@10.0.0.7/"}
        made = served.client.post("/api/v1/setup/cameras", json=camera)
        assert (made.status_code, made.json()["camera_id"]) == (201, 1)
    if served.client.get("/api/v1/setup/alerts").json()["alerts"] == []:
        alert = {"name": "1", "url": "https://example.org/hook/geheim"}
        assert served.client.post("/api/v1/setup/alerts", json=alert).status_code == 201


def routes(served: Served) -> list[Route]:
    document = served.app.openapi()
    found = []
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            content = about.get("requestBody", {}).get("content", {})
            found.append(
                Route(
                    method=method.upper(),
                    path=path,
                    parameters={one["name"]: one["in"] for one in about.get("parameters", [])},
                    body=_example(content[_JSON]["schema"], document) if _JSON in content else None,
                    takes_picture=any(kind.startswith("image/") for kind in content),
                )
            )
    return found


def _example(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """Something that has the form of a schema."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _example(document["components"]["schemas"][name], document)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], document)
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        return {key: _example(of, document) for key, of in schema.get("properties", {}).items()}
    if kind == "array":
        some = schema.get("items") or schema.get("prefixItems", [{}])[0]
        return [_example(some, document)] * max(1, schema.get("minItems", 1))
    return {"integer": 1, "number": 1.0, "boolean": True}.get(kind or "", "text")


def _attacked(value: Any, attack: Attack) -> str:
    """JSON in which numbers and texts are the attack's."""
    if isinstance(value, dict):
        inner = (f"{json.dumps(key)}: {_attacked(one, attack)}" for key, one in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_attacked(one, attack) for one in value) + "]"
    if isinstance(value, str) and attack.text is not None:
        return json.dumps(attack.text)
    if isinstance(value, int | float) and not isinstance(value, bool) and attack.number is not None:
        return attack.number
    return json.dumps(value)


def _request(route: Route, attack: Attack) -> dict[str, Any]:
    """What httpx is told."""
    given = attack.number or attack.text or "1"
    in_address = quote(given.strip('"').encode("utf-8", "surrogatepass"), safe="")[:4000]
    path = re.sub(r"{\w+}", lambda _: in_address, route.path)
    query = "&".join(
        f"{name}={in_address}" for name, place in route.parameters.items() if place == "query"
    )
    told: dict[str, Any] = {"method": route.method, "url": f"{path}?{query}" if query else path}
    if route.takes_picture:
        kind = "image/jpeg" if attack.kind == _JSON else attack.kind
        return {**told, "content": attack.picture(), "headers": {"content-type": kind}}
    if route.body is not None:
        body = attack.content(_attacked(route.body, attack).encode())
        return {**told, "content": body, "headers": {"content-type": attack.kind}}
    return told


@pytest.mark.parametrize("name", ATTACKS)
def test_no_route_breaks_or_tells_of_its_innards(served: Served, name: str) -> None:
    tried = 0
    for route in routes(served):
        if route.path == _ENDLESS:
            continue
        furnish(served)
        answer = served.client.request(**_request(route, ATTACKS[name]))
        where = (name, route.method, route.path, answer.status_code, answer.text[:300])
        assert answer.status_code < 500, where
        assert answer.headers["x-content-type-options"] == "nosniff", where
        kind = answer.headers.get("content-type", "")
        assert not kind.startswith("text/html"), where
        if answer.status_code >= 400:
            assert set(answer.json()) == {"problem", "message"}, where
            assert not _INNARDS.search(answer.text), where
            # What came is not given back, and what is secret is not told.
            assert "geheim" not in answer.text, where
            assert "<script" not in answer.text, where
        tried += 1
    assert tried >= 40
    # The file of the cameras is what it was.
    furnish(served)
    assert served.client.get("/api/v1/health").status_code == 200
    assert served.gallery.persons()


@pytest.mark.parametrize("name", ["not a number", "negative ids", "huge ids", "SQL", "null bytes"])
def test_a_hostile_last_event_is_refused(served: Served, name: str) -> None:
    attack = ATTACKS[name]
    given = (attack.number or attack.text or "").replace("\x00", "%00")
    answer = served.client.get(_ENDLESS, headers={"Last-Event-ID": given})
    assert answer.status_code == 422


def test_every_route_that_is_not_public_demands_a_token_and_its_role(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(require_token=True, failed_tokens_per_minute=10**6)
    served.fill()
    viewer = served.as_("viewer")
    forbidden = set()
    for route in routes(served):
        told = _request(route, Attack())
        headers = told.pop("headers", {})
        without = served.client.request(**told, headers=headers)
        wrong = {**headers, "Authorization": "Bearer adln_00000000_" + "A" * 43}
        if route.path in _PUBLIC:
            assert without.status_code == 200
            continue
        assert without.status_code == 401, route
        assert served.client.request(**told, headers=wrong).status_code == 401, route
        if route.path == _ENDLESS:
            continue
        if served.client.request(**told, headers=headers | viewer).status_code == 403:
            forbidden.add(f"{route.method} {route.path.removeprefix('/api/v1')}")
        elif route.method != "GET":
            # All that a viewer may do but look.
            assert route.path.removeprefix("/api/v1") in _VIEWERS_POST, route
    assert {"POST /tokens", "GET /tokens", "POST /setup/cameras", "GET /audit"} <= forbidden
    assert {
        "PUT /persons/{person_id}/silence",
        "PUT /setup/cameras/{camera_id}",
        "DELETE /setup/cameras/{camera_id}",
        "POST /setup/cameras/{camera_id}/try",
        "GET /cameras/{camera_id}/frame",
        "GET /setup/alerts",
        "POST /setup/alerts",
        "DELETE /setup/alerts/{name}",
        "GET /setup/check",
    } <= forbidden


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.7.7", "::", "example.org"])
def test_beyond_loopback_nothing_but_health_and_the_page_answers_without_a_token(
    make_served: Callable[..., Served], host: str
) -> None:
    # Nobody has said that tokens are required.
    served = make_served(host=host)
    assert served.settings.tokens_required

    async def ask() -> dict[str, int]:
        # In the process: an address of another machine cannot be listened to here.
        transport = httpx.ASGITransport(app=served.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return {
                f"{route.method} {route.path}": (
                    await client.request(**_request(route, Attack()))
                ).status_code
                for route in routes(served)
            }

    for route, status in asyncio.run(ask()).items():
        assert status == (200 if route.endswith("/health") else 401), route
