"""Cascade: accuracy if only the queries with a low-confidence shallow answer go deeper.

Sec. III.C of the paper cuts one network at four depths; a cascade uses the deeper stages only for
the crops that need them. A query that stays shallow is searched for in a gallery of its **own**
depth, which requires a gallery with both depths; or in the deep gallery, if the exits **share** a
space; in both cases optionally with **query expansion**: the deep embeddings of its best answers
search the deep gallery (`adln.matching.confidence.expand_queries`), as do then those of deeper
queries.

Thresholds are fitted on one half of the persons searched for and judged on the other, both ways.
Ranking never uses the persons of the gallery; a query's confidence may (`persons_known`), as in a
gallery of enrolled people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adln.datasets.split import Split
from adln.errors import EvaluationError
from adln.evaluation.protocol import Evaluation
from adln.evaluation.ranking import RetrievalMetrics, evaluate_features, row_blocks
from adln.matching.confidence import (
    ANSWERS,
    MORE_ANSWERS,
    confidence,
    expand_queries,
    threshold_for,
)

Gallery = Literal["own", "shared"]
DIAL = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class CascadePoint:
    """One point of a curve: intended and actual share of queries that go deeper, and results.

    The thresholds of these are fitted on other people. `threshold`, the confidence below which a
    crop goes deeper, is fitted on all queries; None for the shares 0 and 1. Shares are in 0..1.
    """

    asked: float
    deeper: float
    threshold: float | None
    rank1: float
    mean_ap: float


@dataclass(frozen=True)
class CascadeCurve:
    """Accuracy over the share of deeper queries, ascending, of one kind of search.

    `gallery` is where shallow queries are searched for, `persons_known` whether the confidence uses
    the persons of the answers, `expanded` whether there is query expansion.
    """

    gallery: Gallery
    persons_known: bool
    expanded: bool
    points: tuple[CascadePoint, ...]


@dataclass(frozen=True)
class CascadeResult:
    """Results of a cascade of two depths: a curve for each kind of search."""

    from_depth: int
    to_depth: int
    curves: tuple[CascadeCurve, ...]

    def curve(self, gallery: Gallery, *, persons_known: bool, expanded: bool) -> CascadeCurve:
        """The curve of one kind of search."""
        kinds = [(each.gallery, each.persons_known, each.expanded) for each in self.curves]
        return self.curves[kinds.index((gallery, persons_known, expanded))]

    @property
    def better_gallery(self) -> Gallery:
        """The gallery with the better results of shallow queries; "shared" if equal."""
        own, shared = (
            self.curve(gallery, persons_known=True, expanded=False).points[0].mean_ap
            for gallery in ("own", "shared")
        )
        return "shared" if shared >= own else "own"


@dataclass(frozen=True)
class StageCosts:
    """Cost of one crop in a cascade of two depths; measured by `adln.bench.cascade_costs`.

    Multiply-accumulates, and median times on one core, of the first file and of the others.
    """

    depths: tuple[int, int]
    shallow_macs: int
    deeper_macs: int
    shallow_ms: float
    deeper_ms: float

    def macs(self, share: float) -> float:
        """Mean multiply-accumulates of a crop if a share of them goes deeper."""
        return self.shallow_macs + share * self.deeper_macs

    def ms(self, share: float) -> float:
        """Mean time of a crop if a share of them goes deeper, without searching."""
        return self.shallow_ms + share * self.deeper_ms


def evaluate_cascade(
    evaluation: Evaluation,
    *,
    from_depth: int | None = None,
    to_depth: int | None = None,
    shares: Sequence[float] = DIAL,
) -> CascadeResult:
    """Evaluate a cascade on existing features of two depths or more.

    All queries are embedded at `from_depth`, by default the smallest; shares of them, each in 0..1,
    go deeper to `to_depth`, by default the largest.

    Raises:
        EvaluationError: The evaluation lacks one of the depths or they are not two, or only one
            person is searched for.
        SettingsError: A share is out of range.
    """
    depths = sorted(evaluation.results)
    from_depth = depths[0] if from_depth is None else from_depth
    to_depth = depths[-1] if to_depth is None else to_depth
    if not {from_depth, to_depth} <= set(depths) or from_depth >= to_depth:
        raise EvaluationError(
            f"A cascade needs two evaluated depths, the second deeper; got {from_depth} and "
            f"{to_depth} of {depths}."
        )
    first, last = evaluation.results[from_depth], evaluation.results[to_depth]
    query, gallery = evaluation.query, evaluation.gallery
    halves = _halves(query.person_ids)

    def found_by(queries: NDArray[np.float32], among: NDArray[np.float32]) -> RetrievalMetrics:
        return evaluate_features((queries, *query.ids), (among, *gallery.ids))

    def found_by_expanded(answers: _Answers) -> RetrievalMetrics:
        expanded = _expanded_queries(answers, last.gallery_features, last.query_features)
        return found_by(expanded, last.gallery_features)

    deep_answers = _best_answers(last.query_features, query, last.gallery_features, gallery)
    deep = {False: last.metrics, True: found_by_expanded(deep_answers)}
    curves = []
    galleries: tuple[tuple[Gallery, NDArray[np.float32]], ...] = (
        ("own", first.gallery_features),
        ("shared", last.gallery_features),
    )
    for name, features in galleries:
        answers = _best_answers(first.query_features, query, features, gallery)
        plain = first.metrics if name == "own" else found_by(first.query_features, features)
        shallow = {False: plain, True: found_by_expanded(answers)}
        persons = gallery.person_ids[answers.positions]
        for known, expanded in product((True, False), (False, True)):
            sure = confidence(answers.similarity, persons if known else None)
            points = tuple(
                _point(share, sure, halves, shallow[expanded], deep[expanded]) for share in shares
            )
            curves.append(CascadeCurve(name, known, expanded, points))
    return CascadeResult(from_depth, to_depth, tuple(curves))


def cascade_text(result: CascadeResult, costs: StageCosts | None = None) -> str:
    """The better gallery's curves as a table for a terminal, with the costs if measured."""
    gallery = result.better_gallery
    ways = ((True, False), (False, False), (True, True))
    curves = [result.curve(gallery, persons_known=known, expanded=b) for known, b in ways]
    deep, shallow = f"Res{result.to_depth}", f"Res{result.from_depth}"
    where = f"a gallery of {shallow}" if gallery == "own" else f"the gallery of {deep}: one space"
    head, above = "deeper     below", " " * 16
    if costs is not None:
        head, above = f"{head}{'GMACs':>8}{'ms':>8}", above + " " * 16
    head += f"{'Rank-1':>10}{'mAP':>7}" * len(ways)
    above += "".join(f"{name:>17}" for name in ("persons known", "unknown", "query expansion"))
    lines = [
        f"Cascade {shallow} to {deep}; queries that stay at {shallow} are searched for in {where}.",
        "",
        above,
        head,
        "─" * len(head),
    ]
    for points in zip(*(curve.points for curve in curves), strict=True):
        point = points[0]
        limit = "–" if point.threshold is None else f"{point.threshold:.5f}"
        line = f"{100 * point.deeper:4.0f} %{limit:>10}"
        if costs is not None:
            line += f"{costs.macs(point.deeper) / 1e9:8.2f}{costs.ms(point.deeper):8.2f}"
        lines.append(line + "".join(f"{100 * p.rank1:10.2f}{100 * p.mean_ap:7.2f}" for p in points))
    lines += [
        "",
        "A crop goes deeper if its confidence is below the threshold, which was fitted on other",
        "people. Shares, thresholds and costs are those with the gallery's persons known. Query",
        "expansion: all queries search again with the deep embeddings of their best answers.",
    ]
    if costs is not None:
        lines.append("Time: median for one crop on one core, without searching.")
    return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class _Answers:
    """The 50 best answers to each of Q queries, (Q, 50), padded with -inf."""

    similarity: NDArray[np.float32]
    positions: NDArray[np.int64]


