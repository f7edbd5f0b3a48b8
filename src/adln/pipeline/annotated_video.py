"""Writes one video per camera with boxes and identities drawn in, for people to watch.

VP9 in MP4, or VP8 in WebM, which takes a sixth of the time: browsers play both, and OpenCV's wheels
can write them. Their FFmpeg contains libvpx (BSD licence), but no H.264 encoder. Each video is
encoded in its own thread while the watch continues with the next frames.
"""

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.atomic import require_writable, suffix_of
from adln.cameras.captures import load_opencv
from adln.cameras.names import file_name
from adln.errors import CameraError, SettingsError
from adln.pipeline.drawing import FrameArtist
from adln.pipeline.watch_parts import SeenFrame

VIDEO_CODECS = {".mp4": "vp09", ".webm": "VP80"}
"""File suffix -> codec (FourCC). MP4 cannot hold VP8."""

_OTHER_VIDEOS = {".avi", ".mov", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif", ".ts", ".flv"}
# The frame rate is measured over this many frames.
_FRAMES_FOR_RATE = 8
_SLOWEST_FPS, _FASTEST_FPS = 1.0, 60.0
# A pause in a recording is shown for at most this many seconds.
_LONGEST_PAUSE_S = 2.0
_LARGEST_PX = 1280
# Frames queued for the encoder, which is the slowest part of the loop with a single camera.
_MOST_WAITING = 8


class VideoWriters:
    """Writes a video for each camera at the rate of its frames.

    They show people, whatever other settings say. `target` is a folder, created if missing, which
    gets ``<camera>.mp4``; or a file that ends in .mp4 or .webm, to whose name the camera's is added
    if there are several. The recordings watched are never overwritten.

    Raises:
        SettingsError: the target cannot be written, is one of the recordings, or has an unsupported
            suffix.
    """

    def __init__(
        self,
        target: Path,
        *,
        recordings: Iterable[Path] = (),
        cameras: int = 1,
        name_of: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        load_opencv()
        self._target = target
        self._is_file = suffix_of(target) in VIDEO_CODECS
        self._cameras = cameras
        self._name_of = name_of
        self._videos: dict[str, _Video] = {}
        self._recordings = {path.resolve() for path in recordings}
        if target.resolve() in self._recordings:
            raise SettingsError(f"{target}: is the recording itself; name another file.")
        if suffix_of(target) in _OTHER_VIDEOS and not target.is_dir():
            raise SettingsError(
                f"{target}: videos are written as {' or '.join(VIDEO_CODECS)}; name a file with "
                "one of these suffixes, or a folder."
            )
        require_writable(target, raises=SettingsError, folder=not self._is_file)
        (target.parent if self._is_file else target).mkdir(parents=True, exist_ok=True)

    @property
    def paths(self) -> list[Path]:
        """The videos started so far."""
        return [video.path for video in self._videos.values()]

    def add(self, seen: SeenFrame) -> None:
        """Write a frame.

        Raises:
            CameraError: the video cannot be written.
        """
        name = seen.frame.camera_id
        if name not in self._videos:
            self._videos[name] = _Video(self._path_of(name), FrameArtist(name, self._name_of))
        self._videos[name].add(seen)

    def close(self) -> None:
        """Finish the videos."""
        for video in self._videos.values():
            video.close()

    def _path_of(self, camera: str) -> Path:
        plain = file_name(camera)
        folder, stem, suffix = self._target, plain, ".mp4"
        if self._is_file:
            folder, suffix = self._target.parent, self._target.suffix
            stem = self._target.stem + (f"-{plain}" if self._cameras > 1 else "")
        # Two camera names may give one file name, especially on disks that ignore case.
        taken = {path.name.casefold() for path in self.paths}
        path, number = folder / f"{stem}{suffix}", 1
        while path.name.casefold() in taken or path.resolve() in self._recordings:
            number += 1
            path = folder / f"{stem}-{number}{suffix}"
        return path


class _Video:
    """One video file; its first frames wait until the frame rate is measured."""

    def __init__(self, path: Path, artist: FrameArtist) -> None:
        self._cv2 = load_opencv()
        self.path = path
        self._artist = artist
        self._waiting: list[tuple[float, NDArray[np.uint8]]] = []
        self._writer: Any = None
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="adln-video")
        self._encoding: deque[Future[None]] = deque()
        self._fps = 0.0
        self._size = (0, 0)
        self._start_s = 0.0
        self._written = 0
        self._is_closed = False

    def add(self, seen: SeenFrame) -> None:
        if self._is_closed:
            return
        image = self._artist.draw(self._fitting(seen), seen)
        self._waiting.append((seen.frame.time_s, image))
        if self._writer is not None or len(self._waiting) == _FRAMES_FOR_RATE:
            self._flush()

    def close(self) -> None:
        if self._is_closed:
            return
        self._flush()
        self._is_closed = True
        self._encoder.shutdown()
        if self._writer is not None:
            self._writer.release()

    def _fitting(self, seen: SeenFrame) -> tuple[NDArray[np.uint8], float]:
        """The picture resized to the video's (even) size, and the scale factor."""
        height, width = seen.frame.image.shape[:2]
        scale = min(1.0, _LARGEST_PX / max(height, width))
        if self._size == (0, 0):
            self._size = tuple(max(2, 2 * round(side * scale / 2)) for side in (width, height))
        image: NDArray[np.uint8] = seen.frame.image
        if (width, height) == self._size:
            return image.copy(), 1.0
        resized = self._cv2.resize(image, self._size, interpolation=self._cv2.INTER_AREA)
        return resized, self._size[0] / width

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting and self._writer is None:
            self._open([time_s for time_s, _ in waiting])
        for time_s, image in waiting:
            bgr = np.ascontiguousarray(image[..., ::-1])
            due = round((time_s - self._start_s) * self._fps) + 1
            missing = due - self._written
            most = round(_LONGEST_PAUSE_S * self._fps)
            if missing > most:
                self._start_s += (missing - most) / self._fps
            for _ in range(min(missing, most)):
                if len(self._encoding) == _MOST_WAITING:
                    self._encoding.popleft().result()
                self._encoding.append(self._encoder.submit(self._writer.write, bgr))
                self._written += 1

    def _open(self, times_s: list[float]) -> None:
        steps = [later - earlier for earlier, later in pairwise(times_s)]
        fps = 1 / max(median(steps), 1e-3) if steps else _SLOWEST_FPS
        self._fps = round(min(max(fps, _SLOWEST_FPS), _FASTEST_FPS), 2)
        self._start_s = times_s[0]
        code = self._cv2.VideoWriter.fourcc(*VIDEO_CODECS[self.path.suffix.lower()])
        self._writer = self._cv2.VideoWriter(
            str(self.path.absolute()), self._cv2.CAP_FFMPEG, code, self._fps, self._size
        )
        if not self._writer.isOpened():
            self._is_closed = True
            raise CameraError(
                f"{self.path}: this video cannot be written. OpenCV's wheels from PyPI can write "
                "VP8 and VP9; other builds may not."
            )
