"""Routes that set the service up: cameras, who may come in, and of whom nobody is told."""

import functools
import io
import ipaddress
import re
import socket
from pathlib import Path as FilePath
from typing import Annotated

import segno
from anyio import to_thread
from fastapi import APIRouter, Body, Depends, Path, Request
from pydantic import Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from adln.cameras.redaction import public_name, public_text
from adln.errors import CameraError, ServiceError, SettingsError
from adln.pipeline.watch_settings import CameraSettings
from adln.service import camera_file
from adln.service.access import Needs
from adln.service.answers import In, Out, PersonId
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.settings import is_loopback
from adln.service.state import TOKEN_NAME, Caller, Role, Token

# Nothing is sent to it: it only tells by which address this machine reaches others.
_SOMEWHERE = ("192.0.2.1", 9)
TokenId = Annotated[str, Field(pattern=r"^[0-9a-z]{8}$")]


class TokenIn(In):
    """Whom to let in."""

    name: str = Field(pattern=f"^{TOKEN_NAME}$", description="Whose token it is.")
    role: Role = "viewer"


class TokenOut(Out):
    """A token as it is listed; its secret is nowhere."""

    token_id: str
    name: str
    role: Role
    created_s: float
    revoked_s: float | None


class Tokens(Out):
    """All tokens, newest first."""

    tokens: list[TokenOut]


class NewToken(Out):
    """A token, shown this once."""

    token_id: str
    token: str
    link: str = Field(description="Opens the page with the token.")
    qr_svg: str = Field(description="The link as a QR code, an SVG picture.")
    is_reachable: bool = Field(description="Whether other machines can reach the service.")


class SourceIn(In):
    """Where a camera is."""

    source: str = Field(min_length=1, max_length=1024, description="rtsp://, http:// or usb:0.")


class CameraIn(SourceIn):
    """A camera to be watched."""

    name: str = Field(min_length=1, max_length=64)


class SetCamera(Out):
    """A camera of the file."""

    camera_id: int
    name: str
    source: str = Field(description="Its address, without passwords.")


class SetCameras(Out):
    """All cameras of the file."""

    cameras: list[SetCamera]


class AddedCamera(SetCamera):
    """A camera that was added."""

    is_watched: bool = Field(description="If not, it is from the next start of the service on.")


class Silenced(Out):
    """People of whom nobody is told."""

    person_ids: list[int]


class SilenceIn(In):
    """Whether nobody is to be told of a person."""

    silent: bool


