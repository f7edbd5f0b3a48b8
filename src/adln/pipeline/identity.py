"""From the crops of tracks to identities that persist across cameras and restarts.

Each track is searched for in the gallery and becomes matched, candidate or unknown. An unknown
person of whom enough was seen is enrolled as a new, unnamed person. The gallery is the only memory:
after a restart, only what it has stored is known.

Where depths of the network share a space, a track is searched for and stored at its deepest depth
only, and people are found whatever depth they were stored at. Depths of different spaces are never
compared: then a track is stored at all its depths, and also searched for at shallower ones if some
people may be known only there.

The rules, in the order in which they apply:

- People seen in one frame are different people. So are people seen by two cameras within less time
  than the stated travel time between them. If two tracks claim one person, the higher score wins,
  also within one batch.
- A candidate stays open and is retried when better crops come. When its track ends, or was seen for
  some seconds, it becomes a new person if it is more likely somebody else; within one camera, where
  strangers look more alike than calibrations expect, that is nearly every candidate.
- A person who left the same camera shortly before is matched from the candidate threshold on.
- A track becomes another template of its person only if it leads everyone else and the threshold by
  a margin, at every look at it that matches, and is more like them than like any sighting that was
  set aside; otherwise it is set aside: kept unassigned, to be reviewed.
- A track keeps its person, unless another person matches and its own is not even a candidate. Then
  what was stored of it becomes a template of the other person, or is set aside, by the same rule.
- A person enrolled too early who turns out, with better crops, to be a known person is merged into
  that person.
"""

import heapq
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from adln.errors import GalleryError
from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter, Sighting
from adln.matching.calibration import Scales, Verdict
from adln.matching.identification import MARGIN, NOBODY_ENROLLED, Identification, not_asked
from adln.matching.people_search import PeopleSearch
from adln.pipeline.evidence import Answer, Evidence, TrackKey, TrackState
from adln.pipeline.identity_settings import IdentitySettings

__all__ = ["IdentityBook", "IdentitySettings"]

_log = logging.getLogger(__name__)

LEARN_ABOVE = 3 * MARGIN
"""How far above the threshold of a match, in cosine, a track must score to become a template."""
_SET_ASIDE = Filter(persons=frozenset({NO_PERSON}))
# Log one failure of the gallery in this many.
_LOG_EVERY = 100

_REFUSED = not_asked("not enrolled: looks like somebody who asked not to be")
_NO_GALLERY = not_asked("not asked: the gallery could not be used")
_LET_GO = not_asked("released: another track in view is this person, or the person was forgotten")


_Found = tuple[float, int, int, Identification]
"""Order, position in the batch, state of the gallery at the search, and who was found."""


