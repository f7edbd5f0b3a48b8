"""Messages from the camera process to the service.

The camera process decodes untrusted data, so the service trusts it no more than a client: messages
are JSON, plus the raw bytes of pictures; sizes are bounded and everything is validated before use.
Nothing is unpickled.

A message is one byte for its kind, then its content. The content of a picture is the length of its
JSON (four bytes, big-endian), the JSON, and the JPEG file.
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
"""The messages from the service to the camera process."""

MOST_BYTES = 2 * 2**20
_MOST_JSON_BYTES = 128 * 2**10
_MOST_SIGHTING_BYTES = 8 * 2**10
_MOST_TEXT = 1000
_MOST_PEOPLE = 300
_LONGEST_SIDE_PX = 2**16
# Later times are beyond what calendars can represent.
_LATEST_S = 1e11
_PATIENCE_S = 10
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, kw_only=True)
class Report:
    """State of cameras and pipeline; sent about every second."""

    __pydantic_config__ = STRICT

    cameras: tuple[CameraView, ...]
    pipeline: PipelineView


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The last message; no problem if all recordings have ended or it was asked to stop."""

    __pydantic_config__ = STRICT

    problem: str = ""


Message = SightingEvent | Report | Scene | CameraPicture | Ended


@dataclass(frozen=True)
class _PictureHead:
    """The JSON of a picture message."""

    __pydantic_config__ = STRICT

    camera_id: int
    time_s: float


_REPORT, _SCENE, _ENDED, _HEAD = (
    TypeAdapter[Any](kind) for kind in (Report, Scene, Ended, _PictureHead)
)


def encode(message: Message) -> bytes:
    """Encode a message as bytes for `decode`; a sighting goes without its picture."""
    if isinstance(message, SightingEvent):
        return b"e" + replace(message, crop_jpeg=None).to_json().encode()
    if isinstance(message, Report):
        return b"r" + _REPORT.dump_json(message)
    if isinstance(message, Scene):
        return b"s" + _SCENE.dump_json(message)
    if isinstance(message, Ended):
        return b"d" + _ENDED.dump_json(Ended(problem=_one_line(message.problem)))
    head = _HEAD.dump_json(_PictureHead(message.camera_id, message.time_s))
    return b"p" + struct.pack(">I", len(head)) + head + message.jpeg


def decode(data: bytes, cameras: Collection[int]) -> Message:
    """Decode and validate a message of a possibly compromised process, about these cameras only.

    Raises:
        ServiceError: it is not a valid message.
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
            _require(sighting.camera_id in cameras, "a sighting of an unknown camera")
            _require_times(sighting.first_time_s, sighting.last_time_s)
            return sighting
        if kind == b"r":
            return _report(_REPORT.validate_json(content), cameras)
        if kind == b"s":
            scene: Scene = _SCENE.validate_json(content)
            _require(scene.camera_id in cameras, "a scene of an unknown camera")
            _require_times(scene.time_s)
            _require(len(scene.people) <= _MOST_PEOPLE, "a scene with too many people")
            sides = (scene.width_px, scene.height_px)
            _require(all(0 < side <= _LONGEST_SIDE_PX for side in sides), "a scene of invalid size")
            return scene
        if kind == b"d":
            ended: Ended = _ENDED.validate_json(content)
            return Ended(problem=_one_line(ended.problem))
    except (ValueError, RecursionError, SightingError) as error:
        # Pydantic's message would quote the untrusted data.
        why = "validation" if isinstance(error, ValidationError) else _one_line(str(error))[:200]
        raise ServiceError(f"The camera process sent an invalid message ({why}).") from None
    raise ServiceError("The camera process sent a message of unknown kind.")


def bound_waiting(link: Connection) -> None:
    """Make reads and writes of a pipe fail (OSError) if the other side stalls in mid-message."""
    # The time-outs stay with the pipe after this duplicate handle is closed.
    with socket.socket(fileno=os.dup(link.fileno())) as pipe:
        patience = struct.pack("ll", _PATIENCE_S, 0)
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
        pipe.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)


def _picture(content: bytes, cameras: Collection[int]) -> CameraPicture:
    _require(len(content) > 4, "an empty picture")
    (length,) = struct.unpack(">I", content[:4])
    _require(length <= 1000, "a picture with too much JSON")
    head: _PictureHead = _HEAD.validate_json(content[4 : 4 + length])
    jpeg = content[4 + length :]
    _require(head.camera_id in cameras, "a picture of an unknown camera")
    _require_times(head.time_s)
    _require(jpeg.startswith(_JPEG), "a picture that is not a JPEG")
    return CameraPicture(camera_id=head.camera_id, time_s=head.time_s, jpeg=jpeg)


def _report(report: Report, cameras: Collection[int]) -> Report:
    numbers = [view.camera_id for view in report.cameras]
    _require(sorted(numbers) == sorted(cameras), "a report of other cameras")
    _require_times(*(view.last_frame_s or 0.0 for view in report.cameras))
    views = tuple(
        replace(
            view,
            name=_one_line(view.name),
            state=_one_line(view.state),
            last_error=_one_line(view.last_error),
        )
        for view in report.cameras
    )
    problem = _one_line(report.pipeline.problem)
    return Report(cameras=views, pipeline=replace(report.pipeline, problem=problem))


def _one_line(text: str) -> str:
    """Text made printable on one line of a log, and truncated."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:_MOST_TEXT])


def _require_times(*times_s: float) -> None:
    _require(all(abs(time_s) <= _LATEST_S for time_s in times_s), "a time out of range")


def _require(is_so: bool, what: str) -> None:
    if not is_so:
        raise ValueError(what)
