"""Draws accuracy against latency: Table 1 as a chart, measured on the user's own machine."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from adln.boxes import shared_areas
from adln.reports.drawing import FAINT, INK, LINE, PAPER, font

WIDTH, HEIGHT = 1200, 760
# Drawn at twice the size and downscaled, for smooth edges.
_FINE = 2
_LEFT, _RIGHT, _TOP, _BOTTOM = 110, 40, 110, 150

# Distinguishable with the common kinds of colour blindness (Okabe and Ito).
_SERIES = {
    "fp32": "#0072b2",
    "fp16": "#009e73",
    "bf16": "#cc79a7",
    "int8": "#d55e00",
    "cascade": "#56b4e9",
}
_STEPS = (1, 2, 5)

# Possible positions of a label around its point, best first: offset right and down in px, and the
# corner of the label placed there.
_LABEL_PLACES = (
    (0, -13, "mb"),
    (0, 13, "mt"),
    (14, 0, "lm"),
    (-14, 0, "rm"),
    (11, 9, "lt"),
    (-11, -9, "rb"),
    (11, -9, "lb"),
    (-11, 9, "rt"),
    (0, -30, "mb"),
    (0, 30, "mt"),
    (12, 26, "lt"),
    (-12, -26, "rb"),
    (12, -26, "lb"),
    (-12, 26, "rt"),
)


@dataclass(frozen=True)
class ChartPoint:
    """One network in the chart.

    Attributes:
        label: its name; "" for a small dot without one.
        latency_ms: time for one crop, above 0.
        accuracy: value on the vertical axis, in percent.
        precision: determines the colour; "cascade" for the settings of a cascade.
        is_own: own networks are dots, joined by precision; peers are squares.
    """

    label: str
    latency_ms: float
    accuracy: float
    precision: str
    is_own: bool


def draw_chart(
    points: Sequence[ChartPoint], *, title: str, accuracy_name: str, footer: Sequence[str] = ()
) -> Image.Image:
    """Draw accuracy against latency, of one network at least, as an RGB picture of 1200 x 760 px.

    `accuracy_name` is the title of the vertical axis, such as "mAP on Market-1501 (%)"; the footer
    tells machine and conditions.
    """
    chart = _Chart(points)
    chart.axes(accuracy_name)
    chart.text(_LEFT, 34, title, size=26)
    chart.legend(_LEFT, 78)
    for number, line in enumerate(footer):
        chart.text(_LEFT, HEIGHT - 56 + 22 * number, line, size=15, colour=FAINT)
    chart.series()
    chart.labels()
    return chart.image.reduce(_FINE)


class _Chart:
    def __init__(self, points: Sequence[ChartPoint]) -> None:
        self.points = points
        self.image = Image.new("RGB", (WIDTH * _FINE, HEIGHT * _FINE), PAPER)
        self._draw = ImageDraw.Draw(self.image)
        times = [point.latency_ms for point in points]
        # A margin of a third of an octave on both sides.
        self._x_span = math.log(min(times) / 1.3), math.log(max(times) * 1.45)
        heights = [point.accuracy for point in points]
        air = max(1.0, 0.12 * (max(heights) - min(heights)))
        self._y_span = min(heights) - air, max(heights) + air

    def x(self, latency_ms: float) -> float:
        low, high = self._x_span
        share = (math.log(latency_ms) - low) / (high - low)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, accuracy: float) -> float:
        low, high = self._y_span
        share = (accuracy - low) / (high - low)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def axes(self, accuracy_name: str) -> None:
        left, right = _LEFT, WIDTH - _RIGHT
        top, bottom = _TOP, HEIGHT - _BOTTOM
        for tick in _round_numbers(*self._y_span):
            self.line([(left, self.y(tick)), (right, self.y(tick))], LINE)
            self.text(left - 12, self.y(tick), f"{tick:g}", anchor="rm", colour=FAINT)
        low, high = (math.exp(end) for end in self._x_span)
        for tick in _round_ratios(low, high):
            self.line([(self.x(tick), top), (self.x(tick), bottom)], LINE)
            self.text(self.x(tick), bottom + 10, f"{tick:g}", anchor="ma", colour=FAINT)
        self.line([(left, bottom), (right, bottom)], FAINT)
        middle = (left + right) / 2
        self.text(middle, bottom + 36, "median time of one crop (ms, logarithmic)", anchor="ma")
        self.upright_text(28, (top + bottom) / 2, accuracy_name)

    def legend(self, left: float, middle: float) -> None:
        shown = {(point.is_own, point.precision) for point in self.points}
        for is_own, name, mark in ((True, "ADLN", self.dot), (False, "peer", self.square)):
            for precision, colour in _SERIES.items():
                if (is_own, precision) in shown:
                    mark(left + 7, middle, colour)
                    left = self.text(left + 20, middle, f"{name} {precision}") + 28

    def place(self, point: ChartPoint) -> tuple[float, float]:
        return self.x(point.latency_ms), self.y(point.accuracy)

    def curve(self, precision: str) -> list[tuple[float, float]]:
        """Places of the own networks of a precision, from left to right."""
        return sorted(
            self.place(point)
            for point in self.points
            if point.is_own and point.precision == precision
        )

    def series(self) -> None:
        for precision, colour in _SERIES.items():
            self.line(self.curve(precision), colour, width=2.5)
        for point in self.points:
            x, y = self.place(point)
            colour = _SERIES.get(point.precision, FAINT)
            if point.is_own:
                self.dot(x, y, colour, radius=7 if point.label else 4.5)
            else:
                self.square(x, y, colour)

    def labels(self) -> None:
        """Label each point where the label covers no point and no other label."""
        taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in map(self.place, self.points)]
        joined = self._joined()
        for point in sorted(self.points, key=lambda p: (not p.is_own, p.latency_ms)):
            x, y = self.place(point)
            choices = [(x + dx, y + dy, anchor) for dx, dy, anchor in _LABEL_PLACES]
            boxes = np.array([self.box(*choice, point.label) for choice in choices])
            left, top, right, bottom = boxes.T
            is_outside = (left < _LEFT) | (right > WIDTH - 8)
            is_outside |= (top < _TOP - 12) | (bottom > HEIGHT - _BOTTOM)
            covered = shared_areas(boxes, np.array(taken)).sum(axis=1)
            inside = (boxes[:, np.newaxis, :2] <= joined) & (joined <= boxes[:, np.newaxis, 2:])
            crossed = inside.all(axis=2).sum(axis=1)
            cost = 1e6 * is_outside + 10 * covered + 20 * crossed + 2 * np.arange(len(choices))
            best = int(cost.argmin())
            x, y, anchor = choices[best]
            colour = INK if point.is_own else FAINT
            self.text(x, y, point.label, anchor=anchor, colour=colour, size=16)
            taken.append(tuple(boxes[best]))

    def _joined(self) -> NDArray[np.float64]:
        """(N, 2) points along the joining lines, which labels should not cross either."""
        share = np.arange(24)[:, np.newaxis] / 24
        pairs = (pair for precision in _SERIES for pair in pairwise(self.curve(precision)))
        lines = [start + (np.array(end) - start) * share for start, end in pairs]
        return np.concatenate([np.zeros((0, 2)), *lines])

    def box(self, x: float, y: float, anchor: str, label: str) -> tuple[float, float, float, float]:
        place = (x * _FINE, y * _FINE)
        sides = self._draw.textbbox(place, label, font=font(16 * _FINE), anchor=anchor)
        left, top, right, bottom = (side / _FINE for side in sides)
        return left - 2, top - 2, right + 2, bottom + 2

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 17,
        anchor: str = "lm",
        colour: str = INK,
    ) -> float:
        """Draw text; returns the x of its right end."""
        place, letters = (x * _FINE, y * _FINE), font(size * _FINE)
        # An outline in the background colour keeps letters readable in front of lines.
        self._draw.text(
            place,
            text,
            fill=colour,
            font=letters,
            anchor=anchor,
            stroke_width=2 * _FINE,
            stroke_fill=PAPER,
        )
        right: float = self._draw.textbbox(place, text, font=letters, anchor=anchor)[2]
        return right / _FINE

    def upright_text(self, x: float, y: float, text: str) -> None:
        letters = font(17 * _FINE)
        _, _, width, height = self._draw.textbbox((0, 0), text, font=letters)
        strip = Image.new("RGB", (int(width) + 4, int(height) + 8), PAPER)
        ImageDraw.Draw(strip).text((2, 2), text, fill=INK, font=letters)
        turned = strip.transpose(Image.Transpose.ROTATE_90)
        place = (round(x * _FINE - turned.width / 2), round(y * _FINE - turned.height / 2))
        self.image.paste(turned, place)

    def line(self, places: Sequence[tuple[float, float]], colour: str, width: float = 1) -> None:
        fine = [(x * _FINE, y * _FINE) for x, y in places]
        if len(fine) > 1:
            self._draw.line(fine, fill=colour, width=round(width * _FINE), joint="curve")

    def dot(self, x: float, y: float, colour: str, radius: float = 7) -> None:
        self._draw.circle(
            (x * _FINE, y * _FINE), radius * _FINE, fill=colour, outline=PAPER, width=_FINE
        )

    def square(self, x: float, y: float, colour: str) -> None:
        side = 6
        ends = ((x - side) * _FINE, (y - side) * _FINE, (x + side) * _FINE, (y + side) * _FINE)
        self._draw.rectangle(ends, fill=PAPER, outline=colour, width=2 * _FINE)


def _round_numbers(low: float, high: float) -> list[float]:
    """Four to ten round numbers between `low` and `high`."""
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * s for s in (*_STEPS, 10) if power * s >= rough)
    first = math.ceil(low / step)
    return [round(step * i, 10) for i in range(first, math.floor(high / step) + 1)]


def _round_ratios(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, 20, 50 and so on between `low` and `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = (round(step * 10.0**power, 10) for power in powers for step in _STEPS)
    return [tick for tick in ticks if low <= tick <= high]
