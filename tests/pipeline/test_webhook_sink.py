import hashlib
import hmac
import http.server
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import Request

import pytest
import trustme

from adln.errors import DeliveryError, UndeliveredError
from adln.pipeline.assembly import open_delivery
from adln.pipeline.connections import HttpClient
from adln.pipeline.outbox import StoredEvent
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch_settings import read_watch_settings
from adln.pipeline.webhook_sink import WebhookSink, sign

Make = Callable[[int], StoredEvent]


class Server:
    """A real HTTP server that answers as told and keeps what it was sent."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []  # the next ones; 200 after them
        self.poison: str | None = None
        self.release = threading.Event()
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.requests.append((dict(self.headers), body))
                status = server.answers.pop(0) if server.answers else 200
                if server.poison is not None and server.poison in body.decode():
                    status = 422
                if status == 0:  # never answers
                    server.release.wait(10)
                    return
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    def close(self) -> None:
        self.release.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def test_each_sighting_is_posted_with_its_id_as_key(server: Server, make_stored: Make) -> None:
    sink = WebhookSink(server.url, headers={"Authorization": "Bearer x"})
    sink.deliver([make_stored(1), make_stored(2)])
    sink.close()
    assert [SightingEvent.from_json(body).track_id for _, body in server.requests] == [1, 2]
    headers, _ = server.requests[0]
    assert headers["Idempotency-Key"] == make_stored(1).event_id
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer x"
    assert "Adln-Signature" not in headers


def test_a_signature_covers_time_and_body(server: Server, make_stored: Make) -> None:
    WebhookSink(server.url, secret=b"shared", clock=lambda: 1_700_000_123.9).deliver(
        [make_stored(1)]
    )
    headers, body = server.requests[0]
    expected = hmac.new(b"shared", b"1700000123." + body, hashlib.sha256).hexdigest()
    assert headers["Adln-Timestamp"] == "1700000123"
    assert headers["Adln-Signature"] == f"sha256={expected}"
    assert sign(b"other", "1700000123", body) != headers["Adln-Signature"]
    assert sign(b"shared", "1700000124", body) != headers["Adln-Signature"]


def test_batches_are_arrays_with_a_key_of_their_own(server: Server, make_stored: Make) -> None:
    sink = WebhookSink(server.url, batch_size=3)
    sink.deliver([make_stored(n) for n in range(5)])
    sizes = [len(json.loads(body)) for _, body in server.requests]
    keys = [headers["Idempotency-Key"] for headers, _ in server.requests]
    assert sizes == [3, 2]
    assert len(set(keys)) == 2
    sink.deliver([make_stored(n) for n in range(3)])
    assert server.requests[-1][0]["Idempotency-Key"] == keys[0]


@pytest.mark.parametrize("status", [500, 503, 404, 401, 302, 429])
def test_any_answer_but_2xx_acknowledges_nothing_more(
    server: Server, make_stored: Make, status: int
) -> None:
    server.answers = [200, status]
    with pytest.raises(UndeliveredError, match=str(status)) as caught:
        WebhookSink(server.url).deliver([make_stored(n) for n in range(3)])
    assert caught.value.acknowledged == 1
    assert not caught.value.refused
    assert len(server.requests) == 2


def test_a_receiver_that_does_not_answer_is_given_up(server: Server, make_stored: Make) -> None:
    server.answers = [0]
    with pytest.raises(UndeliveredError, match="cannot be reached"):
        WebhookSink(server.url, timeout_s=0.1).deliver([make_stored(1)])


def test_a_receiver_that_is_not_there_is_reported(make_stored: Make) -> None:
    gone = Server()
    gone.close()
    with pytest.raises(UndeliveredError, match="refused"):
        WebhookSink(gone.url).deliver([make_stored(1)])


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a receiver that reads one request and answers as given."""

    def serve() -> None:
        connection, _ = other.accept()
        # Whoever gives up closes the connection.
        with connection, suppress(OSError):
            # The whole request is read: closing with bytes unread would reset the connection.
            request = b""
            while not request.endswith(b"}") and (part := connection.recv(65536)):
                request += part
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{other.getsockname()[1]}/"
        thread.join()


def test_a_receiver_that_speaks_no_http_is_quoted_briefly(make_stored: Make) -> None:
    with (
        answering(lambda connection: connection.sendall(b"\xff" * 5000)) as url,
        pytest.raises(UndeliveredError, match="BadStatusLine") as raised,
    ):
        WebhookSink(url).deliver([make_stored(1)])
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (b"HTTP/1.1 200 ", b"."),
        (b"HTTP/1.1 200 OK\r\nX: ", b"."),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
def test_a_receiver_that_trickles_its_answer_is_given_up(
    make_stored: Make, begin: bytes, part: bytes
) -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(begin)
        for _ in range(250):
            connection.sendall(part)
            time.sleep(0.02)

    with (
        answering(trickle) as url,
        pytest.raises(UndeliveredError, match=r"not complete after 0\.2 s"),
    ):
        WebhookSink(url, timeout_s=0.2).deliver([make_stored(1)])


