"""Request and response bodies of the API, as OpenAPI describes them."""

import base64
import binascii
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from adln.errors import GalleryError
from adln.gallery.audit import AuditEntry
from adln.gallery.names import checked_name
from adln.gallery.records import ModelKey, Person
from adln.matching.calibration import Verdict
from adln.service.live import CameraView, PipelineView
from adln.service.state import Role

# What SQLite and the gallery's columns can hold.
_LARGEST_ID = 2**53
_LARGEST_CAMERA = 2**31 - 1
_LATEST_S = 1e11

PersonId = Annotated[int, Field(ge=0, le=_LARGEST_ID)]
SightingId = Annotated[int, Field(ge=1, le=_LARGEST_ID)]
CameraId = Annotated[int, Field(ge=0, le=_LARGEST_CAMERA)]
Time = Annotated[float, Field(ge=-_LATEST_S, le=_LATEST_S, description="Seconds since 1970 (UTC).")]
SeenTime = Annotated[
    float, Field(gt=0, le=_LATEST_S, description="Seconds since 1970 (UTC), above 0.")
]


def _usable_name(name: str) -> str:
    try:
        return checked_name(" ".join(name.split()))
    except GalleryError as error:
        raise ValueError(str(error)) from error


_NAME = "Printable text; runs of white space become one space."
Name = Annotated[
    str, Field(min_length=1, max_length=200, description=_NAME), AfterValidator(_usable_name)
]
_EMBEDDING = "Base64 of D float32 values, little-endian, of unit length."
Embedding = Annotated[
    str, Field(max_length=65_536, pattern=r"^[A-Za-z0-9+/]*={0,2}$", description=_EMBEDDING)
]
_VERDICT = "matched, candidate (to be checked by a person) or unknown; null without calibration."
Verdict_ = Annotated[Verdict | None, Field(description=_VERDICT)]
Probability = Annotated[
    float | None,
    Field(description="Probability of the same person, 0 to 1; null without calibration."),
]


class In(BaseModel):
    """A JSON request body."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    most_bytes: ClassVar[int] = 64 * 1024
    # Keys and values, roughly; counted before parsing.
    most_values: ClassVar[int] = 2_000


class Out(BaseModel):
    """A response body."""

    model_config = ConfigDict(frozen=True)


class Problem(Out):
    """Why a request was refused."""

    problem: str = Field(description="Code for programs, such as too_large.")
    message: str = Field(description="Explanation for people.")


class ModelName(BaseModel):
    """The network of an embedding. Embeddings of one space or one file and depth are comparable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str = Field(min_length=1, max_length=128, description="SHA-256 of the model file.")
    depth: int = Field(ge=1, le=4, description="Stages of the network, 1 to 4.")
    dim: int = Field(ge=1, le=16_384, description="D, the length of an embedding.")
    space: str = Field(
        "",
        max_length=64,
        description="Embedding space, from the manifest of the model file; empty if unknown. "
        "Embeddings of one space can be compared, whichever network made them.",
    )

    @classmethod
    def of(cls, key: ModelKey) -> "ModelName":
        """From the gallery's key."""
        return cls(**vars(key))

    def key(self) -> ModelKey:
        """As the gallery's key."""
        return ModelKey(self.digest, self.depth, self.dim, self.space)


class EmbeddedPicture(Out):
    """The embedding of a picture."""

    model: ModelName
    embedding: Embedding


class FilterIn(In):
    """Selects sightings that meet all given conditions."""

    cameras: list[CameraId] | None = Field(default=None, max_length=1000)
    not_cameras: list[CameraId] = Field(default=[], max_length=1000)
    persons: list[PersonId] | None = Field(default=None, max_length=1000)
    from_s: Time | None = None
    until_s: Time | None = None


class SearchIn(In):
    """Search by either a stored sighting or an embedding."""

    most_bytes: ClassVar[int] = 128 * 1024
    most_values: ClassVar[int] = 4_000

    sighting_id: SightingId | None = None
    embedding: Embedding | None = None
    model: ModelName | None = Field(default=None, description="The network of the embedding.")
    k: int = Field(default=20, ge=1, le=200)
    least_similarity: float = Field(-1.0, ge=-1, le=1, description="Leave out lower cosines.")
    where: FilterIn = FilterIn()


class PersonOut(Out):
    """A person in the gallery."""

    person_id: int
    name: str | None
    num_sightings: int
    first_seen_s: float | None
    last_seen_s: float | None
    cameras: list[int]
    picture_ids: list[int] = Field([], description="Sightings with a picture, best first.")

    @classmethod
    def of(cls, person: Person, picture_ids: Sequence[int] = ()) -> "PersonOut":
        """From the gallery's record."""
        return cls(**vars(person), picture_ids=list(picture_ids))


