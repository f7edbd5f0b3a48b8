"""Who is it? Decided here and nowhere else: for the command line, the service and the watch.

The rule:

- Everybody whom the gallery knows is compared, each by the best of their sightings that pass the
  filter. How many answers are shown plays no part. Sightings of nobody take no part: they hide
  nobody, and adding some changes no answer.
- The person with the best score is judged by what a score means (`adln.matching.calibration`)
  between the two depths, among as many people as were compared, and never as among fewer than
  `LEAST_GALLERY`: a calibration asks little of a gallery of three, but three soon become thirty.
- It is a match only if everybody else is at least `MARGIN` less alike. Otherwise two people are too
  close, and the answer is a candidate.
- People without a name, such as the watch makes, take part like all others, with one exception:
  somebody with a name goes before those without one who are less than the margin more alike, and is
  not made doubtful by them. They are often the same person, seen and not recognised.
- Of equal scores a named person goes first, then the one who has been known for longer.
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
"""Scores are judged as among at least so many people."""
MARGIN = 0.03
"""A match is so much more alike than everybody else."""
NOBODY_ENROLLED = "nobody is enrolled"
"""Why somebody is unknown to a gallery without people."""
# Persons asked of the gallery: the best, and who stands next to them.
_PERSONS = 4


class SearchesPersons(Protocol):
    """What is asked; every `adln.gallery.interface.Gallery` is such a thing."""

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
    """How alike one person is.

    Attributes:
        person_id: As the gallery numbers people.
        name: What people call them; None if nobody has said.
        score: Cosine to the best of their sightings, to six digits.
        depth: At which that sighting was embedded.
        sighting_id: That sighting.
    """

    person_id: int
    name: str | None
    score: float
    depth: int
    sighting_id: int

    def __str__(self) -> str:
        return self.called

    @property
    def called(self) -> str:
        """Name or number, for people to read."""
        return self.name or f"person {self.person_id}"


@dataclass(frozen=True, kw_only=True)
class Identification:
    """Who it is, and why.

    Attributes:
        verdict: "matched", "candidate" (for a person to decide) or "unknown"; None without a
            calibration or thresholds.
        nearest: The person that the verdict is about, even if it is "unknown"; None if there was
            nobody to compare with, or no search was made.
        runners_up: The next persons, best first; an unnamed person with a higher score than
            `nearest` is the first of them.
        threshold: The cosine at which `nearest` is a match; None without a calibration
            or thresholds.
        probability: That `nearest` is the right person, 0 to 1; None without a verdict, and if no
            search was made.
        gallery_size: Number of people compared.
        judged_among: Gallery size that the threshold is for.
        reason: Explanation in words.
        depth: Of the query; None if no search was made.

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
    nearest: PersonScore | None
    runners_up: tuple[PersonScore, ...]
    threshold: float | None
    probability: float | None
    gallery_size: int
    judged_among: int
    reason: str
    depth: int | None

    @property
    def person(self) -> PersonScore | None:
        """The person found; None if the verdict is "unknown"."""
        return None if self.verdict == "unknown" else self.nearest

    @property
    def rows(self) -> tuple[PersonScore, ...]:
        """Everybody in this answer, best first."""
        nearest = () if self.nearest is None else (self.nearest,)
        return tuple(sorted((*nearest, *self.runners_up), key=_best_first))

    @property
    def score(self) -> float | None:
        """The cosine of `nearest`."""
        return None if self.nearest is None else self.nearest.score

    @property
    def lead(self) -> float:
        """How much more alike `nearest` is than everybody else; inf if there is nobody else."""
        if self.nearest is None:
            return -math.inf
        return self.nearest.score - max((one.score for one in self.runners_up), default=-math.inf)

    @property
    def best(self) -> float:
        """The best score of anybody; -inf if there was nobody."""
        return max((one.score for one in self.rows), default=-math.inf)

    def verdict_on(self, person_id: int | None, decision: Decision) -> Verdict:
        """What may be said of one sighting beside this answer without contradicting it.

        Args:
            person_id: Whom the sighting shows; None for a sighting of nobody.
            decision: What its score would mean by itself.

        Returns:
            That, but no better than the answer for the person it names, at most "candidate" for
            others beside a match, and "unknown" for all persons if the answer is. Of a sighting of
            nobody it is said whether it shows the same person, which contradicts no answer.
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
    """The answer where nobody was compared, and why."""
    return Identification(
        verdict="unknown",
        nearest=None,
        runners_up=(),
        threshold=None,
        probability=None,
        gallery_size=0,
        judged_among=0,
        reason=reason,
        depth=None,
    )


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
    """Decide who somebody is; see the rule above.

    Args:
        gallery: Who was seen.
        embedding: (D,) of unit length; of a track, `adln.gallery.records.pool_track` of its crops.
        model: What made it.
        scales: What scores mean, by depths.
        where: Which sightings count.
        without: Sightings that say nothing, such as the query's own.
        least_gallery: Scores are judged as among at least so many people.
        margin: How much more alike a match must be than everybody else.
        names: Whether the reason may name people; if not, it numbers them.
        camera: Number of the camera that saw them, for a gallery that is adapted to its cameras
            (`adln adapt`); None if it is not known.

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
        return _answer(
            Decision(verdict="unknown", probability=0.0), nobody, model.depth, size=0, among=0
        )
    is_close = rows[0].name is None or rows[0].score - rows[-1].score < margin
    named = [one for one in rows if one.name is not None]
    if is_close and len(named) < 2 and result.num_persons > len(rows):
        # People without names may be in front of all others.
        known = {one.person_id for one in rows}
        rows += [one for one in _rows(ask(2, named=True)) if one.person_id not in known]
        rows.sort(key=_best_first)
    among = max(least_gallery, result.num_persons)

    def say(one: PersonScore) -> str:
        called = one.called if names else f"person {one.person_id}"
        return f"{called} {one.score:.2f}"

    meaning = scales_in(gallery, model, scales)

    def decide(one: PersonScore) -> Decision | None:
        scale = meaning.between(model.depth, one.depth)
        return None if scale is None else scale.decide(one.score, among)

    meant, decision = rows[0], decide(rows[0])
    if decision is not None and meant.name is None:
        for one in (one for one in rows if one.name is not None):
            its = decide(one)
            if rows[0].score - one.score < margin and its is not None:
                # Unless only who has no name comes into question.
                if its.verdict != "unknown" or decision.verdict == "unknown":
                    meant, decision = one, its
                break
    others = tuple(one for one in rows if one is not meant)
    if decision is None:
        return Identification(
            verdict=None,
            nearest=meant,
            runners_up=others,
            threshold=None,
            probability=None,
            gallery_size=result.num_persons,
            judged_among=among,
            reason=f"nearest is {say(meant)}; no calibration says what that means",
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
            # Of two who are as alike, one is right at best half of the time.
            probability=min(decision.probability, 0.5),
            match=decision.match,
            candidate=decision.candidate,
        )
        reason = (
            f"{say(meant)} and {say(rivals[0])} are too close to tell apart; a match is "
            f"{margin:.2f} ahead"
        )
    else:
        reason = _reason(meant, decision, others, say)
    return _answer(decision, reason, model.depth, result.num_persons, among, meant, others)


def _answer(
    decision: Decision,
    reason: str,
    depth: int,
    size: int,
    among: int,
    nearest: PersonScore | None = None,
    others: tuple[PersonScore, ...] = (),
) -> Identification:
    return Identification(
        verdict=decision.verdict,
        nearest=nearest,
        runners_up=others,
        threshold=decision.match,
        probability=decision.probability,
        gallery_size=size,
        judged_among=among,
        reason=reason,
        depth=depth,
    )


def _rows(result: PersonsResult) -> list[PersonScore]:
    best = result.best
    rows = [
        PersonScore(
            person_id=int(best.person_ids[at]),
            name=name,
            # In the last digits two computations of one cosine differ, which must decide nothing.
            score=round(float(best.similarity[at]), 6),
            depth=int(best.depths[at]),
            sighting_id=int(best.sighting_ids[at]),
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
    return "what is asked" if threshold is None else f"{threshold:.2f}"
