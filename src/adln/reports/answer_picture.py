"""Draws the answers of a search: the query on the left, the sightings found beside it.

Illustrates Sec. III.C for one search; as the truth is not known here, answers are not marked as
right or wrong.
"""

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from adln.crops import decode_crop, resize
from adln.errors import GalleryError, ImageError
from adln.gallery.records import SearchResult, StoredSighting
from adln.reports.drawing import BAR, FAINT, INK, LINE, PAPER, centred, font

_CROP_HEIGHT_PX = 192
_CROP_WIDTH_PX = 96
_HALF_PX = _CROP_WIDTH_PX // 2
_MARGIN_PX = 28
_COLUMN_PX = 124
_QUERY_GAP_PX = 28
_PER_LINE = 10
_TITLE_PX = 24
_TEXT_PX = 15
_SMALL_TEXT_PX = 13
_LINE_PX = 18
_TOP_PX = 74
_ROW_PX = _LINE_PX + _CROP_HEIGHT_PX + 8 + 4 * _LINE_PX + 20


def draw_answers(
    query: NDArray[np.uint8],
    result: SearchResult,
    records: Sequence[StoredSighting],
    names: dict[int, str | None],
    *,
    title: str,
) -> Image.Image:
    """Draw a query (H, W, 3) uint8 RGB and its answers, best first, as an RGB picture.

    Answers whose record does not exist any more, or has no thumbnail, are grey.

    Raises:
        GalleryError: There are no answers.
    """
    if len(result) == 0:
        raise GalleryError("Nothing was found, so there is no ranked list to draw.")
    by_id = {record.sighting_id: record for record in records}
    columns = min(len(result), _PER_LINE)
    lines = -(-len(result) // _PER_LINE)
    first = _MARGIN_PX + _COLUMN_PX + _QUERY_GAP_PX
    width = max(640, first + columns * _COLUMN_PX + _MARGIN_PX - (_COLUMN_PX - _CROP_WIDTH_PX))
    canvas = Image.new("RGB", (width, _TOP_PX + lines * _ROW_PX + 8), PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN_PX, 22), title, fill=INK, font=font(_TITLE_PX))
    _draw_crop(canvas, query, _MARGIN_PX, _TOP_PX)
    centred(draw, (_MARGIN_PX + _HALF_PX, _TOP_PX), "query", INK, _TEXT_PX)
    for rank in range(len(result)):
        record = by_id.get(int(result.sighting_ids[rank]))
        left = first + rank % _PER_LINE * _COLUMN_PX
        top = _TOP_PX + rank // _PER_LINE * _ROW_PX
        middle = left + _HALF_PX
        centred(draw, (middle, top), str(rank + 1), INK, _TEXT_PX)
        _draw_crop(canvas, _thumbnail(record), left, top)
        similarity = float(result.similarity[rank])
        y = top + _LINE_PX + _CROP_HEIGHT_PX + 4
        draw.rectangle((left, y, left + _CROP_WIDTH_PX - 1, y + 4), fill=LINE)
        length = round(max(similarity, 0) * (_CROP_WIDTH_PX - 1))
        draw.rectangle((left, y, left + length, y + 4), fill=BAR)
        y += 9
        centred(draw, (middle, y), f"{similarity:.3f}", INK, _TEXT_PX)
        person = int(result.person_ids[rank])
        who = "unassigned" if person < 0 else names.get(person) or f"person {person}"
        centred(draw, (middle, y + _LINE_PX), _shortened(draw, who), INK, _SMALL_TEXT_PX)
        camera = f"camera {result.camera_ids[rank]}"
        centred(draw, (middle, y + 2 * _LINE_PX), camera, FAINT, _SMALL_TEXT_PX)
        when = time.strftime("%d %b %H:%M", time.gmtime(float(result.time_s[rank])))
        centred(draw, (middle, y + 3 * _LINE_PX - 2), when, FAINT, _SMALL_TEXT_PX)
    return canvas


def _thumbnail(record: StoredSighting | None) -> NDArray[np.uint8] | None:
    if record is None or record.thumbnail is None:
        return None
    try:
        return decode_crop(record.thumbnail, name=f"thumbnail of sighting {record.sighting_id}")
    except ImageError:
        # One damaged picture must not prevent the others from being shown.
        return None


def _draw_crop(canvas: Image.Image, crop: NDArray[np.uint8] | None, left: int, top: int) -> None:
    y = top + _LINE_PX
    if crop is not None:
        small = resize(crop, height_px=_CROP_HEIGHT_PX, width_px=_CROP_WIDTH_PX)
        canvas.paste(Image.fromarray(small), (left, y))
        return
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((left, y, left + _CROP_WIDTH_PX - 1, y + _CROP_HEIGHT_PX - 1), fill=LINE)
    middle = y + _CROP_HEIGHT_PX // 2
    centred(draw, (left + _HALF_PX, middle - _LINE_PX), "no picture", FAINT, _SMALL_TEXT_PX)
    centred(draw, (left + _HALF_PX, middle), "stored", FAINT, _SMALL_TEXT_PX)


def _shortened(draw: ImageDraw.ImageDraw, text: str) -> str:
    shown, kept = text, text
    while kept and draw.textlength(shown, font=font(_SMALL_TEXT_PX)) > _COLUMN_PX - 8:
        kept = kept[:-1]
        shown = kept + "…"
    return shown
