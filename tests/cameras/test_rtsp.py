"""Network cameras, by their own protocol."""

import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.cameras.rtsp_server import RtspCamera

from adln.cameras.captures import open_capture
from adln.cameras.clocks import Backoff
from adln.cameras.live import LiveCamera, Patience
from adln.errors import CameraError

LEFT, RIGHT = (200, 30, 40), (20, 60, 220)


def two_colours(_: int) -> NDArray[np.uint8]:
    image = np.empty((96, 160, 3), np.uint8)
    image[:, :80], image[:, 80:] = LEFT, RIGHT
    return image


def until(is_so: Callable[[], bool], within_s: float = 30.0) -> None:
    end_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_pictures_of_a_network_camera_arrive_as_it_took_them() -> None:
    with RtspCamera(two_colours) as server:
        capture = open_capture(server.url())
        pictures = [capture.read() for _ in range(5)]
        capture.close()
    for picture in pictures:
        assert picture is not None
        assert picture.image.shape == (96, 160, 3)
        np.testing.assert_allclose(picture.image[:, :72].mean(axis=(0, 1)), LEFT, atol=6)
        np.testing.assert_allclose(picture.image[:, 88:].mean(axis=(0, 1)), RIGHT, atol=6)
    times_s = [picture.time_s for picture in pictures if picture is not None]
    assert times_s == sorted(times_s)


def test_a_camera_with_a_password_opens_with_it_and_says_nothing_of_it_without() -> None:
    with RtspCamera(two_colours, account="watch:se-cret") as server:
        capture = open_capture(server.url("watch:se-cret"))
        assert capture.read() is not None
        capture.close()
        with pytest.raises(CameraError, match=r"no video \(waited up to") as refused:
            open_capture(server.url("watch:wro-ng"))
        assert "wro-ng" not in str(refused.value)


def test_a_camera_that_is_switched_off_and_on_again_comes_back() -> None:
    with RtspCamera(two_colours) as server:
        port = server.port
        camera = LiveCamera(
            server.url(),
            "yard",
            backoff=Backoff(first_s=0.1, longest_s=0.2),
            patience=Patience(silent_s=1.0, failures=3, proved_s=0.1),
        )
        camera.start()
        until(lambda: camera.status().frames_read >= 5)
    # Pictures that were under way may still arrive.
    until(lambda: camera.status().state == "waiting")
    before = camera.status().frames_read
    with RtspCamera(two_colours, port=port):
        until(lambda: camera.status().reconnects >= 1)
        until(lambda: camera.status().frames_read >= before + 5)
        camera.close()


def test_a_camera_that_falls_silent_is_called_again() -> None:
    with RtspCamera(two_colours, stop_after=5) as server:
        camera = LiveCamera(
            server.url(),
            "yard",
            opener=lambda source: open_capture(source, timeout_s=1.0),
            backoff=Backoff(first_s=0.1, longest_s=0.2),
            patience=Patience(silent_s=1.0, failures=3, proved_s=0.1),
        )
        camera.start()
        # Every connection gives five pictures.
        until(lambda: camera.status().frames_read >= 12)
        assert camera.status().reconnects >= 2
        camera.close()
