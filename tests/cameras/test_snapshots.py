import base64
import io
import threading
from collections.abc import Iterator
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


def test_what_is_no_picture_is_left_out() -> None:
    assert SnapshotCapture("http://x/a.jpg", fetch=lambda: b"<html>").read() is None


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
