"""Identification: the only place that decides who it is, for command line, service and watch.

The rule:

- All people in the gallery are compared, each by their most similar sighting that passes the
  filter. The number of answers shown has no influence. Unassigned sightings are ignored: they hide
  no one, and adding some changes no answer.
- The best person's score is judged by the calibration (`adln.matching.calibration`) of the two
  depths, for a gallery of as many people as were compared, but at least `LEAST_GALLERY`: thresholds
  for a gallery of three are low, but three people soon become thirty. If the query's own camera
  took the sighting, it is judged for `SAME_CAMERA` times as many: strangers in the same light and
  place look more alike than those of two cameras, to which calibrations are fitted.
- It is a match only if everyone else's score is at least `MARGIN` lower. Otherwise two people are
  too close, and the answer is a candidate.
- People without a name, as created by the watch, take part like all others, with one exception: a
  named person is preferred to unnamed ones whose scores are higher by less than the margin, and
  unnamed ones do not reduce a match to a candidate. They are often the same person, seen and not
  recognised.
- Among equal scores, named people come first, then those who have been known for longer.
"""

import math
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adln.gallery.adapting import scales_in
from adln.gallery.records import EVERYTHING, Filter, ModelKey, PersonsResult
from adln.matching.calibration import Decision, Scales, Verdict, more_cautious

LEAST_GALLERY = 100
"""Smallest gallery size, in people, that scores are judged for."""
SAME_CAMERA = 2
"""How many times as often strangers before one camera reach a threshold as those of two cameras.

Measured on Market-1501's test people: docs/results.md.
"""
MARGIN = 0.03
"""Least lead in cosine of a match over everyone else."""
NOBODY_ENROLLED = "nobody is enrolled"
"""The reason of "unknown" in a gallery without people."""
# Persons requested from the gallery: the best and the next ones.
_PERSONS = 4


class SearchesPersons(Protocol):
    """A search for persons; every `adln.gallery.interface.Gallery` has it."""

    def search_persons(
        self,
        embeddings: NDArray[np.floating],
        *,
        model: ModelKey,
        k: int,
        where: Filter,
        without: Set[int],
        named: bool = False,
        cameras: Sequence[int] | None = None,
    ) -> list[PersonsResult]:
        """See `adln.gallery.interface.Gallery.search_persons`."""


@dataclass(frozen=True, kw_only=True)
class PersonScore:
    """The score of one person.

    Attributes:
        person_id: Number in the gallery.
        name: Name; None if they have none.
        score: Cosine to their most similar sighting, to six digits.
        depth: Depth of that sighting.
        sighting_id: That sighting.
        camera_id: Number of the camera that took it.
    """

    person_id: int
    name: str | None
    score: float
    depth: int
    sighting_id: int
    camera_id: int

    def __str__(self) -> str:
        return self.called

    @property
    def called(self) -> str:
        """Name or number, for display."""
        return self.name or f"person {self.person_id}"


