"""What people look like, as far as following them needs it.

Embeddings cost more than boxes, so that they are made only of the boxes for which somebody asks,
and only of clean ones: a crop that shows half of another person looks like nobody.

Source: Wojke et al., "Simple Online and Realtime Tracking with a Deep Association Metric", ICIP
2017, and Aharon et al., "BoT-SORT: Robust Associations Multi-Pedestrian Tracking", 2022, for the
smoothed embedding of a track.
Deviation: it is renewed by clean boxes only, and by one now and then instead of every one. The
level at which two people look alike is learned from people who are in view together, because it
differs by embedder and by camera.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adln.boxes import clip_to_picture
from adln.cameras.detections import Detections
from adln.cameras.quality import QualitySettings, judge_boxes, visible_parts
from adln.crops import cut, resize
from adln.embeddings import unit_length
from adln.errors import CameraError
from adln.settings import settings

# A new embedding's share in a track's smoothed one.
_SHARE = 0.3
# Of a box that is alone at least this part is covered by no other one.
_ALONE = 0.95
# How fast the likeness of strangers is learned.
_STRANGERS_SHARE = 0.05


class Appearance(Protocol):
    """Anything that embeds the people in a frame."""

    def __call__(
        self, image: NDArray[np.uint8], boxes_xyxy: NDArray[np.float32], /
    ) -> NDArray[np.floating]:
        """Embed boxes.

        Args:
            image: (H, W, 3) uint8, the frame.
            boxes_xyxy: (N, 4) px.

        Returns:
            (N, D), of any length; compared by cosine. A row of zeros says nothing.
        """
        ...


@settings
class AppearanceSettings:
    """How far the eye may overrule the motion; cosines are those of the embedder in use.

    Attributes:
        use: look at people at all; by motion alone if not.
        same: somebody who comes back must look at least so much like before.
        above_strangers: and must be so far from what people in view together have in common,
            as a part of the way to a cosine of 1.
        margin: and more like before than like any other candidate, by this difference.
        weight: where motion is in doubt, a difference of cosines counts as so much overlap.
        near: a second candidate with this part of the best one's overlap puts a box in doubt.
        clean: only boxes of at least this quality are embedded. The quality is the part not
            hidden by others, times wholeness, shape and confidence; see `adln.cameras.quality`.
        least_height_px: smaller people are not embedded.
        renew_s: a track's embedding is renewed once in so long, by a clean box;
        recheck_s: and once in so long, if somebody else may have its place.
        trust_motion_s: a track that was out of sight for longer is not taken up by its motion
            alone, if it is known what the person looks like.
        strange: after so many clean boxes that look like somebody else, a track that was in doubt
            is taken to have been caught by another person, who gets a new number.
        keep_s: somebody who is out of sight for longer gets a new number.
        undecided_s: a newcomer who may be somebody lost, but whose boxes are not clean, has no
            number for at most so long.
        reach: somebody may come back so many body heights away,
        reach_per_s: and so many more for each second out of sight,
        reach_most: and this many at most.
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


class Look:
    """What one person looks like: a smoothed embedding.

    Args:
        embedding: (D,) of unit length, of a clean box.
        time_s: of its frame.
    """

    def __init__(self, embedding: NDArray[np.float32], time_s: float) -> None:
        self.embedding = embedding
        self.renewed_s = time_s
        self._count = 1

    def renew(self, embedding: NDArray[np.float32], time_s: float) -> None:
        """Take in another embedding of this person."""
        self._count += 1
        share = max(_SHARE, 1 / self._count)
        self.embedding = unit_length((1 - share) * self.embedding + share * embedding)
        self.renewed_s = time_s

    def cosine(self, embedding: NDArray[np.float32]) -> float:
        """How alike they are."""
        return float(self.embedding @ embedding)


class Likeness:
    """What a cosine means under one camera.

    Args:
        settings: thresholds.
    """

    def __init__(self, settings: AppearanceSettings) -> None:
        self._settings = settings
        self._strangers: float | None = None

    def saw_together(self, cosines: Iterable[float]) -> None:
        """Learn from people who are in view together, who are therefore not the same.

        Args:
            cosines: NaN where one of the two has not been looked at yet.
        """
        for cosine in cosines:
            if np.isnan(cosine):
                continue
            if self._strangers is None:
                self._strangers = cosine
            self._strangers += _STRANGERS_SHARE * (cosine - self._strangers)

    @property
    def same(self) -> float:
        """From this cosine on, two may be the same person."""
        if self._strangers is None:
            return self._settings.same
        part = self._settings.above_strangers
        return max(self._settings.same, self._strangers + part * (1 - self._strangers))

    @property
    def pivot(self) -> float:
        """A cosine that speaks neither for nor against the same person."""
        strangers = 0.0 if self._strangers is None else max(self._strangers, 0.0)
        return max((self.same + strangers) / 2, self.same - 0.2)


class FrameLooks:
    """The embeddings of one frame's boxes, made when somebody asks for them.

    Args:
        detections: of the frame, N of them.
        settings: what is a clean box.
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
        *,
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

    @cached_property
    def clean(self) -> list[bool]:
        """(N,): which boxes show one whole person, as far as boxes tell."""
        boxes, settings = self._detections.boxes_xyxy, self._settings
        # Without a picture its right and lower border are not known.
        height_px, width_px = (10**9, 10**9) if self._image is None else self._image.shape[:2]
        geometry = judge_boxes(
            boxes,
            self._detections.confidences,
            height_px=height_px,
            width_px=width_px,
            settings=QualitySettings(),
        )
        quality = geometry.visible * geometry.whole * geometry.shape * geometry.confidence
        inside = clip_to_picture(boxes, height_px=height_px, width_px=width_px)
        is_large = (inside[:, 2:] - inside[:, :2] >= (1, settings.least_height_px)).all(axis=1)
        clean: list[bool] = ((quality >= settings.clean) & is_large).tolist()
        return clean

    @cached_property
    def mixed(self) -> list[bool]:
        """(N,): which boxes may show another person than the one whose box it is."""
        if not self.able:
            return [True] * len(self._detections)
        covered = (visible_parts(self._detections.boxes_xyxy) < _ALONE).tolist()
        return [is_covered and not self.clean[at] for at, is_covered in enumerate(covered)]

    def of(self, positions: Iterable[int]) -> dict[int, NDArray[np.float32]]:
        """Embeddings (D,) of those of the boxes that are clean."""
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
        """Whether a box is embedded already, so that asking costs nothing."""
        return position in self._known

    def _keep(self, positions: Iterable[int], embeddings: NDArray[np.floating]) -> None:
        for at, embedding in zip(positions, unit_length(embeddings), strict=True):
            says_something = bool(np.isfinite(embedding).all() and embedding.any())
            self._known[at] = embedding if says_something else None


def crop_appearance(
    embed: Callable[[NDArray[np.uint8]], NDArray[np.floating]], crop_size: tuple[int, int]
) -> Appearance:
    """An `Appearance` of anything that embeds crops.

    Args:
        embed: (N, H, W, 3) uint8 crops -> (N, D).
        crop_size: height H and width W of its crops in px.
    """

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