class SightingOut(Out):
    """One sighting of one person, without its embedding."""

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
    model: ModelName = Field(description="The network of its embedding.")
    has_picture: bool


class Found(Out):
    """One of the most similar sightings.

    Its verdict is never more certain than that of the whole answer. For an unassigned sighting it
    says whether it shows the same person.
    """

    rank: int
    similarity: float = Field(description="Cosine, -1 to 1.")
    verdict: Verdict_
    probability: Probability
    sighting: SightingOut


class RunnerUp(Out):
    """Another person it could be."""

    person_id: int
    name: str | None
    score: float = Field(description="Cosine to their most similar sighting.")
    picture_id: int | None = Field(default=None, description="That sighting, if it has a picture.")


class SearchOut(Out):
    """Who it is among all people in the gallery, and the most similar sightings."""

    model: ModelName
    verdict: Verdict_
    probability: Probability
    reason: str = Field(description="The reason for the verdict, in words.")
    score: float | None = Field(
        description="Cosine to the most similar person, named or not; null if there is no one."
    )
    threshold: float | None = Field(description="Least score of a match; null without calibration.")
    person_id: int | None = Field(description="The person it is or may be; null if unknown.")
    name: str | None
    runners_up: list[RunnerUp] = Field(description="The next most similar people.")
    gallery_size: int = Field(description="Number of people compared.")
    is_crop: bool = Field(True, description="False: not a crop of one person, so no one is named.")
    found: list[Found] = Field(description="The most similar sightings, best first; at most k.")


class Sightings(Out):
    """A page of sightings, newest first."""

    sightings: list[SightingOut]
    next: str | None = Field(description="Value of `before` for the next page; null on the last.")


class People(Out):
    """A page of people, most recently seen first."""

    total: int
    people: list[PersonOut]


class VisitOut(Out):
    """A person's stay at a camera, from first to last sighting."""

    person_id: int | None
    name: str | None
    camera_id: int
    camera_name: str
    first_s: float
    last_s: float
    sightings: int
    sighting_id: int = Field(description="The sighting with the best picture, or else the newest.")
    picture_id: int | None = Field(description="The sighting with the best picture, if any.")


class Visits(Out):
    """Visits, most recently ended first."""

    visits: list[VisitOut]
    is_all: bool = Field(description="False if older visits were left out; narrow the time range.")


class ReviewItem(Out):
    """A decision for a person to make."""

    key: str = Field(description="Identifies it for /review/ignore.")
    kind: Literal["merge", "strange", "unnamed", "group"] = Field(
        description="merge: two people who may be the same; strange: a sighting that may show "
        "someone else; unnamed: a person without a name; group: unassigned sightings that seem to "
        "show one person."
    )
    likeness: float | None = Field(description="Cosine; null if nothing is compared.")
    person: PersonOut | None = Field(description="The person concerned; null for a group.")
    other: PersonOut | None = Field(
        description="The possible match; of a merge, the person who would cease to exist."
    )
    sighting_ids: list[int] = Field(description="The sightings concerned; empty for all.")
    picture_ids: list[int] = Field(description="Sightings with a picture, best first.")
    num_sightings: int
    cameras: list[int]
    first_seen_s: float | None
    last_seen_s: float | None


class ReviewQueue(Out):
    """Pending decisions, clearest first."""

    items: list[ReviewItem]
    left_out: str = Field(description="What could not be examined, in words; often empty.")


class DismissIn(In):
    """A review item to ignore."""

    key: str = Field(pattern=r"^(merge|strange|unnamed|group):[0-9]{1,16}(:[0-9]{1,16})?$")


class SetAsideIn(In):
    """Sightings to unassign."""

    sighting_ids: list[SightingId] = Field(min_length=1, max_length=1000)


class NamedIn(In):
    """A person as the caller saw them."""

    person_id: PersonId
    name: str | None


Expected = Annotated[
    list[NamedIn],
    Field(
        max_length=101,
        description="People by name as the caller saw them; if one differs by now, nothing is "
        "changed.",
    ),
]


class NameIn(In):
    """A name; null removes it."""

    name: Name | None
    expected: Expected = []


class EnrolIn(In):
    """A new person; pictures and sightings can be added later."""

    name: Name | None = None
    sighting_ids: list[SightingId] = Field(default=[], max_length=1000)


class MergeIn(In):
    """People to merge into one."""

    person_ids: list[PersonId] = Field(min_length=1, max_length=100)
    expected: Expected = []


