"""Follows people from frame to frame: the `Tracker` interface, and ByteTrack behind it.

Source: Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV
2022: sure boxes find their tracks first, then the unsure ones find the tracks that are left,
because a person half hidden is a weak detection, not a missing one. With an appearance, as in
Aharon et al., "BoT-SORT", 2022, and Maggiolino et al., "Deep OC-SORT", ICIP 2023: where motion is
in doubt, what people look like decides, and who comes back after a while keeps the number.

Written here and not taken from a library: the one that is well kept and permissively licensed
(roboflow's `trackers`) brings several hundred megabytes with it, among them a second OpenCV that
overwrites the first and FFmpeg under the GPL. The assignment is `lap`'s.

Deviations: times in seconds instead of frames (see `adln.cameras.motion`), so that a camera that
drops frames is followed as well. Embeddings only of boxes for which motion is in doubt, instead of
all. Two who have exchanged their numbers while they hid one another get them back.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adln.boxes import iou
from adln.cameras.appearance import (
    Appearance,
    AppearanceSettings,
    FrameLooks,
    Likeness,
    Look,
)
from adln.cameras.association import assign, best_with_margin, has_rivals, touched_sides
from adln.cameras.camera_motion import CameraMotion
from adln.cameras.detections import Detections
from adln.cameras.motion import Motion, distance_heights, growth, start_motion
from adln.errors import CameraError
from adln.settings import settings


@dataclass(frozen=True, eq=False)
class TrackedPerson:
    """A person who is seen in this frame and has been followed here.

    Attributes:
        track_id: from 1 (or as given by a file of boxes); unique within its camera, never used
            again.
        box_xyxy: (4,) float32, the detected box.
        confidence: of the detection.
        first_s: when the track began.
        hits: frames in which the person was found so far.
        detection: position of the box among the frame's detections; -1 if it is not known.
    """

    track_id: int
    box_xyxy: NDArray[np.float32]
    confidence: float
    first_s: float
    hits: int
    detection: int = -1


@dataclass(frozen=True)
class TrackUpdate:
    """What one frame changed.

    Attributes:
        people: those who are seen and followed, by track id.
        ended: tracks that are over, by track id. Only tracks that were among `people` once.
    """

    people: tuple[TrackedPerson, ...]
    ended: tuple[int, ...]


class Tracker(Protocol):
    """Anything that follows the people of one camera; each camera has its own."""

    def update(
        self,
        detections: Detections,
        time_s: float,
        image: NDArray[np.uint8] | None = None,
    ) -> TrackUpdate:
        """Take in one frame.

        Args:
            detections: of the frame.
            time_s: of the frame; above that of the frame before.
            image: (H, W, 3) uint8 RGB, the frame, for trackers that look at it.
        """
        ...

    def finish(self) -> tuple[int, ...]:
        """End all tracks, because the camera has ended; gives their ids."""
        ...


@settings
class TrackerSettings:
    """When boxes belong to one person.

    Attributes:
        sure: detections from this confidence on find their tracks first.
        start: a new track begins with a detection of at least this confidence.
        min_iou: least overlap of a predicted box and a sure detection, weighed with its
            confidence.
        min_iou_unsure: least overlap with a detection that is not sure.
        confirm_hits: a track counts once it was found in so many frames.
        confirm_within_s: a track that has not been confirmed is dropped when it has not been
            seen for so long.
        keep_s: a track that is not seen ends after so long; with an appearance, it is found by
            its motion for so long, and ends after `appearance.keep_s`.
        camera_motion: make up for a camera that moves, where the tracker is given the frames.
        appearance: how far the eye may overrule the motion, where there is an appearance.
    """

    sure: float = 0.5
    start: float = 0.6
    min_iou: float = 0.2
    min_iou_unsure: float = 0.4
    confirm_hits: int = 3
    confirm_within_s: float = 0.35
    keep_s: float = 2.0
    camera_motion: bool = True
    appearance: AppearanceSettings = AppearanceSettings()


class ByteTracker:
    """Follows the people of one camera by where they are, how they move and what they look like.

    The same detections, frames and embeddings give the same tracks. Nothing is shared between
    trackers.

    Args:
        settings: thresholds.
        appearance: embeds the people for whom motion is in doubt; by motion alone if left out.
            Needs the frames.
    """

    def __init__(
        self,
        settings: TrackerSettings | None = None,
        *,
        appearance: Appearance | None = None,
    ) -> None:
        self._settings = settings or TrackerSettings()
        self._appearance = appearance
        self._likeness = Likeness(self._settings.appearance)
        self._camera: CameraMotion | None = None
        self._tracks: list[_Track] = []
        self._next_id = 1
        self._last_s: float | None = None
        self._last_boxes = np.zeros((0, 4))
        self.embeddings_made = 0

    def update(
        self,
        detections: Detections,
        time_s: float,
        image: NDArray[np.uint8] | None = None,
        embeddings: NDArray[np.floating] | None = None,
    ) -> TrackUpdate:
        """Take in one frame.

        Args:
            detections: of the frame, N of them.
            time_s: of the frame; above that of the frame before.
            image: (H, W, 3) uint8 RGB, the frame; without it the camera is taken to stand still.
            embeddings: (N, D) of the detections, if they are known already; the tracker's
                appearance is then not asked.

        Raises:
            CameraError: `time_s` is not above that of the frame before, or the embeddings do not
                belong to the detections.
        """
        looks = FrameLooks(
            detections,
            self._settings.appearance,
            image=image,
            appearance=self._appearance,
            embeddings=embeddings,
        )
        elapsed_s = self._elapsed(time_s)
        self._move(elapsed_s, image)
        matches = self._match(detections, looks, time_s, previous_s=time_s - elapsed_s)
        sides = _sides(detections, image)
        for track, at in matches:
            track.take(detections, at, time_s, sides[at])
        taken = {at for _, at in matches}
        for at in range(len(detections)):
            if at not in taken and detections.confidences[at] >= self._settings.start:
                self._tracks.append(_Track(detections, at, time_s, sides[at]))
        if self._looks_matter(embeddings):
            self._look(looks, time_s)
        self._confirm(looks, time_s)
        ended = self._drop(time_s)
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

    def _elapsed(self, time_s: float) -> float:
        if self._last_s is not None and time_s <= self._last_s:
            raise CameraError(
                f"a tracker was given a frame at {time_s:.3f} s after one at {self._last_s:.3f} s; "
                "times must rise. Each camera needs a tracker of its own."
            )
        elapsed_s = 0.0 if self._last_s is None else time_s - self._last_s
        self._last_s = time_s
        return elapsed_s

    def _move(self, elapsed_s: float, image: NDArray[np.uint8] | None) -> None:
        """Bring all tracks to where they should be now."""
        affine = None
        if image is not None and self._settings.camera_motion:
            if self._camera is None:
                self._camera = CameraMotion()
            affine = self._camera.update(image, self._last_boxes)
        for track in self._tracks:
            if affine is not None:
                track.motion.shift(affine)
                track.seen.shift(affine)
            track.motion.predict(elapsed_s)

    # -- frame to frame ----------------------------------------------------------------------

    def _match(
        self, detections: Detections, looks: FrameLooks, time_s: float, *, previous_s: float
    ) -> list[tuple["_Track", int]]:
        limits = self._settings
        is_sure = detections.confidences >= limits.sure
        sure: Sequence[int] = np.flatnonzero(is_sure).tolist()
        unsure: Sequence[int] = np.flatnonzero(~is_sure).tolist()
        known = [
            track
            for track in self._tracks
            if track.track_id is not None and time_s - track.seen_s <= limits.keep_s
        ]
        new = [track for track in self._tracks if track.track_id is None]

        scores = _overlaps(known, sure, detections) * detections.confidences[sure]
        scores = self._weigh_looks(scores, known, sure, looks, previous_s)
        matches = _pair(known, sure, scores, limits.min_iou)
        found = {id(track) for track, _ in matches}
        # Only those seen a moment ago: an unsure box where somebody was long ago is mostly nobody.
        left = [track for track in known if id(track) not in found and track.seen_s >= previous_s]
        scores = _overlaps(left, unsure, detections)
        matches += _pair(left, unsure, scores, limits.min_iou_unsure)
        taken = {at for _, at in matches}
        rest = [at for at in sure if at not in taken]
        scores = _overlaps(new, rest, detections) * detections.confidences[rest]
        return matches + _pair(new, rest, scores, limits.min_iou)

    def _weigh_looks(
        self,
        overlaps: NDArray[np.float64],
        tracks: Sequence["_Track"],
        positions: Sequence[int],
        looks: FrameLooks,
        previous_s: float,
    ) -> NDArray[np.float64]:
        """Let appearance speak where the overlap does not tell whose a box is."""
        limits, least = self._settings.appearance, self._settings.min_iou
        if all(track.look is None for track in tracks):
            return overlaps
        lost = np.array([self._is_lost(track, previous_s) for track in tracks])
        doubt = has_rivals(overlaps, least=least, near=limits.near)
        doubt |= (overlaps[lost] >= least).any(axis=0)
        embeddings = looks.of(positions[column] for column in np.flatnonzero(doubt).tolist())
        scores = overlaps.copy()
        for column in np.flatnonzero(doubt).tolist():
            possible = np.flatnonzero(overlaps[:, column] >= least).tolist()
            embedding = embeddings.get(positions[column])
            if embedding is None:
                # Whoever comes back is not taken for somebody by a box that shows half of them.
                scores[lost, column] = -np.inf
                continue
            cosines = {}
            for row in possible:
                look = tracks[row].look
                if look is not None:
                    cosines[row] = look.cosine(embedding)
            best = max(cosines.values(), default=0.0)
            for row, cosine in cosines.items():
                # Those who look nearly as much like it are told apart by their motion.
                alike = best if cosine > best - limits.margin else cosine
                scores[row, column] += limits.weight * (alike - self._likeness.pivot)
                if lost[row] and alike < self._likeness.pivot:
                    scores[row, column] = -np.inf
        for row, column in zip(*np.nonzero(overlaps >= least), strict=True):
            if doubt[column]:
                tracks[row].in_doubt = True
        return scores

    def _is_lost(self, track: "_Track", previous_s: float) -> bool:
        """Whether a track may not go on by its motion alone."""
        if track.look is None:
            return False
        # At the side of the picture one goes and another one comes in the same place.
        trusted_s = 0.0 if track.left_by else self._settings.appearance.trust_motion_s
        return previous_s - track.seen_s > trusted_s

    # -- looks -------------------------------------------------------------------------------

    def _looks_matter(self, embeddings: NDArray[np.floating] | None) -> bool:
        return self._appearance is not None or embeddings is not None

    def _look(self, looks: FrameLooks, time_s: float) -> None:
        """Renew what tracks look like, and see whether two have exchanged their numbers."""
        limits = self._settings.appearance
        here = [track for track in self._tracks if track.seen_s == time_s]
        due = [
            track
            for track in here
            if track.track_id is not None
            and (
                track.look is None
                or track.in_doubt
                or time_s - track.look.renewed_s >= limits.renew_s
            )
        ]
        embeddings = looks.of(track.detection for track in due)
        for track in due:
            embedding = embeddings.get(track.detection)
            if embedding is None or track.seen_s < time_s:
                continue
            self._learn_strangers(track, embedding, here)
            if track.look is None:
                track.look = Look(embedding, time_s)
            elif track.in_doubt and self._give_back(track, embedding, embeddings, time_s):
                continue
            elif track.in_doubt and track.look.cosine(embedding) < self._likeness.pivot:
                track.strange += 1
                if track.strange >= limits.strange:
                    self._part(track, embedding, time_s)
                continue
            else:
                track.look.renew(embedding, time_s)
            track.in_doubt, track.strange = False, 0

    def _learn_strangers(
        self, track: "_Track", embedding: NDArray[np.float32], here: Sequence["_Track"]
    ) -> None:
        self._likeness.saw_together(
            other.look.cosine(embedding)
            for other in here
            if other is not track and other.look is not None and not other.in_doubt
        )

    def _give_back(
        self,
        track: "_Track",
        embedding: NDArray[np.float32],
        embeddings: dict[int, NDArray[np.float32]],
        time_s: float,
    ) -> bool:
        """Exchange the places of two tracks if each has the other one's looks."""
        assert track.look is not None
        limits = self._settings.appearance
        own = track.look.cosine(embedding)
        if own >= self._likeness.same:
            return False
        rivals = [
            other
            for other in self._tracks
            if other is not track
            and other.track_id is not None
            and other.look is not None
            and (other.in_doubt or other.seen_s < time_s)
            and self._may_be(other, track, time_s)
        ]
        cosines = np.array([own] + [rival.look.cosine(embedding) for rival in rivals if rival.look])
        best = best_with_margin(cosines, margin=limits.margin)
        if best is None or best == 0 or cosines[best] < self._likeness.same:
            return False
        rival = rivals[best - 1]
        theirs = embeddings.get(rival.detection) if rival.seen_s == time_s else None
        if theirs is not None and rival.look is not None:
            kept = own + rival.look.cosine(theirs)
            if cosines[best] + track.look.cosine(theirs) < kept + 2 * limits.margin:
                return False
        elif rival.seen_s == time_s:
            return False
        track.exchange(rival)
        assert rival.look is not None
        rival.look.renew(embedding, time_s)
        rival.in_doubt = False
        return True

    def _part(self, track: "_Track", embedding: NDArray[np.float32], time_s: float) -> None:
        """Take the box from a track that somebody else has got hold of; that one is new."""
        newcomer = track.part(time_s)
        newcomer.look = Look(embedding, time_s)
        newcomer.hits = self._settings.confirm_hits
        self._tracks.append(newcomer)

    def _may_be(self, lost: "_Track", found: "_Track", time_s: float) -> bool:
        return self._strain(lost, found, time_s) <= 1

    def _strain(self, lost: "_Track", found: "_Track", time_s: float) -> float:
        """How hard it is to believe that somebody went so far: 0 not at all, above 1 too hard."""
        limits = self._settings.appearance
        away_s = max(time_s - lost.seen_s, 0.0)
        reach = min(limits.reach + limits.reach_per_s * away_s, limits.reach_most)
        way = min(
            distance_heights(lost.seen, found.motion), distance_heights(lost.motion, found.motion)
        )
        # People come nearer and go away, but do not double their size in a moment.
        most_growth = min(0.25 + 0.15 * away_s, 0.7)
        return max(way / reach, growth(lost.seen, found.motion) / most_growth)

    # -- numbers -----------------------------------------------------------------------------

    def _confirm(self, looks: FrameLooks, time_s: float) -> None:
        ready = [
            track
            for track in self._tracks
            if track.track_id is None
            and track.seen_s == time_s
            and track.hits >= self._settings.confirm_hits
        ]
        for track in ready:
            if not self._comes_back(track, ready, looks, time_s):
                track.track_id = self._next_id
                self._next_id += 1
        self._tracks = [track for track in self._tracks if not track.over]

    def _comes_back(
        self, track: "_Track", ready: Sequence["_Track"], looks: FrameLooks, time_s: float
    ) -> bool:
        """Whether a newcomer is somebody who was lost, or may yet turn out to be."""
        limits = self._settings.appearance
        lost = [
            other
            for other in self._tracks
            if other.track_id is not None
            and other.look is not None
            and other.seen_s < track.first_s
            and _same_way(other.left_by, track.came_by)
            and self._may_be(other, track, time_s)
        ]
        if not lost:
            return False
        embedding = looks.of([track.detection]).get(track.detection)
        waited = time_s - track.first_s > limits.undecided_s
        if embedding is None:
            return not waited
        track.look = track.look or Look(embedding, time_s)
        if track.look.renewed_s < time_s:
            track.look.renew(embedding, time_s)
        scores = np.array([self._fit(other, track, time_s) for other in lost])
        best = best_with_margin(scores, margin=limits.margin)
        if best is None:
            # Several look like it; a second look may tell.
            return bool(np.isfinite(scores).any()) and not waited
        others = [
            self._fit(lost[best], other, time_s)
            for other in ready
            if other is not track and other.track_id is None and other.look is not None
        ]
        if any(score > scores[best] - limits.margin for score in others):
            return not waited
        lost[best].go_on(track, time_s)
        return True

    def _fit(self, lost: "_Track", found: "_Track", time_s: float) -> float:
        """How well a newcomer fits somebody lost; -inf if not at all."""
        strain = self._strain(lost, found, time_s)
        if lost.look is None or found.look is None or strain > 1:
            return -np.inf
        cosine = lost.look.cosine(found.look.embedding)
        # Of two who look the same, the one that is nearer to where they should be.
        return cosine - 0.15 * strain if cosine >= self._likeness.same else -np.inf

    def _drop(self, time_s: float) -> tuple[int, ...]:
        limits = self._settings
        stay, ended = [], []
        for track in self._tracks:
            # Whoever left the picture is the gallery's to recognise.
            remembered = track.look is not None and not track.left_by
            keep_s = limits.appearance.keep_s if remembered else limits.keep_s
            known = track.track_id is not None
            if time_s - track.seen_s <= (keep_s if known else limits.confirm_within_s):
                stay.append(track)
            elif track.track_id is not None:
                ended.append(track.track_id)
        self._tracks = stay
        return tuple(sorted(ended))


