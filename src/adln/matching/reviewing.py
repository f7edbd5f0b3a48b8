"""Finds causes of wrong answers in a gallery: wrong templates and duplicate people.

A template of one person that is more similar to another attracts the other's sightings, each of
which attracts more. A person who is not recognised becomes a new person, who gets part of the later
sightings. Both are found and listed here; nothing is changed unless requested, and people are never
merged automatically.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adln.embeddings import unit_length
from adln.errors import GalleryError
from adln.gallery.adapting import as_compared
from adln.gallery.interface import Gallery
from adln.gallery.records import NO_PERSON, Filter, StoredSighting
from adln.gallery.spaces import group_by_space
from adln.matching.together import in_one_frame

_ROWS_AT_A_TIME = 512
_VOUCHERS = 3
_ASSIGNED = Filter(not_persons=frozenset({NO_PERSON}))


@dataclass(frozen=True, kw_only=True)
class StrangeTemplate:
    """A template that is more similar to another person than to its own.

    Attributes:
        sighting_id: The template.
        person_id: The person it is assigned to.
        score: Mean cosine to the three nearest other templates of that person.
        other_id: The more similar person.
        other_score: Mean cosine to the three nearest templates of the other person.
    """

    sighting_id: int
    person_id: int
    score: float
    other_id: int
    other_score: float


@dataclass(frozen=True, kw_only=True)
class MergeProposal:
    """Two persons who seem to be the same.

    Attributes:
        into: The person to keep: the one with a name, or the one known for longer.
        person_id: The other one.
        score: Cosine between the means of their templates.
        both_named: Whether both have a name, which suggests that they are different.
    """

    into: int
    person_id: int
    score: float
    both_named: bool


@dataclass(frozen=True, kw_only=True)
class Review:
    """Findings in a gallery.

    Attributes:
        merges: People who seem to be the same, most similar first.
        strange: Templates that are more similar to another person, strangest first; without those
            whose other person is proposed for merging.
    """

    merges: tuple[MergeProposal, ...]
    strange: tuple[StrangeTemplate, ...]


def review_gallery(gallery: Gallery, *, threshold: float) -> Review:
    """Examine all templates of all people.

    Two persons are proposed for merging if the cosine of their mean templates reaches the
    threshold, if each is the most similar to the other, and if no camera saw both in one frame. A
    template is strange if it is more similar to another person and reaches the threshold with one
    of their templates.

    Templates are compared with all others, so the time grows with the square of their number.

    Args:
        gallery: Only read.
        threshold: Lowest cosine of two persons who may be the same, such as that of a match
            (`adln.matching.calibration.Calibration.threshold`); in an adapted gallery, of adapted
            embeddings (`adln.gallery.adapting.scales_in`).

    Raises:
        GalleryError: The threshold is not a cosine, or the gallery cannot be read.
    """
    if not -1 < threshold < 1:
        raise GalleryError(f"The threshold must be a cosine between -1 and 1, got {threshold}.")
    records = [
        record for batch in gallery.iterate(_ASSIGNED) for record in as_compared(gallery, batch)
    ]
    names = {person.person_id: person.name for person in gallery.persons()}
    apart = in_one_frame(
        (record.camera_id, record.time_s, record.person_id)
        for record in records
        if record.person_id is not None and record.track_id is not None
    )
    merges: dict[tuple[int, int], MergeProposal] = {}
    strange: list[StrangeTemplate] = []
    spaces = group_by_space(record.model for record in records)
    parts = [[one for one in records if one.model in space] for space in spaces]
    for part in parts:
        for proposal in _merges(part, names, apart, threshold):
            pair = proposal.into, proposal.person_id
            if pair not in merges or merges[pair].score < proposal.score:
                merges[pair] = proposal
    for part in parts:
        strange += _strange(part, set(merges), threshold)
    return Review(
        merges=tuple(sorted(merges.values(), key=lambda one: (-one.score, one.into))),
        strange=tuple(
            sorted(strange, key=lambda one: (one.score - one.other_score, one.sighting_id))
        ),
    )


def set_aside(gallery: Gallery, strange: Iterable[StrangeTemplate]) -> int:
    """Unassign templates: they are kept for inspection, but no longer represent a person.

    Returns:
        The number set aside.

    Raises:
        GalleryError: One of them no longer exists.
    """
    ids = [one.sighting_id for one in strange]
    return gallery.assign(ids, None) if ids else 0


def _merges(
    records: Sequence[StoredSighting],
    names: Mapping[int, str | None],
    apart: set[tuple[int, int]],
    threshold: float,
) -> list[MergeProposal]:
    embeddings, persons, starts = _by_person(records)
    if len(starts) < 2:
        return []
    means = unit_length(np.add.reduceat(embeddings, starts))
    cosines = means @ means.T
    np.fill_diagonal(cosines, -np.inf)
    ids = persons[starts].tolist()
    place = {person: at for at, person in enumerate(ids)}
    for one, other in apart:
        if one in place and other in place:
            cosines[place[one], place[other]] = -np.inf
    nearest = cosines.argmax(axis=1)
    found = []
    for at, other in enumerate(nearest.tolist()):
        if at < other and nearest[other] == at and cosines[at, other] >= threshold:
            into, gone = sorted(
                (ids[at], ids[other]), key=lambda one: (names.get(one) is None, one)
            )
            found.append(
                MergeProposal(
                    into=into,
                    person_id=gone,
                    score=float(cosines[at, other]),
                    both_named=names.get(gone) is not None,
                )
            )
    return found


def _strange(
    records: Sequence[StoredSighting], merges: set[tuple[int, int]], threshold: float
) -> list[StrangeTemplate]:
    embeddings, persons, starts = _by_person(records)
    if len(starts) < 2:
        return []
    order = sorted(records, key=_order)
    ids = persons[starts]
    same = {frozenset(pair) for pair in merges}
    found = []
    for start in range(0, len(embeddings), _ROWS_AT_A_TIME):
        cosines = embeddings[start : start + _ROWS_AT_A_TIME] @ embeddings.T
        parts = np.split(cosines, starts[1:], axis=1)
        likeness = np.stack([_likeness(part) for part in parts], axis=1)
        for row, scores in enumerate(likeness):
            at = start + row
            mine = int(np.searchsorted(ids, persons[at]))
            own = np.delete(parts[mine][row], at - starts[mine])
            if len(own) == 0:
                # A single template cannot be compared with others of its person.
                continue
            scores[mine] = -np.inf
            scores[[{int(persons[at]), int(one)} in same for one in ids]] = -np.inf
            other = int(np.argmax(scores))
            score, other_score = float(_likeness(own[np.newaxis])[0]), float(scores[other])
            if other_score > score and parts[other][row].max() >= threshold:
                found.append(
                    StrangeTemplate(
                        sighting_id=order[at].sighting_id,
                        person_id=int(persons[at]),
                        score=score,
                        other_id=int(ids[other]),
                        other_score=other_score,
                    )
                )
    return found


def _likeness(cosines: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, K) -> (N,): mean of the three best, so that one wrong template cannot support another."""
    if cosines.shape[1] > _VOUCHERS:
        cosines = np.partition(cosines, -_VOUCHERS, axis=1)[:, -_VOUCHERS:]
    likeness: NDArray[np.float32] = cosines.mean(axis=1)
    return likeness


def _order(record: StoredSighting) -> tuple[int, int]:
    assert record.person_id is not None
    return record.person_id, record.sighting_id


def _by_person(
    records: Sequence[StoredSighting],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Embeddings (N, D) and persons (N,), sorted by person, and the first index of each person."""
    ordered = sorted(records, key=_order)
    persons = np.array([record.person_id for record in ordered], dtype=np.int64)
    embeddings = np.array([record.embedding for record in ordered], dtype=np.float32)
    starts = np.flatnonzero(np.diff(persons, prepend=-1))
    return embeddings, persons, starts
