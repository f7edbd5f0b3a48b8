"""Report: the figures of an evaluation as a table in the form of the paper's Table 1.

Implements the rows of Table 1 (Rank-1, mAP, parameters, FLOPs for Res1..Res4), plus Rank-5, Rank-10
and mINP, as text for a terminal and as JSON. `adln.reports.report_page` makes a web page of the
same report.
"""

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from adln import __version__
from adln.evaluation.cross_depth import CrossDepthCell, cross_depth_text
from adln.evaluation.protocol import Evaluation
from adln.evaluation.unseen import SetRow, unseen_text

FORMAT = "adln-evaluation-report-1"


@dataclass(frozen=True)
class ReportRow:
    """One depth; shares are in 0..1, and what is not known or not evaluated is None.

    `cmc` is the whole curve, from rank 1; `flops` are those of one crop, counted as in Table 1 (a
    multiply-add is one); `called` is the display name, if not that of its depth.
    """

    depth: int
    rank1: float
    rank5: float
    rank10: float
    mean_ap: float
    minp: float
    cmc: tuple[float, ...]
    params: int | None = None
    flops: int | None = None
    reranked_rank1: float | None = None
    reranked_mean_ap: float | None = None
    called: str = ""

    @property
    def name(self) -> str:
        """Name of the depth in the paper, Res1..Res4; of a third-party network, its own name."""
        return self.called or f"Res{self.depth}"


