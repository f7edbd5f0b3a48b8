import base64
import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
from PIL import Image

from adln.cameras.snapshots import SnapshotCapture, is_snapshot
from adln.errors import CameraError


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 12, 3), 90, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


class Camera(BaseHTTPRequestHandler):
    """Shows its picture to who knows the password."""

    def do_GET(self) -> None:
        expected = "Basic " + base64.b64encode(b"me:p@ss/word").decode()
        if self.headers.get("Authorization") != expected:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(jpeg())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Camera) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """A port whose only client gets this answer."""

    def serve() -> None:
        client, _ = listener.accept()
        with client, suppress(OSError):
            client.recv(65536)
            answer(client)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_camera_here_is_not_asked_through_a_proxy(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    capture = SnapshotCapture(f"http://me:p%40ss%2Fword@127.0.0.1:{port}/snapshot.jpg")
    assert capture.read() is not None


def test_pictures_are_asked_for_with_the_password_and_at_their_pace(port: int) -> None:
    pauses: list[float] = []
    source = f"http://me:p%40ss%2Fword@127.0.0.1:{port}/snapshot.jpg"
    camera = SnapshotCapture(source, every_s=2, clock=lambda: 5.0, sleep=pauses.append)
    for _ in range(2):
        picture = camera.read()
        assert picture is not None
        assert picture.image.shape == (8, 12, 3)
    assert pauses == [0.0, 2.0]


def test_a_camera_that_refuses_is_named_without_its_password(port: int) -> None:
    camera = SnapshotCapture(f"http://me:s3cret@127.0.0.1:{port}/snapshot.jpg")
    with pytest.raises(CameraError, match="401") as caught:
        camera.read()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a size\r\n",
        b"HTTP/1.1 200 OK\r\n" + 200 * b"X: y\r\n" + b"\r\n",
    ],
)
def test_what_answers_unlike_a_camera_is_named(answer: bytes) -> None:
    with answering(lambda client: client.sendall(answer)) as port:
        camera = SnapshotCapture(f"http://me:s3cret@127.0.0.1:{port}/snapshot.jpg")
        with pytest.raises(CameraError, match=r"no picture received.*check the address") as caught:
            camera.read()
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"HTTP/1.1 "]
)
def test_a_camera_that_trickles_is_given_up(head: bytes) -> None:
    ended = threading.Event()

    def trickle(client: socket.socket) -> None:
        client.sendall(head)
        while not ended.wait(0.02):
            client.sendall(b".")

    with answering(trickle) as port:
        camera = SnapshotCapture(f"http://127.0.0.1:{port}/snapshot.jpg", timeout_s=0.2)
        try:
            with pytest.raises(CameraError, match=r"not complete after 0\.2 s"):
                camera.read()
        finally:
            ended.set()


def test_what_is_no_picture_is_left_out() -> None:
    assert SnapshotCapture("http://x/a.jpg", fetch=lambda: b"<html>").read() is None


@pytest.mark.parametrize("side_px", [10_000, 15_000])
def test_a_picture_that_would_fill_the_memory_is_left_out(side_px: int) -> None:
    content = io.BytesIO()
    Image.new("1", (side_px, side_px)).save(content, "PNG")
    assert SnapshotCapture("http://x/a.png", fetch=content.getvalue).read() is None


def test_only_the_formats_of_cameras_are_decoded() -> None:
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "TIFF")
    assert SnapshotCapture("http://x/a.jpg", fetch=content.getvalue).read() is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("http://10.0.0.2/snapshot.jpg", True),
        ("https://u:p@10.0.0.2/cgi-bin/snapshot.cgi?channel=1", True),
        ("http://10.0.0.2/a.JPG?x=1", True),
        ("http://10.0.0.2/video.mjpg", False),
        ("rtsp://10.0.0.2/snapshot.jpg", False),
        ("snapshot.jpg", False),
    ],
)
def test_addresses_of_single_pictures_are_told_from_streams(source: str, expected: bool) -> None:
    assert is_snapshot(source) == expected
