"""What is happening now: events of the cameras and of the gallery, for every page that listens.

The cameras are known to the service by a small protocol only.
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
"""How what the cameras' process says is read."""

_HEARTBEAT_S = 15.0
# A listener whose token is revoked hears nothing any more, and is gone within so long.
_ASK_EVERY_S = 3.0
_KEPT = 200
_WAITING = 500


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """How a camera is doing, as the page shows it and the API says it."""

    __pydantic_config__ = STRICT

    camera_id: int
    name: str
    state: Annotated[str, Field(description="running, connecting, lost or ended.")]
    fps: Annotated[float, Field(description="Pictures a second of late.")]
    people: Annotated[int, Field(description="Persons in view.")]
    last_frame_s: Annotated[
        float | None, Field(description="Time of the newest picture; null before the first.")
    ]
    last_error: Annotated[str, Field(description="The latest thing that went wrong.")] = ""
    pictures: Annotated[bool, Field(description="Whether what it sees may be shown.")] = True


@dataclass(frozen=True, kw_only=True)
class PipelineView:
    """How the work on the cameras' pictures is going; what failed is tried again."""

    __pydantic_config__ = STRICT

    state: Literal["starting", "running", "ended", "failed", "stopped"]
    problem: Annotated[str, Field(description="Why it failed; it is tried again.")] = ""
    restarts: Annotated[int, Field(description="How often it was started again.")] = 0
    unread: Annotated[
        int, Field(description="Messages of the cameras' process that could not be read.")
    ] = 0
    depth: Annotated[
        int, Field(description="Stages of the network in use; 0 before the first picture.")
    ] = 0
    crops_per_track: Annotated[int, Field(description="Crops in use of a track.")] = 0
    keep_one_in: Annotated[int, Field(description="Of so many pictures one is looked at.")] = 1
    load_ms: Annotated[float, Field(description="Work for a second of video lately, in ms.")] = 0.0
    budget_ms: Annotated[float, Field(description="If it is more, less is done; 0 for never.")] = (
        0.0
    )
    pictures: Annotated[bool, Field(description="Whether what any camera sees may be shown.")] = (
        False
    )


@dataclass(frozen=True, kw_only=True)
class PersonInView:
    """Somebody before a camera.

    Attributes:
        track_id: of the camera's tracker.
        box_xyxy: where, in px of the camera's picture.
        person_id: who; None if not known.
        verdict: how sure.
    """

    __pydantic_config__ = STRICT

    track_id: int
    box_xyxy: tuple[float, float, float, float]
    person_id: int | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Who is where before a camera, at a moment.

    Attributes:
        camera_id: its number in the gallery.
        time_s: of the picture, in seconds since 1970.
        width_px: of the picture.
        height_px: of the picture.
        people: who is in it.
    """

    __pydantic_config__ = STRICT

    camera_id: int
    time_s: float
    width_px: int
    height_px: int
    people: tuple[PersonInView, ...]


@dataclass(frozen=True, kw_only=True)
class CameraPicture:
    """What a camera sees.

    Attributes:
        camera_id: its number.
        time_s: when; there is a `Scene` of the same moment.
        jpeg: the picture, made smaller.
    """

    camera_id: int
    time_s: float
    jpeg: bytes


class EventSource(Protocol):
    """Where live events come from: a pipeline, or anything else."""

    def start(self, receive: Callable[[SightingEvent | Scene], None]) -> None:
        """Begin, and hand each event to a function, which never blocks, in any thread."""

    def stop(self) -> None:
        """End in good order; returns when all is done."""

    def cameras(self) -> Sequence[CameraView]:
        """How each camera is doing; quick, as it is asked for every few seconds."""

    def pipeline(self) -> PipelineView | None:
        """How the work is going; None if there is none. Quick, too."""

    def picture(self, camera_id: int) -> CameraPicture | None:
        """What a camera sees; None where that was not opted in, or nothing new came."""

    def watch(self, settings: WatchSettings) -> bool:
        """Watch other cameras from now on; False if that takes a new start of the service."""

    def ignore(self, names: frozenset[str]) -> None:
        """Tell nobody of these people, by name or as "id:6", besides those of the settings."""


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
        self.silenced = frozenset[int]()
        """People of whose sightings nobody is told."""

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    def publish(self, kind: str, content: dict[str, Any]) -> None:
        """Send an event to all, and keep it for those who come later.

        Args:
            kind: "sighting" or "gallery".
            content: what JSON takes.
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
        """Send what is of worth at this moment only to all who listen now.

        Args:
            kind: "cameras" or "scene".
            content: what JSON takes.
        """
        with self._lock:
            text = _text(kind, content)
            for listener in self._listeners:
                listener.put(text)

    def take(self, event: SightingEvent | Scene) -> None:
        """Send what the cameras say. The picture of a sighting, if any, stays here."""
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
        """Say that sightings of some people are another person's now.

        What is kept of the former is forgotten with the latter, too.
        """
        sources = frozenset(persons)
        with self._lock:
            for one in self._kept:
                if one.persons & sources:
                    one.persons |= {into}

    def forget(self, person_id: int, known: Container[int] | None = None) -> None:
        """Keep nothing of a person for those who come later, nor for those who are slow.

        Args:
            person_id: who.
            known: everybody whom the gallery knows; of others, too, nothing is kept then: other
                programs may have merged them.
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
        """How many of a caller listen."""
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
            after: number of the last event that the listener had; what came since is sent first,
                as far as it is kept.
            caller: who listens.
            may_listen: whether they still may; asked before each event, and every few seconds.
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
        """End all listening."""
        with self._lock:
            self._closed = True
            for listener in self._listeners:
                listener.close()


def _text(kind: str, content: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps(content, separators=(',', ':'))}\n\n"


@dataclass
class _Event:
    """An event that is kept for those whose connection broke."""

    number: int
    text: str
    persons: frozenset[int]


class _Listener:
    """The events that wait for one listener."""

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
                    # Keeps what stands between from closing the connection, and finds dead ones.
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