def test_a_request_that_is_long_in_sending_leaves_the_answer_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed_s = [0.0]
    clock = SimpleNamespace(monotonic=lambda: passed_s[0])
    monkeypatch.setattr("adln.cameras.deadlines.time", clock)

    def body() -> Iterator[bytes]:
        for part in (b"{", b"}"):
            passed_s[0] += 8.0
            yield part

    said = b"HTTP/1.1 204 No Content\r\n\r\n"
    with answering(lambda connection: connection.sendall(said)) as url:
        request = Request(url, data=body(), headers={"Content-Length": "2"})
        assert HttpClient(url, None).send(request, timeout_s=10.0)[0] == 204


def test_what_is_sent_before_the_answer_or_after_it_is_not_the_answer(make_stored: Make) -> None:
    hints = b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    said = hints + b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc"
    with answering(lambda connection: connection.sendall(said)) as url:
        WebhookSink(url).deliver([make_stored(1)])


def test_the_one_at_fault_is_found_in_a_batch(server: Server, make_stored: Make) -> None:
    server.poison = make_stored(2).event_id
    with pytest.raises(UndeliveredError) as caught:
        WebhookSink(server.url, batch_size=5).deliver([make_stored(n) for n in range(5)])
    assert caught.value.acknowledged == 2
    assert caught.value.refused


def test_https_is_verified(tmp_path: Path, make_stored: Make) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = Server(context)
    try:
        url = f"https://localhost:{server.port}/hook"
        with pytest.raises(UndeliveredError, match="CERTIFICATE_VERIFY_FAILED"):
            WebhookSink(url).deliver([make_stored(1)])
        # Known authority, but the certificate is another host's.
        with pytest.raises(UndeliveredError, match="CERTIFICATE_VERIFY_FAILED"):
            WebhookSink(
                f"https://127.0.0.1:{server.port}/hook", ca_file=tmp_path / "ca.pem"
            ).deliver([make_stored(1)])
        assert server.requests == []
        WebhookSink(url, ca_file=tmp_path / "ca.pem").deliver([make_stored(1)])
        assert len(server.requests) == 1
    finally:
        server.close()


def test_sightings_do_not_leave_unencrypted_by_accident() -> None:
    with pytest.raises(DeliveryError, match="unencrypted"):
        WebhookSink("http://example.org/hook")
    WebhookSink("http://example.org/hook", allow_plain_http=True)


def test_the_way_out_that_is_named_is_a_setting(tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    text = (
        '[[cameras]]\nname = "c"\nnumber = 1\nsource = "f"\n'
        '[webhook]\nurl = "http://192.0.2.20:8123/api/webhook/x"\n'
    )
    path.write_text(text)
    with pytest.raises(DeliveryError) as refused:
        open_delivery(read_watch_settings(path), tmp_path)
    (named,) = re.findall(r"webhook\.(\w+ = true)", str(refused.value))
    path.write_text(f"{text}{named}\n")
    open_delivery(read_watch_settings(path), tmp_path).close()


def test_secrets_of_an_address_are_not_told() -> None:
    url = "http://anna:hunter2@example.org:1/hook/hunter3?token=hunter4"
    with pytest.raises(DeliveryError) as refused:
        WebhookSink(url)
    assert "example.org:1" in str(refused.value)
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://x/y", "example.org", "https:///path", ""),
        *("https://[::1/hunter2", "https://x:port/hunter2", "https://x:99999/hunter2"),
        "https://x:0/hunter2",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(DeliveryError, match="https://host/path") as refused:
        WebhookSink(url)
    assert "hunter" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://x/hunter 2", "%20"),
        ("https://x/hunter\u00e4", "%20"),
        ("https://h\u00f6st/hunter", "xn--"),
    ],
)
def test_what_could_never_be_sent_is_refused_at_once(url: str, message: str) -> None:
    with pytest.raises(DeliveryError, match=message) as refused:
        WebhookSink(url)
    assert "hunter" not in str(refused.value)


def test_a_user_and_a_password_in_the_address_are_sent(server: Server, make_stored: Make) -> None:
    url = server.url.replace("http://", "http://anna:hunter%402@")
    WebhookSink(url).deliver([make_stored(1)])
    ((headers, _),) = server.requests
    assert headers["Authorization"] == "Basic YW5uYTpodW50ZXJAMg=="
    assert headers["Host"] == f"127.0.0.1:{server.port}"


def test_a_host_that_cannot_be_encoded_is_reported(make_stored: Make) -> None:
    with pytest.raises(UndeliveredError, match="cannot be reached"):
        WebhookSink("https://a..b/y").deliver([make_stored(1)])


def test_other_arguments_are_checked(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="batch_size"):
        WebhookSink("https://example.org", batch_size=0)
    with pytest.raises(DeliveryError, match="certificates"):
        WebhookSink("https://example.org", ca_file=tmp_path / "none.pem")
