"""Routes that embed and search."""

from functools import partial
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Body, Depends, Query, Request
from starlette.exceptions import HTTPException

from adln.gallery.records import Filter, checked_embeddings
from adln.service.access import needs
from adln.service.answers import (
    CameraId,
    EmbeddedPicture,
    ModelName,
    PersonId,
    SearchIn,
    SearchOut,
    Time,
    decode_embedding,
    encode_embedding,
)
from adln.service.network import Network, check_picture
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.searching import as_filter, require_model, search
from adln.service.state import Caller

_PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")
PICTURE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The picture itself: one person, cut out.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in _PICTURE_TYPES
        },
    }
}
_READ_AT_ONCE = 8


class Pictures:
    """Takes pictures from requests, a few at a time, so that memory stays flat.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reading = CapacityLimiter(_READ_AT_ONCE)

    async def take(self, request: Request) -> tuple[bytes, Any]:
        """The picture of a request and its embedding.

        Returns:
            The file's content, and (D,) float32 of unit length.

        Raises:
            HTTPException: it is not sent as a picture, is too large or too slow; or this service
                has no network.
            ImageError: it is no picture that can be used.
        """
        network = self.network()
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _PICTURE_TYPES:
            raise HTTPException(415, f"Send one of {', '.join(_PICTURE_TYPES)} as it is.")
        async with self._reading:
            # The guard has put a bound on how much and how long this may be.
            data = b"".join([chunk async for chunk in request.stream()])
            embedding = await to_thread.run_sync(
                partial(self._embed, network, data), limiter=self._parts.embedding
            )
        return data, embedding

    def network(self) -> Network:
        """The service's network.

        Raises:
            HTTPException: there is none.
        """
        if self._parts.network is None:
            raise HTTPException(503, "This service has no network; push embeddings instead.")
        return self._parts.network

    def _embed(self, network: Network, data: bytes) -> Any:
        check_picture(data, max_pixels=self._parts.settings.max_picture_pixels)
        return network.embed(data)


def search_routes(parts: Parts, pictures: Pictures) -> APIRouter:
    """Embed a picture; search by picture, by sighting, or by embedding."""
    router = APIRouter(tags=["search"])
    viewer = Annotated[Caller, Depends(needs("viewer"))]

    @router.post(
        "/embed/picture",
        response_model=EmbeddedPicture,
        responses=documented(415),
        openapi_extra=PICTURE_BODY,
    )
    async def embed_picture(request: Request, caller: viewer) -> EmbeddedPicture:
        """Embed a picture of one person. Nothing is stored."""
        _, embedding = await pictures.take(request)
        return EmbeddedPicture(
            model=ModelName.of(pictures.network().model), embedding=encode_embedding(embedding)
        )

    @router.post(
        "/search/picture",
        response_model=SearchOut,
        responses=documented(409, 415),
        openapi_extra=PICTURE_BODY,
    )
    async def search_by_picture(
        request: Request,
        caller: viewer,
        k: Annotated[int, Query(ge=1, le=200)] = 20,
        least_similarity: Annotated[float, Query(ge=-1, le=1, allow_inf_nan=False)] = -1.0,
        camera: Annotated[list[CameraId] | None, Query(max_length=1000)] = None,
        not_camera: Annotated[list[CameraId] | None, Query(max_length=1000)] = None,
        person: Annotated[list[PersonId] | None, Query(max_length=1000)] = None,
        from_s: Annotated[Time | None, Query(allow_inf_nan=False)] = None,
        until_s: Annotated[Time | None, Query(allow_inf_nan=False)] = None,
    ) -> SearchOut:
        """Find who a picture shows. The picture is not stored."""
        _, embedding = await pictures.take(request)
        where = Filter(
            cameras=None if camera is None else frozenset(camera),
            not_cameras=frozenset(not_camera or ()),
            persons=None if person is None else frozenset(person),
            from_s=from_s,
            until_s=until_s,
        )

        def work() -> SearchOut:
            parts.state.record(caller.name, "search", {"by": "picture", "k": k}, synced=False)
            model = pictures.network().model
            require_model(parts, model)
            return search(
                parts,
                embedding,
                model=model,
                k=k,
                least_similarity=least_similarity,
                where=where,
            )

        return await to_thread.run_sync(work)

    @router.post("/search", response_model=SearchOut, responses=documented(404, 409))
    def search_by_sighting(asked: Annotated[SearchIn, Body()], caller: viewer) -> SearchOut:
        """Find who a stored sighting shows, or whom an embedding is of."""
        if (asked.sighting_id is None) == (asked.embedding is None):
            raise HTTPException(422, "Give either sighting_id or embedding.")
        if asked.embedding is not None:
            if asked.model is None:
                raise HTTPException(422, "An embedding needs `model`, what made it.")
            model = asked.model.key()
            require_model(parts, model)
            try:
                (query,) = checked_embeddings(
                    decode_embedding(asked.embedding, model.dim), dim=model.dim
                )
            except ValueError as error:
                raise HTTPException(422, f"This cannot be searched for: {error}.") from error
            by: dict[str, Any] = {"by": "embedding"}
        else:
            records = parts.gallery.get([asked.sighting_id or 0])
            if not records:
                raise HTTPException(404, f"There is no sighting {asked.sighting_id}.")
            model, query = records[0].model, records[0].embedding.astype("float32")
            by = {"by": "sighting", "sighting": asked.sighting_id}
        parts.state.record(caller.name, "search", {**by, "k": asked.k}, synced=False)
        return search(
            parts,
            query,
            model=model,
            k=asked.k,
            least_similarity=asked.least_similarity,
            where=as_filter(asked.where),
            leave_out=asked.sighting_id,
        )

    return router
