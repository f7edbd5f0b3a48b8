"""The evidence collected for a track, its state while it is open, and the identity found for it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.records import pool_track
from adln.matching.calibration import Verdict
from adln.matching.identification import Identification, not_asked

NOT_SEEN = not_asked("not asked: the track has no usable crop")
TrackKey = tuple[int, int]
"""Camera number and track number."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddedCrop:
    """A crop of a track, and its embeddings.

    Attributes:
        crop_id: unique within the camera.
        box_xyxy: in its frame, px.
        quality: above 0, at most 1.
        embeddings: depth -> (D,) of unit length, for each depth computed.
        thumbnail: JPEG, if pictures are kept.
    """

    crop_id: int
    time_s: float
    box_xyxy: tuple[float, float, float, float]
    quality: float
    embeddings: Mapping[int, NDArray[np.floating]]
    thumbnail: bytes | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """What is known about a track now.

    Attributes:
        camera: its number.
        track: its number, unique within the camera over all runs.
        crops: the best; may be empty.
        most_crops: limit of crops per track now.
        is_last: whether the track has ended.
    """

    camera: int
    track: int
    first_s: float
    last_s: float
    crops: tuple[EmbeddedCrop, ...]
    most_crops: int = 4
    is_last: bool = False

    @property
    def key(self) -> TrackKey:
        """Camera and track number."""
        return self.camera, self.track

    @property
    def common_depths(self) -> list[int]:
        """Depths that all crops have, deepest first.

        Raises:
            GalleryError: there are none.
        """
        common = set.intersection(*(set(crop.embeddings) for crop in self.crops))
        if not common:
            raise GalleryError("the crops of a track have no depth in common.")
        return sorted(common, reverse=True)

    @property
    def best_crop(self) -> EmbeddedCrop:
        """The crop of highest quality."""
        return max(self.crops, key=lambda crop: (crop.quality, -crop.crop_id))

    def pool(self, depth: int) -> NDArray[np.float32]:
        """Pool the crops into one embedding (D,)."""
        return pool_track(
            np.stack([crop.embeddings[depth] for crop in self.crops]),
            np.array([crop.quality for crop in self.crops]),
        )


@dataclass(eq=False)
class TrackState:
    """What is decided about an open track; see `adln.pipeline.identity`."""

    key: TrackKey
    first_s: float
    last_s: float
    person_id: int | None = None
    claims: bool = False  # holds the person; a candidate only names one
    is_founder: bool = False
    verdict: Verdict = "unknown"
    probability: float = 0.0
    depth: int | None = None
    evidence: Evidence | None = None
    is_last: bool = False
    retry_s: float | None = None
    is_refused: bool = False
    was_close: bool = False  # a look at it matched, but not clearly enough to learn from
    met: set[int] = field(default_factory=set)
    barred: set[int] = field(default_factory=set)
    own_sightings: set[int] = field(default_factory=set)
    pooled: frozenset[int] = frozenset()  # ids of the crops in own_sightings
    said: tuple[Verdict, int | None] | None = None
    why: Identification = NOT_SEEN

    @property
    def known(self) -> Evidence:
        """The evidence, once there is some."""
        assert self.evidence is not None
        return self.evidence


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Identity of a track, as known now.

    Attributes:
        person_id: None if unknown and not enrolled.
        verdict: "unknown" with a person_id is a person who was just enrolled.
        probability: that this is the person named.
        depth: of the embedding that decided; None if the track never had a crop.
        changed: whether verdict or person differ from the previous answer.
        why: the gallery's result, or why it was not searched.
    """

    camera: int
    track: int
    person_id: int | None
    verdict: Verdict
    probability: float
    depth: int | None
    changed: bool
    is_last: bool
    why: Identification
