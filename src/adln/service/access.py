"""Access control: tokens, roles and rate limits, checked before a request's body is read."""

import asyncio
import logging
from typing import Annotated

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from adln.service.connections import network_of
from adln.service.metrics import ServiceMetrics
from adln.service.problems import refusal
from adln.service.rate_limits import RateLimit
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

    Args:
        app: the application behind it.
        state: has the tokens.
        metrics: counts wrong tokens.
        required: whether a token is required. If not, callers without one may do everything; the
            service then listens on this machine only.
        requests: limit for each caller.
        failures: limit for wrong tokens for each address.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        state: ServiceState,
        metrics: ServiceMetrics,
        required: bool,
        requests: RateLimit,
        failures: RateLimit,
    ) -> None:
        self._app = app
        self._state = state
        self._metrics = metrics
        self._required = required
        self._requests = requests
        self._failures = failures
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
        caller: Caller | None = None if self._required else _NOT_GIVEN
        if token is not None:
            # Other callers' wrong tokens never slow down valid ones, whatever the address.
            if not self._state.is_slow(token):
                caller = self._state.caller(token)
            elif self._failures.wait_s(address, take=False) == 0:
                async with self._slow_checks:
                    caller = await run_in_threadpool(self._state.caller, token)
            else:
                caller = None
            if caller is None and (wait_s := self._failures.wait_s(address)):
                await asyncio.sleep(FLOOD_S)
                refused = _refused(
                    429, "Too many wrong tokens.", problem="too_many_wrong_tokens", wait_s=wait_s
                )
                await refused(scope, receive, send)
                return
            if caller is None:
                self._metrics.refused_tokens.inc()
                _log.warning("wrong token from %s", address)
        if caller is None:
            message = "This token is not valid." if token else "A token is required."
            await _refused(401, message)(scope, receive, send)
            return
        # On one machine programs without a token share a limit, whatever their port.
        if wait_s := self._requests.wait_s(f"{caller.name} {address}"):
            await asyncio.sleep(FLOOD_S)
            refused = _refused(429, "Too many requests; go slower.", wait_s=wait_s)
            await refused(scope, receive, send)
            return
        scope[CALLER] = caller
        await self._app(scope, receive, send)


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


def _refused(
    status: int, message: str, *, problem: str | None = None, wait_s: float | None = None
) -> JSONResponse:
    # The body is not read.
    headers = {"Connection": "close"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if wait_s is not None:
        headers["Retry-After"] = str(int(wait_s) + 1)
    return refusal(status, message, problem=problem, headers=headers)
