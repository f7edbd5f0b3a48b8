"""The records of a gallery: sightings, people, filters and answers, as frozen dataclasses.

A sighting is one observation of one person: the embedding of Sec. III.B with camera and time.
"""

import contextlib
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import GalleryError

NO_PERSON = -1
"""In arrays of person ids: unassigned. In records, this is None."""

# Lengths this close to 1 differ from it only by float32 rounding.
_UNIT_TOLERANCE = 1e-3
_LONGEST_SPACE = 64
_LONGEST_DIGEST = 1000
_MOST_CAMERAS = 2**31
# The end of the year 9999; larger values are probably milliseconds.
_MOST_TIME_S = 253_402_300_800
_MOST_IDS = 2**63
_MOST_THUMBNAIL_BYTES = 4 * 2**20


def as_id(value: object, what: str) -> int:
    """The number of a person, sighting or track, from any integer type.

    Raises:
        GalleryError: It is not an integer, or too large to store.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise GalleryError(
            f"{what} must be an integer, got {value!r} ({type(value).__name__})."
        ) from error
    if not -_MOST_IDS <= number < _MOST_IDS:
        raise GalleryError(f"{what} must be below 2**63, got {number}.")
    return number


def as_ids(values: Iterable[object], what: str) -> list[int]:
    """Numbers of people or sightings, in order; see `as_id`."""
    if not isinstance(values, Iterable):
        raise GalleryError(f"{what} must be several integers, such as {{1}}, got {values!r}.")
    return [as_id(value, what) for value in values]


def _as_time(value: object, what: str) -> float:
    """Seconds since 1970 of any number; infinity, which nothing reaches, is one."""
    if not isinstance(value, int | float | np.number) or value != value:
        raise GalleryError(
            f"{what} must be in seconds since 1970, got {value!r} ({type(value).__name__}); "
            "datetime.timestamp() gives them."
        )
    return float(value)


def as_time_seen(value: object, what: str) -> float:
    """When somebody was photographed, in seconds since 1970, from any number.

    Raises:
        GalleryError: It is no number, before 1970 or at its begin, as an unset clock has it, or
            after the year 9999.
    """
    time_s = _as_time(value, what)
    if not 0 < time_s < _MOST_TIME_S:
        raise GalleryError(
            f"{what} must be in seconds since 1970, above 0 and up to the year 9999, got {value!r}."
        )
    return time_s


@dataclass(frozen=True)
class ModelKey:
    """The network and depth of an embedding, and its space.

    Attributes:
        digest: SHA-256 of the network file, in hex (`adln.embedders.session.OpenModel.sha256`), or
            any other text that identifies the weights.
        depth: depth of the network, 1 to 4.
        dim: D, length of an embedding.
        space: space of the embedding (`adln.manifest.Manifest.space_of`); embeddings of one space
            can be compared, whichever network and depth made them. "" if unknown: then only those
            of the same network and depth can.
    """

    digest: str
    depth: int
    dim: int
    space: str = ""

    def __post_init__(self) -> None:
        for name in ("depth", "dim"):
            object.__setattr__(self, name, as_id(getattr(self, name), name))
        if (
            not self.digest
            or not 1 <= self.depth <= 4
            or self.dim < 1
            or len(self.digest) > _LONGEST_DIGEST
            or len(self.space) > _LONGEST_SPACE
        ):
            raise GalleryError(
                "A network key needs a digest, a depth of 1 to 4, a length above 0 and a space of "
                f"at most {_LONGEST_SPACE} characters; got digest {self.digest!r}, depth "
                f"{self.depth}, length {self.dim}, space {self.space!r}."
            )

    def shares_space(self, other: "ModelKey") -> bool:
        """Whether embeddings of the two can be compared."""
        if self.dim != other.dim:
            return False
        # One depth of a file has one space, even if only one of the two keys has it.
        return self.exit == other.exit or (bool(self.space) and self.space == other.space)

    @property
    def exit(self) -> tuple[str, int]:
        """Network file and depth: the exit, without its space."""
        return self.digest, self.depth

    @property
    def depth_name(self) -> str:
        """Display name of the depth: "Res2"; "whole" for a third-party network."""
        # The space of a third-party network is named after the digest of its file.
        is_foreign = bool(self.space) and self.digest.startswith(self.space)
        return "whole" if is_foreign else f"Res{self.depth}"

    def __str__(self) -> str:
        space = f", space {self.space}" if self.space else ""
        at = "" if self.depth_name == "whole" else f" at {self.depth_name}"
        return f"network {self.digest[:12]}{at}, {self.dim} numbers{space}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Sighting:
    """A sighting of one person, to be stored in a gallery.

    Attributes:
        embedding: (D,) float of unit length; stored as float32.
        model: network of the embedding.
        camera_id: number of the camera, 0 or more.
        time_s: time, in seconds since 1970 (UTC).
        person_id: number of the person in the gallery; None if unassigned.
        track_id: its track, unique within the camera; None if there is none.
        box_xyxy: box in the frame, in px; None if unknown.
        quality: quality of the crop, 0 (useless) to 1 (best).
        thumbnail: a small JPEG of the crop; None if pictures are not kept.
    """

    embedding: NDArray[np.floating]
    model: ModelKey
    camera_id: int
    time_s: float
    person_id: int | None = None
    track_id: int | None = None
    box_xyxy: tuple[float, float, float, float] | None = None
    quality: float = 1.0
    thumbnail: bytes | None = None

    def __post_init__(self) -> None:
        # Converts numpy numbers, members of an IntEnum and bool to plain numbers, as the database
        # returns them; a gallery refuses all other types.
        for name in ("camera_id", "person_id", "track_id"):
            value = getattr(self, name)
            if hasattr(value, "__index__"):
                with contextlib.suppress(TypeError):  # an array of several
                    object.__setattr__(self, name, operator.index(value))
        for name in ("time_s", "quality"):
            value = getattr(self, name)
            if isinstance(value, np.number) or type(value) is int:
                object.__setattr__(self, name, float(value))


@dataclass(frozen=True, eq=False, kw_only=True)
class StoredSighting(Sighting):
    """A sighting read from a gallery.

    Attributes:
        sighting_id: its number, which is never reused.
    """

    sighting_id: int


@dataclass(frozen=True, kw_only=True)
class SightingFacts:
    """A stored sighting without its embedding, network and picture.

    Attributes:
        sighting_id: its number.
        person_id: number of the person; None if unassigned.
        camera_id: number of the camera.
        time_s: time, in seconds since 1970.
        track_id: its track; None if there was none.
        quality: quality of the crop, 0 to 1.
        has_picture: whether it has a picture.
    """

    sighting_id: int
    person_id: int | None
    camera_id: int
    time_s: float
    track_id: int | None
    quality: float
    has_picture: bool

    @classmethod
    def of(cls, record: StoredSighting) -> "SightingFacts":
        """From a complete record."""
        return cls(
            sighting_id=record.sighting_id,
            person_id=record.person_id,
            camera_id=record.camera_id,
            time_s=record.time_s,
            track_id=record.track_id,
            quality=record.quality,
            has_picture=record.thumbnail is not None,
        )


@dataclass(frozen=True, kw_only=True)
class Person:
    """A person in the gallery, named or not.

    Attributes:
        person_id: their number, which is never reused.
        name: their name; None if they have none.
        num_sightings: number of sightings stored of them.
        first_seen_s: time of the oldest of these; None if there are none.
        last_seen_s: time of the newest; None if there are none.
        cameras: cameras of these, ascending.
    """

    person_id: int
    name: str | None
    num_sightings: int
    first_seen_s: float | None
    last_seen_s: float | None
    cameras: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Selects sightings. All given conditions must hold; an empty filter selects all.

    Attributes:
        cameras: only these cameras.
        not_cameras: none of these cameras (in re-identification, usually the query's own).
        from_s: seen at this time or later.
        until_s: seen before this time, which is later than `from_s`.
        persons: only these people; `NO_PERSON` stands for unassigned sightings.
        not_persons: none of these people; `NO_PERSON` leaves out unassigned sightings.
        depth: only embeddings of this depth. Not needed for searches, which compare only
            comparable embeddings.

    Raises:
        GalleryError: a value is invalid, or no time is between `from_s` and `until_s`.
    """

    cameras: frozenset[int] | None = None
    not_cameras: frozenset[int] = frozenset()
    from_s: float | None = None
    until_s: float | None = None
    persons: frozenset[int] | None = None
    not_persons: frozenset[int] = frozenset()
    depth: int | None = None

    def __post_init__(self) -> None:
        for name in ("cameras", "not_cameras", "persons", "not_persons"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, frozenset(as_ids(values, name)))
        for name in ("from_s", "until_s"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _as_time(value, name))
        if self.from_s is not None and self.until_s is not None and self.from_s >= self.until_s:
            raise GalleryError(
                "The period ends before it begins: until_s must be later than from_s, got "
                f"{self.until_s} and {self.from_s}."
            )
        if self.depth is not None:
            object.__setattr__(self, "depth", as_id(self.depth, "depth"))


