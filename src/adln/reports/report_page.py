"""Report page: an evaluation as a single HTML file.

Shows the table of `adln.evaluation.report` (in the form of the paper's Table 1), the CMC curves,
accuracy against computation, and ranked lists. It has no scripts and loads no external fonts or
pictures, so it can be mailed and opened offline. Its template is ``templates/report.html``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from adln.boxes import shared_areas
from adln.evaluation.cross_depth import CrossDepthCell
from adln.evaluation.report import EvaluationReport, ReportRow, columns_of
from adln.evaluation.unseen import COLUMNS, WORDS, figure_text, figures_of
from adln.reports.pages import jpeg_uri, render

_CMC_RANKS = 20
_JPEG_QUALITY = 88
# Approximate width of a letter in a chart.
_LETTER_PX = 8
# Darker with depth; each dark enough for text on white.
_DEPTH_COLOURS = ("#0d8585", "#2679b5", "#3f51a3", "#2b2560")
# Background for a share of 0 and of 1; text has a contrast above 4.5 on both.
_PALEST, _DARKEST = (246, 249, 252), (96, 165, 220)


@dataclass(frozen=True, eq=False)
class RankedListPicture:
    """Ranked lists as a picture, with a heading such as "Res4" and a text alternative."""

    title: str
    picture: Image.Image
    description: str


def write_html(
    path: Path, report: EvaluationReport, ranked_lists: Sequence[RankedListPicture] = ()
) -> None:
    """Write the page to a file; see `report_html`."""
    page = report_html(report, ranked_lists)
    path.write_text(page, encoding="utf-8", errors="backslashreplace")


def report_html(report: EvaluationReport, ranked_lists: Sequence[RankedListPicture] = ()) -> str:
    """The page, a complete HTML document; of the ranked lists, the first is shown open."""
    costs = _cost_chart(report)
    return render(
        "report.html",
        title=f"Person re-identification on {report.dataset}",
        report=report,
        highlights=_highlights(report),
        table=_table(report),
        sets_words=WORDS,
        sets_columns=list(COLUMNS),
        figures_of=figures_of,
        figure_text=figure_text,
        matrices=[
            ("Rank-1", *_matrix(report, lambda cell: cell.rank1)),
            ("mAP", *_matrix(report, lambda cell: cell.mean_ap)),
        ],
        shade=_shade,
        charts=[_cmc_chart(report)] + ([costs] if costs else []),
        pictures=[(item, jpeg_uri(item.picture, quality=_JPEG_QUALITY)) for item in ranked_lists],
        terms=_terms(report),
    )


def _highlights(report: EvaluationReport) -> list[tuple[str, str, str]]:
    """Value, measure and meaning of the figures shown large."""
    best = max(report.rows, key=lambda row: row.mean_ap)
    cards = [
        (f"{100 * share:.1f} %", measure, f"{best.name}: {meaning}")
        for share, measure, meaning in (
            (best.rank1, "Rank-1", "queries whose first answer is right"),
            (best.mean_ap, "mAP", "right answers ranked above wrong ones"),
            (best.minp, "mINP", "rank of the last right answer"),
        )
    ]
    lightest = min(report.rows, key=lambda row: row.depth)
    if lightest is not best and lightest.flops and best.flops:
        cards.append(
            (
                f"{best.flops / lightest.flops:.1f} ×",
                "less computation",
                f"{lightest.name} against {best.name}, at Rank-1 {100 * lightest.rank1:.1f} %",
            )
        )
    return cards


def _table(report: EvaluationReport) -> dict[str, Any]:
    """Column titles; for each depth its colour, name and cells (text, whether it is the best)."""
    name, *columns = columns_of(report.rows)
    best: list[float | None] = []
    for column in columns:
        values = [value for value in map(column.value, report.rows) if value is not None]
        is_compared = len(values) > 1 and column.best is not None
        best.append(column.best(values) if is_compared and column.best else None)
    return {
        "titles": [column.title for column in (name, *columns)],
        "rows": [
            {
                "colour": _colour(row),
                "name": name.cell(row),
                "cells": [
                    (column.cell(row), top is not None and column.value(row) == top)
                    for column, top in zip(columns, best, strict=True)
                ],
            }
            for row in report.rows
        ],
    }


def _colour(row: ReportRow) -> str:
    return _DEPTH_COLOURS[(row.depth - 1) % len(_DEPTH_COLOURS)]


def _matrix(
    report: EvaluationReport, value: Callable[[CrossDepthCell], float]
) -> tuple[list[int], list[tuple[int, list[float]]]]:
    """Depths of the gallery; for each depth of the queries, its values."""
    depths = sorted({cell.query_depth for cell in report.cross_depth})
    shares = {(cell.query_depth, cell.gallery_depth): value(cell) for cell in report.cross_depth}
    return depths, [(query, [shares[query, stored] for stored in depths]) for query in depths]


def _shade(share: float) -> str:
    shade = ",".join(
        str(round(light + (dark - light) * share))
        for light, dark in zip(_PALEST, _DARKEST, strict=True)
    )
    return f"rgb({shade})"


@dataclass(frozen=True)
class _Axes:
    """Maps the values of a chart to SVG units."""

    x_from: float
    x_to: float
    y_from: float
    y_to: float
    left: float = 46
    right: float = 452
    top: float = 16
    bottom: float = 282

    def x(self, value: float) -> float:
        share = (value - self.x_from) / (self.x_to - self.x_from)
        return self.left + share * (self.right - self.left)

    def y(self, value: float) -> float:
        share = (value - self.y_from) / (self.y_to - self.y_from)
        return self.bottom - share * (self.bottom - self.top)


def _percent_axis(shares: Sequence[float]) -> tuple[float, list[float]]:
    """Lower end and ticks, in percent, of an axis that ends at 100."""
    lowest = 100 * min(shares)
    step = next(step for step in (2, 5, 10, 20) if (100 - lowest) / step <= 5 or step == 20)
    start = min(max(0, lowest // step * step), 100 - step)
    return start, [tick for tick in range(0, 101, step) if tick >= start]


def _cmc_chart(report: EvaluationReport) -> dict[str, Any]:
    curves = [row.cmc[:_CMC_RANKS] for row in report.rows]
    length = max(2, *(len(curve) for curve in curves))
    start, y_ticks = _percent_axis([curve[0] for curve in curves])
    axes = _Axes(1, length, start, 100)
    ends = _spread([axes.y(100 * curve[-1]) for curve in curves], 17)
    return {
        "name": "cmc",
        "title": "CMC curve",
        "caption": "Share of queries, in percent, with a right answer up to each rank.",
        "words": "; ".join(
            f"{row.name} {100 * row.rank1:.1f} % at rank 1, {100 * curve[-1]:.1f} % at rank "
            f"{len(curve)}"
            for row, curve in zip(report.rows, curves, strict=True)
        ),
        "axes": axes,
        "x_ticks": [tick for tick in (1, 5, 10, 15, 20) if tick <= length],
        "y_ticks": y_ticks,
        "x_title": "rank: number of answers",
        "series": [
            {
                "label": row.name,
                "label_y": label_y,
                "colour": _colour(row),
                "points": [(axes.x(k + 1), axes.y(100 * share)) for k, share in enumerate(curve)],
            }
            for row, curve, label_y in zip(report.rows, curves, ends, strict=True)
        ],
    }


def _cost_chart(report: EvaluationReport) -> dict[str, Any] | None:
    rows = [row for row in report.rows if row.flops is not None]
    if len(rows) < 2:
        return None
    giga = {row.depth: (row.flops or 0) / 1e9 for row in rows}
    limit = max(giga.values())
    step = next(
        step
        for step in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 50, 500)
        if limit / step <= 6 or step == 500
    )
    x_to = (limit // step + 1) * step
    start, y_ticks = _percent_axis([row.mean_ap for row in rows])
    axes = _Axes(0, x_to, start, 100)
    points = [(axes.x(giga[row.depth]), axes.y(100 * row.mean_ap)) for row in rows]
    labels = [f"{row.name} {100 * row.mean_ap:.1f}" for row in rows]
    return {
        "name": "cost",
        "title": "Accuracy against computation",
        "caption": "mAP in percent at each depth. Choose the depth that your device can afford.",
        "words": "; ".join(
            f"{row.name} {100 * row.mean_ap:.1f} % mAP for {giga[row.depth]:.2f} GFLOPs"
            for row in rows
        ),
        "axes": axes,
        "x_ticks": [index * step for index in range(round(x_to / step) + 1)],
        "y_ticks": y_ticks,
        "x_title": "computation for one crop in GFLOPs, as in Table 1",
        "joined": points,
        "series": [
            {
                "label": label,
                "label_x": label_x,
                "label_y": label_y,
                "colour": _colour(row),
                "points": [point],
            }
            for row, label, point, (label_x, label_y) in zip(
                rows, labels, points, _beside(points, labels, axes.bottom), strict=True
            )
        ],
    }


def _beside(
    points: Sequence[tuple[float, float]], labels: Sequence[str], bottom: float
) -> list[tuple[float, float]]:
    """Start of each point's label: below the point, above it, or further away if that is taken.

    Labels are placed above `bottom` if possible.
    """
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in points]
    places = []
    for (x, y), label in zip(points, labels, strict=True):
        width = _LETTER_PX * len(label)
        choices = [(x + 10, y + dy) for dy in (18, -12, -30, -48, -66, 36, 54, 72)]
        choices.sort(key=lambda place: place[1] > bottom)
        boxes = [(left, base - 12, left + width, base + 4) for left, base in choices]
        is_taken = shared_areas(np.array(boxes), np.array(taken)).any(axis=1)
        at = int(is_taken.argmin())  # the first that is free; if none is, the first
        taken.append(boxes[at])
        places.append(choices[at])
    return places


def _spread(positions: Sequence[float], distance: float) -> list[float]:
    """Move labels apart so that neighbours are at least `distance` apart."""
    spread = list(positions)
    # Equal positions keep the deepest network on top, as its curve usually is.
    order = sorted(range(len(positions)), key=lambda index: (positions[index], -index))
    for above, below in pairwise(order):
        spread[below] = max(spread[below], spread[above] + distance)
    return spread


def _terms(report: EvaluationReport) -> list[tuple[str, str]]:
    terms = [
        ("Rank-k", "Share of queries with a right answer among the first k."),
        ("mAP", "Mean average precision: how far right answers are ranked above wrong ones."),
        ("mINP", "Mean inverse negative penalty: how early the last right answer is ranked."),
    ]
    if any(row.params is not None or row.flops is not None for row in report.rows):
        words = (
            "Millions of parameters; billions of operations for one crop, a multiply-add "
            "counted as one."
        )
        terms.append(("Params, FLOPs", words))
    if any(row.reranked_rank1 is not None for row in report.rows):
        terms.append(("RR", "After k-reciprocal re-ranking, which uses the whole gallery."))
    return terms
