"""The files of the web page, read once from the package; paths from clients are never opened."""

import hashlib
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


def page_routes() -> list[BaseRoute]:
    """A route for each file of the page; "/" is index.html."""
    routes: list[BaseRoute] = []
    for file in resources.files("adln.service").joinpath("page").iterdir():
        if kind := _TYPES.get(file.name.rpartition(".")[2]):
            path = "/" if file.name == "index.html" else f"/page/{file.name}"
            routes.append(_route(path, file.read_bytes(), kind))
    return routes


def _route(path: str, content: bytes, kind: str) -> Route:
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    # Not secret; browsers may cache it and ask whether it has changed.
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def serve(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=kind, headers=headers)

    return Route(path, serve, methods=["GET"])
