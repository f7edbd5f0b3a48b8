import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from adln import __version__
from adln.datasets.split import Split
from adln.embeddings import unit_length
from adln.evaluation.cross_depth import CrossDepthCell
from adln.evaluation.protocol import DepthResult, Evaluation
from adln.evaluation.ranking import evaluate_features
from adln.evaluation.report import FORMAT, EvaluationReport, ReportRow, make_report
from adln.evaluation.unseen import Estimate, SetRow

CMC = tuple(min(1.0, 0.9 + 0.01 * k) for k in range(50))


def paper_report() -> EvaluationReport:
    """Sizes of Table 1; shares made up."""
    sizes = [
        (479_552, 584_599_552),
        (1_924_672, 1_282_181_120),
        (9_400_384, 2_264_336_384),
        (23_508_432, 4_077_488_128),
    ]
    return EvaluationReport(
        dataset="market1501",
        num_query=3368,
        num_valid_query=3360,
        num_gallery=15913,
        num_persons=750,
        num_cameras=6,
        flip=True,
        rows=tuple(
            ReportRow(
                depth=depth,
                rank1=0.5 + depth / 10,
                rank5=0.95,
                rank10=1.0,
                mean_ap=0.4 + depth / 9,
                minp=0.1234567,
                cmc=CMC,
                params=params,
                flops=flops,
            )
            for depth, (params, flops) in enumerate(sizes, start=1)
        ),
        command="adln evaluate best.safetensors",
        notes=("Keep these pictures to yourself.",),
    )


def with_reranking(report: EvaluationReport) -> EvaluationReport:
    rows = (replace(row, reranked_rank1=0.5, reranked_mean_ap=0.75) for row in report.rows)
    return replace(report, rows=tuple(rows))


def table(report: EvaluationReport) -> list[list[str]]:
    """Cells of the text's table."""
    lines = report.to_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("Depth"))
    body = lines[start + 2 : start + 2 + len(report.rows)]
    return [line.split() for line in body]


def test_the_table_has_the_form_and_sizes_of_the_papers_table() -> None:
    cells = table(paper_report())
    assert [line[0] for line in cells] == ["Res1", "Res2", "Res3", "Res4"]
    assert [line[6] for line in cells] == ["0.48", "1.92", "9.40", "23.51"]
    assert [line[7] for line in cells] == ["0.58", "1.28", "2.26", "4.08"]
    assert cells[0][1:6] == ["60.00", "95.00", "100.00", "51.11", "12.35"]


def test_the_text_fits_a_terminal() -> None:
    plain, reranked = paper_report(), with_reranking(paper_report())
    assert max(map(len, plain.to_text().splitlines())) <= 80
    assert max(map(len, reranked.to_text().splitlines())) <= 100


def test_numbers_stand_below_each_other() -> None:
    lines = [line for line in paper_report().to_text().splitlines() if line.startswith("Res")]
    assert len({line.rindex(".") for line in lines}) == 1
    assert len(set(map(len, lines))) == 1


def test_reranked_columns_appear_only_when_known() -> None:
    assert "RR" not in paper_report().to_text()
    assert table(with_reranking(paper_report()))[0][-2:] == ["50.00", "75.00"]


def test_sizes_that_are_not_known_leave_no_column_or_a_dash() -> None:
    report = paper_report()
    rows = tuple(replace(row, params=None, flops=None) for row in report.rows)
    assert "Params" not in replace(report, rows=rows).to_text()
    assert table(replace(report, rows=(rows[0], *report.rows[1:])))[0][6:] == ["–", "–"]


def test_the_text_tells_how_it_was_measured() -> None:
    text = " ".join(paper_report().to_text().split())
    assert "3,368 queries (8 without a match, skipped) of 750 persons" in text
    assert "15,913 gallery pictures, 6 cameras" in text
    assert "mirrored" in text
    assert "$ adln evaluate best.safetensors" in text
    assert "Keep these pictures to yourself." in text
    assert f"adln {__version__}" in text
    without_flip = " ".join(replace(paper_report(), flip=False).to_text().split())
    assert "features of the crop alone" in without_flip


def as_told(report: EvaluationReport) -> dict[str, Any]:
    """What the report's JSON says."""
    document: dict[str, Any] = json.loads(report.to_json())
    assert document.pop("format") == FORMAT
    return document


def fields_of(report: EvaluationReport) -> dict[str, Any]:
    """The report's own fields, with lists in place of tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(report)))
    return plain


def test_the_json_says_all_that_the_report_holds() -> None:
    for report in (paper_report(), with_reranking(paper_report())):
        assert as_told(report) == fields_of(report)


def test_json_can_be_read_by_other_programs() -> None:
    document = json.loads(paper_report().to_json())
    assert document["rows"][3]["params"] == 23_508_432
    assert document["version"] == __version__


def test_a_report_is_made_from_an_evaluation() -> None:
    rng = np.random.default_rng(0)
    persons, cameras = rng.integers(1, 6, 60), rng.integers(1, 4, 60)
    whole = Split("all", tuple(map(Path, map(str, range(60)))), persons, cameras)
    query, gallery = whole.select(range(20)), whole.select(range(20, 60))
    results = {}
    for depth in (4, 1):
        features = unit_length(np.eye(6)[persons] + rng.normal(size=(60, 6)) / depth)
        metrics = evaluate_features(
            (features[:20], persons[:20], cameras[:20]), (features[20:], persons[20:], cameras[20:])
        )
        reranked = metrics if depth == 4 else None
        results[depth] = DepthResult(features[:20], features[20:], metrics, reranked)
    report = make_report(
        Evaluation(query, gallery, results),
        dataset="drawn",
        flip=False,
        params={1: 10, 4: 40},
        notes=["a"],
    )
    assert [row.name for row in report.rows] == ["Res1", "Res4"]
    assert report.rows[1].mean_ap == results[4].metrics.mean_ap
    assert report.rows[1].cmc == tuple(results[4].metrics.cmc)
    assert report.rows[1].reranked_rank1 == results[4].metrics.rank1
    assert report.rows[0].reranked_rank1 is None
    assert report.rows[0].params == 10
    assert report.rows[0].flops is None
    assert (report.num_query, report.num_gallery) == (20, 40)
    assert (report.num_persons, report.num_cameras) == (5, 3)
    assert as_told(report) == fields_of(report)


def test_a_report_may_hold_searches_across_depths() -> None:
    square = tuple(
        CrossDepthCell(row, column, rank1=0.8, mean_ap=0.7) for row in (2, 4) for column in (2, 4)
    )
    report = replace(paper_report(), cross_depth=square)
    assert "mAP (%) in a gallery by" in report.to_text()
    assert max(map(len, report.to_text().splitlines())) <= 80
    assert as_told(report) == fields_of(report)
    cell = {"query_depth": 2, "gallery_depth": 4, "rank1": 0.8, "mean_ap": 0.7}
    assert as_told(report)["cross_depth"][1].items() >= cell.items()
    assert as_told(paper_report())["cross_depth"] == []


def test_a_report_may_hold_other_data_sets_with_intervals() -> None:
    figure = Estimate(0.334, 0.308, 0.36)
    rows = (SetRow("cuhk01", "unseen", 2, 971, figure, figure, None, figure),)
    report = replace(paper_report(), sets=rows)
    assert "cuhk01 (unseen)" in report.to_text()
    assert "33.4 ±2.6" in report.to_text()
    assert as_told(report) == fields_of(report)
    assert as_told(report)["sets"][0]["mean_ap"] == {"value": 0.334, "low": 0.308, "high": 0.36}
    assert as_told(paper_report())["sets"] == []
