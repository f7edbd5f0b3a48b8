import contextlib
import json
import resource
import socket
from collections.abc import Callable

import pytest
from fake_service import Served, person_picture

PICTURE = {"Content-Type": "image/jpeg"}


def talk(served: Served, request: bytes, *more: bytes) -> bytes:
    """Send bytes as they are and read the answer until the service closes."""
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request.replace(b"HOST", f"{host}:{port}".encode()))
        for part in more:
            connection.sendall(part)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_every_answer_has_strict_headers(served: Served) -> None:
    for path in ("/", "/page/app.js", "/api/v1/status", "/api/v1/nothing", "/nothing"):
        headers = served.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
        assert "set-cookie" not in headers
        assert "access-control-allow-origin" not in headers
        if path.startswith("/api"):
            assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil"])
def test_a_name_that_is_not_ours_is_refused(served: Served, host: str) -> None:
    answer = served.client.get("/api/v1/session", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.json()["problem"] == "wrong_host"


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:80", "reid.test"])
def test_addresses_and_known_names_are_fine(make_served: Callable[..., Served], host: str) -> None:
    served = make_served(hosts=("reid.test",), require_token=True)
    headers = {"Host": host, **served.as_("viewer")}
    assert served.client.get("/api/v1/session", headers=headers).status_code == 200


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]", "127.1.2.3"])
def test_without_tokens_a_loopback_name_with_the_served_port_is_fine(
    served: Served, name: str
) -> None:
    port = served.address.rpartition(":")[2]
    headers = {"Host": f"{name}:{port}"}
    assert served.client.get("/api/v1/session", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:80", "reid.test", "192.168.1.5:PORT"]
)
def test_without_tokens_no_other_name_or_port_is(
    make_served: Callable[..., Served], host: str
) -> None:
    served = make_served(hosts=("reid.test",))
    headers = {"Host": host.replace("PORT", served.address.rpartition(":")[2])}
    answer = served.client.get("/api/v1/session", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["problem"] == "behind_a_proxy"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_pages_of_others_may_not_ask(served: Served, headers: dict[str, str]) -> None:
    answer = served.client.post("/api/v1/persons", json={"name": "Eve"}, headers=headers)
    assert answer.status_code == 403
    assert len(served.gallery.persons()) == 3
    assert served.client.get("/api/v1/persons", headers=headers).status_code == 403


def test_a_link_may_lead_to_the_page_and_the_page_itself_may_ask(served: Served) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert served.client.get("/", headers=link).status_code == 200
    own = {"Origin": served.address, "Sec-Fetch-Site": "same-origin"}
    answer = served.client.post("/api/v1/persons", json={"name": "Eve"}, headers=own)
    assert answer.status_code == 201


def test_a_proxy_does_not_let_everybody_in(make_served: Callable[..., Served]) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    assert make_served().client.get("/api/v1/persons", headers=forwarded).status_code == 403
    served = make_served(require_token=True)
    headers = {**forwarded, **served.as_("viewer")}
    assert served.client.get("/api/v1/persons", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        *("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port"),
        *("Forwarded", "Via", "X-Real-IP", "CF-Connecting-IP", "CF-Ray", "True-Client-IP"),
        *("X-Client-IP", "X-Cluster-Client-IP", "X-Original-URL", "X-Envoy-External-Address"),
        *("X-Amzn-Trace-Id", "X-Azure-FDID", "Fly-Client-IP", "Tailscale-User-Login"),
        *("Proxy-Connection", "X-Scheme", "CDN-Loop", "X-Varnish", "SSL-Client-Cert"),
    ],
)
def test_no_proxy_passes_for_this_machine(make_served: Callable[..., Served], header: str) -> None:
    served = make_served()
    answer = served.client.get("/api/v1/persons", headers={header: "1"})
    assert answer.status_code == 403
    assert answer.json()["problem"] == "behind_a_proxy"


def test_nor_does_nginx_as_it_is_installed(served: Served) -> None:
    # It names the server by the address that it was given, says nothing else, and speaks HTTP/1.0.
    request = b"GET /api/v1/persons HTTP/1.0\r\nHost: HOST\r\nConnection: close\r\n\r\n"
    assert talk(served, request).startswith(b"HTTP/1.1 403 ")


def test_a_stated_length_above_the_limit_is_refused_before_it_is_sent(served: Served) -> None:
    request = (
        b"POST /api/v1/search/picture HTTP/1.1\r\nHost: HOST\r\n"
        b"Content-Type: image/jpeg\r\nContent-Length: 1073741824\r\n\r\n"
    )
    answer = talk(served, request)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/api/v1/search/picture", "image/jpeg"), ("/api/v1/search", "application/json")],
)
def test_a_body_without_end_is_cut_off_and_memory_stays_flat(
    make_served: Callable[..., Served], path: str, kind: str
) -> None:
    served = make_served(max_picture_bytes=2**20, max_json_bytes=2**20)
    host, port = served.address.removeprefix("http://").split(":")
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {kind}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    part = b"10000\r\n" + bytes(65536) + b"\r\n"
    sent = 0
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        # Once it has answered, the connection is torn down with the rest still on its way.
        with contextlib.suppress(OSError):
            while sent < 2**30:
                connection.sendall(part)
                sent += 65536
        with contextlib.suppress(OSError):
            answer = connection.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    assert sent < 2**26
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert grown_kib < 40 * 1024
    assert served.client.get("/api/v1/health").status_code == 200


def test_a_body_that_trickles_in_is_given_up(make_served: Callable[..., Served]) -> None:
    served = make_served(body_s=0.3)
    request = (
        b"POST /api/v1/search/picture HTTP/1.1\r\nHost: HOST\r\n"
        b"Content-Type: image/jpeg\r\nContent-Length: 1000\r\n\r\nabc"
    )
    answer = talk(served, request)
    assert answer.startswith(b"HTTP/1.1 408 ")
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert body["problem"] == "too_slow"


def test_a_path_or_address_of_a_client_is_never_opened(served: Served) -> None:
    for path in (
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page//etc/passwd",
        "/page/style.css%00.html",
        "/../../etc/passwd",
    ):
        answer = talk(
            served, f"GET {path} HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n".encode()
        )
        assert answer.startswith((b"HTTP/1.1 404 ", b"HTTP/1.1 400 ")), path
    for body in (b"/etc/passwd", b"file:///etc/passwd", b"http://127.0.0.1:1/"):
        answer = served.client.post("/api/v1/search/picture", content=body, headers=PICTURE)
        assert answer.status_code == 422


def test_answers_after_a_refusal_are_unharmed(served: Served) -> None:
    for _ in range(5):
        served.client.post("/api/v1/search/picture", content=b"x", headers=PICTURE)
    good = served.client.post(
        "/api/v1/search/picture", content=person_picture(0, 3), headers=PICTURE
    )
    assert good.json()["name"] == "Anna"
