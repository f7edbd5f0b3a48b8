"""Live events of the cameras and the gallery, for every page that listens.

The service knows the cameras only through the protocol `EventSource`.
"""

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Container, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, Protocol

from pydantic import ConfigDict, Field

from adln.matching.calibration import Verdict
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch_settings import WatchSettings

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
"""Pydantic configuration for the messages of the camera process."""

_HEARTBEAT_S = 15.0
# A listener whose token is revoked gets no more events, and is disconnected within this time.
_ASK_EVERY_S = 3.0
_KEPT = 200
_WAITING = 500


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """State of a camera."""

    __pydantic_config__ = STRICT

    camera_id: int
    name: str
    state: Annotated[str, Field(description="running, connecting, lost or ended.")]
    fps: Annotated[float, Field(description="Recent frames per second.")]
    people: Annotated[int, Field(description="Number of people in view.")]
    last_frame_s: Annotated[
        float | None, Field(description="Time of the newest frame; null before the first.")
    ]
    last_error: Annotated[str, Field(description="The latest error.")] = ""
    pictures: Annotated[bool, Field(description="Whether its pictures may be shown.")] = True


@dataclass(frozen=True, kw_only=True)
class PipelineView:
    """State of the camera process, which is restarted after failures."""

    __pydantic_config__ = STRICT

    state: Literal["starting", "running", "ended", "failed", "stopped"]
    problem: Annotated[str, Field(description="Why it failed; it is retried.")] = ""
    restarts: Annotated[int, Field(description="Number of restarts.")] = 0
    unread: Annotated[
        int, Field(description="Number of invalid messages from the camera process.")
    ] = 0
    depth: Annotated[
        int, Field(description="Depth of the network in use; 0 before the first frame.")
    ] = 0
    crops_per_track: Annotated[int, Field(description="Crops embedded per track.")] = 0
    keep_one_in: Annotated[int, Field(description="1 frame in this many is processed.")] = 1
    load_ms: Annotated[float, Field(description="Recent processing time per second, in ms.")] = 0.0
    budget_ms: Annotated[float, Field(description="Limit of load_ms, in ms; 0: none.")] = 0.0
    pictures: Annotated[bool, Field(description="Whether pictures of any camera may be shown.")] = (
        False
    )


@dataclass(frozen=True, kw_only=True)
class PersonInView:
    """A person in a camera's view, in px of its picture; `person_id` is None if unknown."""

    __pydantic_config__ = STRICT

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    person_id: int | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The people in a camera's view at one moment, in seconds since 1970."""

    __pydantic_config__ = STRICT

    camera_id: int
    time_s: float
    width_px: int
    height_px: int
    people: tuple[PersonInView, ...]


@dataclass(frozen=True, kw_only=True)
class CameraPicture:
    """A camera's current picture, downscaled; there is a `Scene` of the same time."""

    camera_id: int
    time_s: float
    jpeg: bytes


class EventSource(Protocol):
    """A source of live events, such as a pipeline."""

    def start(self, receive: Callable[[SightingEvent | Scene], None]) -> None:
        """Start, and pass each event, from any thread, to `receive`, which never blocks."""

    def stop(self) -> None:
        """Stop cleanly; returns when everything is finished."""

    def cameras(self) -> Sequence[CameraView]:
        """State of each camera; must be fast, because it is polled every few seconds."""

    def pipeline(self) -> PipelineView | None:
        """State of the camera process; None if there is none. Must be fast, too."""

    def picture(self, camera_id: int) -> CameraPicture | None:
        """A camera's current picture; None if showing it is not enabled or there is no new one."""

    def watch(self, settings: WatchSettings) -> bool:
        """Apply new settings; False if that needs a restart of the service."""

    def ignore(self, names: frozenset[str]) -> None:
        """Stop reporting these people, by name or as "id:6", in addition to the settings' own."""


