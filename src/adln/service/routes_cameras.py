"""Routes for the cameras of the watch file: list, add, change, remove and try them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from adln.cameras.captures import is_live
from adln.cameras.redaction import public_name, public_text
from adln.errors import CameraError, SettingsError
from adln.gallery.retention import DAY_S
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.assembly import keep_by_camera
from adln.pipeline.roster import rename_camera
from adln.pipeline.watch_settings import MOST_DAYS, CameraSettings, WatchSettings
from adln.service import camera_file
from adln.service.access import Admin, Operator
from adln.service.answers import CameraId, In, Out
from adln.service.parts import Parts
from adln.service.problems import a_jpeg, documented
from adln.service.state import Caller

_FRAME_S = 3.0
_FRAME_EVERY_S = 0.2
_JPEG = a_jpeg("A picture from the camera.")
Pictures = Annotated[
    bool | None,
    Field(description="Whether its pictures of people are stored and shown; null: default."),
]
KeepDays = Annotated[
    float | None,
    Field(ge=1, le=MOST_DAYS, description="How long its sightings are kept; null: default."),
]


class SourceIn(In):
    """The address of a camera."""

    source: str = Field(min_length=1, max_length=1024, description="rtsp://, http:// or usb:0.")


class CameraIn(SourceIn):
    """A camera to add."""

    name: str = Field(min_length=1, max_length=64)


class ChangedCameraIn(In):
    """New settings of a camera."""

    name: str = Field(min_length=1, max_length=64)
    source: str | None = Field(
        default=None, min_length=1, max_length=1024, description="null: unchanged."
    )
    pictures: Pictures = None
    keep_days: KeepDays = None


class SetCamera(Out):
    """A camera of the watch file."""

    camera_id: int
    name: str
    source: str = Field(description="Its address, without passwords.")
    pictures: Pictures
    keep_days: float | None = Field(description="How long its sightings are kept; null: default.")
    alerts: list[str] = Field(description="Names of the alerts that use this camera.")


class SetCameras(Out):
    """All cameras of the watch file, and the defaults."""

    cameras: list[SetCamera]
    pictures: bool = Field(description="Default of a camera's `pictures`.")
    keep_days: float | None = Field(description="Default of `keep_days`; null: forever.")
    applies_rules: bool = Field(description="Whether this service erases old sightings.")


class ChangedCamera(Out):
    """A camera that was added, changed or removed."""

    camera_id: int
    name: str
    source: str = Field(description="Its address, without passwords.")
    is_watched: bool = Field(description="If false, the change takes effect after a restart.")


def camera_routes(router: APIRouter, parts: Parts) -> None:
    """List, add, change, remove and try cameras."""

    @router.get("/setup/cameras", responses=documented(409))
    def list_cameras(caller: Admin) -> SetCameras:
        """The cameras of the watch file, their addresses and what is stored."""
        return _listed(parts, read_file(parts))

    @router.post("/setup/cameras/try", response_class=Response, responses=_JPEG | documented(409))
    async def try_camera(asked: SourceIn, caller: Admin) -> Response:
        """Take one picture from an address. Nothing is stored."""
        return await _picture(parts, caller, asked.source)

    @router.post(
        "/setup/cameras/{camera_id}/try",
        response_class=Response,
        responses=_JPEG | documented(404, 409),
    )
    async def try_known_camera(camera_id: CameraId, caller: Admin) -> Response:
        """Take one picture from a camera of the watch file. Nothing is stored."""
        _, camera = await to_thread.run_sync(_known, parts, camera_id)
        return await _picture(parts, caller, camera.source)

    @router.post("/setup/cameras", status_code=201, responses=documented(409))
    def add_camera(asked: CameraIn, caller: Admin) -> ChangedCamera:
        """Add a camera and start watching it."""
        names = parts.settings.camera_names
        numbers = {name: number for number, name in names.items()}
        with parts.changing:
            before = read_file(parts)
            if any(known.name == asked.name for known in before.cameras):
                raise HTTPException(409, "A camera with this name exists already.")
            parts.state.record(caller.name, "add camera", {"cameras": len(before.cameras) + 1})
            with refusing(asked.source):
                camera = camera_file.add_camera(
                    file_of(parts), asked.name, asked.source, numbers=numbers
                )
            names[camera.number] = camera.name
            return _changed(parts, camera)

    @router.put("/setup/cameras/{camera_id}", responses=documented(404, 409))
    def change_camera(camera_id: CameraId, asked: ChangedCameraIn, caller: Admin) -> ChangedCamera:
        """Change a camera's name, address, pictures or retention."""
        with parts.changing:
            _, was = _known(parts, camera_id)
            parts.state.record(caller.name, "change camera", {"camera": camera_id})
            source = was.source if asked.source is None else asked.source
            with refusing(source, was.source):
                camera = replace(
                    was,
                    name=asked.name,
                    source=source,
                    pictures=asked.pictures,
                    keep_days=asked.keep_days or 0.0,
                )
                with _renamed(parts, was, camera):
                    camera_file.edit_camera(file_of(parts), camera)
            parts.settings.camera_names[camera_id] = camera.name
            _keep(parts, camera)
            return _changed(parts, camera)

    @router.delete("/setup/cameras/{camera_id}", responses=documented(404, 409))
    def remove_camera(camera_id: CameraId, caller: Admin) -> ChangedCamera:
        """Remove a camera. Its sightings are kept as the retention rules say."""
        with parts.changing:
            _known(parts, camera_id)
            parts.state.record(caller.name, "remove camera", {"camera": camera_id})
            with refusing(status=409):
                camera = camera_file.remove_camera(file_of(parts), camera_id)
            return _changed(parts, camera)

    @router.get(
        "/cameras/{camera_id}/frame",
        response_class=Response,
        responses=_JPEG | documented(404, 409),
    )
    async def take_frame(camera_id: CameraId, caller: Operator) -> Response:
        """A camera's current picture in full size, for enrolling a person.

        Only if showing pictures is enabled for the camera. Nothing is stored.
        """

        def find() -> CameraSettings:
            settings, camera = _known(parts, camera_id)
            if camera.name not in settings.pictured:
                raise HTTPException(
                    409,
                    f"Showing pictures of {camera.name} is not enabled. An admin can enable it in "
                    "Set up.",
                )
            parts.state.record(caller.name, "take frame", {"camera": camera_id})
            return camera

        camera = await to_thread.run_sync(find)
        if is_live(camera.source):
            # Some cameras serve one client at a time, which is the watch.
            with suppress(HTTPException):
                return await _picture(parts, caller, camera.source)
        until_s = time.monotonic() + _FRAME_S
        while (picture := parts.source.picture(camera_id)) is None:
            if time.monotonic() > until_s:
                raise HTTPException(409, f"{camera.name} is sending no pictures. Try again later.")
            await asyncio.sleep(_FRAME_EVERY_S)
        return Response(picture.jpeg, media_type="image/jpeg")


