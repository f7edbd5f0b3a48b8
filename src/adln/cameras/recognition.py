"""Decisions of the tracker by appearance: ambiguous boxes, returning people, exchanged numbers.

Source: lost tracks that are recovered by appearance, from Wojke et al., "DeepSORT", ICIP 2017;
appearance and motion in one score, from Aharon et al., "BoT-SORT", 2022.
Deviations: a returning person must match one lost person by a margin, and must have been able to
get there in the time; two tracks that exchanged people get them back; a track that shows someone
else is split, and that person becomes a new track.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from adln.cameras.appearance import AppearanceSettings, FrameLooks, Likeness
from adln.cameras.association import best_with_margin, has_rivals
from adln.cameras.motion import distance_heights, growth
from adln.cameras.track import Track

# What is subtracted from the cosine of a lost person who could only just have got there.
_STRAIN_COSTS = 0.15
# How much a body's height may change (logarithm): at once, more per second, and at most.
_GROWTH, _GROWTH_PER_S, _MOST_GROWTH = 0.25, 0.15, 0.7


class Recognition:
    """Recognises the people of one camera over a few seconds."""

    def __init__(self, settings: AppearanceSettings) -> None:
        self._settings = settings
        self._likeness = Likeness(settings)

    def weigh(
        self,
        overlaps: NDArray[np.float64],
        tracks: Sequence[Track],
        positions: Sequence[int],
        looks: FrameLooks,
        *,
        others: Sequence[Track],
        least: float,
        previous_s: float,
    ) -> NDArray[np.float64]:
        """Add appearance to the overlaps where they are ambiguous.

        Args:
            overlaps: (tracks, positions), weighted.
            tracks: candidates for the boxes.
            positions: of boxes in the frame.
            looks: of the frame.
            others: tracks that have been lost for longer and may return.
            least: smaller overlaps do not count.
            previous_s: time of the previous frame.
        """
        if all(track.look is None for track in tracks):
            return overlaps
        limits = self._settings
        possible = overlaps >= least
        lost = [self._is_lost(track, previous_s) for track in tracks]
        doubt = has_rivals(overlaps, least=least, near=limits.near)
        if any(lost):
            doubt |= possible[lost].any(axis=0)
        columns = doubt.nonzero()[0].tolist()
        if not columns:
            return overlaps
        hidden = np.array([track.seen_s < previous_s for track in tracks])
        embeddings = looks.of(positions[column] for column in columns)
        scores = overlaps.copy()
        for column in columns:
            rows = possible[:, column].nonzero()[0].tolist()
            for row in rows:
                tracks[row].in_doubt = True
            embedding = embeddings.get(positions[column])
            if embedding is None:
                # A partly hidden box is not enough to recover a lost track.
                best_row = int(np.argmax(overlaps[:, column]))
                if lost[best_row]:
                    scores[hidden, column] = -np.inf
                scores[lost, column] = -np.inf
                continue
            cosines = _cosines([tracks[row] for row in rows], embedding)
            elsewhere, best = _most(_cosines(others, embedding)), _most(cosines)
            for row, cosine in zip(rows, cosines.tolist(), strict=True):
                if np.isnan(cosine):
                    continue
                # Candidates that are nearly as similar are told apart by motion.
                alike = best if cosine > best - limits.margin else cosine
                scores[row, column] += limits.weight * (alike - self._likeness.pivot)
                certain = alike >= max(self._likeness.same, elsewhere + limits.margin)
                if lost[row] and not certain:
                    scores[row, column] = -np.inf
        return scores

    def look(
        self, tracks: Sequence[Track], looks: FrameLooks, time_s: float, *, confirm_hits: int
    ) -> list[Track]:
        """Update the appearance of all tracks; returns those split off that show someone else."""
        here = [track for track in tracks if track.seen_s == time_s]
        due = [
            track
            for track in here
            if track.track_id is not None
            and (self._is_due(track, time_s) or looks.has(track.place.detection))
        ]
        embeddings = looks.of(track.place.detection for track in due)
        newcomers = []
        for track in due:
            embedding = embeddings.get(track.place.detection)
            if embedding is None or track.seen_s < time_s:
                continue
            others = [one for one in here if one is not track and not one.in_doubt]
            self._likeness.saw_together(_cosines(others, embedding).tolist())
            if track.look is None or not track.in_doubt:
                track.renew_look(embedding, time_s)
            elif self._give_back(track, embedding, tracks, embeddings, time_s):
                continue
            elif track.look.cosine(embedding) >= self._likeness.pivot:
                track.renew_look(embedding, time_s)
            else:
                track.strange += 1
                if track.strange >= self._settings.strange:
                    newcomer = track.part(time_s)
                    newcomer.renew_look(embedding, time_s)
                    newcomer.hits = confirm_hits
                    newcomers.append(newcomer)
        return newcomers

    def comes_back(
        self,
        newcomer: Track,
        tracks: Sequence[Track],
        newcomers: Sequence[Track],
        looks: FrameLooks,
        time_s: float,
    ) -> bool:
        """Whether a new track is a lost person, or may turn out to be one.

        If it certainly is, the lost track continues and the new one is over. The newcomers are all
        tracks that may get a number in this frame.
        """
        margin = self._settings.margin
        lost = [
            track
            for track in tracks
            if track.track_id is not None
            and track.look is not None
            and track.seen_s < newcomer.first_s
            and _same_way(track.place.sides, newcomer.came_by)
            and self._strain(track, newcomer, time_s) <= 1
        ]
        if not lost:
            return False
        may_wait = time_s - newcomer.first_s <= self._settings.undecided_s
        embedding = looks.of([newcomer.place.detection]).get(newcomer.place.detection)
        if embedding is None:
            return may_wait
        if newcomer.look is None or newcomer.look.renewed_s < time_s:
            newcomer.renew_look(embedding, time_s)
        scores = np.array([self._fit(track, newcomer, time_s) for track in lost])
        best = best_with_margin(scores, margin=margin)
        if best is None:
            # Several lost people are similar enough; a later frame may decide.
            return may_wait and bool(np.isfinite(scores).any())
        rivals = [
            self._fit(lost[best], other, time_s)
            for other in newcomers
            if other is not newcomer and other.track_id is None and not other.over
        ]
        if any(score > scores[best] - margin for score in rivals):
            return may_wait
        lost[best].go_on(newcomer, time_s)
        return True

    def _is_due(self, track: Track, time_s: float) -> bool:
        """Whether a track should be embedded."""
        if track.look is None or track.strange:
            return True
        limits = self._settings
        every_s = limits.recheck_s if track.in_doubt else limits.renew_s
        return time_s - track.look.renewed_s >= every_s

    def _is_lost(self, track: Track, previous_s: float) -> bool:
        """Whether motion alone is not enough for a track to continue."""
        if track.look is None:
            return False
        # Another person may come in where someone leaves the picture.
        trusted_s = 0.0 if track.is_leaving else self._settings.trust_motion_s
        return previous_s - track.seen_s > trusted_s

    def _give_back(
        self,
        track: Track,
        embedding: NDArray[np.float32],
        tracks: Sequence[Track],
        embeddings: Mapping[int, NDArray[np.float32]],
        time_s: float,
    ) -> bool:
        """Exchange the places of two tracks if each looks like the other."""
        margin = self._settings.margin
        assert track.look is not None
        own = track.look.cosine(embedding)
        if own >= self._likeness.same:
            return False
        rivals = [
            other
            for other in tracks
            if other is not track
            and other.track_id is not None
            and other.look is not None
            and (other.in_doubt or other.seen_s < time_s)
            and self._strain(other, track, time_s) <= 1
        ]
        cosines = np.concatenate([[own], _cosines(rivals, embedding)])
        best = best_with_margin(cosines, margin=margin)
        if best is None or best == 0 or cosines[best] < self._likeness.same:
            return False
        rival = rivals[best - 1]
        if rival.seen_s == time_s:
            theirs = embeddings.get(rival.place.detection)
            if theirs is None or rival.look is None:
                return False
            stay = own + rival.look.cosine(theirs)
            if cosines[best] + track.look.cosine(theirs) < stay + 2 * margin:
                return False
        track.exchange(rival)
        rival.renew_look(embedding, time_s)
        return True

    def _fit(self, lost: Track, found: Track, time_s: float) -> float:
        """Score of a new track for a lost one; -inf if they cannot be the same person."""
        strain = self._strain(lost, found, time_s)
        if lost.look is None or found.look is None or strain > 1:
            return -np.inf
        cosine = lost.look.cosine(found.look.embedding)
        return cosine - _STRAIN_COSTS * strain if cosine >= self._likeness.same else -np.inf

    def _strain(self, lost: Track, found: Track, time_s: float) -> float:
        """How implausible it is that the lost person got there, from 0; impossible above 1."""
        limits = self._settings
        away_s = max(time_s - lost.seen_s, 0.0)
        reach = min(limits.reach + limits.reach_per_s * away_s, limits.reach_most)
        way = min(
            distance_heights(lost.place.still, found.place.motion),
            distance_heights(lost.place.motion, found.place.motion),
        )
        most_growth = min(_GROWTH + _GROWTH_PER_S * away_s, _MOST_GROWTH)
        return max(way / reach, growth(lost.place.still, found.place.motion) / most_growth)


def _cosines(tracks: Sequence[Track], embedding: NDArray[np.float32]) -> NDArray[np.float64]:
    """(tracks,); NaN for tracks without an embedding."""
    return np.array(
        [np.nan if track.look is None else track.look.cosine(embedding) for track in tracks],
        np.float64,
    )


def _most(cosines: NDArray[np.float64]) -> float:
    return float(cosines[~np.isnan(cosines)].max(initial=-1.0))


def _same_way(left_by: frozenset[str] | None, came_by: frozenset[str] | None) -> bool:
    """Whether someone who vanished there may reappear here.

    People who left the picture return at the same side; people who vanished inside, inside.
    """
    if left_by is None or came_by is None:
        return True
    return bool(left_by & came_by) or left_by == came_by
