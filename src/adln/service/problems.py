"""Error responses: a JSON object with a code for programs and a sentence for people."""

import logging
import sqlite3
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from adln.errors import AdlnError, GalleryError, ImageError, ServiceError
from adln.service.answers import Problem
from adln.service.network import PictureRefusedError

_WORDS = {
    400: "bad_request",
    401: "no_valid_token",
    403: "not_allowed",
    404: "not_found",
    405: "wrong_method",
    408: "too_slow",
    409: "conflict",
    412: "changed_since",
    413: "too_large",
    415: "wrong_type",
    422: "not_usable",
    429: "too_many_requests",
    500: "broken",
    503: "not_now",
}
_log = logging.getLogger(__name__)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Error responses of a route for OpenAPI: the common ones, plus the given statuses."""
    usual = (400, 401, 403, 408, 413, 422, 429, 503)
    # In full, because routes whose response is not JSON send errors as JSON, too.
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {
        status: {"content": content, "description": _WORDS[status].replace("_", " ")}
        for status in sorted({*usual, *statuses})
    }


def sends(
    kind: str, description: str = "Successful Response", **schema: str
) -> dict[int | str, dict[str, Any]]:
    """The response of a route that is not JSON for OpenAPI."""
    content = {kind: {"schema": {"type": "string", **schema}}}
    return {200: {"description": description, "content": content}}


def a_jpeg(description: str) -> dict[int | str, dict[str, Any]]:
    """A JPEG response of a route for OpenAPI."""
    return sends("image/jpeg", description, format="binary")


def add_handlers(app: FastAPI) -> None:
    """Turn exceptions into error responses."""
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(RequestValidationError, _of_validation)
    app.add_exception_handler(AdlnError, _of_adln)
    app.add_exception_handler(Exception, _of_anything)


def refusal(
    status: int,
    message: str,
    *,
    problem: str | None = None,
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """An error response; `problem` defaults to the code of the status."""
    content = {"problem": problem or _WORDS.get(status, "refused"), "message": message}
    return JSONResponse(content, status, headers)


def too_large(most: int) -> str:
    """Message for a request of more than `most` bytes."""
    return f"The request is too large; the limit is {most:,} bytes."


def without_place(error: GalleryError) -> str:
    """The message of a gallery error without the gallery's folder, which clients must not see."""
    _, colon, rest = str(error).partition(": ")
    return rest[:1].upper() + rest[1:] if colon else str(error)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, str(error.detail), headers=dict(error.headers or {}))


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Does not quote the input, which may be personal data or hostile; unknown keys may be long.
    parts = [
        f"{'.'.join(str(step)[:40] for step in problem['loc'])}: {problem['msg'][:200]}"
        for problem in error.errors()[:5]
    ]
    return refusal(422, "; ".join(parts)[:2000])


async def _of_adln(request: Request, error: Exception) -> Response:
    if isinstance(error, ImageError):
        is_too_large = isinstance(error, PictureRefusedError) and error.too_large
        return refusal(413 if is_too_large else 422, str(error))
    if isinstance(error, ServiceError) or isinstance(error.__cause__, sqlite3.Error | OSError):
        # Disk or database: the details are only for the operators of the service.
        _log.error("%s", error)
        message = "Nothing was changed: the disk or the database failed."
        return refusal(503, message, headers={"Retry-After": "5"})
    if isinstance(error, GalleryError):
        return refusal(409, without_place(error))
    _log.error("%s", error)
    return refusal(500, "The service cannot do this right now; its log says why.")


async def _of_anything(request: Request, error: Exception) -> Response:
    return refusal(500, "The service failed; its log says why.")
