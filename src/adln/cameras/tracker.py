"""Tracking of people from frame to frame: the `Tracker` interface and its implementation.

Source: Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV
2022: boxes of high confidence are assigned first, then those of low confidence to the tracks that
are left. With appearance, as in Aharon et al., "BoT-SORT", 2022, and Maggiolino et al., "Deep
OC-SORT", ICIP 2023, embeddings decide where motion is ambiguous.

Not taken from a library: the one that is well kept and permissively licensed (roboflow's
`trackers`) depends on several hundred megabytes, among them FFmpeg under the GPL.

Deviations: times are in seconds instead of frames (see `adln.cameras.motion`). Only boxes for which
motion is ambiguous are embedded. Two tracks that exchanged their people during an occlusion get
them back. A person who enters where another one leaves the picture is a new person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adln.cameras import motion
from adln.cameras.appearance import Appearance, AppearanceSettings, FrameLooks
from adln.cameras.association import assign, overlaps
from adln.cameras.camera_motion import CameraMotion, common_way
from adln.cameras.detections import Detections
from adln.cameras.recognition import Recognition
from adln.cameras.track import Track, TrackedPerson, places_of
from adln.errors import CameraError
from adln.settings import require_between, settings

# In less time no one else can take the place of a person who is alone.
_BLINK_S = 0.25


@dataclass(frozen=True)
class TrackUpdate:
    """Result of one frame.

    Attributes:
        people: tracked people found in this frame, by track id.
        ended: ids of tracks that ended, ascending; only tracks that were once among `people`.
    """

    people: tuple[TrackedPerson, ...]
    ended: tuple[int, ...]


class Tracker(Protocol):
    """Anything that tracks the people of one camera; each camera needs its own."""

    def update(
        self, detections: Detections, time_s: float, image: NDArray[np.uint8] | None = None
    ) -> TrackUpdate:
        """Process one frame, (H, W, 3) uint8 RGB, later than the previous one."""

    def finish(self) -> tuple[int, ...]:
        """End all tracks because the camera has ended; returns their ids."""


@settings
class TrackerSettings:
    """When boxes belong to one person.

    Attributes:
        sure: detections of at least this confidence are assigned to tracks first.
        start: a new track starts with a detection of at least this confidence.
        min_iou: least overlap of a predicted box and a detection from `sure` on: their IoU, times
            the squared IoU of their vertical extents, times the confidence.
        min_iou_unsure: the same for detections below `sure`, without the confidence.
        confirm_hits: a track gets a number once it was found in so many frames.
        confirm_within_s: a track without a number is dropped when not found for so long.
        keep_s: a track that is not found ends after so long. With an appearance, this is how long
            motion can continue it; it ends after `appearance.keep_s`.
        camera_motion: compensate a moving camera, and end all tracks where another scene begins;
            estimated from the frames or, without frames, from the motion that most people share.
        appearance: when appearance overrules motion, if there is an appearance.
    """

    sure: float = 0.5
    start: float = 0.6
    min_iou: float = 0.18
    min_iou_unsure: float = 0.36
    confirm_hits: int = 3
    confirm_within_s: float = 0.35
    keep_s: float = 2.0
    camera_motion: bool = True
    appearance: AppearanceSettings = AppearanceSettings()

    def __post_init__(self) -> None:
        require_between(
            self,
            (0, 1, ["sure", "start", "min_iou", "min_iou_unsure"]),
            (0, inf, ["confirm_within_s", "keep_s"]),
            (1, inf, ["confirm_hits"]),
        )


class ByteTracker:
    """Tracks the people of one camera by place, motion and appearance; deterministic.

    Args:
        appearance: embeds people for whom motion is ambiguous; it needs the frames. Default: motion
            alone.
    """

    def __init__(
        self, settings: TrackerSettings | None = None, *, appearance: Appearance | None = None
    ) -> None:
        self._settings = settings or TrackerSettings()
        self._appearance = appearance if self._settings.appearance.use else None
        self._recognition = Recognition(self._settings.appearance)
        self._camera: CameraMotion | None = None
        self._tracks: list[Track] = []
        self._next_id = 1
        self._last_s: float | None = None
        self._last_boxes: NDArray[np.float32] = np.zeros((0, 4), np.float32)
        self.embeddings_made = 0

    def update(
        self,
        detections: Detections,
        time_s: float,
        image: NDArray[np.uint8] | None = None,
        embeddings: NDArray[np.floating] | None = None,
    ) -> TrackUpdate:
        """Process one frame.

        Args:
            detections: of the frame, N of them.
            time_s: of the frame; above that of the previous frame.
            image: (H, W, 3) uint8 RGB; without it, the motion of the camera is estimated from the
                boxes.
            embeddings: (N, D), if already known; the tracker's appearance is then not used.

        Raises:
            CameraError: `time_s` is not above that of the previous frame, or the embeddings do not
                belong to the detections.
        """
        limits = self._settings
        appearance = self._appearance
        looks = FrameLooks(detections, limits.appearance, image, appearance, embeddings)
        previous_s = self._previous(time_s)
        cut = self._move(detections, image, time_s, previous_s)
        places = places_of(detections, time_s, image)
        matches = self._match(detections, looks, previous_s=previous_s)
        motion.update(
            [track.place.motion for track, _ in matches], [places[at].still for _, at in matches]
        )
        for track, at in matches:
            track.in_doubt |= looks.mixed[at] or time_s - track.seen_s > _BLINK_S
            track.take(places[at])
        taken = {at for _, at in matches}
        self._tracks += [
            Track(place)
            for at, place in enumerate(places)
            if at not in taken and place.confidence >= limits.start
        ]
        if looks.able:
            hits = limits.confirm_hits
            self._tracks += self._recognition.look(self._tracks, looks, time_s, confirm_hits=hits)
        self._confirm(looks, time_s)
        ended = tuple(sorted(cut + self._drop(time_s)))
        self._last_boxes = detections.boxes_xyxy
        self.embeddings_made += looks.made
        people = [
            track.as_person(track.track_id)
            for track in self._tracks
            if track.track_id is not None and track.seen_s == time_s
        ]
        people.sort(key=lambda person: person.track_id)
        return TrackUpdate(tuple(people), ended)

    def finish(self) -> tuple[int, ...]:
        """End all tracks."""
        ids = sorted(track.track_id for track in self._tracks if track.track_id is not None)
        self._tracks.clear()
        return tuple(ids)

    def _previous(self, time_s: float) -> float:
        """Time of the previous frame; that of this one if it is the first."""
        previous_s = self._last_s
        if previous_s is not None and time_s <= previous_s:
            raise CameraError(
                f"a tracker was given a frame at {time_s:.3f} s after one at {previous_s:.3f} s; "
                "times must rise. Each camera needs a tracker of its own."
            )
        self._last_s = time_s
        return time_s if previous_s is None else previous_s

    def _move(
        self,
        detections: Detections,
        image: NDArray[np.uint8] | None,
        time_s: float,
        previous_s: float,
    ) -> tuple[int, ...]:
        """Predict all tracks; returns the ids of those that a new scene ends."""
        if image is not None and self._settings.camera_motion:
            if self._camera is None:
                self._camera = CameraMotion()
            affine = self._camera.update(image, self._last_boxes)
            if self._camera.cut:
                # Places are meaningless in another scene; the gallery recognises its people.
                return self.finish()
            self._shift(affine)
        motion.predict([track.place.motion for track in self._tracks], time_s - previous_s)
        if image is None and self._settings.camera_motion:
            # Without frames, the motion that most people share is the camera's.
            seen = [track.place.motion for track in self._tracks if track.seen_s >= previous_s]
            sure = detections.boxes_xyxy[detections.confidences >= self._settings.sure]
            way = common_way(motion.boxes_of(seen), sure)
            self._shift(None if way is None else np.array([[1, 0, way[0]], [0, 1, way[1]]]))
        return ()

    def _shift(self, affine: NDArray[np.float64] | None) -> None:
        if affine is not None:
            motion.shift([one for track in self._tracks for one in track.motions], affine)

    def _match(
        self, detections: Detections, looks: FrameLooks, *, previous_s: float
    ) -> list[tuple[Track, int]]:
        limits = self._settings
        numbered = list(enumerate(detections.confidences.tolist()))
        sure = [at for at, confidence in numbered if confidence >= limits.sure]
        unsure = [at for at, confidence in numbered if confidence < limits.sure]
        known: list[Track] = []
        away: list[Track] = []
        new: list[Track] = []
        for track in self._tracks:
            is_away = previous_s - track.seen_s > limits.keep_s
            (new if track.track_id is None else away if is_away else known).append(track)

        fits = _overlaps([*known, *new], detections)
        scores = self._recognition.weigh(
            fits[: len(known), sure] * detections.confidences[sure],
            known,
            sure,
            looks,
            others=away,
            least=limits.min_iou,
            previous_s=previous_s,
        )
        pairs = assign(scores, least=limits.min_iou)
        matches = [(known[row], sure[column]) for row, column in pairs]
        found = {row for row, _ in pairs}
        # Only tracks of the previous frame: elsewhere, weak boxes mostly show no one.
        left = [
            row
            for row, track in enumerate(known)
            if row not in found and track.seen_s >= previous_s
        ]
        pairs = assign(fits[left][:, unsure], least=limits.min_iou_unsure)
        matches += [(known[left[row]], unsure[column]) for row, column in pairs]
        taken = {at for _, at in matches}
        rest = [at for at in sure if at not in taken]
        scores = fits[len(known) :, rest] * detections.confidences[rest]
        pairs = assign(scores, least=limits.min_iou)
        return matches + [(new[row], rest[column]) for row, column in pairs]

    def _confirm(self, looks: FrameLooks, time_s: float) -> None:
        ready = [
            track
            for track in self._tracks
            if track.track_id is None
            and track.seen_s == time_s
            and track.hits >= self._settings.confirm_hits
        ]
        comes_back = self._recognition.comes_back
        for track in ready:
            if not (looks.able and comes_back(track, self._tracks, ready, looks, time_s)):
                track.track_id = self._next_id
                self._next_id += 1
        self._tracks = [track for track in self._tracks if not track.over]

    def _drop(self, time_s: float) -> tuple[int, ...]:
        limits = self._settings
        stay, ended = [], []
        for track in self._tracks:
            # The gallery recognises people who left the picture.
            remembered = track.look is not None and not track.place.sides
            keep_s = limits.appearance.keep_s if remembered else limits.keep_s
            known = track.track_id is not None
            if time_s - track.seen_s <= (keep_s if known else limits.confirm_within_s):
                stay.append(track)
            elif track.track_id is not None:
                ended.append(track.track_id)
        self._tracks = stay
        return tuple(sorted(ended))


class GivenTracks:
    """A `Tracker` for detections that already have track ids.

    Args:
        keep_s: a track that is not found ends after so long.
    """

    def __init__(self, *, keep_s: float = 2.0) -> None:
        self._keep_s = keep_s
        self._seen: dict[int, tuple[float, float, int]] = {}  # first, latest, hits

    def update(
        self, detections: Detections, time_s: float, image: NDArray[np.uint8] | None = None
    ) -> TrackUpdate:
        """Process one frame.

        Raises:
            CameraError: the detections have no track ids.
        """
        if detections.track_ids is None and len(detections):
            raise CameraError(
                "these boxes carry no track_id; write one on each line, or follow them with "
                "ByteTracker."
            )
        people = []
        ids = [] if detections.track_ids is None else detections.track_ids.tolist()
        found = zip(ids, detections.boxes_xyxy, detections.confidences.tolist(), strict=True)
        for at, (track_id, box, confidence) in enumerate(found):
            first_s, _, hits = self._seen.get(track_id, (time_s, time_s, 0))
            self._seen[track_id] = first_s, time_s, hits + 1
            people.append(TrackedPerson(track_id, box, confidence, first_s, hits + 1, at))
        over = [key for key, (_, last_s, _) in self._seen.items() if time_s - last_s > self._keep_s]
        for track_id in over:
            del self._seen[track_id]
        people.sort(key=lambda person: person.track_id)
        return TrackUpdate(tuple(people), tuple(sorted(over)))

    def finish(self) -> tuple[int, ...]:
        """End all tracks."""
        ids = tuple(sorted(self._seen))
        self._seen.clear()
        return ids


def _overlaps(tracks: Sequence[Track], detections: Detections) -> NDArray[np.float64]:
    """(tracks, N): how well boxes agree with predicted tracks, in place and height."""
    boxes = detections.boxes_xyxy.astype(np.float64)
    if not tracks or not len(boxes):
        return np.zeros((len(tracks), len(boxes)))
    found = overlaps(motion.boxes_of([track.place.motion for track in tracks]), boxes)
    for row, track in enumerate(tracks):
        if track.is_leaving:
            for column in found[row].nonzero()[0].tolist():
                if track.is_met_by(boxes[column].tolist()):
                    found[row, column] = 0.0
    return found
