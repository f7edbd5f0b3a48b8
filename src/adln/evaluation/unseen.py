"""Compares results on seen and unseen data sets.

Sec. III trains and tests on one data set, with different people but the same cameras. How a network
performs at other cameras shows only on a data set it was not trained on. For each data set and
depth: Rank-1 and mAP, as in Table 1, and the TPR at an FPR of 0.1 % and 1 % over *all* pairs of a
query and a gallery picture from two cameras.

Each figure has a 95 % interval from a bootstrap over persons: those searched for are drawn with
replacement, with all their queries; the gallery does not change. It shows how far the figure
depends on the persons, not on the cameras.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13 (percentile
intervals).
"""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adln.datasets.catalogue import LAYOUTS, NAMELESS, family, names_in
from adln.embeddings import unit_length
from adln.errors import DatasetError
from adln.evaluation.open_set import can_tell, threshold_at
from adln.evaluation.protocol import DepthResult, Evaluation
from adln.evaluation.ranking import row_blocks

Seen = Literal["seen", "unseen", "not stated"]
FALSE_RATES = (0.001, 0.01)
DRAWS = 1000
_COVERED = (0.025, 0.975)
# Cosines are binned for the intervals; the figures themselves are exact. Each range between two of
# these quantiles of pairs of two persons has as many bins, because a network may give all pairs
# nearly the same cosine.
_BINS = 4096
_QUANTILES = (0.0, 0.5, 0.9, 0.99, 0.999, 1.0)
_SAMPLED_QUERIES = 64
NOT_STATED = "unstated"
"""In the training data of a network: further data whose name is not known."""
# Training data that is known to be of none of the data sets.
_OF_NO_SET = ("photographs", "drawn people")
# Data sets that share persons.
_HOLDS = {"cuhk02": "cuhk01"}


@dataclass(frozen=True)
class Estimate:
    """A share in 0..1 over all persons with its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SetRow:
    """Figures of one depth on one data set.

    `seen` says whether the network was trained on (other people of) it, `num_persons` how many
    persons searched for have a match, `called` the display name of the depth, if not Res1..Res4. A
    TPR at an FPR of 0.1 % (1 %) is None with fewer than 1,000 (100) pairs of two persons.
    """

    dataset: str
    seen: Seen
    depth: int
    num_persons: int
    rank1: Estimate
    mean_ap: Estimate
    tpr_at_one_per_mille: Estimate | None
    tpr_at_one_percent: Estimate | None
    called: str = ""

    @property
    def name(self) -> str:
        """Display name of the depth."""
        return self.called or f"Res{self.depth}"


def was_seen(dataset: str, trained_on: str, *, also: Sequence[str] = ()) -> Seen:
    """Whether a network was trained on a data set.

    However their names are spelt; "cuhk03-labeled" and "cuhk03-detected" show the same people, and
    CUHK02 contains CUHK01. `trained_on` names data sets, from the network file ("" if it has none),
    `also` further ones. Where it says anything else, such as "my own pictures", whose they are is
    not known, so that no other data set is unseen.
    """
    own = family(dataset)
    stated, rest = names_in(trained_on)
    stated |= {family(name) for name in also}
    if own in stated | {_HOLDS[name] for name in stated if name in _HOLDS}:
        return "seen"
    unknown = [
        part
        for part in map(str.strip, re.split(r"[,;+]|\band\b", rest.lower()))
        if re.search(r"\w", part) and part not in _OF_NO_SET
    ]
    is_known = own in LAYOUTS and own not in NAMELESS
    return "unseen" if trained_on.strip() and is_known and not unknown else "not stated"


def require_known(seen: Sequence[str]) -> None:
    """Raise a DatasetError of a name, for `also` of `was_seen`, that is no data set's."""
    for name in seen:
        if family(name) not in LAYOUTS:
            raise DatasetError(
                f"there is no data set {name!r} that a network can have seen; known: "
                f"{', '.join(LAYOUTS)}."
            )


