"""Draws identities into frames: boxes in each person's colour, names, and a legend.

Uncertain identities have a dashed box and a question mark, also in the legend.
"""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from adln.boxes import shared_areas
from adln.pipeline.watch_parts import NamedBox, SeenFrame

Colour = tuple[int, int, int]

# Step on the colour wheel from one person to the next: neighbours never look alike.
_GOLDEN = 0.618034
_NOBODY: Colour = (150, 150, 150)
_INK: Colour = (18, 20, 24)
_PAPER: Colour = (245, 246, 248)
_SHADE = 0.62
# The legend lists people for this long after they were last seen, and at most this many.
_LISTED_S = 60.0
_MOST_LISTED = 8
_LINES_ON_SCREEN = 30
_SMALLEST_TEXT_PX = 11


def person_colour(person_id: int | None) -> Colour:
    """A colour for a person, RGB 0..255; grey for nobody."""
    if person_id is None:
        return _NOBODY
    red, green, blue = colorsys.hsv_to_rgb(person_id * _GOLDEN % 1.0, 0.65, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


class Box(NamedTuple):
    """A rectangle in a picture, px."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass
class Listed:
    """A line of the legend."""

    text: str
    last_s: float
    track_id: int


class FrameArtist:
    """Draws into the frames of one camera, and remembers recent people for the legend."""

    def __init__(self, camera: str, name_of: Callable[[int], str | None]) -> None:
        self._camera = camera
        self._name_of = name_of
        self._listed: dict[tuple[int, bool], Listed] = {}  # by person and whether it is in doubt
        self._corner = 0

    @property
    def listed(self) -> list[Listed]:
        """The lines of the legend, by person."""
        return [self._listed[key] for key in sorted(self._listed)]

    def draw(self, picture: tuple[NDArray[np.uint8], float], seen: SeenFrame) -> NDArray[np.uint8]:
        """Draw the people of a frame into a picture (H, W, 3) uint8 RGB of it, at a scale."""
        image, scale = picture
        text_px = max(_SMALLEST_TEXT_PX, round(image.shape[0] / _LINES_ON_SCREEN))
        now_s = seen.frame.time_s
        for person in seen.people:
            self._list(person, now_s)
        boxes = [Box(*(round(side * scale) for side in person.box_xyxy)) for person in seen.people]
        # The legend is below people and labels, so that it hides neither.
        self._draw_legend(image, boxes, now_s, text_px)
        # People in front (with lower feet) are drawn over the others.
        shown = sorted(zip(seen.people, boxes, strict=True), key=lambda one: one[1].bottom)
        for person, box in shown:
            colour = person_colour(person.person_id)
            width = max(2, text_px // 5)
            _outline(image, box, colour, width, dashed=person.verdict == "candidate")
        taken: list[Box] = []
        for person, box in reversed(shown):
            chip = _chip(self._label(person), person_colour(person.person_id), text_px)
            place = _free_place(box, chip.shape[:2], taken, image.shape[:2])
            taken.append(place)
            area = image[place.top : place.bottom, place.left : place.right]
            area[:] = chip[: area.shape[0], : area.shape[1]]
        return image

    def _label(self, person: NamedBox) -> str:
        if person.person_id is None:
            return "who?"
        name = self._name(person)
        if person.is_new:
            return f"{name}  ·  new"
        share = "" if person.probability is None else f"  ·  {100 * person.probability:.0f} %"
        return f"{name}{share}"

    def _name(self, person: NamedBox) -> str:
        assert person.person_id is not None
        name = self._name_of(person.person_id) or f"Person {person.person_id}"
        return f"{name}?" if person.verdict == "candidate" else name

    def _list(self, person: NamedBox, now_s: float) -> None:
        """Add a person to the legend, replacing their earlier entry."""
        key = None
        if person.person_id is not None:
            key = person.person_id, person.verdict == "candidate"
        for other, listed in list(self._listed.items()):
            if listed.track_id == person.track_id and other != key:
                del self._listed[other]
        if key is not None:
            self._listed[key] = Listed(self._name(person), now_s, person.track_id)

    def _draw_legend(
        self, image: NDArray[np.uint8], boxes: Sequence[Box], now_s: float, text_px: int
    ) -> None:
        moment = datetime.fromtimestamp(now_s, UTC).astimezone().strftime("%Y-%m-%d  %H:%M:%S")
        rows: list[tuple[str, Colour | None]] = [(f"{self._camera}   {moment}", None)]
        recent = sorted(self._listed.items(), key=lambda one: (-one[1].last_s, one[0]))
        for (person_id, _), listed in recent[:_MOST_LISTED]:
            ago_s = now_s - listed.last_s
            if ago_s <= _LISTED_S:
                when = "in view" if ago_s < 1 else f"{int(ago_s)} s ago"
                rows.append((f"{listed.text}   {when}", person_colour(person_id)))
        margin = text_px // 2
        panel = _panel(tuple(rows), text_px)
        height, width = map(min, panel.shape[:2], image.shape[:2])
        free_px = image.shape[0] - height - margin, image.shape[1] - width - margin
        corners = [
            Box(left, top, left + width, top + height)
            for top in (margin, max(0, free_px[0]))
            for left in (max(0, free_px[1]), margin)
        ]
        hidden = _covered(corners, boxes)
        # The legend stays in its corner unless another corner hides less.
        if hidden[self._corner] > hidden.min():
            self._corner = int(hidden.argmin())
        left, top = corners[self._corner].left, corners[self._corner].top
        area = image[top : top + height, left : left + width]
        panel = panel[: area.shape[0], : area.shape[1]]
        drawn = (panel != _INK).any(axis=2, keepdims=True)
        shaded = (1 - _SHADE) * area + _SHADE * np.array(_INK)
        area[:] = np.where(drawn, panel, shaded.astype(np.uint8))


def _free_place(
    box: Box, size: tuple[int, int], taken: Sequence[Box], picture: tuple[int, ...]
) -> Box:
    """Place of a label of this height and width: above its box, or where no other label is."""
    height, width = size
    left = max(0, min(box.left, picture[1] - width))
    tops = [box.top - height, box.top, *(box.top + row * height for row in (1, 2, 3))]
    places = [
        Box(left, top, left + width, top + height)
        for top in tops
        if 0 <= top <= max(0, picture[0] - height)
    ] or [Box(left, 0, left + width, height)]
    return places[int(_covered(places, taken).argmin())]


def _covered(places: Sequence[Box], boxes: Sequence[Box]) -> NDArray[np.floating]:
    """How many px of each place these boxes cover; twice where two boxes do."""
    shared = shared_areas(np.array(places), np.array(boxes).reshape(-1, 4))
    return np.asarray(shared.sum(axis=1))


def _outline(
    image: NDArray[np.uint8], box: Box, colour: Colour, width: int, *, dashed: bool
) -> None:
    left, top, right, bottom = (max(0, side) for side in box)
    part = image[top:bottom, left:right]
    rows, columns = (np.arange(side) for side in part.shape[:2])
    is_line = (rows < width) | (rows >= len(rows) - width)
    is_line = is_line[:, np.newaxis] | (columns < width) | (columns >= len(columns) - width)
    if dashed:
        dash = 5 * width
        is_line &= (rows[:, np.newaxis] // dash + columns // dash) % 2 == 0
    part[is_line] = colour


@lru_cache(maxsize=256)
def _chip(text: str, colour: Colour, text_px: int) -> NDArray[np.uint8]:
    """A text on a person's colour, as a picture."""
    font = ImageFont.load_default(text_px)
    pad = text_px // 4
    right = round(font.getlength(text))
    chip = Image.new("RGB", (right + 2 * pad, text_px + 2 * pad), colour)
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    ink = _INK if light > 110 else _PAPER
    ImageDraw.Draw(chip).text((pad, pad + text_px), text, font=font, fill=ink, anchor="ld")
    return np.asarray(chip)


@lru_cache(maxsize=8)
def _panel(rows: tuple[tuple[str, Colour | None], ...], text_px: int) -> NDArray[np.uint8]:
    """Lines of text on a dark ground, with a colour mark before those of people, as a picture."""
    font = ImageFont.load_default(text_px)
    step, pad = round(1.45 * text_px), text_px // 2
    indent = round(1.3 * text_px)
    width = max(round(font.getlength(text)) + (indent if colour else 0) for text, colour in rows)
    panel = Image.new("RGB", (width + 2 * pad, step * len(rows) + pad), _INK)
    draw = ImageDraw.Draw(panel)
    for row, (text, colour) in enumerate(rows):
        top = pad // 2 + row * step
        left = pad
        if colour is not None:
            side = round(0.75 * text_px)
            box = (left, top + (step - side) // 2, left + side, top + (step + side) // 2)
            draw.rectangle(box, fill=colour)
            left += indent
        draw.text((left, top + step // 2), text, font=font, fill=_PAPER, anchor="lm")
    return np.asarray(panel)