@dataclass(frozen=True)
class EvaluationReport:
    """The figures of an evaluation.

    Attributes:
        num_valid_query: Queries with a match, over which all means are taken.
        num_gallery: Gallery pictures, without junk.
        num_persons: Persons searched for.
        num_cameras: Cameras in query and gallery.
        flip: Whether features were averaged with those of the mirrored crops.
        rows: One per depth, ascending.
        notes: Remarks, such as the notice of a data set.
        cross_depth: Every depth's queries in every depth's gallery; empty if not requested.
        sets: Figures with intervals on this and other data sets, seen or not; may be empty.
    """

    dataset: str
    num_query: int
    num_valid_query: int
    num_gallery: int
    num_persons: int
    num_cameras: int
    flip: bool
    rows: tuple[ReportRow, ...]
    command: str = ""
    notes: tuple[str, ...] = ()
    version: str = __version__
    cross_depth: tuple[CrossDepthCell, ...] = ()
    sets: tuple[SetRow, ...] = ()

    @property
    def protocol(self) -> str:
        """The protocol, in a sentence."""
        flip = "averaged with those of the mirrored crop" if self.flip else "of the crop alone"
        return (
            f"Single query, cosine similarity, features {flip}; pictures of the query's person "
            "from the query's own camera are left out."
        )

    def to_text(self) -> str:
        """Aligned table for a terminal of 80 columns, or 100 with re-ranking."""
        columns = columns_of(self.rows)
        cells = [[column.title for column in columns]]
        cells += [[column.cell(row) for column in columns] for row in self.rows]
        lines = aligned(cells, words=1)
        rule = "─" * max(len(line) for line in lines)
        head = [self.headline, *textwrap.wrap(self.counts, 80), ""]
        foot = ["", *textwrap.wrap(self.protocol, 80)]
        if self.cross_depth:
            foot = ["", cross_depth_text(self.cross_depth), *foot]
        if self.sets:
            foot = ["", unseen_text(self.sets), *foot]
        if self.command:
            foot += ["", f"$ {self.command}"]
        for note in self.notes:
            foot += ["", *textwrap.wrap(note, 80)]
        return "\n".join([*head, lines[0], rule, *lines[1:], *foot])

    @property
    def headline(self) -> str:
        """Data set and version in one line."""
        return f"{self.dataset}, evaluated by adln {self.version}"

    @property
    def counts(self) -> str:
        """Queries, persons and pictures, in one line."""
        skipped = self.num_query - self.num_valid_query
        without_match = f" ({skipped:,} without a match, skipped)" if skipped > 0 else ""
        return (
            f"{self.num_query:,} queries{without_match} of {self.num_persons:,} persons in "
            f"{self.num_gallery:,} gallery pictures, {self.num_cameras} cameras"
        )

    def to_json(self) -> str:
        """The report as JSON, for other programs."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False)


@dataclass(frozen=True)
class Column:
    """A column of the table: heading, text of a row's cell, its number to compare rows, if any.

    `best` is `max` or `min`, which finds the best row; None if rows are not compared.
    """

    title: str
    cell: Callable[[ReportRow], str]
    value: Callable[[ReportRow], float | None]
    best: Callable[..., float] | None = None


def columns_of(rows: Sequence[ReportRow]) -> list[Column]:
    """The columns for these rows: those of Table 1, then re-ranking if evaluated."""

    def share(title: str, value: Callable[[ReportRow], float | None]) -> Column:
        return Column(title, lambda row: _percent(value(row)), value, max)

    columns = [
        Column("Depth", lambda row: row.name, lambda row: row.depth),
        share("Rank-1", lambda row: row.rank1),
        share("Rank-5", lambda row: row.rank5),
        share("Rank-10", lambda row: row.rank10),
        share("mAP", lambda row: row.mean_ap),
        share("mINP", lambda row: row.minp),
    ]
    if any(row.params is not None for row in rows):
        columns.append(
            Column("Params (M)", lambda row: _scaled(row.params, 1e6), lambda row: row.params, min)
        )
    if any(row.flops is not None for row in rows):
        columns.append(
            Column("FLOPs (G)", lambda row: _scaled(row.flops, 1e9), lambda row: row.flops, min)
        )
    if any(row.reranked_rank1 is not None for row in rows):
        columns.append(share("RR Rank-1", lambda row: row.reranked_rank1))
        columns.append(share("RR mAP", lambda row: row.reranked_mean_ap))
    return columns


def make_report(
    evaluation: Evaluation,
    *,
    dataset: str,
    flip: bool,
    params: Mapping[int, int] | None = None,
    flops: Mapping[int, int] | None = None,
    command: str = "",
    notes: Sequence[str] = (),
    cross_depth: Sequence[CrossDepthCell] = (),
    sets: Sequence[SetRow] = (),
    names: Mapping[int, str] | None = None,
) -> EvaluationReport:
    """Make a report of an evaluation, rows by ascending depth.

    `params`, `flops` and display `names` are by depth, as far as known; see `EvaluationReport`.

    Raises:
        EvaluationError: The evaluation's CMC ends before rank 10.
    """
    query, gallery = evaluation.query, evaluation.gallery
    rows = []
    for depth in sorted(evaluation.results):
        result = evaluation.results[depth]
        metrics, reranked = result.metrics, result.reranked
        rows.append(
            ReportRow(
                depth=depth,
                rank1=metrics.rank(1),
                rank5=metrics.rank(5),
                rank10=metrics.rank(10),
                mean_ap=metrics.mean_ap,
                minp=metrics.minp,
                cmc=tuple(metrics.cmc.tolist()),
                params=(params or {}).get(depth),
                flops=(flops or {}).get(depth),
                reranked_rank1=None if reranked is None else reranked.rank(1),
                reranked_mean_ap=None if reranked is None else reranked.mean_ap,
                called=(names or {}).get(depth, ""),
            )
        )
    return EvaluationReport(
        dataset=dataset,
        num_query=len(query),
        num_valid_query=min(r.metrics.num_valid_queries for r in evaluation.results.values()),
        num_gallery=len(gallery),
        num_persons=len(np.unique(query.person_ids)),
        num_cameras=len(np.unique(np.concatenate([query.camera_ids, gallery.camera_ids]))),
        flip=flip,
        rows=tuple(rows),
        command=command,
        notes=tuple(notes),
        cross_depth=tuple(cross_depth),
        sets=tuple(sets),
    )


def aligned(table: Sequence[Sequence[str]], *, words: int) -> list[str]:
    """A table as lines: the first `words` columns left-aligned, the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < words else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"


def _scaled(number: int | None, unit: float) -> str:
    return "–" if number is None else f"{number / unit:.2f}"
