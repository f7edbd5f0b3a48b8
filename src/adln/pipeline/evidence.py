"""What is known of a track, and who it is found to be."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.errors import GalleryError
from adln.gallery.records import pool_track
from adln.matching.calibration import Verdict
from adln.matching.identification import Identification

TrackKey = tuple[int, int]
"""Camera number and track number."""


@dataclass(frozen=True, eq=False, kw_only=True)
class EmbeddedCrop:
    """A crop of a track and what the network said of it.

    Attributes:
        crop_id: unique within the camera.
        time_s: of its frame.
        box_xyxy: in its frame, px.
        quality: above 0, at most 1.
        embeddings: depth -> (D,) of unit length, for each depth that was computed.
        thumbnail: JPEG to be kept in the gallery; None unless pictures are wanted.
    """

    crop_id: int
    time_s: float
    box_xyxy: tuple[float, float, float, float]
    quality: float
    embeddings: Mapping[int, NDArray[np.floating]]
    thumbnail: bytes | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """What is known of a track now.

    Attributes:
        camera: its number.
        track: its number, unique within the camera for ever.
        first_s: when it was first seen.
        last_s: when it was last seen.
        crops: its best crops; may be empty.
        most_crops: how many a track may have at the moment.
        is_last: whether the track is over.
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
        """Camera and track."""
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
        """The crop of the best quality."""
        return max(self.crops, key=lambda crop: (crop.quality, -crop.crop_id))

    def pool(self, depth: int) -> NDArray[np.float32]:
        """The crops as one embedding (D,)."""
        return pool_track(
            np.stack([crop.embeddings[depth] for crop in self.crops]),
            np.array([crop.quality for crop in self.crops]),
        )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Who a track is, as far as is known now.

    Attributes:
        camera: number of the camera.
        track: number of the track.
        person_id: who; None if unknown and not enrolled.
        verdict: "matched", "candidate", or "unknown"; with a person_id, "unknown" is somebody who
            was just enrolled.
        probability: that this is the person named.
        depth: of the track's embedding that decided; None if the track never had a crop.
        changed: whether verdict or person are others than in the answer before.
        is_last: whether the track is over.
        why: what the gallery said, or why it was not asked.
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
