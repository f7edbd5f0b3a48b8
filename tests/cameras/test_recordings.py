import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adln.cameras.captures import Picture, public_name
from adln.cameras.frames import Frame
from adln.cameras.recordings import ImageFolder, VideoFile
from adln.cameras.watching import CameraGroup
from adln.errors import CameraError, SettingsError

GREY = np.full((4, 6, 3), 90, np.uint8)


class Script:
    """A capture that gives what it is told: times in s, or None for a damaged picture."""

    fps = 10.0

    def __init__(self, *times: float | None, announced: int = 0) -> None:
        self._times = list(times)
        self.announced_frames = announced

    def read(self) -> Picture | None:
        time_s = self._times.pop(0) if self._times else None
        return None if time_s is None else Picture(GREY, time_s)

    def close(self) -> None:
        pass


def read_all(source: VideoFile | ImageFolder) -> list[Frame]:
    return list(iter(source.next_frame, None))


def test_a_video_gives_all_its_frames_with_their_times_twice_the_same(drawn_video: Path) -> None:
    first, second = (read_all(VideoFile(drawn_video, "a")) for _ in range(2))
    assert [frame.index for frame in first] == list(range(30))
    np.testing.assert_allclose([frame.time_s for frame in first], np.arange(30) / 10)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_a_video_cut_short_gives_what_it_has_and_says_what_is_missing(drawn_video: Path) -> None:
    data = drawn_video.read_bytes()
    drawn_video.write_bytes(data[: len(data) // 2])
    source = VideoFile(drawn_video, "a")
    frames = read_all(source)
    status = source.status()
    assert 5 < len(frames) < 30
    assert (status.state, status.frames_read) == ("ended", len(frames))


def test_damaged_frames_are_counted_and_logged_once_and_keep_their_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = VideoFile("x", "a", opener=lambda _: Script(0.0, None, None, 0.3, 0.4, announced=7))
    with caplog.at_level(logging.WARNING):
        frames = read_all(source)
    assert [frame.index for frame in frames] == [0, 3, 4]
    assert source.status().frames_corrupt == 4
    assert len(caplog.records) == 2
    assert "last 2 cannot be decoded" in source.status().last_error


def test_times_rise_although_the_clock_of_the_recording_jumps() -> None:
    source = VideoFile("x", "a", opener=lambda _: Script(5.0, 5.1, 1.0, 1.1, 90000.0, 90000.1))
    np.testing.assert_allclose([frame.time_s for frame in read_all(source)], np.arange(6) / 10)
    assert source.status().clock_jumps == 2


@pytest.mark.parametrize("content", [None, b"", b"no video at all"])
def test_what_is_no_video_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CameraError, match=r"clip\.mp4"):
        VideoFile(path, "a")


def test_a_folder_skips_damaged_pictures(tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(GREY).save(tmp_path / f"{index}.png")
    (tmp_path / "1.png").write_bytes(b"broken")
    source = ImageFolder(tmp_path, "a", fps=5)
    assert [(frame.index, frame.time_s) for frame in read_all(source)] == [(0, 0.0), (2, 0.4)]
    assert source.status().frames_corrupt == 1


def test_rounds_of_files_go_by_time_and_names_are_unique() -> None:
    slow = VideoFile("x", "slow", opener=lambda _: Script(0.0, 0.2))
    fast = VideoFile("x", "fast", opener=lambda _: Script(0.0, 0.1, 0.2, 0.3))
    rounds = [
        [frame.camera_id for frame in frames] for frames in CameraGroup([slow, fast]).rounds()
    ]
    assert rounds == [["slow", "fast"], ["fast"], ["slow", "fast"], ["fast"]]
    with pytest.raises(SettingsError, match="two cameras"):
        CameraGroup([slow, slow])


def test_passwords_are_not_shown() -> None:
    assert public_name("rtsp://me:secret@10.0.0.2/live") == "rtsp://***@10.0.0.2/live"
