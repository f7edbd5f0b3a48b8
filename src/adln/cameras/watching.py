"""Several cameras at once, in rounds of at most one frame of each, for batched detection."""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from adln.cameras.captures import is_live, open_capture
from adln.cameras.clocks import SteadyClock
from adln.cameras.frames import CameraStatus, Frame, Source
from adln.cameras.live import LiveCamera
from adln.cameras.recordings import ImageFolder, VideoFile
from adln.cameras.snapshots import SnapshotCapture, is_snapshot
from adln.errors import SettingsError

FOLDER_FPS = 10.0
"""Pictures per second of a folder by default."""

# Frames of files that are this close in time go into one round.
_SAME_MOMENT_S = 0.02


def open_source(
    source: str,
    camera_id: str,
    *,
    fps: float = 0.0,
    start_s: float | None = 0.0,
    clock: SteadyClock | None = None,
    on_frame: Callable[[], object] | None = None,
) -> Source:
    """Open a source given by a user.

    Args:
        source: path of a video file or of a folder of pictures, "rtsp://...",
            "http://.../snapshot.jpg", or "usb:0". Returns without waiting for a live camera, which
            is tried until it answers.
        camera_id: the camera it stands for.
        fps: pictures per second of a folder (10 if left out), or of a file without times.
        start_s: time of the first frame of a file or folder; None derives it from the file's
            modification time.
        clock: times of a live camera's frames; the same one for all cameras that are watched
            together.
        on_frame: called when a live camera has a frame; see `CameraGroup.wake`.

    Raises:
        CameraError: a file or folder cannot be read.
    """
    if is_live(source):
        opener = SnapshotCapture if is_snapshot(source) else open_capture
        camera = LiveCamera(source, camera_id, opener=opener, clock=clock, on_frame=on_frame)
        camera.start()
        return camera
    if Path(source).is_dir():
        return ImageFolder(source, camera_id, fps=fps or FOLDER_FPS, start_s=start_s)
    return VideoFile(source, camera_id, start_s=start_s, fps=fps)


class CameraGroup:
    """Takes frames of several cameras in rounds.

    Files take turns by the times of their frames, so that rounds are the same on each run. For live
    cameras, a round holds the frames that have arrived; recordings watched with them advance when
    no live camera has a frame.

    Raises:
        SettingsError: two sources have the same camera_id.
    """

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        self._sources: list[Source] = []
        self._ahead: dict[str, Frame] = {}
        self._news = threading.Event()
        for source in sources:
            self.add(source)

    def add(self, source: Source) -> None:
        """Add a camera.

        Raises:
            SettingsError: its camera_id is taken.
        """
        if any(source.camera_id == other.camera_id for other in self._sources):
            raise SettingsError(
                f"two cameras are called {source.camera_id!r}; give each camera its own name."
            )
        self._sources.append(source)

    def wake(self) -> None:
        """Wake a waiting `rounds` because a live camera has a frame; thread-safe."""
        self._news.set()

    def rounds(self, *, wait_s: float = 0.05) -> Iterator[list[Frame]]:
        """Frames until all cameras have ended: at most one of each, in the order of the cameras.

        Args:
            wait_s: longest wait for live cameras if no frame is there; then an empty round is
                yielded, so that the caller can do other work or stop.
        """
        while True:
            self._news.clear()
            frames = self._live() or self._recorded()
            if frames:
                places = {source.camera_id: at for at, source in enumerate(self._sources)}
                yield sorted(frames, key=lambda frame: places[frame.camera_id])
                continue
            if all(source.ended for source in self._sources):
                return
            self._news.wait(wait_s)
            if not self._news.is_set():
                yield []

    @property
    def announced_frames(self) -> int:
        """Total of frames stated by all recordings; 0 if one of them states none."""
        counts = [
            source.announced_frames
            for source in self._sources
            if isinstance(source, VideoFile | ImageFolder)
        ]
        return sum(counts) if all(counts) else 0

    def statuses(self) -> list[CameraStatus]:
        """Status of each camera."""
        return [source.status() for source in self._sources]

    def close(self) -> None:
        """Close all cameras."""
        for source in self._sources:
            source.close()
        self._ahead.clear()
        self.wake()

    def _recorded(self) -> list[Frame]:
        for source in self._sources:
            if not source.live and source.camera_id not in self._ahead:
                frame = source.next_frame()
                if frame is not None:
                    self._ahead[source.camera_id] = frame
        first_s = min((frame.time_s for frame in self._ahead.values()), default=0.0)
        end_s = first_s + _SAME_MOMENT_S
        due = [camera_id for camera_id, frame in self._ahead.items() if frame.time_s <= end_s]
        return [self._ahead.pop(camera_id) for camera_id in due]

    def _live(self) -> list[Frame]:
        frames = [source.next_frame() for source in self._sources if source.live]
        return [frame for frame in frames if frame is not None]
