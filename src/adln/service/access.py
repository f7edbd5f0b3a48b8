"""Access control: tokens, roles and rate limits, checked before a request's body is read."""

import asyncio
import logging
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from adln.service.connections import network_of
from adln.service.metrics import ServiceMetrics
from adln.service.problems import refusal
from adln.service.rate_limits import RateLimit
from adln.service.settings import ServeSettings
from adln.service.state import Caller, Role, ServiceState

API = "/api/v1"
_OPEN_PATHS = frozenset({f"{API}/health", f"{API}/openapi.json"})
CALLER = "adln.caller"
"""Key of the caller in a request's scope."""
FLOOD_S = 0.5
"""Delay of refusals for sending too much, so that repeating the request at once costs time."""
_NOT_GIVEN = Caller(name="this machine", role="admin")

_log = logging.getLogger(__name__)


class Gate:
    """ASGI middleware that identifies the caller of each API request and limits their rate.

    If no token is required, callers without one may do everything; the service then listens on this
    machine only.
    """

    def __init__(
        self, app: ASGIApp, *, state: ServiceState, metrics: ServiceMetrics, settings: ServeSettings
    ) -> None:
        self._app = app
        self._state = state
        self._metrics = metrics
        self._anybody = None if settings.tokens_required else _NOT_GIVEN
        # Of each caller; of the wrong tokens of each address.
        self._requests = RateLimit(settings.requests_per_minute)
        most = settings.failed_tokens_per_minute
        self._failures = RateLimit(most, at_once=most)
        # One at a time: each takes 16 MiB and some tens of milliseconds.
        self._slow_checks = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, see ASGI."""
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith("/api/") or path in _OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        address = network_of(scope["client"][0]) if scope.get("client") else "unknown"
        token = _token(Headers(scope=scope))
        caller = self._anybody
        if token is not None:
            # Other callers' wrong tokens never slow down valid ones, whatever the address.
            if not self._state.is_slow(token):
                caller = self._state.caller(token)
            elif self._failures.wait_s(address, take=False) == 0:
                async with self._slow_checks:
                    caller = await run_in_threadpool(self._state.caller, token)
            else:
                caller = None
        answer = self._app
        if caller is None and token is not None and (wait_s := self._failures.wait_s(address)):
            answer = _flooded("Too many wrong tokens.", wait_s, problem="too_many_wrong_tokens")
        elif caller is None:
            if token is not None:
                self._metrics.refused_tokens.inc()
                _log.warning("wrong token from %s", address)
            message = "This token is not valid." if token else "A token is required."
            headers = {"Connection": "close", "WWW-Authenticate": "Bearer"}
            answer = refusal(401, message, headers=headers)
        # On one machine programs without a token share a limit, whatever their port.
        elif wait_s := self._requests.wait_s(f"{caller.name} {address}"):
            answer = _flooded("Too many requests; go slower.", wait_s)
        else:
            scope[CALLER] = caller
        await answer(scope, receive, send)


class Needs:
    """A dependency of a route: the caller, if their role allows what `role` does."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def __call__(self, request: Request) -> Caller:
        """The caller.

        Raises:
            HTTPException: 403, naming both roles.
        """
        caller: Caller = request.scope[CALLER]
        if not caller.may(self.role):
            raise HTTPException(
                403, f"This needs the role {self.role}; your token's is {caller.role}."
            )
        return caller


Viewer = Annotated[Caller, Depends(Needs("viewer"))]
Operator = Annotated[Caller, Depends(Needs("operator"))]
Admin = Annotated[Caller, Depends(Needs("admin"))]
"""Types of a route's caller: who has at least that role."""


def _token(headers: Headers) -> str | None:
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _flooded(message: str, wait_s: float, *, problem: str | None = None) -> ASGIApp:
    # The body is not read.
    headers = {"Connection": "close", "Retry-After": str(int(wait_s) + 1)}
    refused = refusal(429, message, problem=problem, headers=headers)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(FLOOD_S)
        await refused(scope, receive, send)

    return answer