@dataclass(frozen=True, kw_only=True)
class Identification:
    """Who it is, and why.

    Attributes:
        verdict: "matched", "candidate" (to be decided by a person) or "unknown"; None without a
            calibration or thresholds.
        nearest: The person that the verdict is about, even if it is "unknown"; None if there was
            no one to compare with, or no search was made.
        runners_up: The next persons, best first; an unnamed person with a higher score than
            `nearest` is the first of them.
        threshold: The cosine at which `nearest` is a match; None without a calibration
            or thresholds.
        probability: Probability that `nearest` is the right person, 0 to 1; None without a verdict
            or if no search was made.
        gallery_size: Number of people compared.
        judged_among: Gallery size that the threshold is for.
        reason: Explanation in words.
        depth: Depth of the query; None if no search was made.

    Examples:
        >>> net = adln.load("res2")
        >>> with adln.Gallery(folder / "people") as gallery:
        ...     number = gallery.enrol("Anna", net.embed(picture), network=net)
        ...     answer = gallery.identify(net.embed(picture)[0], network=net)
        >>> answer.verdict, answer.person.name, answer.gallery_size
        ('matched', 'Anna', 1)
        >>> print(answer.reason)
        Anna 1.00 reaches ...; nobody else was compared
    """

    verdict: Verdict | None
    nearest: PersonScore | None = None
    runners_up: tuple[PersonScore, ...] = ()
    threshold: float | None = None
    probability: float | None = None
    gallery_size: int = 0
    judged_among: int = 0
    reason: str
    depth: int | None = None

    @property
    def person(self) -> PersonScore | None:
        """The person found; None if the verdict is "unknown"."""
        return None if self.verdict == "unknown" else self.nearest

    @property
    def rows(self) -> tuple[PersonScore, ...]:
        """All people in this answer, best first."""
        nearest = () if self.nearest is None else (self.nearest,)
        return tuple(sorted((*nearest, *self.runners_up), key=_best_first))

    @property
    def score(self) -> float | None:
        """The cosine of `nearest`."""
        return None if self.nearest is None else self.nearest.score

    @property
    def lead(self) -> float:
        """Lead in cosine of `nearest` over everyone else; inf if there is no one else."""
        if self.nearest is None:
            return -math.inf
        return self.nearest.score - max((one.score for one in self.runners_up), default=-math.inf)

    @property
    def best(self) -> float:
        """The highest score; -inf if no one was compared."""
        return max((one.score for one in self.rows), default=-math.inf)

    def verdict_on(self, person_id: int | None, decision: Decision) -> Verdict:
        """The verdict on one sighting, consistent with this answer.

        Args:
            person_id: Person of the sighting; None if it is unassigned.
            decision: The decision on its score alone.

        Returns:
            The verdict of that decision, limited to: the answer's verdict for the person it names;
            "candidate" for others beside a match; "unknown" if the answer is unknown. For an
            unassigned sighting it is not limited: it says whether it shows the same person.
        """
        if person_id is None or self.verdict is None:
            return decision.verdict
        most: Verdict = self.verdict
        if self.verdict == "matched" and (
            self.person is None or self.person.person_id != person_id
        ):
            most = "candidate"
        return more_cautious(decision.verdict, most)


def not_asked(reason: str) -> Identification:
    """The answer if no search was made, with the reason."""
    return Identification(verdict="unknown", reason=reason)


