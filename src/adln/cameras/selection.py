"""Selects the crops of a track that are worth embedding: the best few, spread over time.

A track's crops compete for a few places, and only those that win one are embedded.
"""

from dataclasses import dataclass
from math import inf
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adln.boxes import clip_to_picture
from adln.cameras.frames import Frame
from adln.cameras.quality import QualitySettings, judge_boxes, sharpness_quality
from adln.cameras.tracker import TrackUpdate
from adln.crops import CROP_HEIGHT_PX, CROP_WIDTH_PX, cut, resize
from adln.errors import SettingsError
from adln.settings import require_between, settings

Reason = Literal["first", "better", "ended"]
"""Why a track is reported: first usable crops; better crops than before; track ended."""


@settings
class SelectionSettings:
    """Criteria for good crops and for reporting tracks.

    Attributes:
        good: a track is first reported when it has a crop of at least this quality.
        usable: crops below this quality are never kept.
        apart_s: kept crops of a track are at least this far apart in time.
        patience_s: a track without a good crop is reported with its best one after this time.
        better: a track is reported again when the sum of its crops' qualities has grown by this
            factor,
        again_s: and at least this long after the last report.
        gain: a crop must be better than the one it replaces by this factor.
    """

    good: float = 0.35
    usable: float = 0.05
    apart_s: float = 0.5
    patience_s: float = 1.5
    better: float = 1.25
    again_s: float = 0.5
    gain: float = 1.1
    quality: QualitySettings = QualitySettings()

    def __post_init__(self) -> None:
        require_between(
            self,
            (0, 1, ["good", "usable"]),
            (0, inf, ["apart_s", "patience_s", "better", "again_s", "gain"]),
        )


@dataclass(frozen=True, eq=False)
class SelectedCrop:
    """A crop that won a place.

    Attributes:
        crop_id: unique within its camera's selector; key of its embedding.
        image: (H, W, 3) uint8 RGB, of the network's size.
        box_xyxy: (4,) float32, px in its frame.
        quality: 0..1.
    """

    crop_id: int
    image: NDArray[np.uint8]
    box_xyxy: NDArray[np.float32]
    frame_index: int
    time_s: float
    quality: float


@dataclass(frozen=True, eq=False)
class TrackReport:
    """A track whose crops should be embedded now.

    Attributes:
        track_id: unique within the camera.
        time_s: of the frame that caused the report.
        last_box_xyxy: (4,) float32.
        crops: those that hold a place now, by time; empty if a track ends without a usable crop.
            Some may have been in an earlier report, with the same crop_id.
    """

    camera_id: str
    track_id: int
    reason: Reason
    time_s: float
    first_s: float
    last_s: float
    last_box_xyxy: NDArray[np.float32]
    crops: tuple[SelectedCrop, ...]


