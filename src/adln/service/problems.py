"""How refusals look: one JSON object with a word for programs and a sentence for people."""

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
    413: "too_large",
    415: "wrong_type",
    422: "not_usable",
    429: "too_many_requests",
    500: "broken",
    503: "not_now",
}
# Keys that nobody knows are the client's, and may be long.
_LONGEST_STEP = 40
_log = logging.getLogger(__name__)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers of a route for OpenAPI: those that any route may give, and some of its own."""
    usual = (400, 401, 403, 408, 413, 422, 429, 503)
    # Said in full, because routes whose answer is no JSON refuse in JSON all the same.
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    return {
        status: {"content": content, "description": _WORDS[status].replace("_", " ")}
        for status in sorted({*usual, *statuses})
    }


def a_jpeg(description: str) -> dict[int | str, dict[str, Any]]:
    """The answer of a route for OpenAPI that is a picture."""
    content = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": description, "content": content}}


def add_handlers(app: FastAPI) -> None:
    """Turn errors into refusals."""
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
    """An answer that says no, with the status's own word for programs if none is given."""
    content = {"problem": problem or _WORDS.get(status, "refused"), "message": message}
    return JSONResponse(content, status, headers)


def too_large(most: int) -> str:
    """What is said of a request of more than so many bytes."""
    return f"The request is too large; at most {most:,} bytes are taken."


def without_place(error: GalleryError) -> str:
    """What a gallery says, without its folder, which is nobody's business who asks the service."""
    _, colon, rest = str(error).partition(": ")
    return rest[:1].upper() + rest[1:] if colon else str(error)


async def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, str(error.detail), headers=dict(error.headers or {}))


async def _of_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # What came is not repeated: it may be a name, or hostile.
    parts = [
        f"{'.'.join(str(step)[:_LONGEST_STEP] for step in problem['loc'])}: {problem['msg'][:200]}"
        for problem in error.errors()[:5]
    ]
    return refusal(422, "; ".join(parts)[:2000])


async def _of_adln(request: Request, error: Exception) -> Response:
    if isinstance(error, PictureRefusedError):
        return refusal(413 if error.too_large else 422, str(error))
    if isinstance(error, ImageError):
        return refusal(422, str(error))
    if isinstance(error, ServiceError) or isinstance(error.__cause__, sqlite3.Error | OSError):
        # Disk or database: the words are for those who run the service.
        _log.error("%s", error)
        return refusal(
            503, "Nothing was done: the disk or the database refuses.", headers={"Retry-After": "5"}
        )
    if isinstance(error, GalleryError):
        return refusal(409, without_place(error))
    _log.error("%s", error)
    return refusal(500, "The service cannot do this at the moment.")


async def _of_anything(request: Request, error: Exception) -> Response:
    return refusal(500, "The service failed; its log says why.")
