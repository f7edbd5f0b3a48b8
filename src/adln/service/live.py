"""What is happening now: events of the cameras and of the gallery, for every page that listens.

The cameras are known to the service by a small protocol only, so that it works without any.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from adln.pipeline.sightings import SightingEvent

_HEARTBEAT_S = 15.0
_KEPT = 200
_WAITING = 500


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """How a camera is doing, as the page shows it.

    Attributes:
        camera_id: its number in the gallery.
        name: what people call it.
        state: "running", "connecting", "lost" or "ended".
        fps: pictures a second of late.
        people: persons in view.
        last_frame_s: time of the newest picture, seconds since 1970; None before the first.
        last_error: the latest thing that went wrong; "" if nothing did.
    """

    camera_id: int
    name: str
    state: str
    fps: float
    people: int
    last_frame_s: float | None
    last_error: str = ""


class EventSource(Protocol):
    """Where live events come from: a pipeline in this process, or anything else."""

    def cameras(self) -> Sequence[CameraView]:
        """How each camera is doing; quick, as it is asked for every few seconds."""
        ...

    def subscribe(self, receive: Callable[[SightingEvent], None]) -> Callable[[], None]:
        """Have each sighting handed to a function, which never blocks, in any thread.

        Returns:
            Ends it.
        """
        ...


class NoCameras:
    """The source of a service without cameras."""

    def cameras(self) -> Sequence[CameraView]:
        """None."""
        return ()

    def subscribe(self, receive: Callable[[SightingEvent], None]) -> Callable[[], None]:
        """Nothing ever comes."""
        return lambda: None


class Events:
    """Hands events to all who listen; whoever is slow loses the oldest and is told so.

    `publish` may be called in any thread, all else in the server's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[_Event] = deque(maxlen=_KEPT)
        self._listeners: set[_Listener] = set()
        self._number = 0
        self._closed = False

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        """Send an event to all.

        Args:
            kind: "sighting", "cameras" or "gallery".
            content: what JSON takes.
        """
        with self._lock:
            self._number += 1
            body = json.dumps(content, separators=(",", ":"))
            text = f"id: {self._number}\nevent: {kind}\ndata: {body}\n\n"
            self._kept.append(_Event(self._number, text, content.get("person_id")))
            for listener in self._listeners:
                listener.put(text)

    def publish_sighting(self, event: SightingEvent) -> None:
        """Send a sighting; its picture, if any, stays here."""
        content = asdict(event)
        del content["crop_jpeg"]
        self.publish("sighting", content)

    def forget(self, person_id: int) -> None:
        """Keep nothing of a person for those who come later."""
        with self._lock:
            left = [one for one in self._kept if one.person_id != person_id]
            self._kept.clear()
            self._kept.extend(left)

    async def listen(self, *, after: int | None = None) -> AsyncIterator[str]:
        """Events as they happen, in the format of server-sent events, until `close`.

        Args:
            after: number of the last event that the listener had; what came since is sent first,
                as far as it is kept.
        """
        listener = _Listener(asyncio.get_running_loop())
        with self._lock:
            missed = [one.text for one in self._kept if after is not None and one.number > after]
            for text in missed:
                listener.put(text)
            self._listeners.add(listener)
            if self._closed:
                listener.close()
        try:
            yield "retry: 2000\n\n"
            async for text in listener.texts():
                yield text
        finally:
            with self._lock:
                self._listeners.discard(listener)

    def close(self) -> None:
        """End all listening."""
        with self._lock:
            self._closed = True
            for listener in self._listeners:
                listener.close()


@dataclass(frozen=True)
class _Event:
    """An event that is kept for those whose connection broke."""

    number: int
    text: str
    person_id: int | None


class _Listener:
    """The events that wait for one listener."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[str] = deque()
        self._news = asyncio.Event()
        self._lost = 0
        self._closed = False
        self._lock = threading.Lock()

    def put(self, text: str) -> None:
        with self._lock:
            if len(self._waiting) >= _WAITING:
                self._waiting.popleft()
                self._lost += 1
            self._waiting.append(text)
        self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    async def texts(self) -> AsyncIterator[str]:
        while not self._closed:
            try:
                await asyncio.wait_for(self._news.wait(), _HEARTBEAT_S)
            except TimeoutError:
                # Keeps what stands between from closing the connection, and finds dead ones.
                yield ": still here\n\n"
                continue
            self._news.clear()
            with self._lock:
                texts, lost = list(self._waiting), self._lost
                self._waiting.clear()
                self._lost = 0
            if lost:
                yield f'event: lost\ndata: {{"events":{lost}}}\n\n'
            for text in texts:
                yield text