def _best_answers(
    queries: NDArray[np.float32], query: Split, features: NDArray[np.float32], gallery: Split
) -> _Answers:
    """Search by the protocol: without pictures of the query's person from its own camera."""
    count = min(MORE_ANSWERS, len(features))
    similarity = np.full((len(queries), MORE_ANSWERS), -np.inf, np.float32)
    positions = np.zeros((len(queries), MORE_ANSWERS), np.int64)
    for block in row_blocks(len(queries), len(features) * 16):
        scores = queries[block] @ features.T
        junk = query.person_ids[block, np.newaxis] == gallery.person_ids
        junk &= query.camera_ids[block, np.newaxis] == gallery.camera_ids
        scores[junk] = -np.inf
        best = np.argpartition(scores, len(features) - count, axis=1)[:, -count:]
        best_scores = np.take_along_axis(scores, best, axis=1)
        order = np.argsort(-best_scores, axis=1, kind="stable")
        positions[block, :count] = np.take_along_axis(best, order, axis=1)
        similarity[block, :count] = np.take_along_axis(best_scores, order, axis=1)
    return _Answers(similarity, positions)


def _expanded_queries(
    answers: _Answers, features: NDArray[np.float32], own: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The expanded queries, (Q, D); a query without answers keeps its own feature."""
    expanded = np.empty((len(answers.positions), features.shape[1]), np.float32)
    for rows in row_blocks(len(expanded), ANSWERS * features.shape[1] * 4):
        best = rows, slice(ANSWERS)
        expanded[rows] = expand_queries(features[answers.positions[best]], answers.similarity[best])
    has_none = ~expanded.any(axis=1)
    expanded[has_none] = own[has_none]
    return expanded


def _halves(person_ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Divide the persons searched for, with their queries, into two halves."""
    persons = np.unique(person_ids)
    if len(persons) < 2:
        raise EvaluationError(
            "Thresholds are fitted on some persons and judged on others, which needs queries of "
            f"at least two persons, got {len(persons)}."
        )
    shuffled = np.random.default_rng(0).permutation(persons)
    return np.isin(person_ids, shuffled[: len(persons) // 2])


def _point(
    share: float,
    sure: NDArray[np.float64],
    halves: NDArray[np.bool_],
    stays: RetrievalMetrics,
    goes_deeper: RetrievalMetrics,
) -> CascadePoint:
    is_deeper = np.empty(len(sure), np.bool_)
    for half in (halves, ~halves):
        is_deeper[half] = sure[half] < threshold_for(sure[~half], share)
    # Which queries have a match depends only on ids, so both metrics cover the same ones.
    is_deeper = is_deeper[stays.valid_queries]
    precision = np.where(is_deeper, goes_deeper.average_precision, stays.average_precision)
    first_rank = np.where(is_deeper, goes_deeper.first_match_rank, stays.first_match_rank)
    return CascadePoint(
        asked=share,
        deeper=float(is_deeper.mean()),
        threshold=threshold_for(sure, share) if 0 < share < 1 else None,
        rank1=float(np.mean(first_rank == 1)),
        mean_ap=float(precision.mean()),
    )
