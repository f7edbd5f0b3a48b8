"""Looks in a gallery for the person most like a track, whatever depths either was seen at."""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from adln.errors import SettingsError
from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter, ModelKey
from adln.matching.calibration import Decision, Scale, Scales
from adln.pipeline.evidence import Evidence

# Answers asked of the gallery: templates of one person stand together at the top, and some are
# the track's own.
_ANSWERS = 8


@dataclass(frozen=True, kw_only=True)
class Found:
    """The person most like a track, among those it may be.

    Attributes:
        person_id: who; None if nobody is left.
        score: cosine; None if nobody is left.
        decision: what the score means.
        depth: of the track's embedding that decided.
        seen_here_s: when this person's newest template from this camera was taken; None if the
            best answers hold none.
    """

    person_id: int | None
    score: float | None
    decision: Decision
    depth: int
    seen_here_s: float | None


class PeopleSearch:
    """Searches a gallery for tracks.

    Args:
        gallery: who was seen.
        digest: names the network for good; see `ModelKey`.
        dim: length of an embedding.
        scales: what scores mean, by depth of the track and of who is found.
        spaces: depth -> the space of its embeddings; "" or left out if unknown.
    """

    def __init__(
        self,
        gallery: Gallery,
        *,
        digest: str,
        dim: int,
        scales: Scales,
        spaces: Mapping[int, str],
    ) -> None:
        self._gallery = gallery
        self._digest, self._dim = digest, dim
        self._scales = scales
        self._spaces = dict(spaces)

    def key(self, depth: int) -> ModelKey:
        """Names the network at a depth."""
        return ModelKey(self._digest, depth, self._dim, self._spaces.get(depth, ""))

    def depths_of(self, evidence: Evidence) -> list[int]:
        """Depths at which to keep a track and to look for it, the deepest of each space."""
        depths: dict[str | int, int] = {}
        for depth in evidence.common_depths:
            depths.setdefault(self._spaces.get(depth) or depth, depth)
        return list(depths.values())

    def find(
        self,
        evidence: Evidence,
        *,
        gallery_size: int,
        barred: Set[int] = frozenset(),
        only: int | None = None,
        own: Set[int] = frozenset(),
    ) -> Found:
        """Find the person most like a track.

        Args:
            evidence: of the track, with crops.
            gallery_size: scores are judged as among so many people.
            barred: people whom it cannot be.
            only: if given, nobody else is asked.
            own: sightings of this very track, which say nothing.

        Raises:
            GalleryError: the gallery cannot be searched, or the crops have no depth in common.
            SettingsError: nothing says what scores mean at a depth.
        """
        depths = self.depths_of(evidence)
        where = Filter(
            persons=None if only is None else frozenset({only}),
            not_persons=frozenset({*barred, NO_PERSON}),
        )
        best: Found | None = None
        for depth in depths:
            # People may be known in a shallower space only, from a time of much work.
            if best is not None and self._count(depth) <= self._count(depths[0]):
                break
            unless_at = None if best is None else depths[0]
            found = self._find_at(evidence, depth, where, own, gallery_size, unless_at)
            if best is None or found.decision.verdict == "matched":
                best = found
            if best.decision.verdict == "matched":
                break
        assert best is not None
        return best

    def _find_at(
        self,
        evidence: Evidence,
        depth: int,
        where: Filter,
        own: Set[int],
        gallery_size: int,
        unless_at: int | None,
    ) -> Found:
        """As `find`, at one depth; without people who are known at the depth `unless_at`."""
        (result,) = self._gallery.search(
            evidence.pool(depth), model=self.key(depth), k=_ANSWERS + len(own), where=where
        )
        person: int | None = None
        score: float | None = None
        here_s: float | None = None
        found_depth = depth
        for sighting_id, similarity, person_id, camera_id, time_s, stored_depth in zip(
            result.sighting_ids.tolist(),
            result.similarity.tolist(),
            result.person_ids.tolist(),
            result.camera_ids.tolist(),
            result.time_s.tolist(),
            result.depths.tolist(),
            strict=True,
        ):
            if sighting_id in own:
                continue
            if person is None:
                if unless_at is not None and self._count(unless_at, frozenset({person_id})):
                    continue
                person, score, found_depth = person_id, similarity, stored_depth
            if person_id == person and camera_id == evidence.camera:
                here_s = max(here_s or time_s, time_s)
        return Found(
            person_id=person,
            score=score,
            decision=self._scale(depth, found_depth).decide(score, gallery_size),
            depth=depth,
            seen_here_s=here_s,
        )

    def _count(self, depth: int, persons: frozenset[int] | None = None) -> int:
        """How many sightings there are in the space of a depth."""
        space = self._spaces.get(depth)
        same = [depth] if not space else [d for d, its in self._spaces.items() if its == space]
        count = self._gallery.count
        return sum(count(Filter(persons=persons, depth=one)) for one in same)

    def _scale(self, depth: int, stored_depth: int) -> Scale:
        scale = self._scales.between(depth, stored_depth)
        if scale is None:
            raise SettingsError(
                f"no calibration and no thresholds for depth {depth}; there are some for "
                f"{sorted(self._scales.own)}."
            )
        return scale
