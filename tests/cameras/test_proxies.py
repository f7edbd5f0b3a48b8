import io
import os
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from adln.cameras.captures import open_capture
from adln.cameras.proxies import exempt, is_local, proxies_for


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://10.0.0.9/snapshot.jpg", True),
        ("http://user@192.168.1.4:8080/a.jpg", True),
        ("http://[fe80::1]/a.jpg", True),
        ("http://127.0.0.1:5000", True),
        ("http://camera/snapshot.jpg", True),
        ("http://Door.local./a.jpg", True),
        ("https://hooks.example.com/x", False),
        ("http://93.184.216.34/a.jpg", False),
    ],
)
def test_only_what_is_elsewhere_is_asked_through_a_proxy(
    url: str, local: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert is_local(url) is local
    proxies: dict[str, str] = proxies_for(url).proxies  # type: ignore[attr-defined]
    assert ("http" in proxies) is not local


def test_a_local_host_is_taken_out_once_and_others_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "example.org")
    for url in ("http://10.0.0.9/video", "http://10.0.0.9/other", "http://example.com/video"):
        exempt(url)
    assert os.environ["no_proxy"] == "example.org,10.0.0.9"


@pytest.mark.parametrize(
    ("name", "stated"),
    [("NO_PROXY", "example.net, example.org"), ("NO_PROXY", "*"), ("no_proxy", "*")],
)
def test_what_was_without_a_proxy_before_stays_so(
    monkeypatch: pytest.MonkeyPatch, name: str, stated: str
) -> None:
    for known in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(known, "")  # whatever is written is undone at the end
        monkeypatch.delenv(known)
    monkeypatch.setenv(name, stated)
    exempt("http://10.0.0.9/video")
    for host in ("example.org", "10.0.0.9"):
        assert urllib.request.proxy_bypass_environment(host)  # type: ignore[attr-defined]


class Stream(BaseHTTPRequestHandler):
    """A camera that sends one JPEG after another."""

    def do_GET(self) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(buffer, "JPEG")
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
        self.end_headers()
        head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {buffer.tell()}\r\n\r\n"
        for _ in range(100):
            self.wfile.write(head.encode() + buffer.getvalue() + b"\r\n")

    def log_message(self, *_: object) -> None:
        pass


def test_a_stream_here_is_not_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    with ThreadingHTTPServer(("127.0.0.1", 0), Stream) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            capture = open_capture(f"http://127.0.0.1:{server.server_port}/video", timeout_s=10)
            assert capture.read() is not None
            capture.close()
        finally:
            server.shutdown()
            thread.join()
