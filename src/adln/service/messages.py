"""What the cameras' process says to the service, as bytes that can do nothing but be read.

That process decodes what strangers send, so the service trusts it no more than a client: messages
are JSON, a picture follows as it is; sizes are bounded and everything is validated before use.
Nothing is unpickled here.

A message is one byte that says what it is, and its content. Of a picture the content is its length
of JSON (four bytes, big-endian), JSON, and the file.
"""

import os
import socket
import struct
from collections.abc import Collection
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from pydantic import TypeAdapter, ValidationError

from adln.errors import ServiceError, SightingError
from adln.pipeline.sightings import SightingEvent
from adln.service.live import STRICT, CameraPicture, CameraView, PipelineView, Scene

STOP = b"stop"
SHOW = b"show"
"""What the service says; the other direction has more to say."""

MOST_BYTES = 2 * 2**20
_MOST_JSON_BYTES = 128 * 2**10
_MOST_SIGHTING_BYTES = 8 * 2**10
_MOST_TEXT = 1000
_MOST_PEOPLE = 300
_LONGEST_SIDE_PX = 2**16
# Beyond that a calendar has no place for it.
_LATEST_S = 1e11
_PATIENCE_S = 10
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, kw_only=True)
class Report:
    """How cameras and pipeline are doing; sent about every second."""

    __pydantic_config__ = STRICT

    cameras: tuple[CameraView, ...]
    pipeline: PipelineView


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last that is said.

    Attributes:
        problem: why; "" if all recordings are at their end, or it was asked to stop.
    """

    __pydantic_config__ = STRICT

    problem: str = ""


Message = SightingEvent | Report | Scene | CameraPicture | Ended


@dataclass(frozen=True)
class _PictureHead:
    """What is said of a picture."""

    __pydantic_config__ = STRICT

    camera_id: int
    time_s: float


_REPORT, _SCENE, _ENDED, _HEAD = (
    TypeAdapter[Any](kind) for kind in (Report, Scene, Ended, _PictureHead)
)


def send(link: Connection, message: Message) -> None:
    """Say something to the service. The picture of a sighting stays here.

    Raises:
        OSError: nobody is there.
    """
    link.send_bytes(encode(message))


def encode(message: Message) -> bytes:
    """A message as bytes; `decode` reads them."""
    if isinstance(message, SightingEvent):
        return b"e" + replace(message, crop_jpeg=None).to_json().encode()
    if isinstance(message, Report):
        return b"r" + bytes(_REPORT.dump_json(message))
    if isinstance(message, Scene):
        return b"s" + bytes(_SCENE.dump_json(message))
    if isinstance(message, Ended):
        return b"d" + bytes(_ENDED.dump_json(Ended(problem=_as_told(message.problem))))
    head = bytes(_HEAD.dump_json(_PictureHead(message.camera_id, message.time_s)))
    return b"p" + struct.pack(">I", len(head)) + head + message.jpeg


def decode(data: bytes, cameras: Collection[int]) -> Message:
    """Read a message of a process that may have been taken over.

    Args:
        data: as it came.
        cameras: numbers that there are; nothing is taken from others.

    Raises:
        ServiceError: it is no message, or says what cannot be.
    """
    kind, content = data[:1], data[1:]
    try:
        if kind == b"p":
            return _picture(content, cameras)
        if len(content) > _MOST_JSON_BYTES:
            raise ValueError(f"{len(content)} bytes of JSON")
        if kind == b"e":
            _require(len(content) <= _MOST_SIGHTING_BYTES, "a sighting that is too long")
            sighting = SightingEvent.from_json(content)
            _require(sighting.crop_jpeg is None, "a sighting with a picture")
            _require(sighting.camera_id in cameras, "a sighting of no camera")
            _require_times(sighting.first_time_s, sighting.last_time_s)
            return sighting
        if kind == b"r":
            return _report(_REPORT.validate_json(content), cameras)
        if kind == b"s":
            scene: Scene = _SCENE.validate_json(content)
            _require(scene.camera_id in cameras, "a scene of no camera")
            _require_times(scene.time_s)
            _require(len(scene.people) <= _MOST_PEOPLE, "a scene of too many people")
            sides = (scene.width_px, scene.height_px)
            _require(all(0 < side <= _LONGEST_SIDE_PX for side in sides), "a scene of no size")
            return scene
        if kind == b"d":
            ended: Ended = _ENDED.validate_json(content)
            return Ended(problem=_as_told(ended.problem))
    except (ValueError, RecursionError, SightingError) as error:
        # Pydantic repeats what came; its first line does not.
        why = "validation" if isinstance(error, ValidationError) else _as_told(str(error))[:200]
        raise ServiceError(f"The cameras' process sent what cannot be read ({why}).") from None
    raise ServiceError("The cameras' process sent something of an unknown kind.")


def bound_waiting(link: Connection) -> None:
    """Have reads and writes of a pipe fail (with an OSError) when the other side stops midway."""
    # The time-outs belong to the pipe, whoever holds it; this handle is closed again.
    with socket.socket(fileno=os.dup(link.fileno())) as pipe:
        patience = struct.pack("ll", _PATIENCE_S, 0)
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)


def _picture(content: bytes, cameras: Collection[int]) -> CameraPicture:
    _require(len(content) > 4, "a picture of nothing")
    (length,) = struct.unpack(">I", content[:4])
    _require(length <= 1000, "a picture with too much said of it")
    head: _PictureHead = _HEAD.validate_json(content[4 : 4 + length])
    jpeg = content[4 + length :]
    _require(head.camera_id in cameras, "a picture of no camera")
    _require_times(head.time_s)
    _require(jpeg.startswith(_JPEG), "a picture that is no JPEG")
    return CameraPicture(camera_id=head.camera_id, time_s=head.time_s, jpeg=jpeg)


def _report(report: Report, cameras: Collection[int]) -> Report:
    numbers = [view.camera_id for view in report.cameras]
    _require(sorted(numbers) == sorted(cameras), "a report of other cameras")
    _require_times(*(view.last_frame_s or 0.0 for view in report.cameras))
    views = tuple(
        replace(
            view,
            name=_as_told(view.name),
            state=_as_told(view.state),
            last_error=_as_told(view.last_error),
        )
        for view in report.cameras
    )
    problem = _as_told(report.pipeline.problem)
    return Report(cameras=views, pipeline=replace(report.pipeline, problem=problem))


def _as_told(text: str) -> str:
    """On one line of a log, and not without end."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MOST_TEXT])


def _require_times(*times_s: float) -> None:
    _require(all(abs(time_s) <= _LATEST_S for time_s in times_s), "a time that there is not")


def _require(is_so: bool, what: str) -> None:
    if not is_so:
        raise ValueError(what)
