"""Resolves the sightings, people and networks of a request; refuses those that do not exist."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends, Query
from starlette.exceptions import HTTPException

from adln.errors import GalleryError
from adln.gallery.records import NO_PERSON, Filter, ModelKey, Person, StoredSighting
from adln.gallery.spaces import admit
from adln.service.answers import CameraId, FilterIn, PersonId, Time
from adln.service.network import Network
from adln.service.parts import Parts

NOBODY = frozenset({NO_PERSON})
"""Filter for unassigned sightings."""


def as_filter(given: FilterIn) -> Filter:
    """A client's filter as the gallery's.

    Raises:
        HTTPException: 422: it is of no use to the gallery.
    """
    try:
        return Filter(**vars(given))
    except GalleryError as error:
        raise HTTPException(422, str(error)) from error


async def _asked_for(
    camera: Annotated[list[CameraId] | None, Query(max_length=1000)] = None,
    person: Annotated[list[PersonId] | None, Query(max_length=1000)] = None,
    from_s: Annotated[Time | None, Query(allow_inf_nan=False)] = None,
    until_s: Annotated[Time | None, Query(allow_inf_nan=False)] = None,
) -> Filter:
    return as_filter(FilterIn(cameras=camera, persons=person, from_s=from_s, until_s=until_s))


AskedFor = Annotated[Filter, Depends(_asked_for)]
"""Filter from query parameters: cameras, people and times."""


def require_sightings(parts: Parts, ids: Sequence[int]) -> list[StoredSighting]:
    """The records of sightings, in this order.

    Raises:
        HTTPException: 404, naming one that does not exist.
    """
    records = parts.gallery.get(ids)
    missing = set(ids) - {record.sighting_id for record in records}
    if missing:
        raise HTTPException(404, f"There is no sighting {min(missing)}.")
    return records


def require_person(parts: Parts, person_id: int, *, fresh: bool = False) -> Person:
    """A person in the gallery, possibly cached unless `fresh`.

    Raises:
        HTTPException: 404 if there is no such person.
    """
    # A camera may have enrolled them a moment ago.
    if fresh or person_id not in parts.people.by_id():
        parts.people.changed()
    person = parts.people.by_id().get(person_id)
    if person is None:
        raise HTTPException(404, f"There is no person {person_id}.")
    return person


def require_network(parts: Parts) -> Network:
    """The service's network.

    Raises:
        HTTPException: 503: it has none.
    """
    if parts.network is None:
        raise HTTPException(503, "This service has no network; push embeddings instead.")
    return parts.network


def require_model(parts: Parts, model: ModelKey) -> None:
    """Refuse embeddings that cannot be compared with the gallery's.

    Checked once per network: one that was admitted stays admitted.

    Raises:
        HTTPException: 409, naming both networks.
    """
    if model in parts.admitted:
        return
    own = [] if parts.network is None else [parts.network.model]
    try:
        admit(parts.gallery.models or own, [model], place="this service")
    except GalleryError as error:
        raise HTTPException(409, str(error)) from error
    parts.admitted.add(model)