def measure_set(
    evaluation: Evaluation,
    *,
    dataset: str,
    seen: Seen,
    draws: int = DRAWS,
    seed: int = 0,
    names: Mapping[int, str] | None = None,
) -> tuple[SetRow, ...]:
    """Measure all depths on one data set: a row for each, ascending.

    The same persons are drawn at every depth. `names` are display names by depth, if not
    Res1..Res4.
    """
    rows = []
    for depth in sorted(evaluation.results):
        result = evaluation.results[depth]
        metrics = result.metrics
        persons = evaluation.query.person_ids[metrics.valid_queries]
        _, groups = np.unique(persons, return_inverse=True)
        count = int(groups.max()) + 1
        weights = _drawn_persons(count, draws, seed)
        strict, loose = _pair_figures(evaluation, result, seed, draws)
        rows.append(
            SetRow(
                dataset=dataset,
                seen=seen,
                depth=depth,
                num_persons=count,
                rank1=_mean_figure(metrics.first_match_rank == 1, groups, weights),
                mean_ap=_mean_figure(metrics.average_precision, groups, weights),
                tpr_at_one_per_mille=strict,
                tpr_at_one_percent=loose,
                called=(names or {}).get(depth, ""),
            )
        )
    return tuple(rows)


def unseen_text(rows: Sequence[SetRow]) -> str:
    """The rows as a table for a terminal of 100 columns, in percent.

    Each figure is followed by half the length of its interval.
    """
    names = [f"{row.dataset} ({row.seen})" for row in rows]
    width = max(len("Data set"), *map(len, names))
    called = max(len("Depth"), *(len(row.name) for row in rows))
    head = f"{'Depth':<{called}} {'Data set':<{width}}{'Persons':>9}"
    head += "".join(f"{title:>12}" for title in COLUMNS)
    lines = [head, "─" * len(head)]
    for name, row in zip(names, rows, strict=True):
        cells = "".join(f"{_short(figure):>12}" for figure in figures_of(row))
        lines.append(f"{row.name:<{called}} {name:<{width}}{row.num_persons:>9,}{cells}")
    return "\n".join([*lines, "", *textwrap.wrap(f"{WORDS} ±: half of that interval.", 80)])


def _short(figure: Estimate | None) -> str:
    if figure is None:
        return "–"
    return f"{100 * figure.value:.1f} ±{50 * (figure.high - figure.low):.1f}"


COLUMNS = ("Rank-1", "mAP", "TPR@0.1%", "TPR@1%")
WORDS = (
    "TPR@x: share of pairs of one person accepted by the threshold that accepts x of the pairs of "
    "two persons, over all pairs across cameras. Intervals: 95 % of a bootstrap over the persons "
    "searched for. Seen: the network was trained on other people of this data set; unseen: it was "
    "not."
)


def figures_of(row: SetRow) -> tuple[Estimate | None, ...]:
    """The figures of a row in the order of `COLUMNS`."""
    return row.rank1, row.mean_ap, row.tpr_at_one_per_mille, row.tpr_at_one_percent


def figure_text(figure: Estimate | None) -> str:
    """A figure in percent with its interval; a dash if there is none."""
    if figure is None:
        return "–"
    return f"{100 * figure.value:.1f} [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def _drawn_persons(count: int, draws: int, seed: int) -> NDArray[np.int64]:
    """(draws, persons): how often each person is in each draw."""
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)


def _mean_figure(
    values: NDArray[np.float64] | NDArray[np.bool_],
    groups: NDArray[np.int64],
    weights: NDArray[np.int64],
) -> Estimate:
    """Mean over queries, with its interval over draws of persons."""
    sums = np.bincount(groups, weights=values.astype(np.float64))
    counts = np.bincount(groups)
    drawn = (weights @ sums) / (weights @ counts)
    return _figure(float(np.mean(values)), drawn)


