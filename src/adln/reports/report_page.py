"""Report page: an evaluation as one web page that needs nothing beside itself.

Shows the table of `adln.evaluation.report` (the form of the paper's Table 1), the CMC curves,
accuracy against computation, and ranked lists. No scripts, no fonts or pictures from elsewhere:
the file can be mailed and opened without a network.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from PIL import Image

from adln.evaluation.cross_depth import CrossDepthCell
from adln.evaluation.report import Column, Report, ReportRow, columns_of
from adln.evaluation.unseen import COLUMNS, WORDS, figure_text, figures_of

_CMC_RANKS = 20
_JPEG_QUALITY = 88
# From light to dark with the depth, each dark enough to be read as text on white.
_DEPTH_COLOURS = ("#0d8585", "#2679b5", "#3f51a3", "#2b2560")
# Shades of a share of 0 and of 1; ink stands out from both by more than 4.5 to 1.
_PALEST, _DARKEST = (246, 249, 252), (96, 165, 220)


@dataclass(frozen=True, eq=False)
class RankedListPicture:
    """A picture of ranked lists for the page.

    Attributes:
        title: Heading, such as "Res4".
        picture: RGB, from `adln.reports.ranked_list.draw_ranked_list`.
        description: What it shows, in words, for readers who cannot see it.
    """

    title: str
    picture: Image.Image
    description: str


def write_html(path: Path, report: Report, ranked_lists: Sequence[RankedListPicture] = ()) -> None:
    """Write the page to a file; see `report_html`."""
    path.write_text(report_html(report, ranked_lists), encoding="utf-8")


def report_html(report: Report, ranked_lists: Sequence[RankedListPicture] = ()) -> str:
    """Make the page.

    Args:
        report: The numbers.
        ranked_lists: Pictures of ranked lists; the first is shown open.

    Returns:
        A whole HTML document.
    """
    title = f"Person re-identification on {report.dataset}"
    parts = [
        _header(report, title),
        '<main class="sheet">',
        _highlights(report),
        _table(report),
        _sets(report),
        _cross_depth(report),
        '<div class="charts">',
        _cmc_figure(report),
        _cost_figure(report),
        "</div>",
        _ranked_lists(ranked_lists),
        _explanations(report),
        "</main>",
        f'<footer class="sheet">Made by adln {escape(report.version)}.</footer>',
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body>\n</html>\n"
    )


def _header(report: Report, title: str) -> str:
    return (
        f'<header><div class="sheet"><h1>{escape(title)}</h1>'
        f'<p class="counts">{escape(report.counts)}</p></div></header>'
    )


def _highlights(report: Report) -> str:
    best = max(report.rows, key=lambda row: row.mean_ap)
    cards = [
        (f"{100 * best.rank1:.1f} %", "Rank-1", f"{best.name}: queries answered right at once"),
        (f"{100 * best.mean_ap:.1f} %", "mAP", f"{best.name}: right answers ahead of wrong ones"),
        (f"{100 * best.minp:.1f} %", "mINP", f"{best.name}: how soon the last right one comes"),
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
    inside = "".join(
        f'<li><span class="value">{escape(value)}</span><span class="measure">{escape(name)}</span>'
        f'<span class="meaning">{escape(meaning)}</span></li>'
        for value, name, meaning in cards
    )
    return f'<ul class="highlights">{inside}</ul>'


def _table(report: Report) -> str:
    columns = columns_of(report.rows)
    head = "".join(f'<th scope="col">{escape(column.title)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(_cell(report, row, column) for column in columns) + "</tr>"
        for row in report.rows
    )
    return (
        '<section><h2 id="table-title">Results by depth</h2><p id="table-words">Shares in percent. '
        "A depth is the network cut after so many stages. The best value of each column is bold."
        '</p><div class="scroll" tabindex="0" role="region" aria-labelledby="table-title">'
        '<table aria-labelledby="table-title" aria-describedby="table-words">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _cell(report: Report, row: ReportRow, column: Column) -> str:
    text = escape(column.cell(row))
    if column.title == "Depth":
        dot = f'<span class="dot" style="background:{_colour(row)}"></span>'
        return f'<th scope="row">{dot}{text}</th>'
    values = [value for value in map(column.value, report.rows) if value is not None]
    if len(values) > 1 and column.best is not None and column.value(row) == column.best(values):
        text = f"<strong>{text}</strong>"
    return f"<td>{text}</td>"


def _colour(row: ReportRow) -> str:
    return _DEPTH_COLOURS[(row.depth - 1) % len(_DEPTH_COLOURS)]


def _sets(report: Report) -> str:
    if not report.sets:
        return ""
    head = "".join(
        f'<th scope="col">{escape(title)}</th>'
        for title in ("Data set", "Learned from", "Depth", "Persons", *COLUMNS)
    )
    body = "".join(
        f'<tr><th scope="row">{escape(row.dataset)}</th><td>{escape(row.seen)}</td>'
        f"<td>Res{row.depth}</td><td>{row.num_persons:,}</td>"
        + "".join(f"<td>{escape(figure_text(figure))}</td>" for figure in figures_of(row))
        + "</tr>"
        for row in report.sets
    )
    return (
        '<section><h2 id="sets-title">Seen and unseen data sets</h2><p id="sets-words">'
        f'In percent. {escape(WORDS)}</p><div class="scroll" tabindex="0" role="region" '
        'aria-labelledby="sets-title"><table aria-labelledby="sets-title" '
        f'aria-describedby="sets-words"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div></section>"
    )


def _cross_depth(report: Report) -> str:
    if not report.cross_depth:
        return ""
    tables = _matrix(report, "Rank-1", lambda cell: cell.rank1)
    tables += _matrix(report, "mAP", lambda cell: cell.mean_ap)
    return (
        "<section><h2>Across depths</h2><p>Queries embedded at one depth (rows), searched for in a "
        "gallery embedded at another (columns), in percent. The darker, the better; where all is "
        f'dark, depths may be mixed freely.</p><div class="matrices">{tables}</div></section>'
    )


def _matrix(report: Report, title: str, value: Callable[[CrossDepthCell], float]) -> str:
    depths = sorted({cell.query_depth for cell in report.cross_depth})
    shares = {(cell.query_depth, cell.gallery_depth): value(cell) for cell in report.cross_depth}
    head = "".join(f'<th scope="col">Res{depth}</th>' for depth in depths)
    body = "".join(
        f'<tr><th scope="row">Res{of_query}</th>'
        + "".join(_shaded(shares[of_query, of_gallery]) for of_gallery in depths)
        + "</tr>"
        for of_query in depths
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title} across depths">'
        f'<table class="matrix"><caption>{title}</caption><thead><tr>'
        f'<td class="corner">query \\ gallery</td>{head}</tr></thead><tbody>{body}</tbody></table>'
        "</div>"
    )


def _shaded(share: float) -> str:
    shade = ",".join(
        str(round(light + (dark - light) * share))
        for light, dark in zip(_PALEST, _DARKEST, strict=True)
    )
    return f'<td style="background:rgb({shade})">{100 * share:.2f}</td>'


@dataclass(frozen=True)
class _Axes:
    """A chart's plane in SVG units: where a value stands."""

    x_from: float
    x_to: float
    y_from: float
    y_to: float
    left: float = 46
    right: float = 452
    top: float = 16
    bottom: float = 282

    def x(self, value: float) -> float:
        return self.left + (value - self.x_from) / (self.x_to - self.x_from) * (
            self.right - self.left
        )

    def y(self, value: float) -> float:
        return self.bottom - (value - self.y_from) / (self.y_to - self.y_from) * (
            self.bottom - self.top
        )

    def grid(self, x_ticks: Sequence[float], y_ticks: Sequence[float], x_title: str) -> str:
        lines = [
            f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{self.y(tick):.1f}" '
            f'y2="{self.y(tick):.1f}"/><text class="tick" text-anchor="end" x="{self.left - 8}" '
            f'y="{self.y(tick) + 4:.1f}">{tick:g}</text>'
            for tick in y_ticks
        ]
        lines += [
            f'<text class="tick" text-anchor="middle" x="{self.x(tick):.1f}" '
            f'y="{self.bottom + 20}">{tick:g}</text>'
            for tick in x_ticks
        ]
        middle = (self.left + self.right) / 2
        lines.append(
            f'<text class="axis" text-anchor="middle" x="{middle}" y="{self.bottom + 42}">'
            f"{escape(x_title)}</text>"
        )
        return "".join(lines)


