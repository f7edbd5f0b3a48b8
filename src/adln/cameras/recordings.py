"""Video files and folders of pictures, read as fast as the machine allows and without gaps.

Damaged pictures are counted, logged and skipped; later ones keep their number and time.
"""

import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adln.cameras.captures import Capture, open_capture
from adln.cameras.clocks import RecentRate, RecordedTimes
from adln.cameras.frames import Frame, Reporting
from adln.cameras.redaction import public_name
from adln.crops import read_image
from adln.datasets.listing import image_files
from adln.errors import CameraError, DatasetError, ImageError, SettingsError

_LOG = logging.getLogger(__name__)

# FFmpeg reports a damaged picture like the end of the file. This many in a row are taken for the
# end, unless the file states more pictures.
_FAILURES_AT_END = 64
# Some formats state only their duration, including that of the sound. Pictures missing at the end
# count as damage if they exceed this share of the recording or this many seconds.
_MISSING_SHARE, _MISSING_S = 0.05, 1.0
# No digital recording is older: such a clock was never set, or an archive has no times.
_OLDEST_S = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_DAY_S = 86_400.0


class VideoFile(Reporting):
    """A recorded video as the frames of a camera.

    Args:
        start_s: time of its first frame, e.g. in Unix time; None derives it from the file's
            modification time, taken as the end of the recording.
        fps: of a file without times, such as a raw H.264 stream; default: as stated by the file.

    Raises:
        CameraError: the file is missing or not a video.
    """

    live = False

    def __init__(
        self,
        path: str | Path,
        camera_id: str,
        *,
        start_s: float | None = 0.0,
        fps: float = 0.0,
        opener: Callable[[str], Capture] = open_capture,
    ) -> None:
        super().__init__(path, camera_id, "running")
        self._capture: Capture | None = opener(str(path))
        self.announced_frames = self._capture.announced_frames
        self._announced_fps = self._capture.fps
        if start_s is None:
            length_s = self.announced_frames / (self._announced_fps or fps or 1.0)
            start_s = _dated(Path(path), self._name, camera_id, length_s)
        self.start_s = start_s
        self._times = RecordedTimes(start_s=start_s, fps=fps or self._announced_fps)
        self._first_recorded_s: float | None = None
        self._last_recorded_s: float | None = None
        self._rate = RecentRate()

    @property
    def ended(self) -> bool:
        """Whether the end is reached, or the file was closed."""
        return self._capture is None

    def next_frame(self) -> Frame | None:
        """The next frame that can be decoded; None at the end."""
        if self._capture is None:
            return None
        failures, number = 0, self._next_number
        while failures < max(_FAILURES_AT_END, self.announced_frames - number):
            try:
                picture = self._capture.read()
            except CameraError as error:
                self._trouble(str(error))
                break
            if picture is None:
                failures += 1
                continue
            if failures:
                corrupt = self._status.frames_corrupt + failures
                self._trouble(
                    f"skipped {failures} damaged frame(s) from number {number} on "
                    f"({corrupt} so far)",
                    frames_corrupt=corrupt,
                )
            index = number + failures
            jumps = self._times.jumps
            time_s = self._times.next(picture.time_s, skipped=failures)
            if self._times.jumps > jumps:
                what = f"the recording's clock jumps at frame {index}; times continue evenly"
                # Log only the first; the status counts the others.
                if jumps == 0:
                    self._trouble(what)
                self._change(last_error=what, clock_jumps=self._times.jumps)
            if self._first_recorded_s is None:
                self._first_recorded_s = picture.time_s
            self._last_recorded_s = picture.time_s
            self._rate.add(time_s)
            read, fps = self._status.frames_read + 1, self._rate.fps
            self._change(frames_read=read, last_frame_s=time_s, fps=fps)
            return Frame(self.camera_id, index, time_s, picture.image)
        self._end()
        return None

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None
            self._change(state="closed")

    @property
    def _next_number(self) -> int:
        return self._status.frames_read + self._status.frames_corrupt

    def _end(self) -> None:
        self.close()
        self._change(state="ended")
        missing = self._missing()
        if missing > 0:
            self._trouble(
                f"the file states {self.announced_frames} frames; the last {missing} cannot be "
                "decoded",
                frames_corrupt=self._status.frames_corrupt + missing,
            )

    def _missing(self) -> int:
        """Number of pictures missing at the end.

        A file with pauses states more pictures than it has; its times show that it is complete.
        """
        missing = self.announced_frames - self._next_number
        first_s, last_s = self._first_recorded_s, self._last_recorded_s
        fps = self._announced_fps
        if missing <= 0 or not fps or first_s is None or last_s is None or last_s <= first_s:
            return missing
        length_s = self.announced_frames / fps
        missing_s = length_s - (last_s - first_s) - 1 / fps
        if missing_s < min(_MISSING_S, _MISSING_SHARE * length_s):
            return 0
        return min(missing, round(missing_s * fps))

    def _trouble(self, what: str, **values: Any) -> None:
        self._change(last_error=what, **values)
        _LOG.warning("camera %s: %s: %s", self.camera_id, self._name, what)


