"""What the API takes and gives, as OpenAPI describes it."""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from adln.errors import GalleryError
from adln.gallery.audit import AuditEntry
from adln.gallery.names import checked_name
from adln.gallery.records import ModelKey, Person, StoredSighting
from adln.matching.calibration import Verdict
from adln.service.live import CameraView, PipelineView
from adln.service.state import Role
from adln.service.visits import Visit

# What SQLite and the gallery's columns can hold.
_LARGEST_ID = 2**53
_LARGEST_CAMERA = 2**31 - 1
_LATEST_S = 1e11
_FLOAT_BYTES = 4

PersonId = Annotated[int, Field(ge=0, le=_LARGEST_ID)]
SightingId = Annotated[int, Field(ge=1, le=_LARGEST_ID)]
CameraId = Annotated[int, Field(ge=0, le=_LARGEST_CAMERA)]
Time = Annotated[
    float,
    Field(ge=-_LATEST_S, le=_LATEST_S, description="Seconds since 1970 (UTC)."),
]


def _usable_name(name: str) -> str:
    try:
        return checked_name(" ".join(name.split()))
    except GalleryError as error:
        raise ValueError(str(error)) from error


Name = Annotated[
    str,
    Field(min_length=1, max_length=200, description="Printable text; spaces are tidied."),
    AfterValidator(_usable_name),
]
Embedding = Annotated[
    str,
    Field(
        max_length=65_536,
        pattern=r"^[A-Za-z0-9+/]*={0,2}$",
        description="Base64 of D float32, little-endian, of unit length.",
    ),
]
Verdict_ = Annotated[
    Verdict | None,
    Field(
        description="matched, candidate (for a person to look at) or unknown; null if nobody has "
        "said which scores mean what (no calibration)."
    ),
]
Probability = Annotated[
    float | None, Field(description="That it is the same person, 0 to 1; null without calibration.")
]


class In(BaseModel):
    """What a route takes as JSON.

    Attributes:
        most_bytes: of its text.
        most_values: keys and values in it, roughly; counted before it is parsed.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    most_bytes: ClassVar[int] = 64 * 1024
    most_values: ClassVar[int] = 2_000


class Out(BaseModel):
    """What a route answers."""

    model_config = ConfigDict(frozen=True)


class Problem(Out):
    """Why a request was refused."""

    problem: str = Field(description="For programs, such as too_large.")
    message: str = Field(description="For people.")


class ModelName(BaseModel):
    """What made an embedding; embeddings of one space, or of one file and depth, are compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str = Field(min_length=1, max_length=128, description="SHA-256 of the model file.")
    depth: int = Field(ge=1, le=4, description="Stages of the network, 1 to 4.")
    dim: int = Field(ge=1, le=16_384, description="D, length of an embedding.")
    space: str = Field(
        default="",
        max_length=64,
        description="The space that the embedding lies in, as the manifest of the model file "
        "says; empty if unknown. Embeddings of one space are compared, whatever made them.",
    )

    @classmethod
    def of(cls, key: ModelKey) -> "ModelName":
        """As the gallery names it."""
        return cls(digest=key.digest, depth=key.depth, dim=key.dim, space=key.space)

    def key(self) -> ModelKey:
        """For the gallery."""
        return ModelKey(self.digest, self.depth, self.dim, self.space)


class EmbeddedPicture(Out):
    """The embedding of a picture."""

    model: ModelName
    embedding: Embedding


class FilterIn(In):
    """Only sightings that pass all conditions that are set."""

    cameras: list[CameraId] | None = Field(default=None, max_length=1000)
    not_cameras: list[CameraId] = Field(default=[], max_length=1000)
    persons: list[PersonId] | None = Field(default=None, max_length=1000)
    from_s: Time | None = None
    until_s: Time | None = None


class SearchIn(In):
    """Search by a stored sighting, or by an embedding; one of the two."""

    most_bytes: ClassVar[int] = 128 * 1024
    most_values: ClassVar[int] = 4_000

    sighting_id: SightingId | None = None
    embedding: Embedding | None = None
    model: ModelName | None = Field(default=None, description="What made the embedding.")
    k: int = Field(default=20, ge=1, le=200)
    least_similarity: float = Field(
        default=-1.0, ge=-1, le=1, description="Leave out what is less."
    )
    where: FilterIn = FilterIn()


class PersonOut(Out):
    """Somebody whom the gallery knows."""

    person_id: int
    name: str | None
    num_sightings: int
    first_seen_s: float | None
    last_seen_s: float | None
    cameras: list[int]
    picture_ids: list[int] = Field(
        default=[], description="Sightings whose pictures show them, the best first."
    )

    @classmethod
    def of(cls, person: Person, picture_ids: Sequence[int] = ()) -> "PersonOut":
        """From the gallery's record."""
        more = {"cameras": list(person.cameras), "picture_ids": list(picture_ids)}
        return cls(**{**vars(person), **more})


