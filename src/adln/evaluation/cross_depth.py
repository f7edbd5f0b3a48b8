"""Cross-depth: queries embedded at one depth, searched for in a gallery embedded at another.

If the exits share a space, a device may change its depth, or search a gallery made by a stronger
machine, without embedding anything again. This measures the accuracy of such searches.
"""

from dataclasses import dataclass

from adln.evaluation.protocol import Evaluation
from adln.evaluation.ranking import evaluate_features


@dataclass(frozen=True)
class CrossDepthCell:
    """One pair of depths, 1..4 each, with Rank-1 and mAP in 0..1."""

    query_depth: int
    gallery_depth: int
    rank1: float
    mean_ap: float


def evaluate_cross_depth(evaluation: Evaluation) -> tuple[CrossDepthCell, ...]:
    """Rank every depth's queries in every depth's gallery: by query depth, then by gallery depth.

    Raises:
        EvaluationError: A feature is all zero.
    """
    cells = []
    for query_depth, result in evaluation.results.items():
        for gallery_depth in evaluation.results:
            metrics = result.metrics
            if query_depth != gallery_depth:
                metrics = evaluate_features(*evaluation.sides(query_depth, gallery_depth))
            cells.append(CrossDepthCell(query_depth, gallery_depth, metrics.rank1, metrics.mean_ap))
    return tuple(cells)


def cross_depth_text(cells: tuple[CrossDepthCell, ...]) -> str:
    """Two tables for a terminal, Rank-1 and mAP in percent."""
    by_depths = {(cell.query_depth, cell.gallery_depth): cell for cell in cells}
    depths = sorted({cell.query_depth for cell in cells})
    head = "query by" + "".join(f"{f'Res{depth}':>8}" for depth in depths)
    lines = []
    for name, attribute in (("Rank-1", "rank1"), ("mAP", "mean_ap")):
        lines += [f"{name} (%) in a gallery by", head, "─" * len(head)]
        for of_query in depths:
            cells_in_row = (by_depths[of_query, of_gallery] for of_gallery in depths)
            shares = (100 * getattr(cell, attribute) for cell in cells_in_row)
            lines.append(f"Res{of_query:<5}" + "".join(f"{share:8.2f}" for share in shares))
        lines.append("")
    return "\n".join(lines[:-1])