class GivenTracks:
    """A `Tracker` for detections that carry track ids already.

    Args:
        keep_s: a track that is not seen ends after so long.
    """

    def __init__(self, *, keep_s: float = 2.0) -> None:
        self._keep_s = keep_s
        self._seen: dict[int, tuple[float, float, int]] = {}  # first, latest, hits

    def update(
        self,
        detections: Detections,
        time_s: float,
        image: NDArray[np.uint8] | None = None,
    ) -> TrackUpdate:
        """Take in one frame.

        Raises:
            CameraError: the detections carry no track ids.
        """
        if detections.track_ids is None and len(detections):
            raise CameraError(
                "these boxes carry no track_id; write one on each line, or follow them with "
                "ByteTracker."
            )
        people = []
        ids = [] if detections.track_ids is None else detections.track_ids.tolist()
        for at, track_id in enumerate(ids):
            first_s, _, hits = self._seen.get(track_id, (time_s, time_s, 0))
            self._seen[track_id] = first_s, time_s, hits + 1
            people.append(
                TrackedPerson(
                    track_id=track_id,
                    box_xyxy=detections.boxes_xyxy[at],
                    confidence=float(detections.confidences[at]),
                    first_s=first_s,
                    hits=hits + 1,
                    detection=at,
                )
            )
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


