"""The files of a report: a page, the table, JSON, and a ranked-list picture for each depth."""

from pathlib import Path

from adln.errors import EvaluationError
from adln.evaluation.protocol import Evaluation
from adln.evaluation.report import EvaluationReport
from adln.reports import ranked_list
from adln.reports.report_page import RankedListPicture, write_html

PAGE_NAME = "report.html"
QUERIES_SHOWN = 6
ANSWERS_SHOWN = 10


def write_report(folder: Path, report: EvaluationReport, evaluation: Evaluation) -> Path:
    """Write report.html, report.txt, report.json and ranked_list_res1.png and so on into a folder.

    Returns:
        The page.

    Raises:
        EvaluationError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        query, gallery = evaluation.query, evaluation.gallery
        depths = sorted(evaluation.results, reverse=True)
        # The same queries at every depth, so that the lists can be compared.
        deepest = evaluation.results[depths[0]].metrics
        positions = ranked_list.choose_queries(deepest, query.person_ids, count=QUERIES_SHOWN)
        names = {row.depth: row.name for row in report.rows}
        pictures = []
        for depth in depths:
            result = evaluation.results[depth]
            rows = ranked_list.rank_gallery(
                query,
                gallery,
                result.query_features,
                result.gallery_features,
                positions,
                top_k=ANSWERS_SHOWN,
            )
            title = f"{names[depth]}: Rank-1 {100 * result.metrics.rank1:.1f} %"
            picture = ranked_list.draw_ranked_list(query, gallery, rows, title=title)
            picture.save(folder / f"ranked_list_res{depth}.png")
            pictures.append(
                RankedListPicture(names[depth], picture, ranked_list.describe_ranked_lists(rows))
            )
        for name, text in (("report.txt", report.to_text()), ("report.json", report.to_json())):
            # Names of files that are not UTF-8 are escaped, as JSON does it, too.
            (folder / name).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        page = folder / PAGE_NAME
        write_html(page, report, pictures)
        return page
    except OSError as error:
        raise EvaluationError(
            f"{folder}: the report cannot be written ({error.strerror or error}). Free some space "
            "or choose another folder."
        ) from error