def _figure(value: float, drawn: NDArray[np.float64]) -> Estimate:
    low, high = np.quantile(drawn, _COVERED)
    return Estimate(value, float(low), float(high))


def _pair_figures(
    evaluation: Evaluation, result: DepthResult, seed: int, draws: int
) -> list[Estimate | None]:
    """TPR at each of `FALSE_RATES`; None if there are too few pairs of two persons."""
    query, gallery = evaluation.query, evaluation.gallery
    queries = unit_length(result.query_features)
    stored = unit_length(result.gallery_features)
    _, groups = np.unique(query.person_ids, return_inverse=True)
    persons = int(groups.max()) + 1
    # Histogram of the cosines of pairs, per person searched for.
    same_counts = np.zeros((persons, _BINS), np.int64)
    false_counts = np.zeros((persons, _BINS), np.int64)
    same: list[NDArray[np.float32]] = []
    keep = int(max(FALSE_RATES) * len(query) * len(gallery)) + 2
    best = np.empty(0, np.float32)
    num_false = 0
    knots = _knots(evaluation, queries, stored)
    places = np.linspace(0, _BINS - 1, len(knots))
    for block in row_blocks(len(query), len(gallery) * 32):
        cosines = queries[block] @ stored.T
        across = query.camera_ids[block, np.newaxis] != gallery.camera_ids
        one = query.person_ids[block, np.newaxis] == gallery.person_ids
        bins = np.interp(cosines, knots, places).astype(np.int32)
        for row, group in enumerate(groups[block]):
            same_counts[group] += np.bincount(bins[row, across[row] & one[row]], minlength=_BINS)
            false_counts[group] += np.bincount(bins[row, across[row] & ~one[row]], minlength=_BINS)
        same.append(cosines[across & one])
        false = cosines[across & ~one]
        num_false += len(false)
        best = np.concatenate([best, false])
        if len(best) > keep:
            best = np.partition(best, len(best) - keep)[-keep:]
    found = np.concatenate(same)
    weights = _drawn_persons(persons, draws, seed)
    # Pairs at or above the lower edge of each bin, in each draw.
    drawn_same = np.cumsum((weights @ same_counts)[:, ::-1], axis=1)[:, ::-1]
    drawn_false = np.cumsum((weights @ false_counts)[:, ::-1], axis=1)[:, ::-1]
    return [
        _pair_figure(rate, found, best, num_false, drawn_same, drawn_false) for rate in FALSE_RATES
    ]


def _knots(
    evaluation: Evaluation, queries: NDArray[np.float32], stored: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Ascending cosines, between each two of which as many bins lie; see `_QUANTILES`."""
    query, gallery = evaluation.query, evaluation.gallery
    some = slice(None, None, max(1, len(query) // _SAMPLED_QUERIES))
    are_two = query.person_ids[some, np.newaxis] != gallery.person_ids
    are_two &= query.camera_ids[some, np.newaxis] != gallery.camera_ids
    cosines = (queries[some] @ stored.T)[are_two]
    inner = np.quantile(cosines, _QUANTILES) if len(cosines) else ()
    # Rounding can carry a cosine a little beyond 1.
    return np.unique([-1.001, *inner, 1.001])


def _pair_figure(
    rate: float,
    same: NDArray[np.float32],
    best: NDArray[np.float32],
    num_false: int,
    drawn_same: NDArray[np.int64],
    drawn_false: NDArray[np.int64],
) -> Estimate | None:
    if not can_tell(rate, num_false):
        return None
    value = float(np.mean(same >= threshold_at(best, rate, of=num_false)))
    allowed = drawn_false <= rate * drawn_false[:, :1]
    # The first bin that keeps within the rate; there is none if all pairs are in the last.
    first = np.where(allowed.any(axis=1), allowed.argmax(axis=1), _BINS - 1)
    at = drawn_same[np.arange(len(first)), first]
    return _figure(value, at / np.maximum(drawn_same[:, 0], 1))
