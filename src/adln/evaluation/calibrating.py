"""Fits calibrations: thresholds for stated error rates, and the probability of being right.

There are two kinds of data. *Persons*: labelled pictures, searched for across cameras (the matches
of Sec. III.A). *Tracks*: unlabelled pictures; those of one track show one person, and two tracks
that one camera sees in the same frame show two people.

**Thresholds.** The share of strangers who are answered in a gallery of n persons is exact, over all
galleries of n persons that can be drawn: if c of M others reach the threshold, one contains none of
them with probability C(M - c, n) / C(M, n). For fewer than n others, the upper bound n c / M is
used. The threshold is the smallest that keeps the mean over all probes within the rate.

**Probability** that the best answer is right: logistic in the score and in the logarithm of the
gallery size, fitted by maximum likelihood to searches in random galleries.

**Validation.** A trial fit on one half of the persons is judged on the other half. It is refused if
there are too few searches or persons, or if the fit is hardly better than the mean.

Source: ISO/IEC 19795-1:2021 (FPIR); J. Platt, "Probabilistic Outputs for Support Vector Machines",
1999 (logistic fit and its smoothed targets); Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017 (expected calibration error, here over groups of equal size).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adln.errors import EvaluationError
from adln.evaluation.open_set import PersonScores
from adln.matching.calibration import Calibration, CalibrationEvidence, Level, Reliability
from adln.matching.together import in_one_frame

MATCH_RATE = 0.01
CANDIDATE_RATE = 0.1
# An error rate is stated only from at least this many errors; fewer predict little.
_LEAST_ERRORS = 10
_LEAST_PERSONS = 20
# The probability must reduce the squared error of the mean by at least this share.
_LEAST_SKILL = 0.05
# More searches only cost time: the rates are accurate well before.
_MOST_SEARCHES = 4000
# Fewest probes with n others each from which thresholds for galleries of n are computed.
_MANY_OTHERS = 32
_GROUPS = 10
_TRACK_PROBES = 4


@dataclass(frozen=True, eq=False)
class Trials:
    """Q probes, each compared with its own person and with others.

    Attributes:
        own: (Q,) float32, score with the probe's own person; NaN if unknown.
        others: (Q, M) float32, scores with other persons, padded with NaN.
        num_persons: Number of persons, or tracks.
    """

    own: NDArray[np.float32]
    others: NDArray[np.float32]
    num_persons: int

    @property
    def num_comparisons(self) -> int:
        """Number of comparisons of a probe with another person."""
        return int(np.count_nonzero(~np.isnan(self.others)))


@dataclass(frozen=True, eq=False)
class Material:
    """All trials, and those of two halves without a common person: to fit, and to judge the fit."""

    whole: Trials
    fitting: Trials
    judging: Trials
    kind: Literal["persons", "tracks"]
    across_cameras: bool


def person_material(compared: PersonScores, *, across_cameras: bool, seed: int = 0) -> Material:
    """Trials from labelled pictures.

    Persons without a query are left out: in Market-1501, one such id stands for many people.
    """
    searched = np.intersect1d(compared.person_ids, compared.query_person_ids)
    shuffled = np.random.default_rng(seed).permutation(searched)
    middle = len(searched) // 2
    parts = (searched, shuffled[:middle], shuffled[middle:])
    whole, fitting, judging = (_of_persons(compared, part) for part in parts)
    return Material(whole, fitting, judging, "persons", across_cameras)


def track_material(
    embeddings: NDArray[np.float32],
    cameras: NDArray[Any],
    tracks: NDArray[Any],
    time_s: NDArray[np.floating],
    *,
    gap_s: float = 1.0,
) -> Material:
    """Trials from N unlabelled pictures of tracks; the halves are the earlier and the later tracks.

    Tracks count as two persons only if one camera saw them in the same frame, where `time_s` (N,)
    is equal. A probe is compared with pictures of its own track that are at least `gap_s` seconds
    away, because neighbouring frames are nearly the same picture. Embeddings (N, D) have unit
    length; cameras and their tracks are of any sortable type.

    Raises:
        EvaluationError: The lengths differ, or a time is not finite.
    """
    count = len(embeddings)
    if embeddings.ndim != 2 or any(len(column) != count for column in (cameras, tracks, time_s)):
        raise EvaluationError(
            f"{count} embeddings need {count} cameras, tracks and times, got {len(cameras)}, "
            f"{len(tracks)} and {len(time_s)}."
        )
    times = np.asarray(time_s, dtype=np.float64)
    if not np.isfinite(times).all():
        raise EvaluationError("Every picture of a track needs a time in seconds; some are missing.")
    camera = np.unique(cameras, return_inverse=True)[1].reshape(-1)
    track = np.unique(tracks, return_inverse=True)[1].reshape(-1)
    track = np.unique(camera * (track.max(initial=0) + 1) + track, return_inverse=True)[1]
    starts = np.full(track.max(initial=-1) + 1, np.inf)
    np.minimum.at(starts, track, times)
    is_early = (starts < np.median(starts))[track] if count else np.zeros(0, np.bool_)
    whole, fitting, judging = (
        _of_tracks(embeddings[rows], camera[rows], track[rows], times[rows], gap_s=gap_s)
        for rows in (np.ones(count, np.bool_), is_early, ~is_early)
    )
    return Material(whole, fitting, judging, "tracks", across_cameras=False)


def calibrate(
    material: Material,
    *,
    depth: int,
    flip: bool,
    data: str,
    match_rate: float = MATCH_RATE,
    candidate_rate: float = CANDIDATE_RATE,
    enrolled_share: float = 0.5,
    seed: int = 0,
    gallery_depth: int | None = None,
) -> Calibration:
    """Fit thresholds and probability.

    The rates are shares of strangers who may be answered with "matched", and with "matched" or
    "candidate". The probability assumes that `enrolled_share` of the searches are for enrolled
    people. `depth` is that of the queries' embeddings, averaged with those of the mirrored crops if
    `flip`; they were compared with embeddings of `gallery_depth`, None if the same. `data` is for
    the record.

    Raises:
        EvaluationError: There is too little data, the scores do not separate persons, or a rate is
            out of range.
    """
    if not 0 < match_rate <= candidate_rate < 1 or not 0 < enrolled_share < 1:
        raise EvaluationError(
            "Expected 0 < match rate <= candidate rate < 1 and 0 < enrolled share < 1, got "
            f"{match_rate:g}, {candidate_rate:g} and {enrolled_share:g}."
        )
    require_enough(material, match_rate)
    rates = (match_rate, candidate_rate)
    trial = _fit(material.fitting, rates, enrolled_share, seed)
    reliability = _judge(trial, material.judging, enrolled_share, seed + 1)
    if reliability.brier > (1 - _LEAST_SKILL) * reliability.base_brier:
        raise EvaluationError(
            f"The scores do not separate persons: on the unseen half, the probability has a Brier "
            f"score of {reliability.brier:.4f}, the constant mean {reliability.base_brier:.4f}. "
            f"{_POOR[material.kind]}"
        )
    fit = _fit(material.whole, rates, enrolled_share, seed)
    return Calibration(
        depth=depth,
        flip=flip,
        sizes=fit.sizes,
        match=Level(rate=match_rate, thresholds=fit.thresholds[0]),
        candidate=Level(rate=candidate_rate, thresholds=fit.thresholds[1]),
        slope=fit.slope,
        size_slope=fit.size_slope,
        intercept=fit.intercept,
        enrolled_share=enrolled_share,
        evidence=CalibrationEvidence(
            kind=material.kind,
            data=data,
            num_persons=material.whole.num_persons,
            num_searches=len(material.whole.own),
            num_comparisons=material.whole.num_comparisons,
            across_cameras=material.across_cameras,
        ),
        reliability=reliability,
        gallery_depth=gallery_depth,
    )


_POOR = {
    "persons": "Check that the persons' ids are right, and use a deeper or better trained network. "
    "(People drawn by adln can be distinguished only by networks trained on such people.)",
    "tracks": "Check that each track shows one person, and use a deeper or better trained network.",
}


@dataclass(frozen=True)
class _Fit:
    sizes: tuple[int, ...]
    thresholds: tuple[tuple[float, ...], tuple[float, ...]]
    slope: float
    size_slope: float
    intercept: float


def _of_persons(compared: PersonScores, persons: NDArray[np.int64]) -> Trials:
    rows = _spread(np.flatnonzero(np.isin(compared.query_person_ids, persons)))
    columns = np.flatnonzero(np.isin(compared.person_ids, persons))
    own = compared.scores[rows, compared.mates[rows]]
    is_own = columns == compared.mates[rows, np.newaxis]
    others = compared.scores[np.ix_(rows, columns)]
    others = others[~is_own].reshape(len(rows), max(0, len(columns) - 1))
    return Trials(np.where(np.isfinite(own), own, np.nan), others, len(persons))


def _of_tracks(
    embeddings: NDArray[np.float32],
    camera: NDArray[np.int64],
    track: NDArray[np.int64],
    times: NDArray[np.float64],
    *,
    gap_s: float,
) -> Trials:
    names, track = np.unique(track, return_inverse=True)
    order = np.lexsort((times, track))
    members = np.split(order, np.flatnonzero(np.diff(track[order])) + 1) if len(order) else []
    together: list[set[int]] = [set() for _ in names]
    seen = zip(camera.tolist(), times.tolist(), track.tolist(), strict=True)
    for one, other in in_one_frame(seen):
        together[one].add(other)
    own: list[float] = []
    others: list[list[float]] = []
    for one, rows in enumerate(members):
        if not together[one] and times[rows[-1]] - times[rows[0]] < gap_s:
            continue
        chosen = np.linspace(0, len(rows) - 1, min(_TRACK_PROBES, len(rows))).astype(int)
        probes = embeddings[rows[chosen]]
        near = np.abs(times[rows[chosen], np.newaxis] - times[rows]) < gap_s
        best = np.where(near, -np.inf, probes @ embeddings[rows].T).max(axis=1)
        own += np.where(np.isfinite(best), best, np.nan).tolist()
        scores = [(probes @ embeddings[members[other]].T).max(1) for other in sorted(together[one])]
        others += np.array(scores).reshape(-1, len(chosen)).T.tolist()
    most = max(map(len, others), default=0)
    matrix = np.full((len(own), most), np.nan, np.float32)
    for row, values in enumerate(others):
        matrix[row, : len(values)] = values
    kept = _spread(np.arange(len(own)))
    return Trials(np.array(own, dtype=np.float32)[kept], matrix[kept], len(names))


def _spread(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    if len(rows) <= _MOST_SEARCHES:
        return rows
    chosen: NDArray[np.int64] = rows[np.linspace(0, len(rows) - 1, _MOST_SEARCHES).astype(int)]
    return chosen


def require_enough(material: Material, match_rate: float) -> None:
    """Refuse too little material for a match rate, independent of the scores.

    Before anything is embedded, dummy scores are sufficient.

    Raises:
        EvaluationError: There are too few persons, searches or comparisons.
    """
    whole = material.whole
    if whole.num_persons < _LEAST_PERSONS:
        raise EvaluationError(
            f"{whole.num_persons} {material.kind} are too few for a calibration; at least "
            f"{_LEAST_PERSONS} are needed, some hundreds are better."
        )
    searches = int(np.count_nonzero(~np.isnan(whole.others).all(axis=1)))
    least = int(np.ceil(_LEAST_ERRORS / match_rate - 1e-9))
    if searches < least:
        seen = "that met another track in a frame" if material.kind == "tracks" else "with a name"
        raise EvaluationError(
            f"An error rate of {100 * match_rate:g} % cannot be stated from {searches:,} probes "
            f"{seen}; {least:,} are needed, so that {_LEAST_ERRORS} errors are expected. Use more "
            f"pictures or a higher rate: {_statable(searches)}"
        )
    for trials in (material.fitting, material.judging):
        known = int(np.count_nonzero(~np.isnan(trials.own)))
        if known < _LEAST_PERSONS or trials.num_comparisons == 0:
            raise EvaluationError(
                f"In one half of the {material.kind}, only {known} probes have a match and "
                f"there are {trials.num_comparisons:,} comparisons with others; at least "
                f"{_LEAST_PERSONS} and 1 are needed. Use more pictures; a match of a probe is "
                + (
                    "from another camera."
                    if material.across_cameras
                    else "another picture, or of a track one at least a second away."
                )
            )


def _statable(searches: int) -> str:
    """The rate that this many searches can show, rounded up, with its options."""
    rate = math.ceil(1000 * _LEAST_ERRORS / max(searches, 1)) / 1000
    if rate >= 1:
        return "none could be stated."
    loose = f" --candidate-rate {rate:g}" if rate > CANDIDATE_RATE else ""
    return f"{100 * rate:g} % could be stated (--match-rate {rate:g}{loose})."


def _gallery_sizes(trials: Trials, match_rate: float) -> tuple[int, ...]:
    totals = np.count_nonzero(~np.isnan(trials.others), axis=1)
    largest = int(totals.min())
    if largest < _MANY_OTHERS:
        largest = int(match_rate * trials.num_comparisons / _LEAST_ERRORS)
    powers = [1 << k for k in range(max(1, largest).bit_length())]
    return tuple(sorted({*powers, max(1, largest)}))


def _fit(trials: Trials, rates: tuple[float, float], share: float, seed: int) -> _Fit:
    sizes = _gallery_sizes(trials, rates[0])
    strict, loose = (
        np.maximum.accumulate([_threshold(trials.others, size, rate) for size in sizes])
        for rate in rates
    )
    scores, logs, labels, weights = [], [], [], []
    for size, best, is_right, weight in _draw_searches(trials, sizes, share, seed):
        scores.append(best)
        logs.append(np.full(len(best), np.log(size)))
        labels.append(is_right)
        weights.append(weight)
    slope, size_slope, intercept = _logistic(*map(np.concatenate, (scores, logs, labels, weights)))
    if slope <= 0:
        raise EvaluationError(
            "The scores do not separate persons: a higher score does not mean a likelier match. "
            "Check that persons or tracks belong to these features."
        )
    loose = np.minimum(loose, strict)
    return _Fit(
        sizes, (tuple(strict.tolist()), tuple(loose.tolist())), slope, size_slope, intercept
    )


def alarm_share(others: NDArray[np.float32], threshold: float, size: int) -> float:
    """FPIR: share of strangers who are answered, over all galleries of `size` persons.

    `others` are (Q, M) scores of probes with other persons, NaN where there are fewer; those at or
    above the threshold are answers.
    """
    totals = np.count_nonzero(~np.isnan(others), axis=1)
    hits = np.count_nonzero(others >= threshold, axis=1)[totals > 0]
    totals = totals[totals > 0]
    if len(totals) == 0:
        return 0.0
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, totals.max() + 1)))])
    left = totals - hits
    silent = np.exp(
        log_factorial[left]
        + log_factorial[np.maximum(totals - size, 0)]
        - log_factorial[np.maximum(left - size, 0)]
        - log_factorial[totals]
    )
    drawn = np.where(left >= size, 1 - silent, 1.0)
    return float(min(1.0, np.where(totals >= size, drawn, size * hits / totals).mean()))


def _threshold(others: NDArray[np.float32], size: int, rate: float) -> float:
    """The smallest threshold that keeps the FPIR within the rate."""
    finite = others[~np.isnan(others)]
    low, high = float(finite.min()), float(np.nextafter(finite.max(), np.float32(np.inf)))
    # False alarms decrease with the threshold, and there are none at `high`.
    while high - low > 1e-6:
        middle = (low + high) / 2
        if alarm_share(others, middle, size) <= rate:
            high = middle
        else:
            low = middle
    return high


Drawn = tuple[int, NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]


def _draw_searches(trials: Trials, sizes: tuple[int, ...], share: float, seed: int) -> list[Drawn]:
    """Searches in random galleries: size, best score, whether it is right, and weight."""
    rng = np.random.default_rng(seed)
    known = trials.others[~np.isnan(trials.others)]
    # If a probe has too few others, scores of other probes are used.
    gaps = np.isnan(trials.others)
    filled = trials.others.copy()
    filled[gaps] = rng.choice(known, int(gaps.sum()))
    shuffled = rng.permuted(filled, axis=1)
    missing = max(0, sizes[-1] - shuffled.shape[1])
    more = rng.choice(known, (len(shuffled), missing))
    tops = np.maximum.accumulate(np.concatenate([shuffled, more], axis=1), axis=1)
    mated = ~np.isnan(trials.own)
    own = trials.own[mated]
    drawn: list[Drawn] = []
    for size in sizes:
        rival = tops[mated, size - 2] if size > 1 else np.full(len(own), -np.inf)
        best = np.concatenate([np.maximum(own, rival), tops[:, size - 1]]).astype(np.float64)
        is_right = np.concatenate([own > rival, np.zeros(len(tops), np.bool_)])
        weight = np.concatenate(
            [np.full(len(own), share / len(own)), np.full(len(tops), (1 - share) / len(tops))]
        )
        drawn.append((size, best, is_right, weight * len(best)))
    return drawn


def _logistic(
    scores: NDArray[np.float64],
    logs: NDArray[np.float64],
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> tuple[float, float, float]:
    """Slope, size slope (at least 0) and intercept by Newton's method with step halving."""
    positives, negatives = int(labels.sum()), int((~labels).sum())
    # Platt's targets keep the fit finite if the scores separate perfectly.
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    columns = [scores, -logs, np.ones_like(scores)]
    use_sizes = bool(np.ptp(logs) > 0)
    while True:
        design = np.stack(columns if use_sizes else [columns[0], columns[2]], axis=1)
        found = _newton(design, targets, weights)
        slope, intercept = float(found[0]), float(found[-1])
        size_slope = float(found[1]) if use_sizes else 0.0
        if size_slope >= 0:
            return slope, size_slope, intercept
        use_sizes = False


