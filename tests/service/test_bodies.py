"""Bodies that are too large, too many, too slow, or not for whom they are sent to."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Annotated

import httpx
import pytest
from fake_service import Served, person_picture
from fastapi import Body, FastAPI, Request
from pydantic import field_validator

from adln.service.answers import In
from adln.service.bodies import Bodies, bounded_route
from adln.service.fairness import FairSlots

API = "/api/v1"
JSON = {"Content-Type": "application/json"}
PICTURE = {"Content-Type": "image/jpeg"}
UNKNOWN_KEYS = b"{" + b",".join(b'"%06d":1' % at for at in range(5_000)) + b"}"


@pytest.fixture
def guarded(make_served: Callable[..., Served]) -> Served:
    served = make_served(require_token=True)
    served.fill()
    return served


@contextlib.contextmanager
def begun(
    served: Served, path: str, length: int, *, role: str, kind: str
) -> Iterator[socket.socket]:
    """A request whose body does not come."""
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        head = (
            f"POST {API}{path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {length}\r\nAuthorization: Bearer {served.tokens[role]}\r\n\r\n"
        )
        connection.sendall(head.encode())
        yield connection


@pytest.mark.parametrize("path", ["/search", "/persons", "/sightings", "/persons/1/split"])
def test_json_with_more_keys_than_a_route_can_need_is_refused_by_counting(
    served: Served, path: str
) -> None:
    answer = served.client.post(f"{API}{path}", content=UNKNOWN_KEYS, headers=JSON)
    assert answer.status_code == 422
    assert "too many values" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/search", "/persons", "/sightings", "/persons/1/merge"])
@pytest.mark.parametrize("kind", [JSON, {"Content-Type": "text/plain"}, {}])
@pytest.mark.parametrize("body", [b"", b" \n", b"hello", b"\xff\xfe", b'{"ids": [1'])
def test_a_body_that_is_no_json_is_told_what_is_expected(
    served: Served, path: str, kind: dict[str, str], body: bytes
) -> None:
    answer = served.client.post(f"{API}{path}", content=body, headers=kind)
    assert answer.status_code == 422
    assert answer.json()["problem"] == "not_usable"
    assert "must be a JSON object, sent as application/json" in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "size"), [("/search", 200_000), ("/persons", 70_000), ("/persons/1/merge", 70_000)]
)
def test_json_that_is_larger_than_its_route_needs_is_refused(
    served: Served, path: str, size: int
) -> None:
    body = b'{"name": "' + b"x" * size + b'"}'
    answer = served.client.post(f"{API}{path}", content=body, headers=JSON)
    assert answer.status_code == 413
    # Nor where its length is not said.
    answer = served.client.post(f"{API}{path}", content=iter([body]), headers=JSON)
    assert answer.status_code == 413


def test_what_a_route_can_need_is_taken(served: Served) -> None:
    many = list(range(1000))
    where = {"cameras": many, "not_cameras": [5], "persons": many}
    answer = served.client.post(f"{API}/search", json={"sighting_id": 1, "where": where})
    assert answer.status_code == 200
    ids = [10**15 + at for at in range(1000)]
    answer = served.client.post(f"{API}/persons", json={"name": "," * 200, "sighting_ids": ids})
    assert answer.status_code == 404


def test_of_what_came_a_refusal_repeats_little(served: Served) -> None:
    answer = served.client.post(f"{API}/persons", json={"k" * 50_000: 1, "l" * 10_000: 2})
    assert answer.status_code == 422
    assert len(answer.content) < 500


def test_who_may_not_do_it_is_told_before_a_body_is_read(guarded: Served) -> None:
    for path in ("/sightings", "/persons", "/persons/1/forget"):
        with begun(guarded, path, 60_000, role="viewer", kind="application/json") as connection:
            assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_uploads_that_stand_still_are_in_nobodys_way(guarded: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(
                begun(guarded, "/search/picture", 1000, role="viewer", kind="image/jpeg")
            )
        for role in ("viewer", "operator"):
            answer = httpx.post(
                f"{guarded.address}{API}/search/picture",
                content=person_picture(0, 3),
                headers={**PICTURE, **guarded.as_(role)},  # type: ignore[arg-type]
                timeout=8,
            )
            assert answer.json()["name"] == "Anna"


def test_one_caller_cannot_fill_the_memory_with_bodies(make_served: Callable[..., Served]) -> None:
    served = make_served(require_token=True, max_picture_bytes=2**20, max_json_bytes=2**20)
    served.fill()
    with contextlib.ExitStack() as stack:
        # Two of the largest are one caller's share; these wait for a place or hold one.
        for _ in range(6):
            stack.enter_context(
                begun(served, "/search/picture", 2**20, role="viewer", kind="image/jpeg")
            )
        answer = httpx.post(
            f"{served.address}{API}/search/picture",
            content=person_picture(0, 3),
            headers={**PICTURE, **served.as_("operator")},
            timeout=8,
        )
        assert answer.json()["name"] == "Anna"


def test_json_is_validated_off_the_event_loop() -> None:
    threads: dict[str, int] = {}

    class Asked(In):
        name: str

        @field_validator("name")
        @classmethod
        def notice(cls, name: str) -> str:
            threads["validating"] = threading.get_ident()
            return name

    bodies = Bodies(2**20)
    app = FastAPI()
    app.router.route_class = bounded_route(bodies, FairSlots(2), FairSlots(2), json_bytes=2**20)

    @app.post("/")
    async def take(request: Request, asked: Annotated[Asked, Body()]) -> str:
        threads["serving"] = threading.get_ident()
        return asked.name

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post("/", json={"name": "a"})

    assert asyncio.run(ask()).json() == "a"
    assert threads["validating"] != threads["serving"]