class CropSelector:
    """Selects the crops of one camera's tracks; keeps nothing of finished tracks.

    Args:
        crops_per_track: see the property.
        crop_size: height and width in px of the network's input.

    Raises:
        SettingsError: `crops_per_track` is below one.
    """

    def __init__(
        self,
        camera_id: str,
        *,
        crops_per_track: int = 4,
        crop_size: tuple[int, int] = (CROP_HEIGHT_PX, CROP_WIDTH_PX),
        settings: SelectionSettings | None = None,
    ) -> None:
        self._camera_id = camera_id
        self._crop_size = crop_size
        self._settings = settings or SelectionSettings()
        self._candidates: dict[int, _Candidates] = {}
        self._next_crop_id = 1
        self._places = 1
        self.crops_per_track = crops_per_track

    @property
    def crops_per_track(self) -> int:
        """Most crops per track. May be set at any time: tracks keep their best."""
        return self._places

    @crops_per_track.setter
    def crops_per_track(self, places: int) -> None:
        if places < 1:
            raise SettingsError(f"crops_per_track must be at least 1, got {places}.")
        self._places = places
        for candidates in self._candidates.values():
            candidates.keep_best(places)

    def update(self, frame: Frame, tracks: TrackUpdate) -> list[TrackReport]:
        """Process one frame.

        Returns:
            Tracks to embed now, those seen in this frame before those that ended.
        """
        height_px, width_px = frame.image.shape[:2]
        people = tracks.people
        boxes = np.array([person.box_xyxy for person in people], np.float32).reshape(-1, 4)
        judged = judge_boxes(
            boxes,
            np.array([person.confidence for person in people], np.float64),
            height_px=height_px,
            width_px=width_px,
            settings=self._settings.quality,
        )
        inside = clip_to_picture(boxes, height_px=height_px, width_px=width_px)
        reports = []
        for person, box, geometry in zip(people, inside, judged, strict=True):
            candidates = self._candidates.get(person.track_id) or _Candidates(person.first_s)
            self._candidates[person.track_id] = candidates
            candidates.last_s, candidates.last_box_xyxy = frame.time_s, person.box_xyxy
            self._consider(candidates, frame, box, geometry.quality)
            reason = candidates.due(frame.time_s, self._settings)
            if reason is not None:
                reports.append(self._report(person.track_id, candidates, reason, frame.time_s))
        return reports + self.end(tracks.ended, frame.time_s)

    def end(self, track_ids: tuple[int, ...], time_s: float) -> list[TrackReport]:
        """Report finished tracks, as of `Tracker.finish`, and release their crops."""
        return [
            self._report(track_id, candidates, "ended", time_s)
            for track_id in track_ids
            if (candidates := self._candidates.pop(track_id, None)) is not None
        ]

    def _consider(
        self, candidates: "_Candidates", frame: Frame, box: NDArray[np.float32], possible: float
    ) -> None:
        """Give a crop a place if it wins one; `possible` is an upper bound of its quality."""
        rival = candidates.rival(frame.time_s, self._places, self._settings.apart_s)
        least = 0.0 if rival is None else rival.quality * self._settings.gain
        wanted = max(self._settings.usable, least)
        if possible < wanted or box[2] - box[0] < 1 or box[3] - box[1] < 1:
            return
        height, width = self._crop_size
        image = resize(cut(frame.image, box.tolist()), height_px=height, width_px=width)
        quality = possible * sharpness_quality(image, self._settings.quality)
        if quality < wanted:
            return
        crop_id = self._next_crop_id
        crop = SelectedCrop(crop_id, image, box, frame.index, frame.time_s, quality)
        self._next_crop_id += 1
        candidates.crops = [kept for kept in candidates.crops if kept is not rival] + [crop]

    def _report(
        self, track_id: int, candidates: "_Candidates", reason: Reason, time_s: float
    ) -> TrackReport:
        candidates.reported_s, candidates.reported_worth = time_s, candidates.worth
        return TrackReport(
            camera_id=self._camera_id,
            track_id=track_id,
            reason=reason,
            time_s=time_s,
            first_s=candidates.first_s,
            last_s=candidates.last_s,
            last_box_xyxy=candidates.last_box_xyxy,
            crops=tuple(candidates.crops),
        )


class _Candidates:
    """The crops of one track that hold a place, ordered by time."""

    def __init__(self, first_s: float) -> None:
        self.first_s = self.last_s = first_s
        self.last_box_xyxy: NDArray[np.float32] = np.zeros(4, np.float32)
        self.crops: list[SelectedCrop] = []
        self.reported_s: float | None = None
        self.reported_worth = 0.0

    @property
    def worth(self) -> float:
        return sum(crop.quality for crop in self.crops)

    def rival(self, time_s: float, places: int, apart_s: float) -> SelectedCrop | None:
        """The crop that a new one must beat and replace; None if there is a free place."""
        near = [crop for crop in self.crops if abs(crop.time_s - time_s) < apart_s]
        if near:
            # Close in time to kept crops: it must beat the best of these.
            return max(near, key=lambda crop: crop.quality)
        if len(self.crops) >= places:
            return min(self.crops, key=lambda crop: crop.quality)
        return None

    def keep_best(self, places: int) -> None:
        best = sorted(self.crops, key=lambda crop: -crop.quality)[:places]
        self.crops = sorted(best, key=lambda crop: crop.time_s)

    def due(self, time_s: float, settings: SelectionSettings) -> Reason | None:
        """Why the track should be reported now; None if it should not."""
        if not self.crops:
            return None
        if self.reported_s is None:
            best = max(crop.quality for crop in self.crops)
            waited = time_s - self.first_s >= settings.patience_s
            return "first" if best >= settings.good or waited else None
        may_report = time_s - self.reported_s >= settings.again_s
        is_better = may_report and self.worth >= settings.better * self.reported_worth
        return "better" if is_better else None
