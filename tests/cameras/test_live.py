import random
import socket
import threading

import numpy as np
import pytest

from adln.cameras.captures import Picture, open_capture
from adln.cameras.clocks import Backoff, SteadyClock
from adln.cameras.live import LiveCamera, Patience
from adln.cameras.recordings import VideoFile
from adln.cameras.watching import CameraGroup
from adln.errors import CameraError


class Dying:
    """Gives some pictures, then fails as it is told."""

    fps = 10.0
    announced_frames = 0

    def __init__(self, pictures: int, failure: Exception | None = None) -> None:
        self._left, self._failure = pictures, failure

    def read(self) -> Picture | None:
        self._left -= 1
        if self._left >= 0:
            return Picture(np.full((2, 2, 3), self._left, np.uint8), None)
        if self._failure is not None:
            raise self._failure
        return None

    def close(self) -> None:
        pass


def watch(openings: list[Dying | Exception], **options: object) -> tuple[LiveCamera, list[float]]:
    """Run a camera through openings, in this thread; gives the pauses between them."""
    pauses: list[float] = []

    def opener(_: str) -> Dying:
        opening = openings.pop(0)
        if isinstance(opening, Exception):
            raise opening
        return opening

    def wait(pause_s: float) -> None:
        pauses.append(pause_s)
        if not openings:
            camera._closing.set()

    backoff = Backoff(jitter=0.5, rng=random.Random(1), longest_s=8)
    camera = LiveCamera(
        "rtsp://u:p@cam/1", "a", opener=opener, backoff=backoff, wait=wait, **options
    )
    camera.run()
    return camera, pauses


def test_a_camera_that_dies_comes_back_with_growing_pauses() -> None:
    gone = CameraError("gone")
    camera, pauses = watch([Dying(3), gone, gone, gone, gone, Dying(2, OSError("cable"))])
    status = camera.status()
    assert (status.frames_read, status.reconnects) == (5, 1)
    for pause_s, full_s in zip(pauses, [1, 2, 4, 8, 8, 8], strict=True):
        assert full_s / 2 <= pause_s <= full_s
    assert "cable" in status.last_error
    assert "u:p" not in status.source + status.last_error


class Hanging(Dying):
    """Gives its last picture for ever; only one pixel of it changes before."""

    def __init__(self, changes: int) -> None:
        super().__init__(0)
        self._changes = changes

    def read(self) -> Picture | None:
        self._changes = max(0, self._changes - 1)
        image = np.zeros((64, 64, 3), np.uint8)
        image[5, 7] = self._changes
        return Picture(image, None)


def test_a_camera_that_repeats_its_last_picture_is_connected_again() -> None:
    clock = iter(range(10_000))
    camera, pauses = watch(
        [Hanging(200), Hanging(0)],
        monotonic=lambda: float(next(clock)),
        patience=Patience(still_s=50),
    )
    status = camera.status()
    assert (status.frames_read, status.reconnects) == (200 + 49 + 49, 1)
    assert "the same picture for 50 s" in status.last_error
    assert max(pauses) <= 1


def test_a_camera_that_hangs_is_not_running_and_gives_no_frame_until_its_picture_changes() -> None:
    states: list[str] = []
    given: list[int] = []

    class Recovering(Dying):
        def read(self) -> Picture | None:
            states.append(camera.status().state)
            if len(states) == 16:
                camera._closing.set()
            return Picture(np.full((64, 64, 3), len(states) >= 14, np.uint8), None)

    def on_frame() -> None:
        frame = camera.next_frame()
        assert frame is not None
        given.append(len(states))

    clock = iter(range(10_000))
    camera = LiveCamera(
        "rtsp://x",
        "a",
        opener=lambda _: Recovering(0),
        monotonic=lambda: float(next(clock)),
        patience=Patience(still_s=5),
        wait=lambda _: None,
        on_frame=on_frame,
    )
    camera.run()
    assert states == ["opening"] + ["running"] * 5 + ["waiting"] * 8 + ["running"] * 2
    assert given == [1, 2, 3, 4, 5, 14, 15, 16]
    assert camera.next_frame() is None
    # Those that raised the alarm, the sixth and every fifth after it, are not counted.
    assert camera.status().frames_read == 14


def test_late_frames_are_dropped_oldest_first_and_counted() -> None:
    camera, _ = watch([Dying(10)], buffer_frames=2)
    assert [camera.next_frame().index for _ in range(2)] == [8, 9]  # type: ignore[union-attr]
    assert camera.next_frame() is None
    assert camera.status().frames_dropped == 8


def test_times_rise_although_the_clock_is_set_back() -> None:
    walls = iter([1000.0, 10.0, 10.0])
    clock = SteadyClock(wall=lambda: next(walls), monotonic=lambda: 5.0)
    times = [clock.now() for _ in range(3)]
    assert times[0] >= 1000
    assert times == sorted(set(times))


def test_a_stalled_camera_does_not_stop_the_others() -> None:
    release = threading.Event()

    class Stalled(Dying):
        def read(self) -> Picture | None:
            release.wait()
            return None

    stalled = LiveCamera("rtsp://x", "stalled", opener=lambda _: Stalled(0))
    stalled.start()
    file = VideoFile("x", "file", opener=lambda _: Dying(5))
    group = CameraGroup([stalled, file])
    frames = []
    for found in group.rounds(wait_s=0.01):
        frames += found
        if file.ended:
            break
    release.set()
    group.close()
    assert [frame.camera_id for frame in frames] == ["file"] * 5


def test_a_silent_rtsp_server_is_given_up_after_the_time_limit() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        url = f"rtsp://me:secret@127.0.0.1:{server.getsockname()[1]}/live"
        with pytest.raises(CameraError, match=r"no video \(waited up to 0\.5 s") as caught:
            open_capture(url, timeout_s=0.5)
    assert "secret" not in str(caught.value)
