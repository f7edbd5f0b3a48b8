from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from adln.evaluation.cross_depth import CrossDepthCell
from adln.evaluation.report import EvaluationReport, ReportRow
from adln.evaluation.unseen import Estimate, SetRow
from adln.reports.report_page import RankedListPicture, report_html, write_html

VOID = {"meta", "img", "line", "circle", "polyline", "br"}


class Page(HTMLParser):
    """Reads a page strictly: every element that opens must close, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def row(depth: int, rank1: float, flops: int | None = 10**9) -> ReportRow:
    cmc = tuple(1 - (1 - rank1) / (k + 1) for k in range(50))
    return ReportRow(
        depth=depth,
        rank1=rank1,
        rank5=cmc[4],
        rank10=cmc[9],
        mean_ap=rank1 - 0.1,
        minp=0.3,
        cmc=cmc,
        params=10**6 * depth,
        flops=None if flops is None else flops * depth,
    )


REPORT = EvaluationReport(
    dataset="market1501",
    num_query=3368,
    num_valid_query=3368,
    num_gallery=15913,
    num_persons=750,
    num_cameras=6,
    flip=True,
    rows=(row(1, 0.7), row(2, 0.85), row(3, 0.93), row(4, 0.95)),
    command="adln evaluate a<b.safetensors",
    notes=("Mind the licence & the people.",),
)
PICTURES = [
    RankedListPicture(f"Res{depth}", Image.new("RGB", (40, 30), (9, 9, 9)), f"words {depth}")
    for depth in (4, 1)
]


def test_the_page_is_well_formed_and_shows_the_table() -> None:
    page = Page(report_html(REPORT, PICTURES))
    assert len(page.all("tr")) == 5
    for text in ("Res1", "Res4", "95.00", "Params (M)", "FLOPs (G)", "mINP", "15,913 gallery"):
        assert text in page.text


def test_the_page_needs_nothing_from_elsewhere() -> None:
    html = report_html(REPORT, PICTURES)
    assert "http" not in html
    assert "url(" not in html
    page = Page(html)
    assert page.all("script") == page.all("link") == []
    assert all((image["src"] or "").startswith("data:image/") for image in page.all("img"))


def test_every_picture_and_chart_has_words() -> None:
    page = Page(report_html(REPORT, PICTURES))
    assert [image["alt"] for image in page.all("img")] == ["words 4", "words 1"]
    assert len(page.all("svg")) == len(page.all("desc")) == 2
    assert all(svg["role"] == "img" for svg in page.all("svg"))
    assert "Res4 95.0 % at rank 1" in page.text


def test_one_curve_per_depth_within_the_chart() -> None:
    page = Page(
        report_html(replace(REPORT, rows=tuple(replace(r, flops=None) for r in REPORT.rows)))
    )
    curves = page.all("polyline")
    assert len(curves) == 4
    for curve in curves:
        points = [tuple(map(float, point.split(","))) for point in (curve["points"] or "").split()]
        assert len(points) == 20
        assert all(0 <= x <= 520 and 0 <= y <= 334 for x, y in points)


def test_the_first_ranked_list_is_open() -> None:
    page = Page(report_html(REPORT, PICTURES))
    assert ["open" in details for details in page.all("details")] == [True, False]
    assert Page(report_html(REPORT)).all("details") == []


def test_text_from_outside_is_escaped() -> None:
    page = Page(report_html(REPORT))
    assert "adln evaluate a<b.safetensors" in page.text
    assert "Mind the licence & the people." in page.text
    assert page.all("b.safetensors") == []


@pytest.mark.parametrize(
    "rows",
    [
        (row(4, 1.0),),
        (row(1, 1.0), row(2, 1.0)),
        (row(2, 0.1, flops=None),),
        (row(1, 0.0), row(4, 1.0)),
        (row(1, 0.5, flops=10**12), row(4, 0.6, flops=10**12)),
    ],
)
def test_extreme_results_still_give_a_page(rows: tuple[ReportRow, ...]) -> None:
    rows = tuple(replace(r, mean_ap=max(0.0, r.mean_ap)) for r in rows)
    page = Page(report_html(replace(REPORT, rows=rows)))
    assert "nan" not in page.text.lower()
    assert len(page.all("tr")) == len(rows) + 1


def test_the_page_is_written_as_utf8(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_html(path, replace(REPORT, dataset="Übungsdaten"), PICTURES)
    assert "Übungsdaten" in path.read_text(encoding="utf-8")


def test_searches_across_depths_are_two_matrices() -> None:
    square = tuple(
        CrossDepthCell(row, column, rank1=0.9, mean_ap=row / 10 + column / 100)
        for row in (1, 2)
        for column in (1, 2)
    )
    page = Page(report_html(replace(REPORT, cross_depth=square)))
    captions = [name for name, _ in page.elements if name == "caption"]
    assert len(captions) == 2
    for text in ("Across depths", "query \\ gallery", "12.00", "21.00", "90.00"):
        assert text in page.text
    assert "Across depths" not in Page(report_html(REPORT)).text


def test_data_sets_stand_side_by_side_with_intervals() -> None:
    figure = Estimate(0.334, 0.308, 0.36)
    rows = (SetRow("cuhk01", "unseen", 2, 971, figure, figure, None, figure),)
    page = report_html(replace(REPORT, sets=rows))
    assert "Seen and unseen data sets" in page
    assert "<td>33.4 [30.8, 36.0]</td>" in page
    assert "Seen and unseen data sets" not in report_html(REPORT)


@pytest.mark.parametrize("gap", [0.0, 0.001, 0.02])
def test_labels_of_depths_that_cost_and_find_nearly_the_same_do_not_touch(gap: float) -> None:
    close = [replace(row(4, 0.6 + gap * depth), depth=depth) for depth in (1, 2, 3, 4)]
    page = Page(report_html(replace(REPORT, rows=tuple(close))))
    places = [
        (float(label["x"] or 0), float(label["y"] or 0))
        for label in page.all("text")
        if label.get("class") == "label" and label["x"] != "470"
    ]
    assert len(places) == 4
    boxes = [(x, y - 11, x + 70, y + 2) for x, y in places]
    for at, one in enumerate(boxes):
        for other in boxes[:at]:
            assert (
                one[2] <= other[0]
                or other[2] <= one[0]
                or one[3] <= other[1]
                or (other[3] <= one[1])
            )