def file_of(parts: Parts) -> FilePath:
    """Path of the watch file."""
    settings = parts.settings
    return settings.own_watch if settings.watch is None else FilePath(settings.watch)


def read_file(parts: Parts) -> WatchSettings:
    """Read the watch file.

    Raises:
        HTTPException: it cannot be read; does not quote it, because it may contain passwords.
    """
    try:
        return camera_file.read_cameras_of(file_of(parts))
    except SettingsError as error:
        raise HTTPException(409, "The watch file cannot be read; `adln watch` says why.") from error


def watch_again(parts: Parts) -> bool:
    """Apply the watch file; returns whether that worked without a restart of the service."""
    return parts.source.watch(camera_file.read_cameras_of(file_of(parts)))


def _pictured(parts: Parts, settings: WatchSettings) -> WatchSettings:
    """Watch settings combined with the service's `keep_pictures`."""
    return replace(settings, pictures=settings.pictures or parts.settings.keep_pictures)


@contextmanager
def refusing(*sources: str, status: int = 422) -> Iterator[None]:
    """Turn errors into refusals, with the passwords of `sources` removed."""
    try:
        yield
    except SettingsError as error:
        raise HTTPException(status, public_text(str(error), *sources)) from error
    except CameraError as error:
        raise HTTPException(409, public_text(str(error), *sources)) from error


async def _picture(parts: Parts, caller: Caller, source: str) -> Response:
    async with parts.embedding.slot(caller.name):
        with refusing(source):
            jpeg = await to_thread.run_sync(parts.try_camera, source)
    return Response(jpeg, media_type="image/jpeg")


def _known(parts: Parts, camera_id: int) -> tuple[WatchSettings, CameraSettings]:
    settings = _pictured(parts, read_file(parts))
    camera = camera_file.camera_of(settings, camera_id)
    if camera is None:
        raise HTTPException(404, f"There is no camera {camera_id}.")
    return settings, camera


@contextmanager
def _renamed(parts: Parts, was: CameraSettings, now: CameraSettings) -> Iterator[None]:
    """Rename a camera in the gallery; undone if the block fails."""
    gallery = parts.gallery
    if not isinstance(gallery, SqliteGallery) or now.name == was.name:
        yield
        return
    rename_camera(gallery.folder, was.number, now.name)
    try:
        yield
    except BaseException:
        rename_camera(gallery.folder, was.number, was.name)
        raise


def _keep(parts: Parts, camera: CameraSettings) -> None:
    """Apply a camera's `keep_days` to the gallery's retention rules."""
    gallery = parts.gallery
    if not isinstance(gallery, SqliteGallery):
        return
    rules = gallery.retention
    others = {one: keep_s for one, keep_s in rules.camera_keep_s.items() if one != camera.number}
    wanted = keep_by_camera(replace(rules, camera_keep_s=others), [camera])
    if wanted != rules:
        gallery.set_retention(wanted)


def _listed(parts: Parts, settings: WatchSettings) -> SetCameras:
    gallery = parts.gallery
    rules = gallery.retention if isinstance(gallery, SqliteGallery) else None
    kept = {} if rules is None else rules.camera_keep_s
    return SetCameras(
        cameras=[
            SetCamera(
                camera_id=one.number,
                name=one.name,
                source=public_name(one.source),
                pictures=one.pictures,
                keep_days=one.keep_days or _days(kept.get(one.number)),
                alerts=[alert.name for alert in settings.alerts if one.name in alert.cameras],
            )
            for one in settings.cameras
        ],
        pictures=_pictured(parts, settings).pictures,
        keep_days=None if rules is None else _days(rules.keep_s),
        applies_rules=parts.tidying is not None and parts.tidying.every_s > 0,
    )


def _days(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds / DAY_S, 3)


def _changed(parts: Parts, camera: CameraSettings) -> ChangedCamera:
    return ChangedCamera(
        camera_id=camera.number,
        name=camera.name,
        source=public_name(camera.source),
        is_watched=watch_again(parts),
    )
