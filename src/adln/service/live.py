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
    """A person in a camera's view.

    Attributes:
        track_id: number given by the camera's tracker.
        box_xyxy: box, in px of the camera's picture.
        person_id: number of the person; None if unknown.
        verdict: how certain the identification is.
    """

    __pydantic_config__ = STRICT

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    person_id: int | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The people in a camera's view at one moment.

    Attributes:
        camera_id: the camera's number in the gallery.
        time_s: time of the picture, in seconds since 1970.
        width_px: width of the picture.
        height_px: height of the picture.
        people: the people in it.
    """

    __pydantic_config__ = STRICT

    camera_id: int
    time_s: float
    width_px: int
    height_px: int
    people: tuple[PersonInView, ...]


@dataclass(frozen=True, kw_only=True)
class CameraPicture:
    """A camera's current picture.

    Attributes:
        camera_id: the camera's number.
        time_s: its time, in seconds since 1970; there is a `Scene` of the same time.
        jpeg: the picture, downscaled.
    """

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
        """Send an event to all listeners, and keep it for those who reconnect.

        Args:
            kind: "sighting" or "gallery".
            content: JSON-serialisable.
        """
        with self._lock:
            self._number += 1
            text = f"id: {self._number}\n{_text(kind, content)}"
            person_id = content.get("person_id")
            persons = frozenset[int]() if person_id is None else frozenset({person_id})
            self._kept.append(_Event(self._number, text, persons))
            for listener in self._listeners:
                listener.put(text)

    def show(self, kind: str, content: dict[str, Any]) -> None:
        """Send a short-lived event to the current listeners only; it is not kept.

        Args:
            kind: "cameras" or "scene".
            content: JSON-serialisable.
        """
        with self._lock:
            text = _text(kind, content)
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

        Args:
            person_id: number of the person.
            known: all people in the gallery; events about anyone else are dropped, too, because
                other programs may have merged them into this person.
        """
        with self._lock:
            left = [
                one
                for one in self._kept
                if person_id not in one.persons
                and (known is None or all(person in known for person in one.persons))
            ]
            gone = {one.text for one in self._kept} - {one.text for one in left}
            self._kept.clear()
            self._kept.extend(left)
            for listener in self._listeners:
                listener.drop(gone)

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

        Args:
            after: number of the last event that the listener received; later events are sent
                first, as far as they are kept.
            caller: name of the listener's caller.
            may_listen: whether the listener is still authorised; checked before each event and
                every few seconds.
        """
        listener = _Listener(asyncio.get_running_loop(), caller, may_listen)
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

    def drop(self, texts: Container[str]) -> None:
        with self._lock:
            left = [text for text in self._waiting if text not in texts]
            self._waiting.clear()
            self._waiting.extend(left)

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
                texts, lost = list(self._waiting), self._lost
                self._waiting.clear()
                self._lost = 0
            if lost:
                yield f'event: lost\ndata: {{"events":{lost}}}\n\n'
            for text in texts:
                yield text
