"""Routes that embed and search."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Query, Request
from starlette.exceptions import HTTPException

from adln.gallery.records import ModelKey, checked_embeddings
from adln.matching.framing import why_not_a_crop
from adln.service.access import Viewer
from adln.service.answers import (
    CameraId,
    EmbeddedPicture,
    ModelName,
    SearchIn,
    SearchOut,
    decode_embedding,
    encode_embedding,
)
from adln.service.asked import (
    AskedFor,
    as_filter,
    require_model,
    require_network,
    require_sightings,
)
from adln.service.bodies import caller_of
from adln.service.network import Network, check_picture
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.searching import search

_PICTURE_TYPES = ("image/jpeg", "image/png", "image/webp")
PICTURE_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "The bytes of the picture: a crop of one person.",
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in _PICTURE_TYPES
        },
    }
}


async def embedded_picture(
    parts: Parts, request: Request, network: Network
) -> tuple[bytes, Any, str | None]:
    """The content of the picture of a request, and its embedding: (D,) float32 of unit length.

    Also why it is not a crop of one person; None if it may be one. A picture waits for its turn
    only once it has arrived completely.

    Raises:
        HTTPException: wrong content type, too large or too slow.
        ImageError: the picture cannot be used.
    """

    def embed(data: bytes) -> tuple[Any, str | None]:
        size = check_picture(data, max_pixels=parts.settings.max_picture_pixels)
        return network.embed(data), why_not_a_crop(*size)

    async with received(parts, request) as data:
        return data, *await to_thread.run_sync(embed, data)


@asynccontextmanager
async def received(parts: Parts, request: Request) -> AsyncIterator[bytes]:
    """The picture of a request, held while it is its turn to be processed.

    Raises:
        HTTPException: see `embedded_picture`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _PICTURE_TYPES:
        raise HTTPException(415, f"Send the file itself, as {', '.join(_PICTURE_TYPES)}.")
    most = parts.settings.max_picture_bytes
    async with (
        parts.bodies.take(request, most=most) as data,
        # A few at a time, to bound memory.
        parts.embedding.slot(caller_of(request)),
    ):
        yield data


def search_routes(router: APIRouter, parts: Parts) -> None:
    """Embed a picture; search by picture, by sighting, or by embedding."""

    @router.post("/embed/picture", responses=documented(415), openapi_extra=PICTURE_BODY)
    async def embed_picture(request: Request, caller: Viewer) -> EmbeddedPicture:
        """Embed a picture of one person. Nothing is stored."""
        network = require_network(parts)
        _, embedding, _ = await embedded_picture(parts, request, network)
        return EmbeddedPicture(
            model=ModelName.of(network.model), embedding=encode_embedding(embedding)
        )

    @router.post("/search/picture", responses=documented(409, 415), openapi_extra=PICTURE_BODY)
    async def search_by_picture(
        request: Request,
        caller: Viewer,
        where: AskedFor,
        k: Annotated[int, Query(ge=1, le=200)] = 20,
        least_similarity: Annotated[float, Query(ge=-1, le=1, allow_inf_nan=False)] = -1.0,
        not_camera: Annotated[list[CameraId] | None, Query(max_length=1000)] = None,
    ) -> SearchOut:
        """Find out who a picture shows. The picture is not stored.

        It should be a crop of one person. For anything else, such as a whole frame, no one is named
        and `reason` says so.
        """
        network = require_network(parts)
        first = network.first or network
        data, embedding, no_crop = await embedded_picture(parts, request, first)
        among = replace(where, not_cameras=frozenset(not_camera or ()))

        def work(embedding: Any, model: ModelKey) -> SearchOut:
            if model == first.model:
                parts.state.record(caller.name, "search", {"by": "picture", "k": k}, synced=False)
            require_model(parts, model)
            return search(
                parts,
                embedding,
                model=model,
                k=k,
                least_similarity=least_similarity,
                where=among,
                no_crop=no_crop,
            )

        async with parts.turns.slot(caller_of(request)):
            answer = await to_thread.run_sync(work, embedding, first.model)
        if first is network or no_crop is not None or answer.verdict == "matched":
            return answer
        async with parts.embedding.slot(caller_of(request)):
            deeper = await to_thread.run_sync(network.embed, data)
        async with parts.turns.slot(caller_of(request)):
            return await to_thread.run_sync(work, deeper, network.model)

    @router.post("/search", responses=documented(404, 409))
    def search_by_sighting(asked: SearchIn, caller: Viewer) -> SearchOut:
        """Find out who a stored sighting or an embedding shows."""
        if (asked.sighting_id is None) == (asked.embedding is None):
            raise HTTPException(422, "Send either sighting_id or embedding.")
        if asked.embedding is not None:
            if asked.model is None:
                raise HTTPException(422, "Send `model`, the network of the embedding, with it.")
            model = asked.model.key()
            require_model(parts, model)
            try:
                (query,) = checked_embeddings(
                    decode_embedding(asked.embedding, model.dim), dim=model.dim
                )
            except ValueError as error:
                raise HTTPException(422, f"The embedding cannot be used: {error}.") from error
            camera = None
            by: dict[str, Any] = {"by": "embedding"}
        else:
            (record,) = require_sightings(parts, [asked.sighting_id or 0])
            model, query = record.model, record.embedding.astype("float32")
            camera = record.camera_id
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
            camera=camera,
        )
