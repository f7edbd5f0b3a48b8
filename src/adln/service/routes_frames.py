"""Route that detects the people in a whole picture, so that one of them can be searched for."""

from anyio import to_thread
from fastapi import APIRouter, Request
from pydantic import Field

from adln.cameras.finding import FoundPerson
from adln.service.access import Viewer
from adln.service.answers import Out
from adln.service.network import check_picture
from adln.service.parts import Parts
from adln.service.problems import documented
from adln.service.routes_search import PICTURE_BODY, received


class PersonInFrame(Out):
    """A person in a picture."""

    box_xyxy: tuple[float, float, float, float] = Field(description="In px of the upright picture.")
    confidence: float


class PeopleInFrame(Out):
    """The people in a picture."""

    width_px: int
    height_px: int
    can_find: bool = Field(description="False if no detector is installed; then `people` is empty.")
    people: list[PersonInFrame] = Field(description="Highest confidence first.")


def frame_routes(router: APIRouter, parts: Parts) -> None:
    """Detect people in pictures."""

    @router.post("/frames/people", responses=documented(415), openapi_extra=PICTURE_BODY)
    async def people_in_frame(request: Request, caller: Viewer) -> PeopleInFrame:
        """Detect the people in a picture, without recognising them. Nothing is stored."""

        def look(data: bytes) -> tuple[tuple[int, int], list[FoundPerson]]:
            size = check_picture(data, max_pixels=parts.settings.max_picture_pixels)
            return size, [] if parts.find_people is None else parts.find_people(data)

        async with received(parts, request) as data:
            (width_px, height_px), people = await to_thread.run_sync(look, data)
        return PeopleInFrame(
            width_px=width_px,
            height_px=height_px,
            can_find=parts.find_people is not None,
            people=[
                PersonInFrame(box_xyxy=one.box_xyxy, confidence=one.confidence) for one in people
            ],
        )