def setup_routes(parts: Parts) -> APIRouter:
    """List and add cameras, let people in and out, silence people."""
    router = APIRouter(tags=["set-up"], route_class=parts.route)
    viewer = Annotated[Caller, Depends(Needs("viewer"))]
    operator = Annotated[Caller, Depends(Needs("operator"))]
    admin = Annotated[Caller, Depends(Needs("admin"))]

    @router.get("/tokens", response_model=Tokens, responses=documented())
    def list_tokens(caller: admin) -> Tokens:
        """Who may come in."""
        return Tokens(tokens=[_of(one) for one in reversed(parts.state.tokens())])

    @router.post("/tokens", response_model=NewToken, status_code=201, responses=documented())
    def create_token(
        request: Request, asked: Annotated[TokenIn, Body()], caller: admin
    ) -> NewToken:
        """Let somebody in. The token is not kept and cannot be shown again."""
        token = parts.state.create_token(asked.name, asked.role, actor=caller.name)
        place, is_reachable = _place(parts, request)
        # What stands after "#" stays in the browser: no log of a server or a proxy has it.
        link = f"{place}/#token={token}"
        return NewToken(
            token_id=token.split("_")[1],
            token=token,
            link=link,
            qr_svg=_qr_svg(link),
            is_reachable=is_reachable,
        )

    @router.delete("/tokens/{token_id}", response_model=Tokens, responses=documented(404, 409))
    def revoke_token(token_id: Annotated[TokenId, Path()], caller: admin) -> Tokens:
        """Let somebody in no more, at once and for good."""
        if token_id == caller.token_id:
            raise HTTPException(409, "This is your own token: with it you would lock yourself out.")
        if not parts.state.is_valid(token_id):
            raise HTTPException(404, f"There is no valid token {token_id}.")
        parts.state.revoke(token_id, actor=caller.name)
        return list_tokens(caller)

    @router.get("/setup/cameras", response_model=SetCameras, responses=documented(409))
    def list_cameras(caller: admin) -> SetCameras:
        """The cameras that are watched, and where they are."""
        try:
            watched = camera_file.read_cameras_of(_file(parts))
        except SettingsError as error:
            raise _unusable(error) from error
        return SetCameras(
            cameras=[
                SetCamera(camera_id=one.number, name=one.name, source=public_name(one.source))
                for one in watched.cameras
            ]
        )

    @router.post(
        "/setup/cameras/try",
        response_class=Response,
        responses={
            200: {
                "description": "One picture of it.",
                "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
            },
            **documented(409),
        },
    )
    async def try_camera(asked: Annotated[SourceIn, Body()], caller: admin) -> Response:
        """Ask a camera for one picture. Nothing is stored."""
        async with parts.embedding.slot(caller.name):
            try:
                jpeg = await to_thread.run_sync(parts.try_camera, asked.source)
            except SettingsError as error:
                raise HTTPException(422, public_text(str(error), asked.source)) from error
            except CameraError as error:
                raise HTTPException(409, public_text(str(error), asked.source)) from error
        return Response(jpeg, media_type="image/jpeg")

    @router.post(
        "/setup/cameras", response_model=AddedCamera, status_code=201, responses=documented(409)
    )
    def add_camera(asked: Annotated[CameraIn, Body()], caller: admin) -> AddedCamera:
        """Watch one more camera, from now on if the service watches cameras already."""
        path = _file(parts)
        names = parts.settings.camera_names
        numbers = {name: number for number, name in names.items()}
        with parts.changing:
            try:
                before = camera_file.read_cameras_of(path)
            except SettingsError as error:
                raise _unusable(error) from error
            if any(one.name == asked.name for one in before.cameras):
                raise HTTPException(409, "There is a camera of that name already.")
            parts.state.record(caller.name, "add camera", {"cameras": len(before.cameras) + 1})
            try:
                camera = camera_file.add_camera(path, asked.name, asked.source, numbers=numbers)
            except SettingsError as error:
                raise HTTPException(422, public_text(str(error), asked.source)) from error
            except OSError as error:
                raise ServiceError(f"{path}: cannot be written ({error}).") from error
            names[camera.number] = camera.name
            is_watched = parts.source.watch(camera_file.read_cameras_of(path))
        return _added(camera, is_watched)

    @router.get("/silenced", response_model=Silenced, responses=documented())
    def list_silenced(caller: viewer) -> Silenced:
        """Of whom nobody is told."""
        return Silenced(person_ids=sorted(parts.state.silenced()))

    @router.put("/persons/{person_id}/silence", response_model=Silenced, responses=documented(404))
    def silence(
        person_id: Annotated[PersonId, Path()],
        asked: Annotated[SilenceIn, Body()],
        caller: operator,
    ) -> Silenced:
        """Tell nobody of a person, or do so again: no line in Live, no alert, no message."""
        with parts.changing:
            parts.people.changed()
            if person_id not in parts.people.by_id():
                raise HTTPException(404, f"There is no person {person_id}.")
            parts.state.silence(caller.name, person_id, take_back=not asked.silent)
            apply_silence(parts)
        parts.events.publish("gallery", {"what": "silence", "person_id": person_id})
        return list_silenced(caller)

    return router


def apply_silence(parts: Parts) -> None:
    """Let live events and cameras know of whom nobody is told."""
    parts.events.silenced = silenced = parts.state.silenced()
    people = parts.people.by_id()
    names = (people[one].name for one in silenced if one in people)
    parts.source.ignore(frozenset(name for name in names if name))


def _qr_svg(text: str) -> str:
    stream = io.BytesIO()
    segno.make(text, error="m").save(
        stream, kind="svg", scale=5, border=4, light="#fff", xmldecl=False
    )
    return stream.getvalue().decode()


def _of(token: Token) -> TokenOut:
    return TokenOut(**vars(token))


def _file(parts: Parts) -> FilePath:
    settings = parts.settings
    return settings.own_watch if settings.watch is None else FilePath(settings.watch)


def _unusable(error: SettingsError) -> HTTPException:
    # Of the file's text nothing is told: it may hold passwords.
    return HTTPException(409, "The file of the cameras cannot be read; `adln watch` says why.")


def _added(camera: CameraSettings, is_watched: bool) -> AddedCamera:
    return AddedCamera(
        camera_id=camera.number,
        name=camera.name,
        source=public_name(camera.source),
        is_watched=is_watched,
    )


def _place(parts: Parts, request: Request) -> tuple[str, bool]:
    """Where others open the page, and whether they can."""
    host = request.headers.get("host", "")
    name = re.sub(r":\d+$", "", host)
    is_reachable = not is_loopback(parts.settings.host) or bool(parts.settings.hosts)
    if is_reachable and is_loopback(name.strip("[]")) and (own := _own_address()):
        host = own + host[len(name) :]
    return f"{request.url.scheme}://{host}", is_reachable


@functools.cache
def _own_address() -> str | None:
    """This machine's address in its network; None if it has none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_SOMEWHERE)
            address: str = probe.getsockname()[0]
    except OSError:
        return None
    return None if ipaddress.ip_address(address).is_unspecified else address