_PLACE = ("motion", "seen_s", "detection", "seen", "left_by", "_box_xyxy", "_confidence")


class _Track:
    """A person who is followed; without an id until it is sure that there is one.

    Who it is: `track_id`, `first_s`, `hits`, `look`. Where they are: the rest.
    """

    def __init__(
        self, detections: Detections, at: int, time_s: float, sides: frozenset[str] | None
    ) -> None:
        self.track_id: int | None = None
        self.first_s = time_s
        self.hits = 1
        self.look: Look | None = None
        self.in_doubt = False
        self.strange = 0
        self.over = False
        self.motion: Motion = start_motion(detections.boxes_xyxy[at])
        self.came_by = sides
        self._see(detections, at, time_s, sides)

    def take(
        self, detections: Detections, at: int, time_s: float, sides: frozenset[str] | None
    ) -> None:
        self.motion.update(detections.boxes_xyxy[at])
        self.hits += 1
        if sides or self.left_by:
            self.in_doubt = True
        self._see(detections, at, time_s, sides)

    def _see(
        self, detections: Detections, at: int, time_s: float, sides: frozenset[str] | None
    ) -> None:
        self.left_by = sides
        self.seen_s = time_s
        self.detection = at
        self.seen: Motion = start_motion(detections.boxes_xyxy[at])
        self._box_xyxy = detections.boxes_xyxy[at]
        self._confidence = float(detections.confidences[at])

    def exchange(self, other: "_Track") -> None:
        """Each takes the place of the other one."""
        for name in _PLACE:
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, theirs)
            setattr(other, name, mine)

    def part(self, time_s: float) -> "_Track":
        """Be lost; somebody new has this track's place."""
        newcomer = copy(self)
        newcomer.track_id, newcomer.first_s = None, time_s
        newcomer.in_doubt, newcomer.strange = False, 0
        self.in_doubt, self.strange = False, 0
        assert self.look is not None
        self.seen_s = self.look.renewed_s
        return newcomer

    def go_on(self, newcomer: "_Track", time_s: float) -> None:
        """Be found again where a newcomer is, who is no track of its own any more."""
        self.exchange(newcomer)
        self.hits += newcomer.hits
        if newcomer.look is not None and self.look is not None:
            self.look.renew(newcomer.look.embedding, time_s)
        newcomer.over = True

    def as_person(self, track_id: int) -> TrackedPerson:
        return TrackedPerson(
            track_id=track_id,
            box_xyxy=self._box_xyxy,
            confidence=self._confidence,
            first_s=self.first_s,
            hits=self.hits,
            detection=self.detection,
        )


