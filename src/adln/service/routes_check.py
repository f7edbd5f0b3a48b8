"""Route for the state of recognition and the most useful next step."""

from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from adln.gallery.sqlite_gallery import SqliteGallery
from adln.service.access import Admin
from adln.service.answers import Out
from adln.service.parts import Parts
from adln.service.problems import documented

Step = Literal["network", "prove", "calibrate", "adapt", "none"]
# Fewer sightings are too few to fit an adaptation.
_FEWEST_SIGHTINGS = 200


class NetworkCheck(Out):
    """The network and the result of its self-check."""

    name: str = Field(description="Its name in the settings.")
    depth: int = Field(description="Stages of the network, 1 to 4.")
    precision: str
    is_proved: bool = Field(description="Whether its self-check passed on this processor.")
    verdict: str = Field(description="The result of the self-check, in words.")
    is_calibrated: bool = Field(description="Whether answers have a verdict.")


class AdaptationCheck(Out):
    """An adaptation of embeddings to this site's cameras."""

    method: str
    fitted_on: str = Field(description="What it was fitted on, in words.")
    num_tracks: int
    since_s: float | None = Field(description="When it was switched on; null if not logged.")
    recognised_before: float | None = Field(
        description="Share of true pairs recognised without it; null if not logged."
    )
    recognised: float | None = Field(description="Share of true pairs recognised with it.")


class Check(Out):
    """The state of recognition."""

    network: NetworkCheck | None = Field(description="null if the service has none.")
    adaptations: list[AdaptationCheck]
    next_step: Step = Field(description="The most useful next step.")


def check_routes(router: APIRouter, parts: Parts) -> None:
    """The state of recognition."""

    @router.get("/setup/check", responses=documented())
    def check(caller: Admin) -> Check:
        """Whether the network passed its self-check here, and the gallery is adapted."""
        network = parts.network
        checked = None
        if network is not None:
            checked = NetworkCheck(
                **vars(network),
                name=parts.settings.network,
                depth=network.model.depth,
                is_calibrated=parts.scale is not None,
            )
        adaptations = _adaptations(parts)
        return Check(
            network=checked,
            adaptations=adaptations,
            next_step=_next_step(checked, bool(adaptations), parts.gallery.count()),
        )


def _adaptations(parts: Parts) -> list[AdaptationCheck]:
    gallery = parts.gallery
    if not isinstance(gallery, SqliteGallery):
        return []
    logged = {entry.details.get("id"): entry for entry in gallery.audit_entries(action="adapt")}
    found = []
    for one in gallery.adaptations:
        entry = logged.get(one.id)
        recognised = None if entry is None else entry.details.get("recognised")
        found.append(
            AdaptationCheck(
                method=one.method,
                fitted_on=one.fitted_on,
                num_tracks=one.num_tracks,
                since_s=None if entry is None else entry.time_s,
                recognised_before=None if recognised is None else recognised[0],
                recognised=None if recognised is None else recognised[1],
            )
        )
    return found


def _next_step(network: NetworkCheck | None, is_adapted: bool, sightings: int) -> Step:
    if network is None:
        return "network"
    if not network.is_proved:
        return "prove"
    if not network.is_calibrated:
        return "calibrate"
    if not is_adapted and sightings >= _FEWEST_SIGHTINGS:
        return "adapt"
    return "none"