class SightingOut(Out):
    """One look at one person. Its embedding is not given out."""

    sighting_id: int
    person_id: int | None
    name: str | None
    camera_id: int
    camera_name: str
    time_s: float
    track_id: int | None
    box_xyxy: tuple[float, float, float, float] | None
    quality: float
    depth: int
    model: ModelName = Field(description="What made its embedding.")
    has_picture: bool


class Found(Out):
    """One of the most alike sightings.

    Its verdict never says more than the whole answer does; that of a sighting of nobody yet says
    whether it shows the same person.
    """

    rank: int
    similarity: float = Field(description="Cosine, -1 to 1.")
    verdict: Verdict_
    probability: Probability
    sighting: SightingOut


class RunnerUp(Out):
    """Somebody else whom it could be."""

    person_id: int
    name: str | None
    score: float = Field(description="Cosine to the best of their sightings.")
    picture_id: int | None = Field(
        default=None, description="That sighting, if a picture of it is kept."
    )


class SearchOut(Out):
    """Who it is, of everybody in the gallery, and the sightings that are most alike."""

    model: ModelName
    verdict: Verdict_
    probability: Probability
    reason: str = Field(description="Why this verdict, in words.")
    score: float | None = Field(
        description="Cosine to the person who is nearest, named or not; null if nobody was "
        "compared."
    )
    threshold: float | None = Field(
        description="The score from which on it would be a match; null without calibration."
    )
    person_id: int | None = Field(
        description="Who it is, or may be; null if the verdict is unknown."
    )
    name: str | None
    runners_up: list[RunnerUp] = Field(description="The next persons.")
    gallery_size: int = Field(description="People who were compared.")
    is_crop: bool = Field(
        default=True,
        description="False for a picture that can hardly be one person cut out; nobody is named.",
    )
    found: list[Found] = Field(description="The most alike sightings, best first; at most k.")


class Sightings(Out):
    """A page of sightings, newest first."""

    sightings: list[SightingOut]
    next: str | None = Field(description="Give it as `before` for the next page; null at the end.")


class People(Out):
    """A page of people, last seen first."""

    total: int
    people: list[PersonOut]


class VisitOut(Out):
    """Somebody at a camera, from when to when."""

    person_id: int | None
    name: str | None
    camera_id: int
    camera_name: str
    first_s: float
    last_s: float
    sightings: int
    sighting_id: int = Field(description="The one with the best picture, else the newest.")
    picture_id: int | None = Field(description="The sighting with the best picture, if any.")


class Visits(Out):
    """Visits, the one that ended last first."""

    visits: list[VisitOut]
    is_all: bool = Field(description="False if older ones were left out; narrow the time.")


def visit_out(
    visit: Visit, names: Mapping[int, str | None], camera_name: Callable[[int], str]
) -> VisitOut:
    """A visit as the API gives it."""
    return VisitOut(
        person_id=visit.person_id,
        name=None if visit.person_id is None else names.get(visit.person_id),
        camera_id=visit.camera_id,
        camera_name=camera_name(visit.camera_id),
        first_s=visit.first_s,
        last_s=visit.last_s,
        sightings=visit.sightings,
        sighting_id=visit.sighting_ids[0] if visit.picture_id is None else visit.picture_id,
        picture_id=visit.picture_id,
    )


class ReviewItem(Out):
    """Something for a person to decide."""

    key: str = Field(description="Names it, to have it ignored.")
    kind: Literal["merge", "strange", "unnamed", "group"] = Field(
        description="Two people who may be one; a sighting that may be somebody else's; somebody "
        "without a name; sightings of nobody yet that seem to be one person."
    )
    likeness: float | None = Field(description="Cosine; null where nothing is compared.")
    person: PersonOut | None = Field(description="Who it is about; null for a group.")
    other: PersonOut | None = Field(
        description="Who may be the same person: of a merge who goes, else who it may be."
    )
    sighting_ids: list[int] = Field(description="Which sightings it is about, if not all.")
    picture_ids: list[int] = Field(description="Those that have a picture, the best first.")
    num_sightings: int
    cameras: list[int]
    first_seen_s: float | None
    last_seen_s: float | None


class ReviewQueue(Out):
    """What is left for people to decide, the clearest first."""

    items: list[ReviewItem]
    left_out: str = Field(description="What could not be looked through, in words; often empty.")


class DismissIn(In):
    """Something that needs no decision."""

    key: str = Field(pattern=r"^(merge|strange|unnamed|group):[0-9]{1,16}(:[0-9]{1,16})?$")


class SetAsideIn(In):
    """Sightings that are nobody's any more."""

    sighting_ids: list[SightingId] = Field(min_length=1, max_length=1000)


class NameIn(In):
    """A name, or null for none."""

    name: Name | None


class EnrolIn(In):
    """A new person; pictures or sightings are added afterwards."""

    name: Name | None = None
    sighting_ids: list[SightingId] = Field(default=[], max_length=1000)


class MergeIn(In):
    """People who are one person."""

    person_ids: list[PersonId] = Field(min_length=1, max_length=100)


