"""Draws ranked lists: queries on the left, the gallery pictures found for them beside.

This is the field's usual figure, with the protocol of the evaluation: gallery pictures of the
query's person from the query's own camera (junk) are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from adln.crops import read_crop
from adln.datasets.split import Split
from adln.embeddings import cosine_distance
from adln.errors import EvaluationError
from adln.evaluation.ranking import RetrievalMetrics
from adln.reports.drawing import FAINT, INK, LINE, PAPER, RIGHT, WRONG, centred, font

_MARGIN_PX = 28
_FRAME_PX = 4
_GAP_PX = 14
_QUERY_GAP_PX = 40
_TEXT_PX = 15
_SMALL_TEXT_PX = 14
_TITLE_PX = 26
_LINE_HEIGHT_PX = 20
_ROW_GAP_PX = 22
_MARK_PX = 22
_CROP_HEIGHT_PX, _CROP_WIDTH_PX = 192, 96
_FRAMED_HEIGHT_PX = _CROP_HEIGHT_PX + 2 * _FRAME_PX
_FRAMED_WIDTH_PX = _CROP_WIDTH_PX + 2 * _FRAME_PX
_TOP_PX = _MARGIN_PX + 112
# A line above (rank), the framed crop, two lines below.
_ROW_PX = 3 * _LINE_HEIGHT_PX + _FRAMED_HEIGHT_PX + _ROW_GAP_PX
_ANSWERS_PX = _MARGIN_PX + _FRAMED_WIDTH_PX + _QUERY_GAP_PX
_COLUMN_PX = _FRAMED_WIDTH_PX + _GAP_PX


@dataclass(frozen=True, eq=False)
class RankedRow:
    """The answers to one query, best first.

    Attributes:
        query: Index of the query in its split.
        gallery: (K,) indices in the gallery, without junk.
        similarity: (K,) cosine to the query, -1..1.
        is_match: (K,) whether it shows the query's person.
        first_match_rank: Rank of the first match among all answers, from 1; None if the gallery
            has no match.
    """

    query: int
    gallery: NDArray[np.int64]
    similarity: NDArray[np.float32]
    is_match: NDArray[np.bool_]
    first_match_rank: int | None


def choose_queries(
    metrics: RetrievalMetrics, person_ids: NDArray[np.int64], *, count: int = 6, seed: int = 0
) -> list[int]:
    """Choose queries to show: up to two thirds successes, the rest failures.

    A person is shown again only if there are no others. If there are too few failures, more
    successes are chosen, and vice versa. The same seed gives the same choice.

    Returns:
        Indices in the query split, whose persons are `person_ids` (Q,): successes (a match at rank
        1) before failures.
    """
    order = np.random.default_rng(seed).permutation(metrics.num_valid_queries)
    _, first_of_person = np.unique(person_ids[metrics.valid_queries[order]], return_index=True)
    repeated = np.ones(len(order), dtype=np.bool_)
    repeated[first_of_person] = False
    order = order[np.argsort(repeated, kind="stable")]
    fails = metrics.first_match_rank[order] > 1
    successes, failures = order[~fails], order[fails]
    num_failures = min(len(failures), max(-(-count // 3), count - len(successes)))
    chosen = [*successes[: count - num_failures], *failures[:num_failures]]
    return [int(metrics.valid_queries[position]) for position in chosen]


def rank_gallery(
    query: Split,
    gallery: Split,
    query_features: NDArray[np.floating],
    gallery_features: NDArray[np.floating],
    positions: Sequence[int],
    *,
    top_k: int = 10,
) -> list[RankedRow]:
    """Rank the gallery (G, D) for some of the queries (Q, D), given by their indices.

    There is one row per query, in the same order. Each has `top_k` answers, fewer if the gallery
    has fewer.

    Raises:
        EvaluationError: An index is outside the query split, or ``top_k`` is below 1.
    """
    if top_k < 1:
        raise EvaluationError(f"top_k must be at least 1, got {top_k}.")
    for position in positions:
        if not 0 <= position < len(query):
            raise EvaluationError(
                f"Query {position} does not exist: the split has {len(query)} pictures, "
                f"numbered 0 to {len(query) - 1}."
            )
    distances = cosine_distance(query_features[list(positions)], gallery_features)
    rows = []
    for position, distance in zip(positions, distances, strict=True):
        same_person = gallery.person_ids == query.person_ids[position]
        junk = same_person & (gallery.camera_ids == query.camera_ids[position])
        order = np.argsort(distance, kind="stable")
        order = order[~junk[order]]
        hits = np.flatnonzero(same_person[order])
        best = order[:top_k]
        rows.append(
            RankedRow(
                query=position,
                gallery=best,
                similarity=1 - distance[best],
                is_match=same_person[best],
                first_match_rank=int(hits[0]) + 1 if len(hits) > 0 else None,
            )
        )
    return rows


def draw_ranked_list(
    query: Split, gallery: Split, rows: Sequence[RankedRow], *, title: str = "Ranked lists"
) -> Image.Image:
    """Draw ranked lists: a row per query, answers framed green (same person) or red (other).

    Returns an RGB picture with this title as headline.

    Raises:
        EvaluationError: There are no rows.
        ImageError: A picture is missing or damaged.
    """
    if len(rows) == 0:
        raise EvaluationError("There are no ranked lists to draw; choose at least one query.")
    columns = max(len(row.gallery) for row in rows)
    # The header needs some width even if there are few answers.
    width = max(900, _ANSWERS_PX + columns * _COLUMN_PX - _GAP_PX + _MARGIN_PX)
    height = _TOP_PX + len(rows) * _ROW_PX - _ROW_GAP_PX + _MARGIN_PX
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    _draw_header(draw, title)
    for number, row in enumerate(rows):
        top = _TOP_PX + number * _ROW_PX
        if number > 0:
            y = top - _ROW_GAP_PX // 2
            draw.line([(_MARGIN_PX, y), (width - _MARGIN_PX, y)], fill=LINE)
        rank = row.first_match_rank
        found = "no match" if rank is None else f"found at rank {rank}"
        _draw_crop(canvas, query, row.query, (_MARGIN_PX, top), INK, "query", found)
        x, y = _ANSWERS_PX - _QUERY_GAP_PX // 2, top + _LINE_HEIGHT_PX
        draw.line([(x, y), (x, y + _FRAMED_HEIGHT_PX)], fill=LINE, width=2)
        for column, (position, similarity) in enumerate(
            zip(row.gallery.tolist(), row.similarity.tolist(), strict=True)
        ):
            is_match = bool(row.is_match[column])
            left, colour = _ANSWERS_PX + column * _COLUMN_PX, RIGHT if is_match else WRONG
            above, below = str(column + 1), f"{similarity:.2f}"
            _draw_crop(canvas, gallery, position, (left, top), colour, above, below)
            corner = left + _FRAMED_WIDTH_PX - _MARK_PX, top + _LINE_HEIGHT_PX
            _draw_mark(draw, corner, is_match=is_match)
    return canvas


def describe_ranked_lists(rows: Sequence[RankedRow]) -> str:
    """Describe in words what a picture of these rows shows, for readers who cannot see it."""
    sentences = []
    for number, row in enumerate(rows, start=1):
        right = [str(rank + 1) for rank in np.flatnonzero(row.is_match)]
        found = f"same person at rank {', '.join(right)}" if right else "other persons only"
        sentences.append(f"Query {number}, first {len(row.gallery)} answers: {found}.")
    return " ".join(sentences)


def _draw_header(draw: ImageDraw.ImageDraw, title: str) -> None:
    draw.text((_MARGIN_PX, _MARGIN_PX), title, fill=INK, font=font(_TITLE_PX))
    y = _MARGIN_PX + 46
    x = float(_MARGIN_PX)
    text_font = font(_TEXT_PX)
    for is_match, text in ((True, "same person"), (False, "other person")):
        _draw_mark(draw, (round(x), y - 2), is_match=is_match)
        x += _MARK_PX + 8
        draw.text((x, y), text, fill=INK, font=text_font)
        x += draw.textlength(text, font=text_font) + 26
    rule = (
        "below each answer: its camera, its cosine similarity to the query; "
        "the person's pictures from the query's own camera are left out"
    )
    draw.text((_MARGIN_PX, y + 30), rule, fill=FAINT, font=font(_SMALL_TEXT_PX))


def _draw_crop(
    canvas: Image.Image,
    split: Split,
    position: int,
    corner: tuple[int, int],
    colour: str,
    above: str,
    below: str,
) -> None:
    """A crop in a frame of this colour; above it one line, below it its camera and another one."""
    draw = ImageDraw.Draw(canvas)
    left, top = corner
    upper, middle = top + _LINE_HEIGHT_PX, left + _FRAMED_WIDTH_PX // 2
    right, lower = left + _FRAMED_WIDTH_PX, upper + _FRAMED_HEIGHT_PX
    crop = read_crop(split.paths[position], height_px=_CROP_HEIGHT_PX, width_px=_CROP_WIDTH_PX)
    draw.rounded_rectangle((left, upper, right - 1, lower - 1), radius=5, fill=colour)
    canvas.paste(Image.fromarray(crop), (left + _FRAME_PX, upper + _FRAME_PX))
    centred(draw, (middle, top), above, INK, _TEXT_PX)
    camera = f"camera {split.camera_ids[position]}"
    centred(draw, (middle, lower + 3), camera, INK, _SMALL_TEXT_PX)
    centred(draw, (middle, lower + 1 + _LINE_HEIGHT_PX), below, FAINT, _SMALL_TEXT_PX)


def _draw_mark(draw: ImageDraw.ImageDraw, corner: tuple[int, int], *, is_match: bool) -> None:
    """A white tick on green or a white cross on red, so that meaning is not by colour alone."""
    x, y = corner
    draw.rounded_rectangle(
        (x, y, x + _MARK_PX - 1, y + _MARK_PX - 1), radius=5, fill=RIGHT if is_match else WRONG
    )
    if is_match:
        strokes = [[(5, 12), (9, 16), (17, 6)]]
    else:
        strokes = [[(6, 6), (15, 15)], [(15, 6), (6, 15)]]
    for stroke in strokes:
        points = [(x + dx, y + dy) for dx, dy in stroke]
        draw.line(points, fill=PAPER, width=3, joint="curve")
