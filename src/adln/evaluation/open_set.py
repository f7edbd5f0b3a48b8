"""Open-set figures: how often the right person is found at a given rate of false alarms.

Table 1 of the paper is closed-set: every query's person is in the gallery. Most people that cameras
see are not enrolled, so scores need a threshold, and there are two kinds of figures:

- pairs (verification): TPR@FPR, the share of pairs of one person accepted at the threshold that
  accepts a stated share of pairs of two persons;
- searches (identification): DIR@FAR, the share of enrolled people found, at or above the threshold
  and among the first ``max_rank`` answers, when a stated share of strangers gets an answer.

Scores at or above the threshold are accepted. It is the smallest whose false share does not exceed
the rate, without interpolation. A person's score in a search is that of their most similar enrolled
picture; among equal scores, wrong persons are ranked first. As in Table 1, pictures of the query's
person from the query's own camera are left out.

Source: ISO/IEC 19795-1:2021 and NIST IR 8271 "FRVT Part 2: Identification" (FPIR, FNIR); Phillips,
Grother, Micheals, "Evaluation Methods in Face Recognition", Handbook of Face Recognition, 2011
(detection and identification rate, false alarm rate, watch list).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adln.errors import EvaluationError
from adln.evaluation.ranking import Side, checked_ids, require_one_length, row_blocks

DEFAULT_PAIR_RATES = (1e-4, 1e-3, 1e-2)
DEFAULT_SEARCH_RATES = (0.001, 0.01, 0.1)
# 0.29 * 100 is a little less than 29 in binary.
_ROUNDING = 1e-9
Scores = NDArray[np.floating]
_CheckedSide = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True)
class OperatingPoint:
    """Error rates at one threshold: at most `asked` is wrongly accepted. All shares are in 0..1.

    The false share is the FPR of pairs, or the FAR (= FPIR) of searches; the true share is the TPR
    of pairs, or the DIR (= 1 - FNIR) of searches.
    """

    asked: float
    threshold: float
    false_share: float
    true_share: float


@dataclass(frozen=True, eq=False)
class PersonScores:
    """Highest cosine of each query with any picture of each of P persons, (Q, P) float32.

    The columns are `person_ids` (P,), ascending. A score is -inf if all pictures show the query's
    own person at the query's own camera. `mates` (Q,) are the columns of the queries' own persons,
    -1 if there is none.
    """

    scores: NDArray[np.float32]
    person_ids: NDArray[np.int64]
    query_person_ids: NDArray[np.int64]
    mates: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class OpenSetSearches:
    """Searches in a gallery in which only some persons are enrolled.

    `mated_scores` (M,) are of the right person, for queries whose person is enrolled, and
    `mated_ranks` (M,) int64 that person's rank among the enrolled ones, from 1; `stranger_scores`
    (U,) are the highest of any enrolled person, for all other queries.
    """

    num_enrolled: int
    mated_scores: NDArray[np.float32]
    mated_ranks: NDArray[np.int64]
    stranger_scores: NDArray[np.float32]


def threshold_at(false_scores: Scores, rate: float, *, of: int | None = None) -> float:
    """The smallest threshold that wrongly accepts no more than a given share of scores.

    The share is 0 < rate < 1 of the (N,) scores that should be refused, or of their total number
    `of`, if only the highest are given. Scores at or above the threshold are accepted.

    Raises:
        EvaluationError: There are fewer than 1 / rate scores, so the rate cannot be distinguished
            from zero; the rate is out of range; or a score is NaN.
    """
    scores = _checked(false_scores, "scores of false matches")
    if not 0 < rate < 1:
        raise EvaluationError(f"An error rate must be between 0 and 1, got {rate}.")
    of = len(scores) if of is None else of
    if not can_tell(rate, of):
        raise EvaluationError(
            f"A rate of {rate:g} cannot be measured with {of:,} trials; at least "
            f"{int(np.ceil(1 / rate - _ROUNDING)):,} are needed."
        )
    position = len(scores) - int(np.floor(rate * of + _ROUNDING)) - 1
    refused = np.partition(scores, position)[position]
    return float(np.nextafter(refused, np.inf, dtype=scores.dtype))


def can_tell(rate: float, trials: int) -> bool:
    """Whether the number of trials is sufficient to measure an error rate."""
    return rate * trials >= 1 - _ROUNDING


def tpr_at_fpr(
    same_scores: Scores, different_scores: Scores, rate: float, *, of: int | None = None
) -> OperatingPoint:
    """Verification: share of pairs of one person accepted at an FPR of at most `rate`.

    `of` is the total number of pairs of two persons, if only the highest scores are given.

    Raises:
        EvaluationError: See `threshold_at`; or there is no pair of one person.
    """
    same = _checked(same_scores, "scores of pairs of one person under two cameras")
    return _point(same, np.asarray(different_scores), rate, of)


def dir_at_far(searches: OpenSetSearches, rate: float, *, max_rank: int = 1) -> OperatingPoint:
    """Identification: share of enrolled people found at a FAR (= FPIR) of at most `rate`.

    The right person must be among the first `max_rank`. The same point is FNIR@FPIR: FNIR(N,
    max_rank, threshold) is 1 - true_share.

    Raises:
        EvaluationError: See `threshold_at`; there is no mated search; or max_rank is below 1.
    """
    if max_rank < 1:
        raise EvaluationError(f"max_rank must be at least 1, got {max_rank}.")
    scores = _checked(searches.mated_scores, "searches for people who are enrolled")
    found = np.where(searches.mated_ranks <= max_rank, scores, -np.inf).astype(scores.dtype)
    return _point(found, searches.stranger_scores, rate)


def _point(true: Scores, false: Scores, rate: float, of: int | None = None) -> OperatingPoint:
    threshold = threshold_at(false, rate, of=of)
    return OperatingPoint(
        asked=rate,
        threshold=threshold,
        false_share=float((false >= threshold).sum() / (of or len(false))),
        true_share=float(np.mean(true >= threshold)),
    )


def person_scores(query: Side, gallery: Side, *, across_cameras: bool = True) -> PersonScores:
    """Compare Q queries with the persons of G pictures, of features of unit length, block by block.

    `across_cameras` leaves out pictures of the query's person from the query's own camera.

    Raises:
        EvaluationError: Shapes disagree, a split is empty, or a feature is NaN or infinite.
    """
    (queries, persons, cameras), stored = _checked_sides(query, gallery)
    order = np.argsort(stored[1], kind="stable")
    others, sorted_persons, sorted_cameras = stored[0][order], stored[1][order], stored[2][order]
    person_ids, starts = np.unique(sorted_persons, return_index=True)
    columns = np.searchsorted(person_ids, persons).clip(max=len(person_ids) - 1)
    mates = np.where(person_ids[columns] == persons, columns, -1)
    scores = np.empty((len(queries), len(person_ids)), np.float32)
    for block in row_blocks(len(queries), len(others) * 4):
        similarity = queries[block] @ others.T
        if across_cameras:
            junk = (persons[block, np.newaxis] == sorted_persons) & (
                cameras[block, np.newaxis] == sorted_cameras
            )
            similarity[junk] = -np.inf
        np.maximum.reduceat(similarity, starts, axis=1, out=scores[block])
    return PersonScores(scores, person_ids, persons, mates)


def searches_among(compared: PersonScores, enrolled: NDArray[np.bool_]) -> OpenSetSearches:
    """Outcomes of all searches if only some of the gallery's P persons are `enrolled`, (P,) bool.

    Queries of an enrolled person who was seen by the query's own camera only are left out.

    Raises:
        EvaluationError: `enrolled` has another shape, or no one is enrolled.
    """
    if enrolled.shape != compared.person_ids.shape or enrolled.dtype != np.bool_:
        raise EvaluationError(
            f"`enrolled` must be {len(compared.person_ids)} booleans, one for each person of the "
            f"gallery, got {enrolled.dtype} of shape {enrolled.shape}."
        )
    if not enrolled.any():
        raise EvaluationError("No one is enrolled; a search needs at least one person.")
    has_mate = (compared.mates >= 0) & enrolled[compared.mates]
    rows = np.flatnonzero(has_mate)
    own = compared.scores[rows, compared.mates[rows]]
    rows, own = rows[np.isfinite(own)], own[np.isfinite(own)]
    # Persons with at least the right person's score, which includes the right person.
    ranks = (compared.scores[np.ix_(rows, np.flatnonzero(enrolled))] >= own[:, np.newaxis]).sum(1)
    strangers = compared.scores[np.ix_(~has_mate, enrolled)].max(axis=1)
    return OpenSetSearches(int(enrolled.sum()), own, ranks.astype(np.int64), strangers)


@dataclass(frozen=True)
class OpenSetResult:
    """Open-set figures of one embedder at one depth.

    Attributes:
        num_same_pairs: Pairs of one person under two cameras.
        num_different_pairs: Pairs of two persons.
        pairs: TPR at each FPR for which there are enough pairs.
        num_enrolled: Persons enrolled in each draw: half of those searched for.
        num_mated, num_strangers: Searches for them and for others, mean over the draws.
        draws: Number of random choices of the enrolled half.
        searches: DIR at each FAR for which there are enough strangers, mean over the draws.
        spread: Standard deviation of DIR over the draws, for each of `searches`.
    """

    num_same_pairs: int
    num_different_pairs: int
    pairs: tuple[OperatingPoint, ...]
    num_enrolled: int
    num_mated: float
    num_strangers: float
    draws: int
    searches: tuple[OperatingPoint, ...]
    spread: tuple[float, ...]


def evaluate_open_set(
    query: Side,
    gallery: Side,
    *,
    pair_rates: Sequence[float] = DEFAULT_PAIR_RATES,
    search_rates: Sequence[float] = DEFAULT_SEARCH_RATES,
    draws: int = 10,
    seed: int = 0,
) -> OpenSetResult:
    """Evaluate features of unit length if only half of the persons searched for are enrolled.

    Pairs are all of query x gallery. For the searches, half of the queries' persons are drawn at
    random and enrolled with all their gallery pictures; the queries of all others are strangers.
    Persons without a query (distractors) are not enrolled, because one id may stand for many. FPRs
    for which there are too few pairs, and FARs for which there are too few strangers, are left out.

    Raises:
        EvaluationError: See `person_scores`; or fewer than two persons can be searched for.
    """
    same, top_different, num_different = _pair_scores(query, gallery, max(pair_rates))
    pairs = tuple(
        tpr_at_fpr(same, top_different, rate, of=num_different)
        for rate in pair_rates
        if can_tell(rate, num_different)
    )
    compared = person_scores(query, gallery)
    searched = np.flatnonzero(np.isin(compared.person_ids, compared.query_person_ids))
    if len(searched) < 2:
        raise EvaluationError(
            f"{len(searched)} persons are in query and gallery; open-set figures need at least two."
        )
    rng = np.random.default_rng(seed)
    outcomes = []
    for _ in range(draws):
        enrolled = np.zeros(len(compared.person_ids), dtype=np.bool_)
        enrolled[rng.permutation(searched)[: len(searched) // 2]] = True
        outcomes.append(searches_among(compared, enrolled))
    fewest = min(len(outcome.stranger_scores) for outcome in outcomes)
    points = [
        [dir_at_far(outcome, rate) for outcome in outcomes]
        for rate in search_rates
        if can_tell(rate, fewest)
    ]
    return OpenSetResult(
        num_same_pairs=len(same),
        num_different_pairs=num_different,
        pairs=pairs,
        num_enrolled=len(searched) // 2,
        num_mated=float(np.mean([len(outcome.mated_scores) for outcome in outcomes])),
        num_strangers=float(np.mean([len(outcome.stranger_scores) for outcome in outcomes])),
        draws=draws,
        searches=tuple(
            OperatingPoint(
                asked=row[0].asked,
                threshold=float(np.mean([point.threshold for point in row])),
                false_share=float(np.mean([point.false_share for point in row])),
                true_share=float(np.mean([point.true_share for point in row])),
            )
            for row in points
        ),
        spread=tuple(float(np.std([point.true_share for point in row])) for row in points),
    )


def open_set_text(results: dict[int, OpenSetResult], names: Mapping[int, str] | None = None) -> str:
    """Table of the open-set figures for a terminal; results and display names by depth."""
    first = next(iter(results.values()))
    heads = [f"{f'TPR@{_rate(point.asked)}':>10}" for point in first.pairs]
    heads += [f"{f'DIR@{_rate(point.asked)}':>14}" for point in first.searches]
    called = {depth: (names or {}).get(depth, f"Res{depth}") for depth in sorted(results)}
    width = max(5, *map(len, called.values()))
    lines = [f"{'Depth':<{width}}" + "".join(heads)]
    lines.append("─" * len(lines[0]))
    for depth, result in sorted(results.items()):
        cells = [f"{100 * point.true_share:>10.2f}" for point in result.pairs]
        cells += [
            f"{f'{100 * point.true_share:.2f} ± {100 * spread:.2f}':>14}"
            for point, spread in zip(result.searches, result.spread, strict=True)
        ]
        lines.append(f"{called[depth]:<{width}}" + "".join(cells))
    lines += [
        "",
        "Open set. TPR@x: pairs of one person accepted by a threshold that accepts x of the pairs",
        f"of two, from {first.num_same_pairs:,} and {first.num_different_pairs:,} pairs. "
        "DIR@x: enrolled people found at rank 1 by a",
        f"threshold that x of the strangers reach; {first.num_enrolled:,} persons enrolled, "
        f"{first.num_mated:,.0f} searches for them and",
        f"{first.num_strangers:,.0f} for strangers, mean and spread over "
        f"{first.draws} random halves.",
    ]
    return "\n".join(lines)


def _rate(rate: float) -> str:
    return f"{100 * rate:g}%"


def _checked(scores: Scores, what: str) -> NDArray[Any]:
    checked = np.asarray(scores)
    if checked.ndim != 1 or len(checked) == 0:
        raise EvaluationError(f"There are no {what}; got an array of shape {checked.shape}.")
    if not np.issubdtype(checked.dtype, np.floating) or np.isnan(checked).any():
        raise EvaluationError(
            f"The {what} must be floats without NaN, got {checked.dtype}"
            f"{' with NaN' if np.issubdtype(checked.dtype, np.floating) else ''}."
        )
    return checked


def _checked_sides(query: Side, gallery: Side) -> tuple[_CheckedSide, _CheckedSide]:
    """Both sides with float32 features and int64 ids."""
    queries, others = (np.asarray(side[0], dtype=np.float32) for side in (query, gallery))
    require_one_length(queries, others)
    for word, features in (("query", queries), ("gallery", others)):
        if not np.isfinite(features).all():
            raise EvaluationError(f"The {word} features contain NaN or infinite values.")
    return (
        (queries, *checked_ids("query", len(queries), *query[1:])),
        (others, *checked_ids("gallery", len(others), *gallery[1:])),
    )


def _pair_scores(
    query: Side, gallery: Side, share: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], int]:
    """Scores of all pairs of one person, the highest share of those of two, and their number."""
    (queries, persons, cameras), (others, *ids) = _checked_sides(query, gallery)
    keep = int(share * len(queries) * len(others)) + 2
    same: list[NDArray[np.float32]] = []
    best = np.empty(0, np.float32)
    num_different = 0
    for block in row_blocks(len(queries), len(others) * 16):
        similarity = queries[block] @ others.T
        one_person = persons[block, np.newaxis] == ids[0]
        other_camera = cameras[block, np.newaxis] != ids[1]
        same.append(similarity[one_person & other_camera])
        different = similarity[~one_person]
        num_different += len(different)
        best = np.concatenate([best, different])
        if len(best) > keep:
            best = np.partition(best, len(best) - keep)[-keep:]
    return np.concatenate(same), best, num_different