class IdentityBook:
    """Keeps the identities of the open tracks of all cameras, and writes the gallery.

    The same evidence on the same gallery gives the same answers. Failures of the gallery (a full
    disk) are logged; the tracks stay undecided and are retried.

    The network is known by `digest` and `dim` (see `ModelKey`); `scales` tell what its scores mean,
    `spaces` the space of each depth's embeddings, "" or left out if unknown. `travel_s` has the
    shortest travel times between two cameras, in s, by their numbers.

    Attributes:
        num_persons: people in the gallery, as far as this object knows.
        failures: number of failed gallery operations.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        digest: str,
        dim: int,
        scales: Scales,
        spaces: Mapping[int, str] | None = None,
        settings: IdentitySettings | None = None,
        travel_s: Mapping[tuple[int, int], float] | None = None,
    ) -> None:
        self._travel_s = {
            pair: seconds
            for (a, b), seconds in (travel_s or {}).items()
            for pair in ((a, b), (b, a))
        }
        self._gallery = gallery
        self._people = PeopleSearch(
            gallery, digest=digest, dim=dim, scales=scales, spaces=spaces or {}
        )
        self._settings = settings or IdentitySettings()
        self._tracks: dict[TrackKey, TrackState] = {}
        self._left: dict[tuple[int, int], float] = {}  # (camera, person) -> time they left
        self._redo: set[TrackKey] = set()
        self.num_persons = len(gallery.persons())
        self._version = 0
        self.failures = 0

    @property
    def num_open(self) -> int:
        """Number of open tracks."""
        return len(self._tracks)

    def who(self, camera: int, track: int) -> tuple[int | None, Verdict]:
        """The person and verdict of an open track."""
        state = self._tracks.get((camera, track))
        return (None, "unknown") if state is None else (state.person_id, state.verdict)

    def is_sure(self, evidence: Evidence) -> bool:
        """Whether a track's identity is certain enough to need no deeper embedding.

        True if the track matches a person; if it already holds one, it must match that person and
        lead all others by the margin. A track that founded its person is not certain: later tracks
        are compared with the template that it leaves. Nothing is decided or stored.
        """
        fresh = TrackState(evidence.key, evidence.first_s, evidence.last_s)
        state = self._tracks.get(evidence.key, fresh)
        if not evidence.crops or state.is_refused:
            return True
        tried = replace(state, evidence=evidence)
        try:
            if not state.claims:
                return self._find(tried).verdict == "matched"
            other = self._find(tried, but=state.person_id)
            own = self._find(tried, only=state.person_id, least_gallery=other.gallery_size + 1)
        except GalleryError:
            return False
        return own.verdict == "matched" and (own.score or 0.0) - other.best >= MARGIN

    def saw(self, camera: int, time_s: float, tracks: Sequence[int]) -> None:
        """Record which tracks share a frame: they are different people."""
        together = set(tracks)
        for track in tracks:
            key = camera, track
            state = self._tracks.setdefault(key, TrackState(key, time_s, time_s))
            state.last_s = time_s
            new = together - state.met - {track}
            state.met |= new
            for other in sorted(new):
                self._part(state, self._tracks.get((camera, other)))

    def decide(self, evidence: Sequence[Evidence]) -> list[Answer]:
        """Decide the identities of tracks, by new evidence of any cameras, one item per track.

        To be called in every round, also without new evidence: undecided tracks are retried.

        Returns:
            An answer for each track with new evidence, and for others whose answer has changed.
        """
        asked = []
        for one in evidence:
            state = self._tracks.setdefault(one.key, TrackState(one.key, one.first_s, one.last_s))
            state.first_s, state.last_s, state.is_last = one.first_s, one.last_s, one.is_last
            if one.crops or state.evidence is None:
                state.evidence = one
            asked.append(state)
        again = [
            state
            for key, state in self._tracks.items()
            if state not in asked
            and state.evidence is not None
            and (key in self._redo or (state.retry_s is not None and state.last_s >= state.retry_s))
        ]
        for state in again:
            state.retry_s, state.is_last = None, False
        self._redo -= {state.key for state in again + asked}
        self._decide_all(asked + again)
        answers = []
        for state in asked + again:
            changed = state.said != (state.verdict, state.person_id)
            if changed or state in asked:
                answers.append(
                    Answer(
                        camera=state.key[0],
                        track=state.key[1],
                        person_id=state.person_id,
                        verdict=state.verdict,
                        probability=state.probability,
                        depth=state.depth,
                        changed=changed,
                        is_last=state.is_last,
                        why=state.why,
                    )
                )
            state.said = (state.verdict, state.person_id)
        for key in sorted(state.key for state in asked if state.is_last):
            self._close(key)
        return answers

    def _decide_all(self, states: Sequence[TrackState]) -> None:
        """Decide a batch, highest score first; `states` are in a fixed order."""
        queue: list[_Found] = []
        for at, state in enumerate(states):
            if state.evidence is None or not state.evidence.crops or state.is_refused:
                continue
            if state.claims:
                with self._guarded(state):
                    self._confirm(state)
            else:
                self._look(at, state, queue)
        while queue:
            _, at, version, best = heapq.heappop(queue)
            state = states[at]
            if version != self._version:
                # Another track of the batch was stored meanwhile: it may be the same person, or its
                # person may be barred now.
                self._look(at, state, queue)
                continue
            with self._guarded(state):
                self._settle(state, best)

    def _look(self, at: int, state: TrackState, queue: list[_Found]) -> None:
        """Search for a track and queue it by its score, highest first."""
        with self._guarded(state):
            best = self._find(state)
            order = 2.0 if best.score is None else -best.score
            heapq.heappush(queue, (order, at, self._version, best))

    @contextmanager
    def _guarded(self, state: TrackState) -> Iterator[None]:
        """If an operation on the gallery fails, the track is retried later."""
        try:
            yield
        except GalleryError as error:
            self.failures += 1
            if self.failures % _LOG_EVERY == 1:
                _log.error(
                    "the gallery cannot be used, tracks stay undecided until it can: %s", error
                )
            if state.claims and not self._exists(state.person_id):
                self._let_go(state)
            if not state.claims:
                state.why = _NO_GALLERY
            state.retry_s = state.last_s + 1.0

    def _exists(self, person_id: int | None) -> bool:
        """Whether a person is still in the gallery; True if the gallery cannot be read."""
        try:
            return self._gallery.count(Filter(persons=frozenset({person_id or 0}))) > 0
        except GalleryError:
            return True

    def _settle(self, state: TrackState, best: Identification) -> None:
        """Decide a track that holds no person."""
        state.depth, state.why = best.depth, best
        verdict, probability = best.verdict, best.probability or 0.0
        clear = self._is_clear(state, best, best.lead)
        if verdict == "candidate" and self._is_back(state, best):
            verdict = "matched"
            clear = best.lead >= MARGIN and not self._is_in_doubt(state, best)
            state.why = replace(best, reason=f"{best.reason}; they left this camera a moment ago")
        if verdict == "matched" and best.nearest is not None:
            state.verdict, state.probability = "matched", probability
            self._claim(state, best.nearest.person_id, clear=clear)
            return
        doubtful = verdict == "candidate" and probability < self._least_probability(state, best)
        doubted_s = state.first_s + self._settings.doubt_s
        is_due = state.is_last or state.last_s >= doubted_s
        if (verdict == "unknown" or (doubtful and is_due)) and self._suffices(state):
            self._enrol(state, 1 - probability)
            return
        if verdict == "unknown":
            state.verdict, state.person_id, state.probability = "unknown", None, 0.0
            state.why = replace(best, reason=f"{best.reason}; too little was seen to enrol them")
            due_s = state.first_s + self._settings.enrol_track_s
            state.retry_s = due_s if state.last_s < due_s else None
            return
        assert best.nearest is not None
        state.verdict, state.probability = "candidate", probability
        state.person_id = best.nearest.person_id
        state.retry_s = doubted_s if doubtful and not is_due else None
        if state.is_last:
            # Stored unassigned, for somebody to review and assign.
            self._store(state, None)

    def _suffices(self, state: TrackState) -> bool:
        limits, evidence = self._settings, state.known
        good = sum(crop.quality >= limits.enrol_quality for crop in evidence.crops)
        needed = max(1, min(limits.enrol_crops, evidence.most_crops))
        return good >= needed and state.last_s - state.first_s >= limits.enrol_track_s

    def _least_probability(self, state: TrackState, best: Identification) -> float:
        """Probability below which a candidate is taken to be a new person."""
        assert best.nearest is not None
        limits, person = self._settings, best.nearest.person_id
        here = Filter(cameras=frozenset({state.key[0]}), persons=frozenset({person}))
        return limits.new_below_here if self._gallery.count(here) else limits.new_below

    def _is_back(self, state: TrackState, best: Identification) -> bool:
        """Whether the candidate left this same camera shortly before."""
        assert best.nearest is not None
        camera, person = state.key[0], best.nearest.person_id
        earliest_s = state.first_s - self._settings.return_s
        left_s = self._left.get((camera, person))
        if left_s is not None and earliest_s <= left_s <= state.first_s:
            return True
        # They may have left before a restart.
        just_then = Filter(
            cameras=frozenset({camera}),
            persons=frozenset({person}),
            from_s=earliest_s,
            until_s=math.nextafter(state.first_s, math.inf),
        )
        return self._gallery.count(just_then) > 0

    def _confirm(self, state: TrackState) -> None:
        """Search again for a track that holds a person: keep, switch or merge."""
        mine = state.person_id
        assert mine is not None
        other = self._find(state, but=mine)
        own = self._find(state, only=mine, least_gallery=other.gallery_size + 1)
        state.depth = own.depth
        elsewhere = other.person if other.verdict == "matched" else None
        if elsewhere is None or own.verdict != "unknown":
            if own.score is not None:
                state.probability = max(state.probability, own.probability or 0.0)
                reason = own.reason
                if state.verdict == "unknown":
                    # The track that this person was enrolled from.
                    reason = f"enrolled as person {mine} by this track, seen again since: {reason}"
                elif own.verdict != "matched":
                    reason = f"matched earlier in this track and kept: {reason}"
                state.why = replace(own, runners_up=other.rows, reason=reason)
            # Without stored sightings besides the track's own there is no score: nothing
            # contradicts.
            lead = math.inf if own.score is None else own.score - other.best
            clear = lead >= MARGIN if state.is_founder else self._is_clear(state, own, lead)
            self._learn(state, mine, clear=clear)
            return
        state.verdict, state.probability = "matched", other.probability or 0.0
        state.why = other
        clear = self._is_clear(state, other, other.lead)
        held_by = [one for one in self._tracks.values() if one.claims and one.person_id == mine]
        if (
            state.is_founder
            and own.score is None
            and held_by == [state]
            and self._gallery.names([mine]).get(mine) is None
        ):
            # One track corrects itself; these are not two people who become one.
            _log.info("person %d turns out to be person %d", mine, elsewhere.person_id)
            self._gallery.merge([mine], into=elsewhere.person_id)
            self.num_persons -= 1
            self._rename(mine, elsewhere.person_id)
        mine_still = self._still_there(state)
        if mine_still:
            self._gallery.assign(mine_still, elsewhere.person_id if clear else None)
        if not clear:
            state.pooled = frozenset()  # to be stored again once it is
        self._version += 1
        state.is_founder = False
        self._claim(state, elsewhere.person_id, clear=clear)

    def _claim(self, state: TrackState, person_id: int, *, clear: bool) -> None:
        self._learn(state, person_id, clear=clear)
        if not state.is_refused:
            state.person_id, state.claims, state.retry_s = person_id, True, None

    def _enrol(self, state: TrackState, probability: float) -> None:
        # First the sightings, then their person: no crash leaves a person without sightings.
        self._store(state, None)
        if state.is_refused:
            return
        state.person_id = self._gallery.split(self._still_there(state))
        state.claims = state.is_founder = True
        state.verdict, state.probability, state.retry_s = "unknown", probability, None
        # The reason from before the enrolment, when the gallery may have been empty.
        why = state.why.reason.replace(NOBODY_ENROLLED, "nobody was enrolled before")
        state.why = replace(state.why, reason=f"enrolled as person {state.person_id}: {why}")
        self.num_persons += 1
        self._version += 1

    def _learn(self, state: TrackState, person_id: int, *, clear: bool) -> None:
        """Store a track's crops as a template of its person, if it is clearly theirs.

        A template that only just matches attracts the next sightings of whoever it really is, and
        one without a lead those of somebody else. So what was stored of the track before stays, and
        if nothing was, the crops are set aside at its end: kept unassigned, for somebody to review.
        """
        if clear:
            self._store(state, person_id)
        elif state.is_last and not state.own_sightings:
            self._store(state, None)

    def _store(self, state: TrackState, person_id: int | None) -> None:
        """Store the pooled crops of a track in the gallery, in each space common to all crops.

        One template pooled from several crops tells people apart better than single crops. It
        becomes one of this person, or stays unassigned.
        """
        evidence = state.known
        pooled = frozenset(crop.crop_id for crop in evidence.crops)
        if pooled == state.pooled:
            return
        best = evidence.best_crop
        depths = self._depths_of(evidence)
        ids = self._gallery.add(
            [
                Sighting(
                    embedding=evidence.pool(depth),
                    model=self._people.key(depth),
                    camera_id=state.key[0],
                    time_s=best.time_s,
                    person_id=person_id,
                    track_id=state.key[1],
                    box_xyxy=best.box_xyxy,
                    quality=best.quality,
                    thumbnail=best.thumbnail if depth == depths[0] else None,
                )
                for depth in depths
            ]
        )
        self._version += 1
        stored = {sighting_id for sighting_id in ids if sighting_id is not None}
        if not stored:
            # Refused: looks like a person who asked not to be enrolled again.
            self._give_up(state)
            state.is_refused, state.why = True, _REFUSED
            return
        # Add the new before deleting the old: no crash leaves a person without sightings.
        earlier, state.own_sightings, state.pooled = state.own_sightings, stored, pooled
        if earlier:
            self._gallery.delete(earlier)

    def _is_clear(self, state: TrackState, found: Identification, lead: float) -> bool:
        """Whether a match is clear enough to learn from, or there was nothing to compare with.

        Each look at a track is another attempt, and with enough of them a stranger gets through. So
        a track that has matched less clearly once is not learned later either.
        """
        if found.score is None:
            return True
        if found.verdict != "matched":
            return False
        above = found.score - (-1.0 if found.threshold is None else found.threshold)
        state.was_close = (
            state.was_close
            or lead < MARGIN
            or above < LEARN_ABOVE
            or self._is_in_doubt(state, found)
        )
        return not state.was_close

    def _is_in_doubt(self, state: TrackState, found: Identification) -> bool:
        """Whether a track is more like a sighting that was set aside than like the person found.

        Somebody else who only just matched comes again. A little more alike, they would be learned,
        and be this person from then on; but they are as doubtful as they were the first time.
        """
        if found.score is None or found.depth is None:
            return False
        (nearest,) = self._gallery.search(
            state.known.pool(found.depth),
            model=self._people.key(found.depth),
            k=len(state.own_sightings) + 1,
            where=_SET_ASIDE,
            cameras=[state.key[0]],
        )
        return any(
            round(score, 6) > found.score and sighting_id not in state.own_sightings
            for sighting_id, score in zip(
                nearest.sighting_ids.tolist(), nearest.similarity.tolist(), strict=True
            )
        )

    def _still_there(self, state: TrackState) -> list[int]:
        """The track's sightings that the retention rules have not erased."""
        return [one.sighting_id for one in self._gallery.get(sorted(state.own_sightings))]

    def _find(
        self,
        state: TrackState,
        *,
        only: int | None = None,
        but: int | None = None,
        least_gallery: int = 1,
    ) -> Identification:
        """Identify a track: among all people, `only` this one, or all `but` this one."""
        evidence = state.known
        barred = self._barred(state) | ({but} if but is not None else set())
        return self._people.find(
            {depth: evidence.pool(depth) for depth in self._depths_of(evidence)},
            least_gallery=max(least_gallery, self._settings.least_gallery),
            barred=barred,
            only=only,
            own=state.own_sightings,
            camera=state.key[0],
        )

    def _depths_of(self, evidence: Evidence) -> list[int]:
        return self._people.depths_of(evidence.common_depths)

    def _barred(self, state: TrackState) -> set[int]:
        """People that a track cannot be, because they were seen at the same time."""
        barred = set(state.barred)
        for other in state.met:
            held = self._tracks.get((state.key[0], other))
            if held is not None and held.claims and held.person_id is not None:
                barred.add(held.person_id)
        return barred | self._elsewhere(state)

    def _elsewhere(self, state: TrackState) -> set[int]:
        """People seen by another camera too close in time to have walked here."""
        if not self._travel_s:
            return set()
        here = state.key[0]
        found = {
            other.person_id
            for other in self._tracks.values()
            if other.claims
            and other.person_id is not None
            and max(other.first_s - state.last_s, state.first_s - other.last_s)
            < self._travel_s.get((here, other.key[0]), -math.inf)
        }
        found |= {
            person
            for (camera, person), left_s in self._left.items()
            if left_s <= state.last_s
            and state.first_s - left_s < self._travel_s.get((here, camera), -math.inf)
        }
        return found

    def _part(self, a: TrackState, b: TrackState | None) -> None:
        """Two tracks share a frame: if both hold one person, the less probable one releases it."""
        if b is None or not (a.claims and b.claims and a.person_id == b.person_id):
            return
        loser = min(a, b, key=lambda track: (track.probability, -track.first_s, -track.key[1]))
        with self._guarded(loser):
            self._give_up(loser)

    def _give_up(self, state: TrackState) -> None:
        if state.own_sightings:
            self._gallery.delete(state.own_sightings)
        self._let_go(state)

    def _let_go(self, state: TrackState) -> None:
        state.own_sightings, state.pooled = set(), frozenset()
        state.person_id, state.claims, state.is_founder = None, False, False
        state.verdict, state.probability, state.why = "unknown", 0.0, _LET_GO
        self._redo.add(state.key)
        self._version += 1

    def _rename(self, old: int, new: int) -> None:
        """Update the state after a person was merged into another one."""
        for state in self._tracks.values():
            if old in state.barred:
                state.barred = (state.barred - {old}) | {new}
        for (camera, person), time_s in list(self._left.items()):
            if person == old:
                del self._left[camera, person]
                self._left[camera, new] = max(time_s, self._left.get((camera, new), time_s))
        self._version += 1

    def _close(self, key: TrackKey) -> None:
        state = self._tracks.pop(key)
        self._redo.discard(key)
        camera, track = key
        for other in state.met:
            neighbour = self._tracks.get((camera, other))
            if neighbour is not None:
                neighbour.met.discard(track)
                if state.claims and state.person_id is not None:
                    neighbour.barred.add(state.person_id)
        if state.claims and state.person_id is not None:
            self._left[camera, state.person_id] = state.last_s
        longest_s = max(self._settings.return_s, *self._travel_s.values(), 0.0)
        horizon_s = state.last_s - 2 * longest_s - 60
        for place, left_s in list(self._left.items()):
            if place[0] == camera and left_s < horizon_s:
                del self._left[place]