def _percent_axis(shares: Sequence[float]) -> tuple[float, list[float]]:
    """Lower end in percent and ticks for an axis that ends at 100."""
    lowest = 100 * min(shares)
    step = next(step for step in (2, 5, 10, 20) if (100 - lowest) / step <= 5 or step == 20)
    start = min(max(0, lowest // step * step), 100 - step)
    return start, [tick for tick in range(0, 101, step) if tick >= start]


def _cmc_figure(report: Report) -> str:
    curves = [row.cmc[:_CMC_RANKS] for row in report.rows]
    length = max(2, *(len(curve) for curve in curves))
    start, y_ticks = _percent_axis([curve[0] for curve in curves])
    axes = _Axes(1, length, start, 100)
    x_ticks = [tick for tick in (1, 5, 10, 15, 20) if tick <= length]
    drawing = [axes.grid(x_ticks, y_ticks, "rank: answers looked at")]
    ends = _spread([axes.y(100 * curve[-1]) for curve in curves], 17)
    for row, curve, label_y in zip(report.rows, curves, ends, strict=True):
        colour = _colour(row)
        points = [(axes.x(k + 1), axes.y(100 * share)) for k, share in enumerate(curve)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        drawing.append(f'<polyline fill="none" stroke="{colour}" points="{path}"/>')
        drawing += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in points
        ]
        last_x, last_y = points[-1]
        drawing.append(
            f'<line class="leader" x1="{last_x + 4:.1f}" y1="{last_y:.1f}" x2="466" '
            f'y2="{label_y:.1f}" stroke="{colour}"/>'
            f'<text class="label" x="470" y="{label_y + 4:.1f}" fill="{colour}">{row.name}</text>'
        )
    words = "; ".join(
        f"{row.name} {100 * row.rank1:.1f} % at rank 1, {100 * curve[-1]:.1f} % at rank "
        f"{len(curve)}"
        for row, curve in zip(report.rows, curves, strict=True)
    )
    return _figure(
        "cmc",
        "CMC curve",
        "Share of queries, in percent, that have found their person within so many answers.",
        words,
        "".join(drawing),
    )


def _cost_figure(report: Report) -> str:
    rows = [row for row in report.rows if row.flops is not None]
    if len(rows) < 2:
        return ""
    giga = {row.depth: (row.flops or 0) / 1e9 for row in rows}
    limit = max(giga.values())
    step = next(step for step in (0.5, 1, 2, 5, 10, 50, 500) if limit / step <= 6 or step == 500)
    x_to = (limit // step + 1) * step
    start, y_ticks = _percent_axis([row.mean_ap for row in rows])
    axes = _Axes(0, x_to, start, 100)
    x_ticks = [index * step for index in range(round(x_to / step) + 1)]
    drawing = [axes.grid(x_ticks, y_ticks, "computation for one crop in GFLOPs, as in Table 1")]
    points = [(axes.x(giga[row.depth]), axes.y(100 * row.mean_ap)) for row in rows]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    drawing.append(f'<polyline fill="none" stroke="#c3cad6" points="{path}"/>')
    for row, (x, y) in zip(rows, points, strict=True):
        colour = _colour(row)
        drawing.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{colour}"/>'
            f'<text class="label" x="{x + 10:.1f}" y="{y + 18:.1f}" fill="{colour}">{row.name} '
            f"{100 * row.mean_ap:.1f}</text>"
        )
    words = "; ".join(
        f"{row.name} {100 * row.mean_ap:.1f} % mAP for {giga[row.depth]:.2f} GFLOPs" for row in rows
    )
    return _figure(
        "cost",
        "Accuracy against computation",
        "mAP in percent at each depth. A device takes the depth it can afford.",
        words,
        "".join(drawing),
    )


def _spread(positions: Sequence[float], distance: float) -> list[float]:
    """Move labels apart so that each is at least `distance` below the one above it."""
    spread = list(positions)
    # Equal positions keep the deepest network on top, as its curve usually is.
    order = sorted(range(len(positions)), key=lambda index: (positions[index], -index))
    for above, below in pairwise(order):
        spread[below] = max(spread[below], spread[above] + distance)
    return spread


def _figure(name: str, title: str, caption: str, description: str, drawing: str) -> str:
    return (
        f'<figure><h2 id="{name}-title">{escape(title)}</h2>'
        f"<figcaption>{escape(caption)}</figcaption>"
        f'<svg viewBox="0 0 520 334" role="img" aria-labelledby="{name}-title {name}-words">'
        f'<desc id="{name}-words">{escape(description)}</desc>{drawing}</svg></figure>'
    )


def _ranked_lists(pictures: Sequence[RankedListPicture]) -> str:
    if not pictures:
        return ""
    details = "".join(
        f"<details{' open' if number == 0 else ''}><summary>{escape(item.title)}</summary>"
        f'<div class="scroll"><img src="{_data_uri(item.picture)}" width="{item.picture.width}" '
        f'height="{item.picture.height}" alt="{escape(item.description)}"></div></details>'
        for number, item in enumerate(pictures)
    )
    return (
        "<section><h2>Ranked lists</h2><p>The pictures searched with stand at the left, the best "
        "answers beside them: green with a tick for the same person, red with a cross for "
        f"another.</p>{details}</section>"
    )


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    # Without chroma subsampling, which would smear the thin red and green frames.
    picture.convert("RGB").save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _explanations(report: Report) -> str:
    terms = [
        ("Rank-k", "Share of queries with a right answer among the first k."),
        ("mAP", "Mean average precision: how far ahead of wrong answers all right ones stand."),
        ("mINP", "Mean inverse negative penalty: how soon the last right answer is reached."),
    ]
    if any(row.params is not None or row.flops is not None for row in report.rows):
        words = (
            "Millions of parameters; billions of operations for one crop, a multiply-add "
            "counted as one."
        )
        terms.append(("Params, FLOPs", words))
    if any(row.reranked_rank1 is not None for row in report.rows):
        terms.append(("RR", "After k-reciprocal re-ranking, which uses the whole gallery."))
    glossary = "".join(f"<dt>{escape(term)}</dt><dd>{escape(words)}</dd>" for term, words in terms)
    command = (
        f"<h3>Command</h3><pre><code>{escape(report.command)}</code></pre>"
        if report.command
        else ""
    )
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in report.notes)
    return (
        f"<section><h2>How this was measured</h2><p>{escape(report.protocol)}</p>{notes}"
        f"<dl>{glossary}</dl>{command}</section>"
    )


_STYLE = """
:root { --ink: #1f2937; --faint: #5b6472; --line: #e4e7ec; --accent: #2b2560; }
* { box-sizing: border-box; }
body { margin: 0; background: #f5f6f9; color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
.sheet { max-width: 1120px; margin: 0 auto; padding: 0 24px; }
header { background: linear-gradient(120deg, #2b2560, #2679b5); color: #fff;
  padding: 44px 0 84px; }
h1 { font-size: clamp(1.6rem, 4vw, 2.3rem); line-height: 1.2; margin: 0 0 8px; }
.counts { margin: 0; color: #e3ebf7; }
h2 { font-size: 1.15rem; margin: 0 0 6px; }
h3 { font-size: 1rem; margin: 20px 0 6px; }
.highlights { list-style: none; margin: -52px 0 24px; padding: 0; display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); }
.highlights li, section, figure { background: #fff; border: 1px solid var(--line);
  border-radius: 12px; box-shadow: 0 1px 3px rgb(31 41 55 / 7%); }
.highlights li { padding: 18px 20px; display: flex; flex-direction: column; }
.value { font-size: 1.9rem; font-weight: 650; line-height: 1.15; color: var(--accent);
  font-variant-numeric: tabular-nums; }
.measure { font-weight: 600; }
.meaning { color: var(--faint); font-size: .88rem; }
section, figure { padding: 22px 24px; margin: 0 0 24px; }
.charts { display: grid; gap: 24px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
figcaption, section > p { color: var(--faint); font-size: .92rem; margin: 0 0 10px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 9px 10px; white-space: nowrap; }
thead th { color: var(--faint); font-weight: 600; font-size: .88rem;
  border-bottom: 2px solid var(--line); }
tbody tr + tr > * { border-top: 1px solid var(--line); }
th:first-child { text-align: left; }
.matrices { display: grid; gap: 24px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); }
.matrix caption { font-weight: 600; text-align: left; padding: 0 0 6px; }
.matrix td, .matrix thead th { text-align: center; }
.matrix .corner { color: var(--faint); font-size: .88rem; text-align: left; }
.dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .55em; }
svg { display: block; width: 100%; height: auto; font-family: inherit; }
svg .grid { stroke: var(--line); }
svg polyline { stroke-width: 2; stroke-linejoin: round; }
svg .leader { stroke-width: 1; opacity: .5; }
svg .tick { fill: var(--faint); font-size: 12px; }
svg .axis { fill: var(--faint); font-size: 13px; }
svg .label { font-size: 13px; font-weight: 650; }
.charts { margin-bottom: 24px; }
.charts figure { margin: 0; }
details { border-top: 1px solid var(--line); padding: 10px 0; }
summary { cursor: pointer; font-weight: 600; padding: 4px 0; }
summary:focus-visible { outline: 3px solid #8fb8e8; outline-offset: 2px; border-radius: 4px; }
img { display: block; max-width: 100%; min-width: 640px; height: auto; margin-top: 10px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 18px; margin: 14px 0 0; }
dt { font-weight: 600; }
dd { margin: 0; color: var(--faint); }
pre { background: #f5f6f9; border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px;
  overflow-x: auto; margin: 0; font-size: .88rem; }
.note { border-left: 3px solid #2679b5; padding-left: 12px; }
footer { color: var(--faint); font-size: .88rem; padding-bottom: 40px; }
@media (max-width: 520px) { .sheet { padding: 0 14px; } section, figure { padding: 16px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } }
@media print { body { background: #fff; } section, figure { break-inside: avoid; } }
"""
