"""What a person sees of a watch on the terminal: a small table that is renewed, or plain lines."""

import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from adln.cameras.frames import CameraStatus
from adln.cameras.redaction import public_text
from adln.cli.progress import clock, mention
from adln.pipeline.delivery import Delivery
from adln.pipeline.watch import WatchProgress

_RENEW_S = 0.5
_PLAIN_S = 10.0


class WatchView:
    """Shows where a watch stands, on standard error, as long as that can be written.

    Args:
        quiet: show only what is logged.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty()
        self._lines = 0
        self._shown_s = time.monotonic() if not self._live else 0.0

    def show(
        self, progress: WatchProgress, cameras: Sequence[CameraStatus], delivery: Delivery | None
    ) -> None:
        """Renew the table, if it is time to."""
        now = time.monotonic()
        if self._quiet or now - self._shown_s < (_RENEW_S if self._live else _PLAIN_S):
            return
        self._shown_s = now
        if self._live:
            columns = shutil.get_terminal_size().columns
            lines = self.table(progress, cameras, delivery)
            self._clear()
            mention("\n".join(line[:columns] for line in lines))
            self._lines = len(lines)
        else:
            mention(self.line(progress, cameras))

    def end(
        self, progress: WatchProgress, cameras: Sequence[CameraStatus], delivery: Delivery | None
    ) -> None:
        """Show the last table, to stay, and where the time went."""
        if self._quiet:
            return
        self._clear()
        for line in self.table(progress, cameras, delivery) + times(progress):
            mention(line)

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._clear()
        mention(text)

    def table(
        self, progress: WatchProgress, cameras: Sequence[CameraStatus], delivery: Delivery | None
    ) -> list[str]:
        """The table as lines; without a delivery nothing is said of sightings."""
        width = max([6, *(len(camera.camera_id) for camera in cameras)])
        rows = [
            f"{'camera':<{width}}  {'state':<8} {'fps':>5} {'frames':>7} {'dropped':>7} "
            f"{'damaged':>7} {'people':>6} {'tracks':>6}"
        ]
        for camera in cameras:
            name = camera.camera_id
            dropped = camera.frames_dropped + progress.skipped[name]
            rows.append(
                f"{name:<{width}}  {camera.state:<8} {camera.fps:>5.1f} "
                f"{progress.frames[name]:>7} {dropped:>7} {camera.frames_corrupt:>7} "
                f"{progress.people.get(name, 0):>6} {progress.tracks[name]:>6}"
            )
            if camera.state == "waiting" and camera.last_error:
                rows.append(f"{'':<{width}}  {camera.last_error[:90]}")
        speed = progress.video_s / progress.wall_s if progress.wall_s > 0 else 0.0
        level = f"{progress.depth_name}, {progress.crops_per_track} crops a track"
        if progress.keep_one_in > 1:
            level += f", 1 frame in {progress.keep_one_in}"
        rows.append(
            f"{clock(progress.video_s)} of video in {clock(progress.wall_s)} ({speed:.1f} times "
            f"real time)   {progress.identities} people known   {level}"
        )
        if delivery is not None:
            waiting = delivery.counts()
            pending = max((sink.pending for sink in waiting.sinks.values()), default=0)
            rows.append(
                f"sightings: {waiting.submitted} made, {waiting.waiting} not yet stored, "
                f"{pending} to be delivered"
            )
        return rows

    def line(self, progress: WatchProgress, cameras: Sequence[CameraStatus]) -> str:
        """All in one line, for logs."""
        frames, dropped = progress.frames.total(), progress.skipped.total()
        dropped += sum(camera.frames_dropped for camera in cameras)
        up = sum(camera.state == "running" for camera in cameras)
        return (
            f"{clock(progress.video_s)} of video: {up}/{len(cameras)} cameras, {frames} frames "
            f"({dropped} dropped), {sum(progress.people.values())} people in view, "
            f"{progress.identities} known, {progress.depth_name}, "
            f"{progress.crops_per_track} crops a track"
        )

    @contextmanager
    def taking_logs(self, logger: logging.Logger) -> Iterator[None]:
        """Print what is logged between the tables."""
        handler = _Handler(self)
        handler.setLevel(logging.WARNING if self._quiet else logging.INFO)
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(handler.level)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)

    def _clear(self) -> None:
        if self._lines:
            # Up to the first line of the table, and erase from there to the end of the screen.
            mention(f"\x1b[{self._lines}F\x1b[J", nl=False)
            self._lines = 0


def times(progress: WatchProgress) -> list[str]:
    """Where the time went, for each processed frame."""
    frames = progress.frames.total()
    if frames == 0:
        return []
    parts = ", ".join(f"{stage} {ms / frames:.1f}" for stage, ms in progress.stage_ms.items())
    total = progress.stage_ms.total() / frames
    return [f"ms a frame: {total:.1f} ({parts})"]


class _Handler(logging.Handler):
    def __init__(self, view: WatchView) -> None:
        super().__init__()
        self._view = view

    def emit(self, record: logging.LogRecord) -> None:
        word = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        message = public_text(record.getMessage()).replace("\n", "\\n")
        self._view.say(f"{time.strftime('%H:%M:%S')} {word}{message}")
