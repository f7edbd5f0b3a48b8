"""Routes for access tokens and silenced people."""

import functools
import io
import ipaddress
import re
import socket
from typing import Annotated

import segno
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.exceptions import HTTPException

from adln.service.access import Admin, Operator, Viewer
from adln.service.answers import In, Out, PersonId, PersonOut
from adln.service.asked import require_person
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.settings import is_loopback
from adln.service.state import TOKEN_NAME, Role, Token

# Nothing is sent to it: connecting a UDP socket only selects this machine's own address.
_SOMEWHERE = ("192.0.2.1", 9)
TokenId = Annotated[str, Field(pattern=r"^[0-9a-z]{8}$")]


class TokenIn(In):
    """A token to create."""

    name: str = Field(pattern=f"^{TOKEN_NAME}$", description="Name of its user.")
    role: Role = "viewer"


class Tokens(Out):
    """All tokens, newest first."""

    tokens: list[Token]


class NewToken(Out):
    """A new token; it is shown only once."""

    token_id: str
    token: str
    link: str = Field(description="Opens the page with the token.")
    qr_svg: str = Field(description="The link as a QR code (SVG).")
    is_reachable: bool = Field(description="Whether other machines can reach the service.")


class Silenced(Out):
    """People who are recognised but not reported."""

    person_ids: list[int]
    people: list[PersonOut] = Field(description="Those of them who still exist.")


class SilenceIn(In):
    """Whether to silence a person."""

    silent: bool


def setup_routes(router: APIRouter, parts: Parts) -> None:
    """Create and revoke tokens, silence people."""

    @router.get("/tokens", responses=documented())
    def list_tokens(caller: Admin) -> Tokens:
        """All tokens, without their secrets."""
        return Tokens(tokens=parts.state.tokens()[::-1])

    @router.post("/tokens", status_code=201, responses=documented())
    def create_token(request: Request, asked: TokenIn, caller: Admin) -> NewToken:
        """Create a token. Only a digest is stored, so it cannot be shown again."""
        token = parts.state.create_token(asked.name, asked.role, actor=caller.name)
        place, is_reachable = _place(parts, request)
        # Browsers do not send the part after "#", so it is in no log of a server or proxy.
        link = f"{place}/#token={token}"
        return NewToken(
            token_id=token.split("_")[1],
            token=token,
            link=link,
            qr_svg=_qr_svg(link),
            is_reachable=is_reachable,
        )

    @router.delete("/tokens/{token_id}", responses=documented(404, 409))
    def revoke_token(token_id: TokenId, caller: Admin) -> Tokens:
        """Revoke a token, immediately and permanently."""
        if token_id == caller.token_id:
            raise HTTPException(409, "Revoking your own token would lock you out; use another one.")
        if not parts.state.is_valid(token_id):
            raise HTTPException(404, f"There is no valid token {token_id}.")
        parts.state.revoke(token_id, actor=caller.name)
        return list_tokens(caller)

    @router.get("/silenced", responses=documented())
    def list_silenced(caller: Viewer) -> Silenced:
        """People who are recognised but not reported."""
        silenced = sorted(parts.state.silenced())
        known = parts.people.by_id()
        return Silenced(
            person_ids=silenced,
            people=[PersonOut.of(known[one]) for one in silenced if one in known],
        )

    @router.put("/persons/{person_id}/silence", responses=documented(404))
    def silence(
        person_id: PersonId,
        asked: SilenceIn,
        caller: Operator,
    ) -> Silenced:
        """Turn live events, alerts and messages about a person off or on."""
        with parts.changing:
            require_person(parts, person_id, fresh=True)
            parts.state.silence(caller.name, person_id, take_back=not asked.silent)
            apply_silence(parts)
        parts.events.publish("gallery", {"what": "silence", "person_id": person_id})
        return list_silenced(caller)


def apply_silence(parts: Parts) -> None:
    """Pass the silenced people on to live events and cameras."""
    parts.events.silenced = silenced = parts.state.silenced()
    # By number: many have no name, and names change.
    parts.source.ignore(frozenset(f"id:{one}" for one in silenced))


def _qr_svg(text: str) -> str:
    stream = io.BytesIO()
    code = segno.make(text, error="m")
    code.save(stream, kind="svg", scale=5, border=4, light="#fff", xmldecl=False)
    return stream.getvalue().decode()


def _place(parts: Parts, request: Request) -> tuple[str, bool]:
    """The page's address for other machines, and whether they can reach it."""
    host = request.headers.get("host", "")
    name = re.sub(r":\d+$", "", host)
    is_reachable = not is_loopback(parts.settings.host) or bool(parts.settings.hosts)
    if is_reachable and is_loopback(name.strip("[]")) and (own := _own_address()):
        host = own + host[len(name) :]
    return f"{request.url.scheme}://{host}", is_reachable


@functools.cache
def _own_address() -> str | None:
    """This machine's own address in its network; None if it has none."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect(_SOMEWHERE)
            address: str = probe.getsockname()[0]
    except OSError:
        return None
    return None if ipaddress.ip_address(address).is_unspecified else address