class Events:
    """Sends events to all listeners; slow ones lose the oldest events and are informed of that.

    `publish` may be called from any thread, everything else from the server's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: deque[_Event] = deque(maxlen=_KEPT)
        self._listeners: set[_Listener] = set()
        self._number = 0
        self._closed = False
        self.silenced = frozenset[int]()
        """People whose sightings are not sent."""

    @property
    def listeners(self) -> int:
        """The number of listeners."""
        return len(self._listeners)

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        """Send a "sighting" or "gallery" to all listeners; kept for those who reconnect."""
        with self._lock:
            self._number += 1
            text = f"id: {self._number}\n{_text(kind, content)}"
            person_id = content.get("person_id")
            persons = frozenset[int]() if person_id is None else frozenset({person_id})
            self._kept.append(_Event(self._number, text, persons))
            self._send(text)

    def show(self, kind: str, content: dict[str, Any]) -> None:
        """Send short-lived "cameras" or a "scene" to the current listeners only."""
        with self._lock:
            self._send(_text(kind, content))

    def _send(self, text: str) -> None:
        for listener in self._listeners:
            listener.put(text)

    def take(self, event: SightingEvent | Scene) -> None:
        """Send an event of the cameras; a sighting goes without its picture."""
        if isinstance(event, Scene):
            if self._listeners:
                self.show("scene", asdict(event))
            return
        if event.person_id in self.silenced:
            return
        content = asdict(event)
        del content["crop_jpeg"]
        self.publish("sighting", content)

    def moved(self, persons: Iterable[int], into: int) -> None:
        """Record that sightings were moved from some people to another person.

        Kept events about the former are then also dropped when the latter is forgotten.
        """
        sources = frozenset(persons)
        with self._lock:
            for one in self._kept:
                if one.persons & sources:
                    one.persons |= {into}

    def forget(self, person_id: int, known: Container[int] | None = None) -> None:
        """Drop kept and queued events about a person.

        With `known`, all people in the gallery, also those about anyone else: other programs may
        have merged them into this person.
        """
        with self._lock:
            gone = [
                one
                for one in self._kept
                if person_id in one.persons
                or (known is not None and any(who not in known for who in one.persons))
            ]
            for event in gone:
                self._kept.remove(event)
            for listener in self._listeners:
                listener.drop({event.text for event in gone})

    def count_of(self, caller: str) -> int:
        """The number of a caller's listeners."""
        with self._lock:
            return sum(listener.caller == caller for listener in self._listeners)

    async def listen(
        self,
        *,
        after: int | None = None,
        caller: str = "",
        may_listen: Callable[[], bool] = lambda: True,
    ) -> AsyncIterator[str]:
        """Events as they happen, in the format of server-sent events, until `close`.

        Events later than `after`, the number of the last one that the listener received, are sent
        first, as far as they are kept. `may_listen` is asked before each event and every few
        seconds.
        """
        listener = _Listener(asyncio.get_running_loop(), caller, may_listen)
        with self._lock:
            for one in self._kept:
                if after is not None and one.number > after:
                    listener.put(one.text)
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
        """Disconnect all listeners."""
        with self._lock:
            self._closed = True
            for listener in self._listeners:
                listener.close()


def _text(kind: str, content: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n"


@dataclass
class _Event:
    """An event kept for listeners that reconnect."""

    number: int
    text: str
    persons: frozenset[int]


class _Listener:
    """The events queued for one listener."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, caller: str, may_listen: Callable[[], bool]
    ) -> None:
        self.caller = caller
        self._may_listen = may_listen
        self._loop = loop
        self._waiting: deque[str] = deque(maxlen=_WAITING)
        self._news = asyncio.Event()
        self._lost = 0
        self._closed = False
        self._lock = threading.Lock()

    def put(self, text: str) -> None:
        with self._lock:
            self._lost += len(self._waiting) == _WAITING
            self._waiting.append(text)
        self._wake()

    def drop(self, texts: Container[str]) -> None:
        with self._lock:
            left = [text for text in self._waiting if text not in texts]
            self._waiting = deque(left, maxlen=_WAITING)

    def close(self) -> None:
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    async def texts(self) -> AsyncIterator[str]:
        quiet_s = 0.0
        while not self._closed:
            try:
                await asyncio.wait_for(self._news.wait(), _ASK_EVERY_S)
            except TimeoutError:
                quiet_s += _ASK_EVERY_S
            if not self._may_listen():
                return
            if not self._news.is_set():
                if quiet_s >= _HEARTBEAT_S:
                    quiet_s = 0.0
                    # Stops proxies from closing the connection, and detects dead ones.
                    yield ": still here\n\n"
                continue
            quiet_s = 0.0
            self._news.clear()
            with self._lock:
                texts, self._waiting = self._waiting, deque(maxlen=_WAITING)
                lost, self._lost = self._lost, 0
            if lost:
                yield f'event: lost\ndata: {{"events":{lost}}}\n\n'
            for text in texts:
                yield text