class SplitIn(In):
    """Sightings that are another person."""

    sighting_ids: list[SightingId] = Field(min_length=1, max_length=1000)
    name: Name | None = None


class ForgetIn(In):
    """How to forget."""

    suppress_above: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Keep one template after all, only to refuse new sightings above this cosine.",
    )


class Done(Out):
    """What was changed, and how to take it back."""

    person_id: int
    changed: int = Field(description="Sightings that changed.")
    undo_id: str | None = Field(description="POST to /api/v1/undo/… within ten minutes.")


class Undone(Out):
    """What was taken back."""

    action: str


class Stored(Out):
    """What became of sightings handed in; on the disk when this is answered."""

    sighting_ids: list[int | None] = Field(
        description="null for one that looks like somebody who asked not to be enrolled again."
    )


class PushedSighting(In):
    """A sighting from a box."""

    embedding: Embedding
    camera_id: CameraId
    time_s: Time
    person_id: PersonId | None = None
    track_id: int | None = Field(default=None, ge=0, le=_LARGEST_ID)
    box_xyxy: tuple[float, float, float, float] | None = None
    quality: float = Field(default=1.0, ge=0, le=1)
    picture: str | None = Field(
        default=None,
        max_length=2**20,
        description="Base64 of a small picture; kept only where the service keeps pictures.",
    )


class PushIn(In):
    """Sightings of one model."""

    # As much as the settings allow: pictures may be in it.
    most_bytes: ClassVar[int] = 2**40
    most_values: ClassVar[int] = 8_000

    model: ModelName
    sightings: list[PushedSighting] = Field(min_length=1, max_length=256)


class ErasureOut(Out):
    """Proof of an erasure: what was erased, and what is left (nothing, if it is proved)."""

    person_id: int
    sightings: int
    thumbnails: int
    found_by_search: int
    files_searched: int
    traces_found: int
    suppressed_above: float | None
    is_proved: bool


class Session(Out):
    """Who asks, and what they may do."""

    name: str
    role: Role
    token_required: bool


class RetentionOut(Out):
    """What is kept for how long, and when that was last seen to."""

    keep_s: float | None = Field(description="For how long sightings are kept; null for ever.")
    camera_keep_s: dict[int, float]
    person_keep_s: dict[int, float]
    max_templates: int | None = Field(description="Sightings kept of a person at each depth.")
    max_unnamed: int | None = Field(description="Sightings kept that are of nobody yet.")
    every_s: float = Field(description="How often the rules are applied; 0 for never.")
    applied_s: float | None
    erased: int = Field(description="Sightings erased by the rules since the service started.")
    problem: str = Field(description="Why they could not be applied the last time.")


class Status(Out):
    """What this service runs with, and how it is doing."""

    version: str
    model: ModelName | None = Field(description="The network for pictures; null if there is none.")
    precision: str | None
    gives_verdicts: bool = Field(description="Whether answers have a verdict.")
    keeps_pictures: bool
    sightings: int
    people: int
    camera_names: dict[int, str] = Field(description="Names of the settings.")
    cameras: list[CameraView]
    pipeline: PipelineView | None = Field(description="null if this service has no cameras.")
    retention: RetentionOut | None = Field(description="null if others see to it.")
    listeners: int
    load: float | None = Field(description="Work waiting for each core; 1 is fully busy.")
    up_s: float


class Health(Out):
    """Whether the service can answer, and whether its network was tried on this device."""

    status: Literal["ok"] = "ok"
    network: str = "none"


class Audit(Out):
    """The newest rows of the log, and whether the whole of it holds."""

    entries: list[AuditEntry]
    num_entries: int
    is_sound: bool
    first_broken: int | None
    newest_digest: str


def encode_embedding(embedding: NDArray[np.float32]) -> str:
    """(D,) as the API writes it."""
    return base64.b64encode(embedding.astype("<f4").tobytes()).decode("ascii")


def decode_embedding(text: str, dim: int) -> NDArray[np.float32]:
    """(D,) float32 of what `encode_embedding` wrote.

    Raises:
        ValueError: no base64, or another length.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"an embedding is base64: {error}") from error
    if len(data) != _FLOAT_BYTES * dim:
        raise ValueError(f"an embedding of {dim} float32 has {4 * dim} bytes, got {len(data)}")
    return np.frombuffer(data, "<f4").astype(np.float32)


def sighting_out(
    record: StoredSighting, names: Mapping[int, str | None], camera_name: Callable[[int], str]
) -> SightingOut:
    """A stored sighting as the API gives it."""
    person_id = record.person_id
    return SightingOut(
        sighting_id=record.sighting_id,
        person_id=person_id,
        name=None if person_id is None else names.get(person_id),
        camera_id=record.camera_id,
        camera_name=camera_name(record.camera_id),
        time_s=record.time_s,
        track_id=record.track_id,
        box_xyxy=record.box_xyxy,
        quality=record.quality,
        depth=record.model.depth,
        model=ModelName.of(record.model),
        has_picture=record.thumbnail is not None,
    )