EVERYTHING = Filter()
"""The filter that selects all sightings."""


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The K sightings most similar to a query, best first; fewer if fewer pass the filter.

    Equal similarities are ordered by sighting id, so results are reproducible.

    Attributes:
        sighting_ids: (K,) int64.
        similarity: (K,) float32, cosine to the query, -1..1.
        person_ids: (K,) int64, `NO_PERSON` for unassigned sightings.
        camera_ids: (K,) int64.
        time_s: (K,) float64.
        depths: (K,) int64, depth of each embedding, 1 to 4.
    """

    sighting_ids: NDArray[np.int64]
    similarity: NDArray[np.float32]
    person_ids: NDArray[np.int64]
    camera_ids: NDArray[np.int64]
    time_s: NDArray[np.float64]
    depths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sighting_ids)


@dataclass(frozen=True, eq=False, kw_only=True)
class PersonsResult:
    """The K persons most similar to a query, best first; fewer if fewer pass the filter.

    A person's similarity is that of their most similar sighting.

    Attributes:
        best: The most similar sighting of each; K rows, without `NO_PERSON`.
        names: K names; None for people without a name.
        num_persons: Number of people compared. A gallery on a server may overestimate it, but never
            underestimate it.
        sightings: The most similar sightings, including unassigned ones; None if not requested.
    """

    best: SearchResult
    names: tuple[str | None, ...]
    num_persons: int
    sightings: SearchResult | None = None

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """Result of an erasure and its verification.

    Attributes:
        person_id: number of the forgotten person.
        sightings: number of sightings erased.
        thumbnails: number of these with a picture.
        found_by_search: sightings of the person that a search with their own embeddings still
            found afterwards; 0 proves the erasure in the gallery.
        files_searched: files of the gallery searched for the erased bytes; 0 if they cannot be
            read, as on a server.
        traces_found: places in these files with bytes of an erased embedding, code or picture; 0
            proves the erasure on the disk. Old copies kept by file systems or SSDs (snapshots, worn
            blocks) cannot be checked.
        suppressed_above: cosine above which new sightings are refused as this person; None if no
            template was kept.
    """

    person_id: int
    sightings: int
    thumbnails: int
    found_by_search: int
    files_searched: int
    traces_found: int
    suppressed_above: float | None

    @property
    def is_proved(self) -> bool:
        """Whether the files could be read, and neither search nor files had any trace."""
        return self.files_searched > 0 and not self.left_behind

    @property
    def left_behind(self) -> int:
        """Number of traces found by search or in the files."""
        return self.found_by_search + self.traces_found


def pool_track(
    embeddings: NDArray[np.floating], qualities: NDArray[np.floating] | None = None
) -> NDArray[np.float32]:
    """Pool the crops of a track to one query: their mean, weighted by quality, of unit length.

    Args:
        embeddings: (N, D), N at least 1.
        qualities: (N,) weights of 0 or more, not all 0; by default equal.

    Returns:
        (D,) float32.

    Raises:
        GalleryError: There is no crop, the shapes disagree, or the weights are invalid.
    """
    crops = np.asarray(embeddings)
    weights = np.ones(len(crops)) if qualities is None else np.asarray(qualities, dtype=np.float64)
    if crops.ndim != 2 or len(crops) == 0 or weights.shape != (len(crops),):
        raise GalleryError(
            "Pooling a track needs (N, D) embeddings and (N,) qualities with N at least 1, got "
            f"{crops.shape} and {weights.shape}."
        )
    if not np.isfinite(weights).all() or weights.min() < 0 or weights.max() <= 0:
        raise GalleryError("Qualities must be finite, not negative, and not all zero.")
    return unit_length(weights @ crops)


def checked_embeddings(
    embeddings: NDArray[Any], *, dim: int, what: str = "embedding"
) -> NDArray[np.float32]:
    """Check that embeddings can be stored and searched for.

    Args:
        embeddings: should be (D,) or (N, D) float of unit length.
        dim: D.
        what: their name in messages.

    Returns:
        (N, D) float32, contiguous, of unit length.

    Raises:
        GalleryError: Another shape or type, NaN or infinite, or not of unit length.
    """
    given = np.asarray(embeddings)
    rows = np.atleast_2d(given)
    if not np.issubdtype(given.dtype, np.floating) or rows.ndim != 2 or rows.shape[1] != dim:
        raise GalleryError(
            f"Expected {'queries' if what == 'query' else what + 's'} of shape (N, {dim}) and a "
            f"float type, got shape {given.shape} and type {given.dtype}."
        )
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    lengths = np.sqrt(np.vecdot(rows, rows))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _UNIT_TOLERANCE))
    if len(wrong) > 0:
        raise GalleryError(
            f"{what.capitalize()} {wrong[0]} has length {lengths[wrong[0]]:.4g}, expected 1. "
            "Scale it with adln.embeddings.unit_length."
        )
    return rows


def require_usable(sighting: Sighting) -> None:
    """Check the values of a sighting, except its embedding.

    Raises:
        GalleryError: A value is invalid; the message names it.
    """
    box, picture = sighting.box_xyxy, sighting.thumbnail
    problems = [
        f"{name} is {getattr(sighting, name)!r:.80}, expected {expected}"
        for name, is_fine, expected in (
            ("camera_id", _is_whole(sighting.camera_id, _MOST_CAMERAS), "0 to 2147483647"),
            (
                "time_s",
                _is_number(sighting.time_s) and abs(sighting.time_s) < _MOST_TIME_S,
                "seconds since 1970, up to the year 9999",
            ),
            (
                "person_id",
                sighting.person_id is None or _is_whole(sighting.person_id, _MOST_IDS),
                "None or an id",
            ),
            (
                "track_id",
                sighting.track_id is None or _is_whole(sighting.track_id, _MOST_IDS),
                "None, or 0 or more and below 2**63",
            ),
            (
                "box_xyxy",
                box is None
                or (
                    len(box) == 4
                    and all(map(_is_number, box))
                    and box[0] < box[2]
                    and box[1] < box[3]
                ),
                "left, top, right, bottom",
            ),
            ("quality", _is_number(sighting.quality) and 0 <= sighting.quality <= 1, "0 to 1"),
            (
                "thumbnail",
                picture is None
                or (isinstance(picture, bytes) and 0 < len(picture) <= _MOST_THUMBNAIL_BYTES),
                f"None, or a JPEG of up to {_MOST_THUMBNAIL_BYTES:,} bytes",
            ),
        )
        if not is_fine
    ]
    if problems:
        raise GalleryError(f"This sighting cannot be stored: {'; '.join(problems)}.")


def _is_whole(value: object, limit: int) -> bool:
    return isinstance(value, int) and 0 <= value < limit


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.floating, np.integer)) and math.isfinite(value)
