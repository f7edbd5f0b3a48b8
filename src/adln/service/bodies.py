"""Request bodies: who may send one, how large, how many at a time, and how much JSON.

The caller is authorised before a body is read. Memory for bodies is limited per caller and per
address. The keys and values of JSON are counted before parsing, against the most that a route can
need; parsing and validation run outside the event loop, so that no other request waits for them.
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

# Least size that a body counts as: it needs buffers and a task, too.
_LEAST_BYTES = 64 * 1024
_WAIT_S = 15.0
# Each JSON value costs one of these characters; those inside strings are counted, too.
_MARKS = (b",", b":", b"[", b"{")
_MOST_ERRORS = 5
_EXPECTED = "the body must be a JSON object, sent as application/json"


class _TooMuchError(HTTPException):
    """A body too large for any legitimate request."""


class Bodies:
    """Limits the memory for request bodies. For one event loop.

    One caller may hold twice, one address three times, and all together four times the largest body
    of any route (`largest`, in bytes); further bodies wait before they are read.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._held: Counter[tuple[str, str]] = Counter()
        self._freed = asyncio.Condition()

    @asynccontextmanager
    async def take(self, request: Request, *, most: int) -> AsyncIterator[bytes]:
        """Read the body of a request and hold it.

        Raises:
            HTTPException: it is too large, waited too long for memory, or the client left.
        """
        # Without Content-Length it may be the largest. The guard has checked that it is a number.
        stated = int(request.headers.get("content-length", most))
        if stated > most:
            raise _TooMuchError(413, too_large(most))
        size = max(_LEAST_BYTES, stated)
        shares = {
            ("caller", caller_of(request)): 2 * self._largest,
            ("address", address_of(request)): 3 * self._largest,
            ("all", ""): 4 * self._largest,
        }
        await self._reserve(shares, size)
        try:
            body = bytearray()
            async for part in request.stream():
                body += part
                if len(body) > most:
                    raise _TooMuchError(413, too_large(most))
            yield bytes(body)
        except ClientDisconnect as error:
            raise HTTPException(400, "The request body is incomplete.") from error
        finally:
            async with self._freed:
                self._held.subtract(dict.fromkeys(shares, size))
                # Drops the entries of callers that hold nothing.
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
                503,
                "Too many requests are being sent at once; try again later.",
                {"Retry-After": "5"},
            ) from error


def bounded_route(
    bodies: Bodies, turns: FairSlots, changes: FairSlots, *, json_bytes: int
) -> type[APIRoute]:
    """The class of the API's routes.

    Work in threads takes a slot of `turns`; before that one of `changes`, if viewers may not do it:
    changes wait for each other, may take long, and must not block the threads of searches. Most
    routes allow smaller bodies than `json_bytes`.
    """

    class BoundedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            needs = [one.call for one in self.dependant.dependencies if isinstance(one.call, Needs)]
            body = None if self.body_field is None else self.body_field.field_info.annotation
            model = body if isinstance(body, type) and issubclass(body, In) else None
            works_in_thread = not iscoroutinefunction(self.endpoint)
            is_change = self.methods != {"GET"} and any(one.role != "viewer" for one in needs)

            async def bounded(request: Request) -> Response:
                for one in needs:
                    await one(request)
                if model is not None:
                    try:
                        request = await _read(request, bodies, model, json_bytes)
                    except _TooMuchError:
                        # Its memory is already released.
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
    """Key of the caller for fair sharing: the token's name, or the address if there is none."""
    caller = request.scope.get(CALLER)
    return address_of(request) if caller is None else caller.name


def address_of(request: Request) -> str:
    """Key of the client's address for fair sharing."""
    return network_of(request.client.host) if request.client else ""


async def _read(request: Request, bodies: Bodies, model: type[In], json_bytes: int) -> Request:
    async with bodies.take(request, most=min(json_bytes, model.most_bytes)) as data:
        kind = request.headers.get("content-type", "")
        asked = await to_thread.run_sync(partial(_validated, model, data, kind))
    return _ReadRequest(request, asked)


def _validated(model: type[In], data: bytes, kind: str) -> In:
    if not data.strip():
        raise HTTPException(422, f"The body is empty; {_EXPECTED}.")
    kind = kind.partition(";")[0].strip().lower()
    if not (kind.startswith("application/") and kind.removeprefix("application/").endswith("json")):
        raise HTTPException(422, f"The Content-Type is another; {_EXPECTED}.")
    if sum(data.count(mark) for mark in _MARKS) > model.most_values:
        raise _TooMuchError(
            422, f"The request has too many values; the limit is about {model.most_values:,}."
        )
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        if problems[0]["type"] == "json_invalid":
            raise HTTPException(422, f"{problems[0]['msg']}; {_EXPECTED}.") from None
        raise RequestValidationError(
            [{**one, "loc": ("body", *one["loc"])} for one in problems[:_MOST_ERRORS]]
        ) from None


class _ReadRequest(Request):
    """A request whose body has been read and validated."""

    def __init__(self, request: Request, asked: In) -> None:
        super().__init__(request.scope, request.receive)
        self._asked = asked

    async def body(self) -> bytes:
        """A placeholder; the content is in `json`."""
        return b"{}"

    async def json(self) -> In:
        """The validated model; FastAPI accepts an instance."""
        return self._asked
