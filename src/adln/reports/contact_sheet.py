"""Draws groups of sightings as rows of pictures, for a person to check."""

import io
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, UnidentifiedImageError

from adln.reports.drawing import INK, LINE, PAPER, font

_HEIGHT_PX, _WIDTH_PX, _GAP_PX, _LABEL_PX = 128, 64, 6, 150
_PICTURES = 12
_ROWS = 60


def draw_contact_sheet(
    rows: Sequence[tuple[str, Sequence[int]]], thumbnails: Mapping[int, bytes]
) -> Image.Image:
    """Draw, in RGB, a row for each group: its label, and the JPEGs of its sightings, best first.

    A label may have several lines. At most sixty rows are drawn, with at most twelve pictures each.
    """
    shown = rows[:_ROWS]
    width = _LABEL_PX + _PICTURES * (_WIDTH_PX + _GAP_PX) + _GAP_PX
    height = max(1, len(shown)) * (_HEIGHT_PX + _GAP_PX) + _GAP_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for row, (label, ids) in enumerate(shown):
        top = _GAP_PX + row * (_HEIGHT_PX + _GAP_PX)
        pen.multiline_text((_GAP_PX, top + 4), label, fill=INK, font=font(14), spacing=5)
        pictured = [number for number in ids if number in thumbnails][:_PICTURES]
        for column, number in enumerate(pictured):
            left = _LABEL_PX + column * (_WIDTH_PX + _GAP_PX)
            sheet.paste(_picture(thumbnails[number]), (left, top))
        if not pictured:
            pen.text((_LABEL_PX, top + 4), "no pictures stored", fill=INK, font=font(14))
    return sheet


def _picture(jpeg: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(jpeg)) as picture:
            return picture.convert("RGB").resize((_WIDTH_PX, _HEIGHT_PX))
    except (UnidentifiedImageError, OSError):
        return Image.new("RGB", (_WIDTH_PX, _HEIGHT_PX), LINE)
