"""Routes that say who may come in, and of whom nobody is told."""

import functools
import io
import ipaddress
import re
import socket
from typing import Annotated

import segno
from fastapi import APIRouter, Body, Path, Request
from pydantic import Field
from starlette.exceptions import HTTPException

from adln.service.access import Admin, Operator, Viewer
from adln.service.answers import In, Out, PersonId
from adln.service.asked import require_person
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.settings import is_loopback
from adln.service.state import TOKEN_NAME, Role, Token

# Nothing is sent to it: it only tells by which address this machine reaches others.
_SOMEWHERE = ("192.0.2.1", 9)
TokenId = Annotated[str, Field(pattern=r"^[0-9a-z]{8}$")]


class TokenIn(In):
    """Whom to let in."""

    name: str = Field(pattern=f"^{TOKEN_NAME}$", description="Whose token it is.")
    role: Role = "viewer"


class Tokens(Out):
    """All tokens, newest first."""

    tokens: list[Token]


class NewToken(Out):
    """A token, shown this once."""

    token_id: str
    token: str
    link: str = Field(description="Opens the page with the token.")
    qr_svg: str = Field(description="The link as a QR code, an SVG picture.")
    is_reachable: bool = Field(description="Whether other machines can reach the service.")


class Silenced(Out):
    """People of whom nobody is told."""

    person_ids: list[int]


class SilenceIn(In):
    """Whether nobody is to be told of a person."""

    silent: bool


def setup_routes(parts: Parts) -> APIRouter:
    """Let people in and out, silence people."""
    router = APIRouter(tags=["set-up"], route_class=parts.route)

    @router.get("/tokens", responses=documented())
    def list_tokens(caller: Admin) -> Tokens:
        """Who may come in."""
        return Tokens(tokens=parts.state.tokens()[::-1])

    @router.post("/tokens", status_code=201, responses=documented())
    def create_token(
        request: Request, asked: Annotated[TokenIn, Body()], caller: Admin
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

    @router.delete("/tokens/{token_id}", responses=documented(404, 409))
    def revoke_token(token_id: Annotated[TokenId, Path()], caller: Admin) -> Tokens:
        """Let somebody in no more, at once and for good."""
        if token_id == caller.token_id:
            raise HTTPException(409, "This is your own token: with it you would lock yourself out.")
        if not parts.state.is_valid(token_id):
            raise HTTPException(404, f"There is no valid token {token_id}.")
        parts.state.revoke(token_id, actor=caller.name)
        return list_tokens(caller)

    @router.get("/silenced", responses=documented())
    def list_silenced(caller: Viewer) -> Silenced:
        """Of whom nobody is told."""
        return Silenced(person_ids=sorted(parts.state.silenced()))

    @router.put("/persons/{person_id}/silence", responses=documented(404))
    def silence(
        person_id: Annotated[PersonId, Path()],
        asked: Annotated[SilenceIn, Body()],
        caller: Operator,
    ) -> Silenced:
        """Tell nobody of a person, or do so again: no line in Live, no alert, no message."""
        with parts.changing:
            require_person(parts, person_id, fresh=True)
            parts.state.silence(caller.name, person_id, take_back=not asked.silent)
            apply_silence(parts)
        parts.events.publish("gallery", {"what": "silence", "person_id": person_id})
        return list_silenced(caller)

    return router


def apply_silence(parts: Parts) -> None:
    """Let live events and cameras know of whom nobody is told."""
    parts.events.silenced = silenced = parts.state.silenced()
    # By number: many have no name, and names change.
    parts.source.ignore(frozenset(f"id:{one}" for one in silenced))


def _qr_svg(text: str) -> str:
    stream = io.BytesIO()
    segno.make(text, error="m").save(
        stream, kind="svg", scale=5, border=4, light="#fff", xmldecl=False
    )
    return stream.getvalue().decode()


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
