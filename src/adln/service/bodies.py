"""The bodies of requests: who may send one, how large, how many at a time, and what JSON may hold.

A route asks who the caller is before anything of a body is read. Room in memory is shared out by
caller and by address. JSON is counted before it is parsed (numbers of keys and values that a route
can need), and parsed and validated off the event loop, so that nobody else waits for it.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

from anyio import to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from adln.service.access import CALLER, FLOOD_S, Needs
from adln.service.answers import In
from adln.service.connections import network_of
from adln.service.fairness import FairSlots
from adln.service.problems import too_large

# Each body counts for at least so much: it has buffers and a task, too.
_LEAST_BYTES = 64 * 1024
_WAIT_S = 15.0
# Each value of JSON costs one of these marks, unless it stands in a text.
_MARKS = (b",", b":", b"[", b"{")
_ERRORS_TOLD = 5


class _TooMuchError(HTTPException):
    """Nobody who means well sends so much."""


class Bodies:
    """Room for bodies in memory. For one event loop.

    Args:
        largest: that any route takes, in bytes. One caller may have two of these at a time, one
            address three, and all together four; whoever has no room waits before they send.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._held: Counter[tuple[str, str]] = Counter()
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def take(self, request: Request, *, most: int) -> AsyncIterator[bytes]:
        """Read the body of a request and hold it.

        Raises:
            HTTPException: it is too large, there is no room for it, or the client has left.
        """
        stated = request.headers.get("content-length")
        # Without a stated length any may come. The guard has seen that it is a number.
        size = max(_LEAST_BYTES, most if stated is None else int(stated))
        if stated is not None and int(stated) > most:
            raise _TooMuchError(413, too_large(most))
        shares = {
            ("caller", caller_of(request)): 2 * self._largest,
            ("address", address_of(request)): 3 * self._largest,
            ("all", ""): 4 * self._largest,
        }
        await self._reserve(shares, size)
        try:
            parts, taken = [], 0
            async for part in request.stream():
                taken += len(part)
                if taken > most:
                    raise _TooMuchError(413, too_large(most))
                parts.append(part)
            yield b"".join(parts)
        except ClientDisconnect as error:
            raise HTTPException(400, "The request ended before it was whole.") from error
        finally:
            async with self._freed:
                self._held.subtract(dict.fromkeys(shares, size))
                # Callers come and go; those who hold nothing are forgotten.
                self._held = +self._held
                self._freed.notify_all()

    async def _reserve(self, shares: dict[tuple[str, str], int], size: int) -> None:
        def fits() -> bool:
            return all(self._held[who] + size <= share for who, share in shares.items())

        try:
            async with asyncio.timeout(_WAIT_S), self._freed:
                await self._freed.wait_for(fits)
                self._held.update(dict.fromkeys(shares, size))
        except TimeoutError as error:
            raise HTTPException(
                503, "Too much is being sent at a time; try again.", {"Retry-After": "5"}
            ) from error


def bounded_route(
    bodies: Bodies, turns: FairSlots, changes: FairSlots, *, json_bytes: int
) -> type[APIRoute]:
    """The class of the API's routes.

    Args:
        bodies: room for what is sent.
        turns: of work in threads.
        changes: turns of what viewers may not do, which come before those of work: changes wait
            for each other and may take long, and must not hold the threads of searches meanwhile.
        json_bytes: largest body of any route; most routes take less.
    """

    class BoundedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            needs = [one.call for one in self.dependant.dependencies if isinstance(one.call, Needs)]
            body = None if self.body_field is None else self.body_field.field_info.annotation
            model: type[In] | None = None
            if isinstance(body, type) and issubclass(body, In):
                model = body
            works_in_thread = not iscoroutinefunction(self.endpoint)
            is_change = self.methods != {"GET"} and any(one.role != "viewer" for one in needs)

            async def bounded(request: Request) -> Response:
                for one in needs:
                    await one(request)
                if model is not None:
                    try:
                        request = await _read(request, bodies, model, json_bytes)
                    except _TooMuchError:
                        # Its room is free again.
                        await asyncio.sleep(FLOOD_S)
                        raise
                caller = caller_of(request)
                async with (
                    changes.slot(caller) if works_in_thread and is_change else nullcontext(),
                    turns.slot(caller) if works_in_thread else nullcontext(),
                ):
                    return await handle(request)

            return bounded

    return BoundedRoute


def caller_of(request: Request) -> str:
    """Who asks, for shares; where nobody need say who they are, from where."""
    caller = request.scope.get(CALLER)
    return address_of(request) if caller is None else caller.name


def address_of(request: Request) -> str:
    """From where somebody asks, for shares."""
    return network_of(request.client.host) if request.client else ""


async def _read(request: Request, bodies: Bodies, model: type[In], json_bytes: int) -> Request:
    async with bodies.take(request, most=min(json_bytes, model.most_bytes)) as data:
        if not data:
            return request
        kind = request.headers.get("content-type", "")
        asked = await to_thread.run_sync(partial(_validated, model, data, kind))
    return _ReadRequest(request, asked)


def _validated(model: type[In], data: bytes, kind: str) -> In:
    kind = kind.partition(";")[0].strip().lower()
    if not (kind.startswith("application/") and kind.removeprefix("application/").endswith("json")):
        raise HTTPException(422, "Send application/json.")
    if sum(data.count(mark) for mark in _MARKS) > model.most_values:
        raise _TooMuchError(
            422, f"The request has too many values; at most about {model.most_values:,} are taken."
        )
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError(
            [{**one, "loc": ("body", *one["loc"])} for one in told[:_ERRORS_TOLD]]
        ) from None


class _ReadRequest(Request):
    """A request whose body has been read and validated."""

    def __init__(self, request: Request, asked: In) -> None:
        super().__init__(request.scope, request.receive)
        self._asked = asked

    async def body(self) -> bytes:
        """Something: what it was is in `json`."""
        return b"{}"

    async def json(self) -> In:
        """What it asks for; FastAPI takes a model that is one already."""
        return self._asked
