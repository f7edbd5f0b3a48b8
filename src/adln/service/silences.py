"""Times without pictures from each camera, since the service started."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adln.service.live import CameraView

SHORTEST_S = 30.0
"""Shorter silences are not reported: cameras reconnect now and then."""
_KEPT = 500
_SILENT = ("connecting", "lost")


@dataclass(frozen=True)
class Silence:
    """A time without pictures from a camera, in seconds since 1970.

    `until_s` is None if it has not ended.
    """

    camera_id: int
    from_s: float
    until_s: float | None


class Silences:
    """Records silences. May be used by several threads; `clock` returns seconds since 1970."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._now: dict[int, float] = {}
        self._ended: deque[Silence] = deque(maxlen=_KEPT)

    def see(self, views: Sequence[CameraView]) -> None:
        """Update from the states of all cameras; cameras not among them are dropped."""
        now_s = self._clock()
        silent = {view.camera_id: view for view in views if view.state in _SILENT}
        with self._lock:
            for camera_id in [one for one in self._now if one not in silent]:
                from_s = self._now.pop(camera_id)
                if now_s - from_s >= SHORTEST_S:
                    self._ended.append(Silence(camera_id, from_s, now_s))
            for camera_id, view in silent.items():
                last_s = view.last_frame_s
                # Recordings have their own clock.
                known = last_s if last_s is not None and last_s <= now_s else now_s
                self._now.setdefault(camera_id, known)

    def since(self, time_s: float) -> list[Silence]:
        """Silences that ended after `time_s`, latest first; unended ones come first."""
        now_s = self._clock()
        with self._lock:
            lasting = [
                Silence(camera_id, from_s, None)
                for camera_id, from_s in self._now.items()
                if now_s - from_s >= SHORTEST_S
            ]
            ended = [one for one in self._ended if one.until_s and one.until_s > time_s]
        lasting.sort(key=lambda one: -one.from_s)
        return lasting + ended[::-1]
