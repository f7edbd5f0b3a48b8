"""Video files and folders of pictures: read as fast as the machine allows, all of it, each time.

A picture that cannot be decoded is counted, logged and left out; the ones after it keep their
number and time.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from adln.cameras.captures import Capture, open_capture, public_name
from adln.cameras.clocks import RecentRate, RecordedTimes
from adln.cameras.frames import CameraState, CameraStatus, Frame
from adln.crops import read_image
from adln.datasets.listing import image_files
from adln.errors import CameraError, DatasetError, ImageError, SettingsError

_LOG = logging.getLogger(__name__)

# FFmpeg answers alike to a damaged picture and to the end. So many in a row are the end, unless
# the file announces more pictures than that.
_FAILURES_AT_END = 64


class VideoFile:
    """A recorded video as the frames of a camera.

    Args:
        path: the file.
        camera_id: which camera it stands for.
        start_s: time of its first frame, e.g. in Unix time.
        opener: opens it; by OpenCV if left out.

    Raises:
        CameraError: the file is missing or no video.
    """

    live = False

    def __init__(
        self,
        path: str | Path,
        camera_id: str,
        *,
        start_s: float = 0.0,
        opener: Callable[[str], Capture] = open_capture,
    ) -> None:
        self._camera_id = camera_id
        self._name = public_name(path)
        self._capture: Capture | None = opener(str(path))
        self._announced = self._capture.announced_frames
        self._times = RecordedTimes(start_s=start_s, fps=self._capture.fps)
        self._rate = RecentRate()
        self._state: CameraState = "running"
        self._read = self._corrupt = 0
        self._last_error = ""
        self._last_frame_s: float | None = None

    @property
    def camera_id(self) -> str:
        """Which camera."""
        return self._camera_id

    @property
    def ended(self) -> bool:
        """Whether the file is at its end, or closed."""
        return self._capture is None

    def next_frame(self) -> Frame | None:
        """The next frame that can be decoded; None at the end."""
        if self._capture is None:
            return None
        failures = 0
        expected = self._announced - self._read - self._corrupt
        while failures < max(_FAILURES_AT_END, expected):
            try:
                picture = self._capture.read()
            except CameraError as error:
                self._trouble(str(error))
                break
            if picture is None:
                failures += 1
                continue
            if failures:
                first = self._read + self._corrupt
                self._corrupt += failures
                self._trouble(
                    f"{failures} damaged frame(s) left out from number {first} on "
                    f"({self._corrupt} so far)"
                )
            index = self._read + self._corrupt
            jumps = self._times.jumps
            time_s = self._times.next(picture.time_s, skipped=failures)
            if self._times.jumps > jumps:
                self._trouble(f"the recording's clock jumps at frame {index}; carried on evenly")
            self._read += 1
            self._rate.add(time_s)
            self._last_frame_s = time_s
            return Frame(self._camera_id, index, time_s, picture.image)
        self._end()
        return None

    def status(self) -> CameraStatus:
        """How far it is, and what was damaged."""
        return CameraStatus(
            camera_id=self._camera_id,
            source=self._name,
            state=self._state,
            frames_read=self._read,
            frames_dropped=0,
            frames_corrupt=self._corrupt,
            reconnects=0,
            clock_jumps=self._times.jumps,
            last_error=self._last_error,
            last_frame_s=self._last_frame_s,
            fps=self._rate.fps,
        )

    def close(self) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.close()
            self._capture = None
            self._state = "closed"

    def _end(self) -> None:
        self.close()
        self._state = "ended"
        missing = self._announced - self._read - self._corrupt
        if missing > 0:
            self._corrupt += missing
            self._trouble(
                f"the file announces {self._announced} frames; the last {missing} cannot be decoded"
            )

    def _trouble(self, what: str) -> None:
        self._last_error = what
        _LOG.warning("camera %s: %s: %s", self._camera_id, self._name, what)


class ImageFolder:
    """Pictures in a folder, in the order of their names, as the frames of a camera.

    Args:
        folder: where they are.
        camera_id: which camera it stands for.
        fps: pictures a second.
        start_s: time of the first one.

    Raises:
        CameraError: there is no such folder, or no picture in it.
        SettingsError: `fps` is not above zero.
    """

    live = False

    def __init__(
        self, folder: str | Path, camera_id: str, *, fps: float = 10.0, start_s: float = 0.0
    ) -> None:
        if not fps > 0:
            raise SettingsError(f"{folder}: pictures a second must be above zero, got {fps}.")
        try:
            self._paths = image_files(Path(folder))
        except DatasetError as error:
            raise CameraError(str(error)) from error
        if not self._paths:
            raise CameraError(f"{folder}: no pictures in this folder; expected .jpg or .png files.")
        self._camera_id = camera_id
        self._name = str(folder)
        self._fps = fps
        self._start_s = start_s
        self._next = self._corrupt = 0
        self._closed = False
        self._last_error = ""
        self._last_frame_s: float | None = None

    @property
    def camera_id(self) -> str:
        """Which camera."""
        return self._camera_id

    @property
    def ended(self) -> bool:
        """Whether all pictures have been read, or the folder was closed."""
        return self._closed or self._next >= len(self._paths)

    def next_frame(self) -> Frame | None:
        """The next picture that can be decoded; None at the end."""
        while not self.ended:
            index, path = self._next, self._paths[self._next]
            self._next += 1
            try:
                image = read_image(path)
            except ImageError as error:
                self._corrupt += 1
                self._last_error = str(error)
                _LOG.warning("camera %s: left out: %s", self._camera_id, error)
                continue
            self._last_frame_s = self._start_s + index / self._fps
            return Frame(self._camera_id, index, self._last_frame_s, image)
        return None

    def status(self) -> CameraStatus:
        """How far it is, and what was damaged."""
        state: CameraState = "closed" if self._closed else "ended" if self.ended else "running"
        return CameraStatus(
            camera_id=self._camera_id,
            source=self._name,
            state=state,
            frames_read=self._next - self._corrupt,
            frames_dropped=0,
            frames_corrupt=self._corrupt,
            reconnects=0,
            clock_jumps=0,
            last_error=self._last_error,
            last_frame_s=self._last_frame_s,
            fps=self._fps,
        )

    def close(self) -> None:
        """Read no more."""
        self._closed = True