class SplitIn(SetAsideIn):
    """Sightings of another person."""

    name: Name | None = None


class AssignIn(SplitIn):
    """Sightings to assign to a person; `name` is ignored."""

    expected_owner: PersonId | None = Field(
        default=None,
        description="Who had them as the caller saw it (null: nobody); if that differs by now, "
        "nothing is changed. Not checked if left out.",
    )


class ForgetIn(In):
    """How to forget a person."""

    suppress_above: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keep a template, only to refuse sightings above this cosine.",
    )


class Done(Out):
    """What was changed, and how to undo it."""

    person_id: int
    changed: int = Field(description="Number of sightings changed.")
    undo_id: str | None = Field(description="POST to /api/v1/undo/… within ten minutes.")


class Undone(Out):
    """What was undone."""

    action: str


class Stored(Out):
    """Ids of the stored sightings, which are on the disk when this is answered."""

    sighting_ids: list[int | None] = Field(description="null if it resembles a forgotten person.")


class PushedSighting(In):
    """A sighting from another device."""

    embedding: Embedding
    camera_id: CameraId
    time_s: SeenTime
    person_id: PersonId | None = None
    track_id: int | None = Field(default=None, ge=0, le=_LARGEST_ID)
    box_xyxy: tuple[float, float, float, float] | None = None
    quality: float = Field(default=1.0, ge=0, le=1)
    picture: str | None = Field(
        None,
        max_length=2**20,
        description="Base64 of a small picture, for a service that keeps any.",
    )


class PushIn(In):
    """Sightings embedded by one network."""

    # Limited by the settings only: it may contain pictures.
    most_bytes: ClassVar[int] = 2**40
    most_values: ClassVar[int] = 8_000

    model: ModelName
    sightings: list[PushedSighting] = Field(min_length=1, max_length=256)


class ErasureOut(Out):
    """Result of an erasure: what was erased, and what was found to remain (nothing, if proved)."""

    person_id: int
    sightings: int
    thumbnails: int
    found_by_search: int
    files_searched: int
    traces_found: int
    suppressed_above: float | None
    is_proved: bool


class Session(Out):
    """The caller and their role."""

    name: str
    role: Role
    token_required: bool


class RetentionOut(Out):
    """Retention rules, and when they were last applied."""

    keep_s: float | None = Field(description="How long sightings are kept; null: forever.")
    camera_keep_s: dict[int, float]
    person_keep_s: dict[int, float]
    max_templates: int | None = Field(description="Most sightings kept per person and depth.")
    max_unnamed: int | None = Field(description="Most unassigned sightings kept.")
    every_s: float = Field(description="Interval between applications of the rules; 0: never.")
    applied_s: float | None
    erased: int = Field(description="Sightings the rules have erased since the service started.")
    problem: str = Field(description="Why the last application failed; empty if it did not.")


class Status(Out):
    """Configuration and state of the service."""

    version: str
    model: ModelName | None = Field(description="Network that embeds pictures; null if none.")
    precision: str | None
    gives_verdicts: bool = Field(description="Whether answers have a verdict.")
    keeps_pictures: bool
    sightings: int
    people: int
    camera_names: dict[int, str] = Field(description="Names by camera number.")
    cameras: list[CameraView]
    pipeline: PipelineView | None = Field(description="null if the service has no cameras.")
    retention: RetentionOut | None = Field(description="null if retention is not managed here.")
    listeners: int
    load: float | None = Field(description="Load average per core; 1 is fully busy.")
    up_s: float


class Health(Out):
    """Whether the gallery answers, and the result of the network's self-check on this device."""

    status: Literal["ok"] = "ok"
    network: str = "none"


class Audit(Out):
    """The newest entries of the audit log, and whether the whole log is intact."""

    entries: list[AuditEntry]
    num_entries: int
    is_sound: bool
    first_broken: int | None
    newest_digest: str


def encode_embedding(embedding: NDArray[np.float32]) -> str:
    """An embedding (D,) as the API encodes it."""
    return base64.b64encode(embedding.astype("<f4").tobytes()).decode("ascii")


def decode_embedding(text: str, dim: int) -> NDArray[np.float32]:
    """Decode an embedding written by `encode_embedding`: (D,) float32.

    Raises:
        ValueError: not base64, or not D values.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the embedding is not valid base64: {error}") from error
    if len(data) != 4 * dim:
        raise ValueError(f"an embedding of {dim} float32 has {4 * dim} bytes, got {len(data)}")
    return np.frombuffer(data, "<f4").astype(np.float32)
