import logging
import os
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from adln.cameras.captures import Picture
from adln.cameras.frames import Frame
from adln.cameras.recordings import ImageFolder, VideoFile
from adln.cameras.redaction import public_name
from adln.cameras.watching import CameraGroup, open_source
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


def test_a_file_with_a_pause_is_whole_although_it_announces_more_frames() -> None:
    times = [*(i / 10 for i in range(20)), *(20 + i / 10 for i in range(20))]
    source = VideoFile("x", "a", opener=lambda _: Script(*times, announced=220))
    assert len(read_all(source)) == 40
    assert (source.status().frames_corrupt, source.status().last_error) == (0, "")


def test_a_file_that_ends_before_the_length_it_announces_is_damaged() -> None:
    times = [i / 10 for i in range(100)]
    source = VideoFile("x", "a", opener=lambda _: Script(*times, announced=220))
    assert len(read_all(source)) == 100
    assert source.status().frames_corrupt == 120


def test_a_file_without_times_goes_by_the_rate_that_the_user_states(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = VideoFile("x.h264", "a", fps=4, opener=lambda _: Script(*[0.0] * 40))
    with caplog.at_level(logging.WARNING):
        found = [frame.time_s for frame in read_all(source)]
    np.testing.assert_allclose(found, np.arange(40) / 4)
    assert caplog.records == []


def test_a_raw_h264_stream_is_read_at_the_stated_rate(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "door.h264"
    with av.open(str(path), "w", format="h264") as stream:
        encoder = stream.add_stream("libx264", rate=10)
        encoder.width, encoder.height, encoder.pix_fmt = 320, 240, "yuv420p"
        for shade in range(0, 240, 4):
            pixels = np.full((240, 320, 3), shade, np.uint8)
            stream.mux(encoder.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        stream.mux(encoder.encode())
    with caplog.at_level(logging.WARNING):
        source = open_source(str(path), "a", fps=10.0)
        found = [frame.time_s for frame in read_all(source)]
    np.testing.assert_allclose(found, np.arange(60) / 10)
    assert caplog.records == []
    assert source.status().clock_jumps == 0


def test_jumps_of_a_clock_give_one_line(caplog: pytest.LogCaptureFixture) -> None:
    times = [100.0 - 3 * i for i in range(20)]
    source = VideoFile("x", "a", opener=lambda _: Script(*times))
    with caplog.at_level(logging.WARNING):
        read_all(source)
    assert source.status().clock_jumps == 19
    assert len(caplog.records) == 1


def test_pictures_are_played_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for index in (1, 2, 9, 10, 11, 100):
        Image.fromarray(np.full((2, 2, 3), index, np.uint8)).save(tmp_path / f"f{index}.png")
    found = [int(frame.image[0, 0, 0]) for frame in read_all(ImageFolder(tmp_path, "a"))]
    assert found == [1, 2, 9, 10, 11, 100]


def test_names_that_are_no_utf8_and_names_like_addresses_can_be_read(drawn_video: Path) -> None:
    for name in (b"caf\xe9.avi", b"12:30:05.avi", "Tür auf.avi".encode()):
        path = Path(os.fsdecode(os.fsencode(drawn_video.parent) + b"/" + name))
        path.write_bytes(drawn_video.read_bytes())
        source = VideoFile(path, "a")
        assert len(read_all(source)) == 30
        source.status().source.encode()


def test_a_recording_of_which_nobody_says_when_is_dated_by_its_file(
    drawn_video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.utime(drawn_video, (1.6e9, 1.6e9))
    with caplog.at_level(logging.WARNING):
        source = open_source(str(drawn_video), "a", start_s=None)
    frames = list(iter(source.next_frame, None))
    assert frames[0].time_s == pytest.approx(1.6e9 - 3)
    assert "2020-09-13" in caplog.text
    assert "Set `start`" in caplog.text


@pytest.mark.parametrize("file_s", [0.0, 315_532_800.0, 4e9])
def test_a_file_whose_time_cannot_be_right_is_dated_now(
    drawn_video: Path, caplog: pytest.LogCaptureFixture, file_s: float
) -> None:
    os.utime(drawn_video, (file_s, file_s))
    source = VideoFile(drawn_video, "a", start_s=None)
    assert abs(source.start_s + 3 - time.time()) < 60
    assert "cannot be right" in caplog.text


def test_passwords_are_not_shown() -> None:
    assert public_name("rtsp://me:secret@10.0.0.2/live") == "rtsp://***@10.0.0.2/live"