def _sides(
    detections: Detections, image: NDArray[np.uint8] | None
) -> Sequence[frozenset[str] | None]:
    if image is None:
        return [None] * len(detections)
    height_px, width_px = image.shape[:2]
    return touched_sides(detections.boxes_xyxy, height_px=height_px, width_px=width_px)


def _same_way(left_by: frozenset[str] | None, came_by: frozenset[str] | None) -> bool:
    """Whether somebody who went there may come from here.

    Who left the picture comes back where they left it, and who vanished inside of it, inside.
    """
    if left_by is None or came_by is None:
        return True
    return bool(left_by & came_by) or left_by == came_by


def _overlaps(
    tracks: Sequence[_Track], positions: Sequence[int], detections: Detections
) -> NDArray[np.float64]:
    """(tracks, positions): how far boxes are where tracks should be."""
    if not tracks or not positions:
        return np.zeros((len(tracks), len(positions)))
    boxes = np.stack([track.motion.box_xyxy for track in tracks])
    found: NDArray[np.float64] = iou(
        boxes, detections.boxes_xyxy[list(positions)].astype(np.float64)
    ).astype(np.float64)
    return found


def _pair(
    tracks: Sequence[_Track],
    positions: Sequence[int],
    scores: NDArray[np.floating],
    least: float,
) -> list[tuple[_Track, int]]:
    return [(tracks[row], positions[column]) for row, column in assign(scores, least=least)]