def identify(
    gallery: SearchesPersons,
    embedding: NDArray[np.floating],
    *,
    model: ModelKey,
    scales: Scales,
    where: Filter = EVERYTHING,
    without: Set[int] = frozenset(),
    least_gallery: int = LEAST_GALLERY,
    margin: float = MARGIN,
    names: bool = True,
    camera: int | None = None,
) -> Identification:
    """Decide who it is; see the rule above.

    Args:
        gallery: The gallery to search.
        embedding: (D,) of unit length; for a track, `adln.gallery.records.pool_track` of its crops.
        model: Its network.
        scales: Calibrations by depths.
        where: Only these sightings are compared.
        without: Sightings to ignore, such as the query's own.
        least_gallery: Smallest gallery size that scores are judged for.
        margin: Least lead in cosine of a match over everyone else.
        names: Whether the reason may contain names; otherwise it has numbers.
        camera: Number of the query's camera; None if unknown. Its own sightings are judged more
            strictly, and a gallery may be adapted to its cameras (`adln adapt`).

    Raises:
        GalleryError: The gallery cannot be searched with embeddings of this model.
    """

    def ask(k: int, *, named: bool = False) -> PersonsResult:
        (result,) = gallery.search_persons(
            embedding,
            model=model,
            k=k,
            where=where,
            without=without,
            named=named,
            cameras=None if camera is None else [camera],
        )
        return result

    result = ask(_PERSONS)
    rows = _rows(result)
    if not rows:
        nobody = NOBODY_ENROLLED if where == EVERYTHING else "nobody enrolled may be compared"
        return Identification(verdict="unknown", probability=0.0, reason=nobody, depth=model.depth)
    is_close = rows[0].name is None or rows[0].score - rows[-1].score < margin
    named = [one for one in rows if one.name is not None]
    if is_close and len(named) < 2 and result.num_persons > len(rows):
        # Unnamed people may be ranked above all others.
        known = {one.person_id for one in rows}
        rows += [one for one in _rows(ask(2, named=True)) if one.person_id not in known]
        rows.sort(key=_best_first)

    def among(one: PersonScore) -> int:
        size = max(least_gallery, result.num_persons)
        return size if camera is None or one.camera_id != camera else SAME_CAMERA * size

    def say(one: PersonScore) -> str:
        called = one.called if names else f"person {one.person_id}"
        return f"{called} {one.score:.2f}"

    meaning = scales_in(gallery, model, scales)

    def decide(one: PersonScore) -> Decision | None:
        scale = meaning.between(model.depth, one.depth)
        return None if scale is None else scale.decide(one.score, among(one))

    meant, decision = rows[0], decide(rows[0])
    if decision is not None and meant.name is None:
        for one in (one for one in rows if one.name is not None):
            its = decide(one)
            if rows[0].score - one.score < margin and its is not None:
                # Unless only unnamed people are left.
                if its.verdict != "unknown" or decision.verdict == "unknown":
                    meant, decision = one, its
                break
    others = tuple(one for one in rows if one is not meant)
    if decision is None:
        return Identification(
            verdict=None,
            nearest=meant,
            runners_up=others,
            gallery_size=result.num_persons,
            judged_among=among(meant),
            reason=f"nearest is {say(meant)}; there is no calibration to judge it",
            depth=model.depth,
        )
    rivals = [
        one
        for one in others
        if meant.score - one.score < margin and (meant.name is None or one.name is not None)
    ]
    if decision.verdict == "matched" and rivals:
        decision = Decision(
            verdict="candidate",
            # With two people equally similar, one of them is right at most half of the time.
            probability=min(decision.probability, 0.5),
            match=decision.match,
            candidate=decision.candidate,
        )
        reason = (
            f"{say(meant)} and {say(rivals[0])} are too close; a match needs a lead of {margin:.2f}"
        )
    else:
        reason = _reason(meant, decision, others, say)
    return Identification(
        verdict=decision.verdict,
        nearest=meant,
        runners_up=others,
        threshold=decision.match,
        probability=decision.probability,
        gallery_size=result.num_persons,
        judged_among=among(meant),
        reason=reason,
        depth=model.depth,
    )


def _rows(result: PersonsResult) -> list[PersonScore]:
    best = result.best
    rows = [
        PersonScore(
            person_id=int(best.person_ids[at]),
            name=name,
            # Rounded: two computations of one cosine differ in the last digits.
            score=round(float(best.similarity[at]), 6),
            depth=int(best.depths[at]),
            sighting_id=int(best.sighting_ids[at]),
            camera_id=int(best.camera_ids[at]),
        )
        for at, name in enumerate(result.names)
    ]
    return sorted(rows, key=_best_first)


def _best_first(one: PersonScore) -> tuple[float, bool, int]:
    return -one.score, one.name is None, one.person_id


def _reason(
    nearest: PersonScore,
    decision: Decision,
    others: Sequence[PersonScore],
    say: Callable[[PersonScore], str],
) -> str:
    if decision.verdict == "unknown":
        return f"nearest is {say(nearest)}, below {_number(decision.candidate)}"
    if decision.verdict == "candidate":
        return f"{say(nearest)} is below {_number(decision.match)}, the threshold of a match"
    text = f"{say(nearest)} reaches {_number(decision.match)}"
    if not others:
        return f"{text}; nobody else was compared"
    if others[0].score > nearest.score:
        return f"{text}; {say(others[0])}, who has no name, may be the same person"
    return f"{text}; next is {say(others[0])}"


def _number(threshold: float | None) -> str:
    return "the threshold" if threshold is None else f"{threshold:.2f}"
