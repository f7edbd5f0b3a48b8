"""Appearance for trackers: the embeddings of a frame's clean boxes, computed on demand.

Source: Wojke et al., "Simple Online and Realtime Tracking with a Deep Association Metric", ICIP
2017, and Aharon et al., "BoT-SORT: Robust Associations Multi-Pedestrian Tracking", 2022, for the
smoothed embedding of a track.
Deviation: it is updated from clean boxes only, and every few seconds instead of in every frame.
The cosine above which two boxes may show one person is learned from people in view together,
because it depends on the embedder and on the camera.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from math import inf
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from adln.boxes import clip_to_picture
from adln.cameras.detections import Detections
from adln.cameras.quality import Geometry, QualitySettings, judge_boxes
from adln.crops import cut, resize
from adln.embeddings import unit_length
from adln.errors import CameraError
from adln.settings import require_between, settings

# A new embedding's share in a track's smoothed one.
_SHARE = 0.3
# A box counts as alone if other boxes leave at least this part of it uncovered.
_ALONE = 0.95
# Learning rate of the mean cosine between strangers.
_STRANGERS_SHARE = 0.05


@runtime_checkable
class Appearance(Protocol):
    """Anything that embeds the people in a frame."""

    def __call__(
        self, image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32], /
    ) -> NDArray[np.floating]:
        """Embed boxes (N, 4) px of a frame (H, W, 3) uint8.

        Returns:
            (N, D), not necessarily normalised; compared by cosine. A row of zeros is ignored.
        """


@settings
class AppearanceSettings:
    """When appearance overrules motion; cosines are those of the embedder in use.

    Attributes:
        use: use the appearance; if false, track by motion alone.
        same: least cosine between a lost person and the one who returns.
        above_strangers: the same, relative to strangers: 0 is the mean cosine of people in view
            together, 1 a cosine of 1. The higher of both limits applies.
        margin: least difference to the cosine with any other candidate.
        weight: overlap that a difference of cosines of 1 counts for, where motion is ambiguous.
        near: a box is ambiguous if a second candidate has this part of the best one's overlap.
        clean: only boxes of at least this quality are embedded. The quality is the part not
            hidden by others, times wholeness, shape and confidence; see `adln.cameras.quality`.
        least_height_px: boxes of less height are not embedded.
        renew_s: interval at which a track's embedding is updated, from a clean box.
        recheck_s: the same, while the track may have been taken over by another person.
        trust_motion_s: a track with an embedding that was out of sight for longer needs a matching
            appearance to continue.
        strange: number of clean boxes with the appearance of someone else after which an ambiguous
            track is taken to show another person, who gets a new number.
        keep_s: a person who is out of sight for longer gets a new number.
        undecided_s: longest time for which a new track that may be a lost person, but has no clean
            box yet, has no number.
        reach: greatest distance at which a lost person may reappear, in body heights,
        reach_per_s: what each second out of sight adds to it,
        reach_most: and its upper limit.
    """

    use: bool = True
    same: float = 0.6
    above_strangers: float = 0.3
    margin: float = 0.1
    weight: float = 1.0
    near: float = 0.6
    clean: float = 0.5
    least_height_px: float = 32.0
    renew_s: float = 4.0
    recheck_s: float = 1.5
    trust_motion_s: float = 0.5
    strange: int = 3
    keep_s: float = 10.0
    undecided_s: float = 1.0
    reach: float = 0.7
    reach_per_s: float = 1.2
    reach_most: float = 6.0

    def __post_init__(self) -> None:
        times = [name for name in vars(self) if name.endswith("_s")]
        require_between(
            self,
            (-1, 1, ["same", "above_strangers", "margin"]),
            (0, 1, ["near", "clean"]),
            (0, inf, ["weight", "least_height_px", "strange", *times]),
        )


class Look:
    """Appearance of one person: a smoothed embedding (D,) of unit length, and its latest time."""

    def __init__(self, embedding: NDArray[np.float32], time_s: float) -> None:
        self.embedding, self.renewed_s = embedding, time_s
        self._count = 1

    def renew(self, embedding: NDArray[np.float32], time_s: float) -> None:
        """Update it with another embedding of this person."""
        self._count += 1
        share = max(_SHARE, 1 / self._count)
        self.embedding = unit_length((1 - share) * self.embedding + share * embedding)
        self.renewed_s = time_s

    def cosine(self, embedding: NDArray[np.float32]) -> float:
        """Cosine to a unit-length embedding (D,)."""
        return float(self.embedding @ embedding)


class Likeness:
    """Thresholds on cosines, learned for one camera."""

    def __init__(self, settings: AppearanceSettings) -> None:
        self._settings = settings
        self._strangers: float | None = None

    def saw_together(self, cosines: Iterable[float]) -> None:
        """Learn from people who are in view together; NaN where one has no embedding yet."""
        for cosine in cosines:
            if np.isnan(cosine):
                continue
            if self._strangers is None:
                self._strangers = cosine
            self._strangers += _STRANGERS_SHARE * (cosine - self._strangers)

    @property
    def same(self) -> float:
        """Least cosine at which two boxes may show the same person."""
        if self._strangers is None:
            return self._settings.same
        part = self._settings.above_strangers
        return max(self._settings.same, self._strangers + part * (1 - self._strangers))

    @property
    def pivot(self) -> float:
        """Neutral cosine: neither evidence for the same person nor against it."""
        strangers = 0.0 if self._strangers is None else max(self._strangers, 0.0)
        return max((self.same + strangers) / 2, self.same - 0.2)


class FrameLooks:
    """The embeddings of one frame's boxes, computed on demand.

    Args:
        image: (H, W, 3) uint8, the frame.
        appearance: embeds boxes; needs the image.
        embeddings: (N, D), if they are known already.

    Raises:
        CameraError: the embeddings do not belong to the detections.
    """

    def __init__(
        self,
        detections: Detections,
        settings: AppearanceSettings,
        image: NDArray[np.uint8] | None,
        appearance: Appearance | None,
        embeddings: NDArray[np.floating] | None,
    ) -> None:
        if embeddings is not None and (embeddings.ndim != 2 or len(embeddings) != len(detections)):
            raise CameraError(
                f"expected embeddings ({len(detections)}, D), one for each box, got "
                f"{embeddings.shape}."
            )
        self._detections, self._settings = detections, settings
        self._image, self._appearance = image, appearance
        self._known: dict[int, NDArray[np.float32] | None] = {}
        if embeddings is not None:
            self._keep(range(len(embeddings)), embeddings)
        self.made = 0
        self.able = embeddings is not None or (image is not None and appearance is not None)

    @property
    def _picture_size(self) -> dict[str, int]:
        """Without a picture its right and lower border are not known."""
        height_px, width_px = (10**9, 10**9) if self._image is None else self._image.shape[:2]
        return {"height_px": height_px, "width_px": width_px}

    @cached_property
    def _geometry(self) -> list[Geometry]:
        boxes, confidences = self._detections.boxes_xyxy, self._detections.confidences
        return judge_boxes(boxes, confidences, **self._picture_size, settings=QualitySettings())

    @cached_property
    def clean(self) -> list[bool]:
        """(N,): whether a box shows one whole person, judged by the boxes alone."""
        settings, clean = self._settings, []
        inside = clip_to_picture(self._detections.boxes_xyxy, **self._picture_size).tolist()
        for (left, top, right, bottom), geometry in zip(inside, self._geometry, strict=True):
            is_large = right - left >= 1 and bottom - top >= settings.least_height_px
            clean.append(is_large and geometry.clean >= settings.clean)
        return clean

    @cached_property
    def mixed(self) -> list[bool]:
        """(N,): whether a box may mostly show another person."""
        if not self.able:
            return [True] * len(self._detections)
        covered = [geometry.visible < _ALONE for geometry in self._geometry]
        return [is_covered and not self.clean[at] for at, is_covered in enumerate(covered)]

    def of(self, positions: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """Embeddings (D,) of the clean boxes among these."""
        wanted = [at for at in positions if self.clean[at]]
        new = [at for at in wanted if at not in self._known]
        if new and self._image is not None and self._appearance is not None:
            boxes = self._detections.boxes_xyxy[new]
            found = np.asarray(self._appearance(self._image, boxes))
            if found.ndim != 2 or len(found) != len(new):
                raise CameraError(
                    f"appearance was given {len(new)} boxes; expected ({len(new)}, D) embeddings, "
                    f"got {found.shape}."
                )
            self._keep(new, found)
            self.made += len(new)
        known = {at: self._known.get(at) for at in wanted}
        return {at: found for at, found in known.items() if found is not None}

    def has(self, position: int) -> bool:
        """Whether a box is already embedded, so that asking for it is free."""
        return position in self._known

    def _keep(self, positions: Iterable[int], embeddings: NDArray[np.floating]) -> None:
        for at, embedding in zip(positions, unit_length(embeddings), strict=True):
            says_something = bool(np.isfinite(embedding).all() and embedding.any())
            self._known[at] = embedding if says_something else None


def crop_appearance(
    embed: Callable[[NDArray[np.uint8]], NDArray[np.floating]], crop_size: tuple[int, int]
) -> Appearance:
    """An `Appearance` of what embeds (N, H, W, 3) uint8 crops of a size (H, W) as (N, D)."""

    def appearance(
        image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32], /
    ) -> NDArray[np.floating]:
        height_px, width_px = image.shape[:2]
        inside = clip_to_picture(boxes_xyxy, height_px=height_px, width_px=width_px)
        crops = [
            resize(cut(image, box.tolist()), height_px=crop_size[0], width_px=crop_size[1])
            for box in inside
        ]
        return embed(np.stack(crops))

    return appearance
