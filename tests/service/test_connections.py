"""Connections that say nothing, say it slowly, or do not listen."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from fake_service import Served

from adln.service.connections import network_of

ASK = b"GET /api/v1/session HTTP/1.1\r\nHost: %b\r\n\r\n"


def connect(served: Served) -> socket.socket:
    host, port = served.address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


@contextlib.contextmanager
def silent(served: Served, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(connect(served)) for _ in range(count)]


def ask(served: Served, connection: socket.socket) -> bytes:
    connection.sendall(ASK % served.address.removeprefix("http://").encode())
    answer = b""
    while not answer.endswith(b"}"):
        part = connection.recv(65536)
        assert part
        answer += part
    return answer


def is_ended(connection: socket.socket) -> bool:
    with contextlib.suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


@pytest.mark.parametrize("limits", [{"max_connections": 20}, {"max_connections_of_one": 20}])
def test_silent_connections_make_room_for_who_asks(
    make_served: Callable[..., Served], limits: dict[str, int]
) -> None:
    served = make_served(**limits)
    with connect(served) as honest, contextlib.ExitStack() as stack:
        # It has asked for something before, so that the silent ones go first.
        assert ask(served, honest).startswith(b"HTTP/1.1 200 ")
        many = stack.enter_context(silent(served, 60))
        for connection in many[:30]:
            assert is_ended(connection)
        assert ask(served, honest).startswith(b"HTTP/1.1 200 ")
        for _ in range(5):
            assert httpx.get(f"{served.address}/api/v1/session").status_code == 200


def test_a_connection_that_brings_no_whole_head_in_time_is_ended(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(head_s=0.3)
    with connect(served) as quiet, connect(served) as slow:
        began_s = time.monotonic()
        slow.settimeout(0.02)
        ended = False
        while not ended and time.monotonic() - began_s < 20:
            # A header that never ends.
            with contextlib.suppress(TimeoutError):
                try:
                    slow.sendall(b"G" if time.monotonic() - began_s < 0.1 else b"")
                    ended = slow.recv(1) == b""
                except ConnectionError:
                    ended = True
        assert ended
        assert is_ended(quiet)


def test_headers_without_end_are_ended_though_each_comes_in_time(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(head_s=0.3)
    with connect(served) as slow:
        # The second request of a connection has no more time than the first.
        assert ask(served, slow).startswith(b"HTTP/1.1 200 ")
        slow.sendall(b"GET /api/v1/session HTTP/1.1\r\n")
        slow.settimeout(0.05)
        began_s, ended = time.monotonic(), False
        while not ended and time.monotonic() - began_s < 20:
            try:
                slow.sendall(b"a: b\r\n")
                ended = slow.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
        assert ended


def test_where_all_are_being_answered_the_next_is_told_to_come_back(
    make_served: Callable[..., Served],
) -> None:
    served = make_served(max_connections=2, max_connections_of_one=2)
    own = served.address.removeprefix("http://").encode()
    with connect(served) as first, connect(served) as second, contextlib.ExitStack() as stack:
        for one in (first, second):
            one.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: %b\r\n\r\n" % own)
            assert one.recv(65536).startswith(b"HTTP/1.1 200 ")
        third = stack.enter_context(connect(served))
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := third.recv(65536):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert f"content-length: {len(body)}\r\n".encode() in head


@pytest.mark.parametrize(
    ("head", "pause_s", "answer"),
    [
        (b"POST /nowhere", 0.0, b"HTTP/1.1 400 "),
        (b"POST /nowhere", 0.2, b"HTTP/1.1 404 "),
        (b"GET /api/v1/events", 0.2, b"HTTP/1.1 200 "),
    ],
    ids=["before the answer", "after the answer", "during the answer"],
)
def test_a_body_that_is_no_http_ends_the_connection_and_fails_nowhere(
    served: Served, caplog: pytest.LogCaptureFixture, head: bytes, pause_s: float, answer: bytes
) -> None:
    own = served.address.removeprefix("http://").encode()
    begin = head + b" HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % own
    with connect(served) as broken:
        if pause_s > 0:
            broken.sendall(begin)
            time.sleep(pause_s)
            begin = b""
        broken.sendall(begin + b"no size of a chunk\r\n")
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := broken.recv(65536):
                received += part
        assert received.startswith(answer)
        assert received.count(b"HTTP/1.1 ") == 1
    assert httpx.get(f"{served.address}/api/v1/session").status_code == 200
    assert [one.getMessage() for one in caplog.records if one.levelname == "ERROR"] == []


def test_one_client_is_an_address_or_a_network() -> None:
    assert network_of("203.0.113.9") == network_of("::ffff:203.0.113.9") == "203.0.113.9"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") == "2001:db8::/64"
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("unknown") == "unknown"