def _newton(
    design: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    weights = weights / weights.sum()
    # A tiny ridge keeps the matrix invertible.
    ridge = 1e-9 * np.eye(design.shape[1])

    def loss(at: NDArray[np.float64]) -> float:
        odds = design @ at
        return float(weights @ (np.logaddexp(0, odds) - targets * odds) + at @ ridge @ at / 2)

    at = np.zeros(design.shape[1])
    value = loss(at)
    for _ in range(100):
        chance = 0.5 * (1 + np.tanh(design @ at / 2))
        gradient = design.T @ (weights * (chance - targets)) + ridge @ at
        curvature = (design * (weights * chance * (1 - chance))[:, np.newaxis]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        length = 1.0
        while loss(at - length * step) > value and length > 1e-6:
            length /= 2
        at = at - length * step
        before, value = value, loss(at)
        if abs(before - value) < 1e-12:
            break
    return at


def _judge(fit: _Fit, trials: Trials, share: float, seed: int) -> Reliability:
    """Reliability on trials unseen by the fit, in galleries as large as possible."""
    size = min(fit.sizes[-1], _gallery_sizes(trials, 1.0)[-1])
    size = max(known for known in fit.sizes if known <= size)
    ((_, best, is_right, weights),) = _draw_searches(trials, (size,), share, seed)
    weights = weights / weights.sum()
    odds = fit.intercept + fit.slope * best - fit.size_slope * np.log(size)
    chance = 0.5 * (1 + np.tanh(odds / 2))
    mean = float(weights @ is_right)
    clipped = chance.clip(1e-12, 1 - 1e-12)
    error = 0.0
    for group in np.array_split(np.argsort(chance, kind="stable"), _GROUPS):
        error += abs(float(weights[group] @ (chance[group] - is_right[group])))
    at = fit.sizes.index(size)
    num_mated = int(np.count_nonzero(~np.isnan(trials.own)))
    found = np.where(is_right, best, -np.inf)[:num_mated]
    strict, loose = (thresholds[at] for thresholds in fit.thresholds)
    return Reliability(
        gallery_size=size,
        brier=float(weights @ (chance - is_right) ** 2),
        base_brier=mean * (1 - mean),
        log_loss=-float(weights @ np.log(np.where(is_right, clipped, 1 - clipped))),
        calibration_error=error,
        matched_strangers=alarm_share(trials.others, strict, size),
        matched_enrolled=float(np.mean(found >= strict)),
        candidate_strangers=alarm_share(trials.others, loose, size),
        candidate_enrolled=float(np.mean(found >= loose)),
    )