class ImageFolder(Reporting):
    """Pictures in a folder, ordered by the numbers in their names, as the frames of a camera.

    Args:
        start_s: see `VideoFile`; None derives it from the first picture's modification time.

    Raises:
        CameraError: there is no such folder, or no picture in it.
        SettingsError: `fps` is not above zero.
    """

    live = False

    def __init__(
        self, folder: str | Path, camera_id: str, *, fps: float = 10.0, start_s: float | None = 0.0
    ) -> None:
        if not fps > 0:
            raise SettingsError(f"{folder}: fps must be above zero, got {fps}.")
        try:
            self._paths = sorted(image_files(Path(folder)), key=_by_number)
        except DatasetError as error:
            raise CameraError(str(error)) from error
        if not self._paths:
            raise CameraError(f"{folder}: no pictures in this folder; expected .jpg or .png files.")
        super().__init__(folder, camera_id, "running")
        self._change(fps=fps)
        if start_s is None:
            start_s = _dated(self._paths[0], self._name, camera_id, 0.0)
        self.start_s = start_s
        self.announced_frames = len(self._paths)
        self._next = 0

    @property
    def ended(self) -> bool:
        """Whether all pictures were read, or the folder was closed."""
        return self._status.state != "running"

    def next_frame(self) -> Frame | None:
        """The next picture that can be decoded; None at the end."""
        while not self.ended:
            index, status = self._next, self._status
            self._next += 1
            if self._next == len(self._paths):
                self._change(state="ended")
            try:
                image = read_image(self._paths[index])
            except ImageError as error:
                self._change(frames_corrupt=status.frames_corrupt + 1, last_error=str(error))
                _LOG.warning("camera %s: skipped: %s", self.camera_id, error)
                continue
            time_s = self.start_s + index / status.fps
            self._change(frames_read=status.frames_read + 1, last_frame_s=time_s)
            return Frame(self.camera_id, index, time_s, image)
        return None

    def close(self) -> None:
        """Stop reading."""
        self._change(state="closed")


def _dated(path: Path, name: str, camera_id: str, length_s: float) -> float:
    """Start of a recording in Unix time, from its modification time; logged as a warning."""
    try:
        end_s = path.stat().st_mtime
    except OSError as error:
        raise CameraError(f"{public_name(path)}: cannot be read ({error.strerror}).") from error
    now_s = time.time()
    how = "by the time of its file"
    if not _OLDEST_S <= end_s <= now_s + _DAY_S:
        end_s, how = now_s, "as if it had just ended, because the time of its file cannot be right"
    start_s = end_s - length_s
    date = f"{datetime.fromtimestamp(start_s, UTC):%Y-%m-%d %H:%M:%S UTC}"
    what = f"the start of {Path(name).name} is not given; it is dated {how}: {date}"
    _LOG.warning("camera %s: %s. Set `start` if that is wrong", camera_id, what)
    return start_s


def _by_number(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that places 2.png before 10.png."""
    parts = enumerate(re.split(r"(\d+)", path.name))
    key = [(0, int(part), "") if at % 2 else (1, 0, part.casefold()) for at, part in parts]
    return [*key, (2, 0, path.name)]
