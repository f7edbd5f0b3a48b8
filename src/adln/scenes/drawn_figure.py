"""Draws a synthetic person (in place of the photographs of Sec. III.A), walking, from any side.

The body is a small three-dimensional model of tapered limbs and of solids made of elliptical rings,
painted back to front, so that a backpack is only visible from behind.

Lengths inside the model are fractions of the stature. Axes of the person: x to the person's left,
y up from the ground, z forwards. Angles around the body start in front and go to the left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, cos, hypot, pi, sin
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from adln.scenes.drawn_people import Colour, DrawnPerson

SUPERSAMPLING = 3
"""Factor of supersampling for smooth edges."""

GESTURES = ("walk", "stand", "phone", "strap", "pocket")
"""Poses of arms and legs."""

_CIRCLE = tuple((cos(pi * k / 6), sin(pi * k / 6)) for k in range(12))
_EDGE_STEPS = (0.22, 0.5, 0.78)
_WHITE: Colour = (250, 250, 250)
_BLACK: Colour = (0, 0, 0)
_COVERED = [0] + [255] * 255

Point = tuple[float, float, float]
Ring = tuple[float, float, float, float]
"""Height, half width, half depth, forward offset."""
Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A person without background.

    Attributes:
        colour: uint8 (H, W, 3), RGB, premultiplied by the coverage.
        coverage: uint8 (H, W), 0 (transparent) to 255 (opaque).
        ground_xy: The point on the ground below the person, px.
    """

    colour: NDArray[np.uint8]
    coverage: NDArray[np.uint8]
    ground_xy: tuple[float, float]

    def lay_over(
        self, picture: NDArray[np.uint8], *, ground_xy: tuple[float, float]
    ) -> NDArray[np.uint8]:
        """A copy of a picture, uint8 (H, W, 3), with the person's ground point there (px)."""
        result = picture.copy()
        self.blend(result, ground_xy)
        return result

    def blend(
        self, picture: NDArray[np.uint8], ground_xy: tuple[float, float]
    ) -> tuple[Box, NDArray[np.uint8]] | None:
        """Composite the figure onto a picture, in place; parts outside are cut off.

        Returns:
            Its box in the picture, px, and its coverage there; None if all of it is outside.
        """
        left = round(ground_xy[0] - self.ground_xy[0])
        top = round(ground_xy[1] - self.ground_xy[1])
        height, width = self.coverage.shape
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, picture.shape[1]), min(top + height, len(picture))
        if x1 <= x0 or y1 <= y0:
            return None
        inside = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        below, coverage = picture[y0:y1, x0:x1], self.coverage[inside]
        open_part = 255 - coverage.astype(np.uint16)[..., None]
        below[...] = self.colour[inside] + (below * open_part // 255).astype(np.uint8)
        return (x0, y0, x1, y1), coverage


def draw_figure(
    person: DrawnPerson,
    *,
    height_px: float,
    heading_deg: float = 0.0,
    phase: float = 0.0,
    tilt_deg: float = 8.0,
    perspective: float = 0.05,
    light: float = -0.6,
    gesture: str = "walk",
    supersampling: int = SUPERSAMPLING,
) -> Figure:
    """Draw a person, cropped to the covered part.

    Args:
        person: The person.
        height_px: From the ground to the top of the head for a level camera.
        heading_deg: 0 walks towards the camera, 90 to the right of the picture, 180 away.
        phase: Of the walk in radians; one double step is 2 pi.
        tilt_deg: Of the camera, downward.
        perspective: By how much the head is drawn wider than the feet, for a camera above.
        light: Its direction: -1 left, 0 front, +1 right.
        gesture: One of `GESTURES`.
        supersampling: Factor, for smooth edges.
    """
    brush = _Brush(height_px, supersampling, heading_deg, tilt_deg, perspective, light)
    _paint_person(brush, person, phase, gesture)
    return brush.finish()


class _Slice(NamedTuple):
    """One ring of a solid after projection, in pixels of the large canvas."""

    height: float
    x: float
    y: float
    half_width: float
    bulge: float
    turn: float


class _Brush:
    """Projects body coordinates onto a large canvas and paints limbs and solids on it.

    Unpainted pixels are black and painted ones never are, so the coverage needs no second canvas.
    """

    def __init__(
        self,
        height_px: float,
        supersampling: int,
        heading_deg: float,
        tilt_deg: float,
        perspective: float,
        light: float,
    ) -> None:
        self.supersampling = n = supersampling
        self.scale = scale = height_px * n
        heading, tilt = heading_deg * pi / 180.0, tilt_deg * pi / 180.0
        self.cos_heading, self.sin_heading = cos(heading), sin(heading)
        self.rise, self.sink = scale * cos(tilt), scale * sin(tilt)
        self.perspective = perspective
        self.side = 1.0 if light <= 0 else -1.0
        self.contrast = 0.7 + 0.5 * abs(light)
        self.lift = 0.0
        width, height = n * round(0.86 * scale / n), n * round(1.22 * scale / n)
        self.origin_x, self.origin_y = width / 2, height - 0.1 * scale
        self.canvas = Image.new("RGB", (width, height))
        self._solid_ink = ImageDraw.Draw(self.canvas)
        self._glaze_ink = ImageDraw.Draw(self.canvas, "RGBA")

    def finish(self) -> Figure:
        """Downscale the canvas and crop it to the covered part."""
        coverage = self.canvas.getchannel("R").point(_COVERED)
        n = self.supersampling
        left, top, right, bottom = coverage.getbbox() or (0, 0, n, n)
        box = (left // n * n, top // n * n, -(-right // n) * n, -(-bottom // n) * n)
        return Figure(
            colour=np.asarray(self.canvas.reduce(n, box)),
            coverage=np.asarray(coverage.reduce(n, box)),
            ground_xy=((self.origin_x - box[0]) / n, (self.origin_y - box[1]) / n),
        )

    def at(self, point: Point) -> tuple[float, float]:
        """Project a point of the body onto the canvas."""
        x, y, z = point
        y += self.lift
        across = x * self.cos_heading + z * self.sin_heading
        nearness = z * self.cos_heading - x * self.sin_heading
        return (
            self.origin_x + self.scale * across * (1.0 + self.perspective * (y - 0.5)),
            self.origin_y - self.rise * y + self.sink * nearness,
        )

    def nearness(self, point: Point) -> float:
        """Distance of a point towards the camera, relative to the middle of the body."""
        return point[2] * self.cos_heading - point[0] * self.sin_heading

    def polygon(self, points: list[float], colour: Colour, strength: int = 255) -> None:
        """Fill a polygon given as x, y, x, y; a strength below 255 is translucent."""
        if strength >= 255:
            self._solid_ink.polygon(points, fill=colour)
        else:
            self._glaze_ink.polygon(points, fill=(*colour, strength))

    def oval(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, strength: int = 255
    ) -> None:
        points = [value for c, s in _CIRCLE for value in (x + rx * c, y + ry * s)]
        self.polygon(points, colour, strength)

    def spot(self, centre: Point, radius: float, colour: Colour, strength: int = 255) -> None:
        r = radius * self.scale
        self.oval(*self.at(centre), r, r, colour, strength)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        path, pixels = [self.at(point) for point in points], max(round(width * self.scale), 1)
        self._solid_ink.line(path, fill=colour, width=pixels, joint="curve")

    def limb(
        self,
        joints: Sequence[tuple[Point, float]],
        colour: Colour,
        *,
        plump: float = 1.0,
        shaded: bool = True,
        rim: bool = False,
        ends: str = "round",
    ) -> None:
        """Paint a round limb from joint to joint; of "open" ends only the first is round."""
        places = [(*self.at(point), radius * plump * self.scale) for point, radius in joints]
        normals = _normals(places)
        if rim:
            grown = [(x, y, r + 0.007 * self.scale) for x, y, r in places]
            self.polygon(_stripe(grown, normals, -1.0, 1.0), _BLACK, 60)
        self.polygon(_stripe(places, normals, -1.0, 1.0), colour)
        caps = {"round": places, "open": places[:-1], "flat": places[1:-1]}[ends]
        for x, y, r in caps:
            self._solid_ink.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        if not shaded:
            return
        # A limb across the light is darker below.
        nx, ny = normals[0]
        away = 1.0 if nx * self.side + 0.35 * ny > 0 else -1.0
        for near, far, ink, strength in ((0.20, 0.98, _BLACK, 46.0), (-0.75, -0.20, _WHITE, 26.0)):
            stripe = _stripe(places, normals, near * away, far * away)
            self.polygon(stripe, ink, int(strength * self.contrast))

    def solid(self, *rings: Ring, x: float = 0.0) -> list[_Slice]:
        """Project rings, from top to bottom."""
        slices = []
        for height, wide, deep, forward in rings:
            cx, cy = self.at((x, height, forward))
            along, across = wide * self.cos_heading, deep * self.sin_heading
            zoom = self.scale * (1.0 + self.perspective * (height + self.lift - 0.5))
            bulge = hypot(deep * self.cos_heading, wide * self.sin_heading) * self.sink
            half_width, turn = hypot(along, across) * zoom, atan2(across, along)
            slices.append(_Slice(height, cx, cy, half_width, bulge, turn))
        return slices

    def fill(
        self, solid: list[_Slice], colour: Colour, *, shaded: bool = True, rim: bool = False
    ) -> None:
        """Paint the visible part of a solid."""
        top, bottom = solid[0].height, solid[-1].height
        if rim:
            self._ribbon(solid, top, bottom, -pi / 2, pi / 2, _BLACK, 56, grow=0.007 * self.scale)
        self._ribbon(solid, top, bottom, -pi / 2, pi / 2, colour, 255)
        if shaded:
            self.shade(solid, top, bottom)

    def shade(self, solid: list[_Slice], top: float, bottom: float) -> None:
        for low, high, ink, strength in (
            (0.15, 1.571, _BLACK, 30.0),
            (0.75, 1.571, _BLACK, 44.0),
            (-0.95, -0.15, _WHITE, 22.0),
        ):
            lo, hi = (low, high) if self.side > 0 else (-high, -low)
            self._ribbon(solid, top, bottom, lo, hi, ink, int(strength * self.contrast))

    def patch(
        self,
        solid: list[_Slice],
        top: float,
        bottom: float,
        start_deg: float,
        end_deg: float,
        colour: Colour,
        strength: int = 255,
    ) -> None:
        """Paint the visible part of a patch of a solid, between two heights and two angles."""
        if end_deg - start_deg >= 359.0:
            self._ribbon(solid, top, bottom, -pi / 2, pi / 2, colour, strength)
            return
        turn = _slice_at(solid, (top + bottom) / 2).turn
        start, end = start_deg * pi / 180 + turn, end_deg * pi / 180 + turn
        for shift in (-4 * pi, -2 * pi, 0.0, 2 * pi):
            low, high = max(start + shift, -pi / 2), min(end + shift, pi / 2)
            if high - low > 0.03:
                self._ribbon(solid, top, bottom, low, high, colour, strength)

    def on(
        self, solid: list[_Slice], height: float, angle_deg: float
    ) -> tuple[float, float, float]:
        """Project a point of a solid's surface; the third value is how far it faces the camera."""
        ring = _slice_at(solid, height)
        angle = angle_deg * pi / 180 + ring.turn
        facing = cos(angle)
        return ring.x + ring.half_width * sin(angle), ring.y + ring.bulge * facing, facing

    def mark(
        self,
        solid: list[_Slice],
        height: float,
        angle_deg: float,
        half_width: float,
        half_height: float,
        colour: Colour,
        strength: int = 255,
    ) -> None:
        """Paint an oval mark on a solid, narrower where the surface turns away."""
        x, y, facing = self.on(solid, height, angle_deg)
        if facing >= 0.12:
            rx, ry = half_width * self.scale * facing, half_height * self.scale
            self.oval(x, y, rx, ry, colour, strength)

    def strap(
        self, solid: list[_Slice], path: Sequence[tuple[float, float]], width: float, colour: Colour
    ) -> None:
        """Paint the visible part of a strap along (height, angle) points of a solid."""
        points = [self.on(solid, height, angle) for height, angle in path]
        pixels = max(round(width * self.scale), 1)
        for (xa, ya, facing_a), (xb, yb, facing_b) in pairwise(points):
            if facing_a > 0.05 and facing_b > 0.05:
                self._solid_ink.line((xa, ya, xb, yb), fill=colour, width=pixels)

    def _ribbon(
        self,
        solid: list[_Slice],
        top: float,
        bottom: float,
        low: float,
        high: float,
        colour: Colour,
        strength: int,
        *,
        grow: float = 0.0,
    ) -> None:
        """Paint a solid between two heights and two angles as seen from the camera."""
        inner = [ring for ring in solid if bottom < ring.height < top]
        rings = [_slice_at(solid, top), *inner, _slice_at(solid, bottom)]
        sin_low, cos_low = sin(low), cos(low)
        sin_high, cos_high = sin(high), cos(high)
        points: list[float] = []
        for _, x, y, half_width, bulge, _ in rings:
            points += (x + (half_width + grow) * sin_high, y + bulge * cos_high)
        # The lower edge is curved, as seen from above; so is the upper one.
        steps = _EDGE_STEPS if high - low > 0.8 else _EDGE_STEPS[1:2]
        angles = [high + (low - high) * step for step in steps]
        curve = [(sin(angle), cos(angle)) for angle in angles]
        _, x, y, half_width, bulge, _ = rings[-1]
        for s, c in curve:
            points += (x + (half_width + grow) * s, y + bulge * c + grow)
        for _, x, y, half_width, bulge, _ in reversed(rings):
            points += (x + (half_width + grow) * sin_low, y + bulge * cos_low)
        _, x, y, half_width, bulge, _ = rings[0]
        for s, c in reversed(curve):
            points += (x + (half_width + grow) * s, y + bulge * c - grow)
        self.polygon(points, colour, strength)


_Place = tuple[float, float, float]


def _normals(places: Sequence[_Place]) -> list[tuple[float, float]]:
    """Unit vectors across a bent line, at each of its points (x, y, radius)."""
    across = []
    for (xa, ya, _), (xb, yb, _) in pairwise(places):
        length = hypot(xb - xa, yb - ya)
        across.append(((ya - yb) / length, (xb - xa) / length) if length > 1e-6 else (1.0, 0.0))
    normals = [across[0]]
    for (xa, ya), (xb, yb) in pairwise(across):
        length = hypot(xa + xb, ya + yb)
        normals.append(((xa + xb) / length, (ya + yb) / length) if length > 0.2 else (xa, ya))
    normals.append(across[-1])
    return normals


def _stripe(
    places: Sequence[_Place], normals: Sequence[tuple[float, float]], near: float, far: float
) -> list[float]:
    """Outline of the part of a limb between two fractions of its radius."""
    points: list[float] = []
    for (x, y, r), (nx, ny) in zip(places, normals, strict=True):
        points += (x + far * r * nx, y + far * r * ny)
    for (x, y, r), (nx, ny) in zip(reversed(places), reversed(normals), strict=True):
        points += (x + near * r * nx, y + near * r * ny)
    return points


def _slice_at(solid: list[_Slice], height: float) -> _Slice:
    """Interpolate a solid at a height; beyond its ends, its end."""
    above = solid[0]
    if height >= above.height:
        return above
    if height <= solid[-1].height:
        return solid[-1]
    for below in solid:
        if height > below.height:
            t = (above.height - height) / (above.height - below.height)
            rest = [a + t * (b - a) for a, b in zip(above[1:], below[1:], strict=True)]
            return _Slice(height, *rest)
        above = below
    return above


def _toned(colour: Colour, factor: float) -> Colour:
    """Make a colour darker (factor below 1) or lighter, but never black (black is "nothing")."""
    red, green, blue = (int(min(max(value * factor, 14), 252)) for value in colour)
    return red, green, blue


def _between(a: Point, b: Point, t: float) -> Point:
    return a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2])


class _Leg(NamedTuple):
    hip: Point
    knee: Point
    ankle: Point
    toe: Point
    heel: Point


class _Arm(NamedTuple):
    side: int
    shoulder: Point
    elbow: Point
    wrist: Point
    hand: Point


# Height of the hem, and a factor on widths.
_TOPS = {
    "t-shirt": (0.500, 1.0),
    "vest top": (0.505, 0.95),
    "shirt": (0.482, 1.0),
    "sweater": (0.492, 1.05),
    "hoodie": (0.485, 1.09),
    "open jacket": (0.478, 1.07),
    "zipped jacket": (0.486, 1.05),
    "quilted jacket": (0.480, 1.17),
    "long coat": (0.285, 1.09),
    "dress": (0.330, 1.0),
}
_HEAD: tuple[Ring, ...] = (
    (1.000, 0.010, 0.010, -0.004),
    (0.994, 0.030, 0.032, -0.004),
    (0.982, 0.042, 0.047, -0.003),
    (0.962, 0.050, 0.057, -0.001),
    (0.936, 0.052, 0.060, 0.001),
    (0.912, 0.049, 0.056, 0.004),
    (0.892, 0.042, 0.049, 0.008),
    (0.876, 0.032, 0.038, 0.012),
    (0.866, 0.018, 0.022, 0.015),
)
_HEAD_MIDDLE = 0.932


def _paint_person(brush: _Brush, person: DrawnPerson, phase: float, gesture: str) -> None:
    """Paint all of a person, what is farther away first."""
    legs = [_leg(person, side, phase, gesture) for side in (-1, 1)]
    brush.lift = -min(min(leg.toe[1] - 0.013, leg.heel[1] - 0.013) for leg in legs)
    arms = [_arm(person, side, phase, gesture) for side in (-1, 1)]
    facing = brush.cos_heading

    legs.sort(key=lambda leg: brush.nearness(_between(leg.hip, leg.ankle, 0.6)))
    far_arms = [arm for arm in arms if _arm_nearness(brush, arm) < -0.035]
    near_arms = [arm for arm in arms if arm not in far_arms]
    hair_behind = person.hair_style in {"long", "ponytail"} and person.headwear != "headscarf"

    if person.bag == "suitcase" and facing > 0:
        _paint_suitcase(brush, person, arms)
    for arm in far_arms:
        _paint_arm(brush, person, arm)
    if person.bag == "backpack" and facing > -0.15:
        _paint_backpack(brush, person)
    if hair_behind and facing > 0.1:
        _paint_hanging_hair(brush, person)
    for index, leg in enumerate(legs):
        _paint_leg(brush, person, leg, far=index == 0)
    torso = _paint_torso(brush, person, legs)
    _paint_neck_and_head(brush, person, torso)
    if hair_behind and facing <= 0.1:
        _paint_hanging_hair(brush, person)
    if person.bag == "backpack" and facing <= -0.15:
        _paint_backpack(brush, person)
    if person.bag == "messenger bag":
        _paint_messenger_bag(brush, person, torso)
    for arm in near_arms:
        _paint_arm(brush, person, arm)
    if person.bag == "suitcase" and facing <= 0:
        _paint_suitcase(brush, person, arms)


def _arm_nearness(brush: _Brush, arm: _Arm) -> float:
    return sum(brush.nearness(joint) for joint in (arm.shoulder, arm.elbow, arm.hand)) / 3.0


def _leg(person: DrawnPerson, side: int, phase: float, gesture: str) -> _Leg:
    moment = phase if side > 0 else phase + pi
    skirted = person.bottom.endswith("skirt") or _TOPS[person.top][0] < 0.45
    step = person.stride * (0.5 if person.bottom == "long skirt" else 0.75 if skirted else 1.0)
    swing = 0.40 * step * sin(moment)
    bend = 0.08 + 0.85 * step * max(0.0, cos(moment + 0.35))
    if gesture == "stand":
        swing, bend = 0.05 * side, 0.06
    hip_height = person.leg_ratio
    thigh, shin = 0.53 * (hip_height - 0.045), 0.47 * (hip_height - 0.045)
    x = side * 0.046 * person.hips * person.build
    foot_x = x * 0.92
    hip = (x, hip_height, 0.0)
    knee = (x, hip_height - thigh * cos(swing), thigh * sin(swing))
    lower = swing - bend
    ankle = (foot_x, knee[1] - shin * cos(lower), knee[2] + shin * sin(lower))
    pitch = 0.75 * lower if gesture != "stand" else 0.0
    c, s, (_, y, z) = cos(pitch), sin(pitch), ankle
    toe = (foot_x + side * 0.018, y - 0.028 * c + 0.092 * s, z + 0.092 * c + 0.028 * s)
    heel = (foot_x, y - 0.028 * c - 0.022 * s, z - 0.022 * c + 0.028 * s)
    return _Leg(hip, knee, ankle, toe, heel)


def _arm(person: DrawnPerson, side: int, phase: float, gesture: str) -> _Arm:
    moment = phase if side > 0 else phase + pi
    swing, bend = -0.42 * person.stride * sin(moment), 0.22 + 0.25 * max(0.0, -sin(moment))
    spread = 0.10 + 0.10 * max(person.build - 1.0, 0.0)
    inwards = 0.0
    busy_side = -person.bag_side
    carrying = person.bag in {"handbag", "suitcase"} and side == person.bag_side
    if gesture == "stand":
        swing, bend = 0.03, 0.15
    if carrying:
        swing, bend = 0.3 * swing - (0.25 if person.bag == "suitcase" else 0.0), 0.10
    elif gesture == "phone" and side == busy_side:
        swing, bend, inwards = 0.45, 1.75, 0.35
    elif gesture == "strap" and side == busy_side:
        swing, bend, inwards = 0.05, 2.2, 0.5
    elif gesture == "pocket":
        swing, bend, inwards, spread = -0.12, 0.55, 0.3, 0.22
    half = 0.097 * person.shoulders * (0.5 + 0.5 * person.build)
    upper, fore, palm = 0.165, 0.135, 0.035
    shoulder = (side * half, 0.780, 0.0)
    elbow = (
        side * (half + upper * sin(spread)),
        0.780 - upper * cos(spread) * cos(swing),
        upper * sin(swing),
    )
    angle = swing + bend
    reach_x = side * (sin(spread * 0.6) - inwards)
    direction = (reach_x, -cos(angle), sin(angle))
    length = hypot(*direction)
    dx, dy, dz = (value / length for value in direction)
    wrist = (elbow[0] + fore * dx, elbow[1] + fore * dy, elbow[2] + fore * dz)
    hand = (wrist[0] + palm * dx, wrist[1] + palm * dy, wrist[2] + palm * dz)
    return _Arm(side, shoulder, elbow, wrist, hand)


def _paint_leg(brush: _Brush, person: DrawnPerson, leg: _Leg, *, far: bool) -> None:
    tone = 0.86 if far else 1.0
    plump = 0.55 + 0.45 * person.build
    skin, cloth = _toned(person.skin, tone), _toned(person.bottom_colour, tone)
    covered = person.bottom.endswith(("trousers", "jeans"))
    _paint_shoe(brush, person, leg, tone)
    if not covered:
        calf = _between(leg.knee, leg.ankle, 0.3)
        bare = [(leg.hip, 0.058), (leg.knee, 0.039), (calf, 0.037), (leg.ankle, 0.024)]
        brush.limb(bare, skin, plump=plump)
    if person.bottom == "shorts":
        end = _between(leg.hip, leg.knee, 0.92)
        brush.limb([(leg.hip, 0.068), (end, 0.060)], cloth, plump=plump, ends="open")
    if covered:
        knee_radius, hem_radius = {
            "slim trousers": (0.045, 0.029),
            "straight trousers": (0.049, 0.041),
            "wide trousers": (0.058, 0.064),
            "turned-up jeans": (0.049, 0.039),
            "side-stripe trousers": (0.049, 0.036),
        }[person.bottom]
        hem = _between(leg.knee, leg.ankle, 0.86 if person.bottom == "turned-up jeans" else 1.04)
        thigh, thigh_radius = _between(leg.hip, leg.knee, 0.6), 0.45 * 0.066 + 0.55 * knee_radius
        joints = [(leg.hip, 0.066), (thigh, thigh_radius), (leg.knee, knee_radius)]
        brush.limb([*joints, (hem, hem_radius)], cloth, plump=plump, ends="open")
    if person.shoes == "boots" and (not covered or person.bottom == "slim trousers"):
        boot = _toned(person.shoe_colour, tone)
        top = _between(leg.ankle, leg.knee, 0.55)
        brush.limb([(leg.ankle, 0.030), (top, 0.041 * plump)], boot, ends="open")
    if person.bottom == "turned-up jeans":
        turned_up = [(_between(hem, leg.knee, 0.12), 0.046), (hem, 0.047)]
        pale = _toned(person.bottom_colour, 1.45 * tone)
        brush.limb(turned_up, pale, plump=plump, ends="flat", shaded=False)
    elif person.bottom == "side-stripe trousers":
        # The stripe runs down the outer side: seen from the side, and at the edge from the front.
        outer = 1 if leg.hip[0] > 0 else -1
        if brush.nearness((outer, 0.0, 0.0)) > -0.75:
            shift = outer * 0.042
            joints_and_shares = ((leg.hip, 1.0), (leg.knee, 0.85), (hem, 0.7))
            stripe = [(x + shift * share, y, z) for (x, y, z), share in joints_and_shares]
            colour = _WHITE if sum(person.bottom_colour) < 480 else (60, 60, 66)
            brush.line(stripe, 0.016, _toned(colour, tone))


def _paint_shoe(brush: _Brush, person: DrawnPerson, leg: _Leg, tone: float) -> None:
    colour = _toned(person.shoe_colour, tone)
    if person.shoes == "trainers":
        sole = [((x, y - 0.010, z), r) for (x, y, z), r in ((leg.heel, 0.027), (leg.toe, 0.021))]
        brush.limb(sole, _toned((236, 236, 232), tone), shaded=False)
        if sum(person.shoe_colour) > 640:
            colour = _toned(colour, 0.93)
    brush.limb([(leg.ankle, 0.026), (leg.heel, 0.026)], colour, shaded=False)
    brush.limb([(leg.heel, 0.026), (leg.toe, 0.020)], colour, shaded=person.shoes != "trainers")


def _torso_rings(person: DrawnPerson, legs: Sequence[_Leg]) -> list[Ring]:
    """Shape the upper body with its garment, from the neck to the hem."""
    hem, thick = _TOPS[person.top]
    build = person.build * thick
    wide = person.shoulders * (0.5 + 0.5 * person.build) * (0.7 + 0.3 * thick)
    hips = person.hips * build
    belly = 0.014 * max(person.build - 1.02, 0.0) / 0.2
    rings: list[Ring] = [
        (0.848, 0.036, 0.036, -0.004),
        (0.838, 0.050 * wide, 0.042, -0.004),
        (0.825, 0.075 * wide, 0.048 * build, -0.003),
        (0.805, 0.100 * wide, 0.055 * build, 0.0),
        (0.770, 0.109 * wide, 0.063 * build, 0.003),
        (0.715, 0.104 * (wide + build) / 2, 0.069 * build, 0.006),
        (0.655, 0.092 * build, 0.064 * build, 0.003 + 0.5 * belly),
        (0.610, 0.086 * build, 0.060 * build + belly, 0.002 + belly),
        (0.560, 0.091 * hips, 0.064 * build + belly, belly),
        (0.510, 0.097 * hips, 0.068 * build, 0.0),
    ]
    if hem > 0.45:
        return [*rings, (hem, 0.098 * hips, 0.069 * build, 0.0)]
    if person.top == "dress":
        waist, half_width = (0.450, 0.112 * hips, 0.082 * build, 0.0), 0.140 * hips
    else:
        waist, half_width = (0.450, 0.101 * hips, 0.078 * build, 0.0), 0.116 * hips
    return [*rings, waist, _round_legs(legs, hem, half_width)]


def _round_legs(legs: Sequence[_Leg], height: float, half_width: float) -> Ring:
    """Give the ring of a skirt or coat that goes round both legs at a height."""
    forward = []
    for leg in legs:
        upper, lower = (leg.hip, leg.knee) if height > leg.knee[1] else (leg.knee, leg.ankle)
        drop = max(upper[1] - lower[1], 1e-6)
        t = min(max((upper[1] - height) / drop, 0.0), 1.0)
        forward.append(upper[2] + t * (lower[2] - upper[2]))
    middle, reach = sum(forward) / 2, abs(forward[0] - forward[1]) / 2
    return height, half_width, max(reach + 0.062, 0.9 * half_width), middle


def _paint_torso(brush: _Brush, person: DrawnPerson, legs: Sequence[_Leg]) -> list[_Slice]:
    """Paint hips and upper garment with its pattern; return the solid for straps and bags."""
    hips = person.hips * person.build
    if person.bottom.endswith("skirt"):
        hem, flare = (0.385, 0.122) if person.bottom == "short skirt" else (0.150, 0.128)
        skirt = brush.solid(
            (0.590, 0.086 * hips, 0.062 * person.build, 0.0),
            (0.520, 0.098 * hips, 0.074 * person.build, 0.0),
            _round_legs(legs, (0.520 + hem) / 2, (0.100 + flare) / 2 * hips),
            _round_legs(legs, hem, flare * hips),
        )
        brush.fill(skirt, person.bottom_colour)
        for angle in (-150, -100, -50, 0, 50, 100, 150, 200):
            brush.patch(skirt, 0.49, hem, angle - 5, angle + 5, _BLACK, 34)
    elif person.top != "dress":
        pelvis = brush.solid(
            (0.560, 0.088 * hips, 0.060 * person.build, 0.0),
            (0.500, 0.096 * hips, 0.066 * person.build, 0.0),
            (0.455, 0.088 * hips, 0.060 * person.build, 0.0),
            (0.435, 0.060 * hips, 0.045 * person.build, 0.0),
        )
        brush.fill(pelvis, person.bottom_colour)
    hem, _ = _TOPS[person.top]
    torso = brush.solid(*_torso_rings(person, legs))
    brush.fill(torso, person.top_colour, shaded=False)
    _paint_pattern(brush, person, torso, hem)
    _paint_cut(brush, person, torso, hem)
    brush.shade(torso, 0.846, hem)
    if person.bag == "backpack":
        for side in (-1, 1):
            path = [(0.838, 60 * side), (0.81, 42 * side), (0.76, 34 * side), (0.69, 38 * side)]
            brush.strap(torso, path, 0.026, _toned(person.bag_colour, 0.85))
    return torso


def _paint_pattern(brush: _Brush, person: DrawnPerson, torso: list[_Slice], hem: float) -> None:
    accent = person.accent
    pattern = person.pattern
    if pattern in {"hoops", "checks"}:
        strength = 255 if pattern == "hoops" else 120
        step = (0.80 - 0.48) / person.hoops
        height = 0.795
        while height - 0.5 * step > hem:
            brush.patch(torso, height, height - 0.5 * step, -180, 180, accent, strength)
            height -= step
        for angle in range(-180, 180, 45) if pattern == "checks" else ():
            brush.patch(torso, 0.825, hem, angle - 11, angle + 11, accent, strength)
    elif pattern == "pinstripe":
        for angle in range(-180, 180, 30):
            brush.patch(torso, 0.825, hem, angle - 5, angle + 5, accent)
    elif pattern == "yoke":
        brush.patch(torso, 0.846, 0.725, -180, 180, accent)
    elif pattern == "chest band":
        brush.patch(torso, 0.725, 0.660, -180, 180, accent)
    elif pattern == "emblem":
        brush.mark(torso, 0.725, 27, 0.024, 0.022, accent)
    elif pattern == "big emblem":
        brush.mark(torso, 0.690, 0, 0.056, 0.052, accent)
        brush.mark(torso, 0.690, 0, 0.030, 0.027, _toned(person.top_colour, 0.9))
    elif pattern == "back print":
        brush.patch(torso, 0.775, 0.735, 135, 225, accent)
        brush.patch(torso, 0.715, 0.625, 148, 212, accent)
    elif pattern == "dots":
        for row, height in enumerate((0.79, 0.74, 0.69, 0.64, 0.59, 0.54)):
            for angle in range(-180, 180, 40):
                brush.mark(torso, height, angle + 20 * (row % 2), 0.014, 0.013, accent)
    elif pattern == "sash":
        for start, turn in ((-62, 124), (242, -124)):
            path = [(0.80 - 0.28 * t / 6, start + turn * t / 6) for t in range(7)]
            brush.strap(torso, path, 0.05, accent)


def _paint_cut(brush: _Brush, person: DrawnPerson, torso: list[_Slice], hem: float) -> None:
    colour, top = person.top_colour, person.top
    dark, pale = _toned(colour, 0.68), _toned(colour, 1.25)
    if top in {"t-shirt", "dress", "sweater"}:
        brush.patch(torso, 0.850, 0.824, -34, 34, person.skin)
        if person.pattern == "raglan":
            brush.patch(torso, 0.850, 0.838, -180, 180, person.accent)
    elif top == "vest top":
        brush.patch(torso, 0.850, 0.785, -40, 40, person.skin)
        for side in (-1, 1):
            brush.patch(torso, 0.850, 0.760, 90 * side - 44, 90 * side + 44, person.skin)
    elif top == "shirt":
        brush.patch(torso, 0.850, 0.815, -9, 9, person.skin)
        for side in (-1, 1):
            brush.patch(torso, 0.852, 0.822, 30 * side - 20, 30 * side + 20, pale)
        brush.patch(torso, 0.820, hem, -3, 3, dark)
    elif top == "hoodie":
        for side in (-1, 1):
            brush.strap(torso, [(0.83, 16 * side), (0.755, 14 * side)], 0.009, (232, 230, 226))
        brush.patch(torso, 0.580, 0.515, -42, 42, _toned(colour, 0.80))
        brush.patch(torso, hem + 0.022, hem, -180, 180, _toned(colour, 0.78))
    elif top == "open jacket":
        brush.patch(torso, 0.850, hem, -27, 27, person.accent)
        for side in (-1, 1):
            brush.patch(torso, 0.850, 0.690, 33 * side - 8, 33 * side + 8, dark)
            brush.patch(torso, 0.690, hem, 28 * side - 2, 28 * side + 2, dark)
        brush.patch(torso, 0.850, 0.824, -14, 14, person.skin)
    elif top == "zipped jacket":
        brush.patch(torso, 0.846, hem, -3, 3, (214, 214, 212))
        for side in (-1, 1):
            brush.patch(torso, 0.580, 0.570, 48 * side - 16, 48 * side + 16, dark)
        brush.patch(torso, hem + 0.02, hem, -180, 180, dark)
    elif top == "quilted jacket":
        for k in range(7):
            height = 0.785 - 0.045 * k
            brush.patch(torso, height, height - 0.009, -180, 180, _BLACK, 84)
            brush.patch(torso, height - 0.014, height - 0.028, -180, 180, _WHITE, 34)
        brush.patch(torso, 0.85, hem, -2.5, 2.5, dark)
    elif top == "long coat":
        brush.patch(torso, 0.850, 0.790, -12, 12, person.accent)
        for side in (-1, 1):
            brush.patch(torso, 0.850, 0.735, 24 * side - 13, 24 * side + 13, _toned(colour, 0.8))
        brush.patch(torso, 0.735, hem, -2.5, 2.5, dark)
        brush.patch(torso, 0.46, hem, 177, 183, dark)
        for height in (0.70, 0.64, 0.58):
            for angle in (-14, 14):
                brush.mark(torso, height, angle, 0.009, 0.009, dark)
        if person.hoops > 4:
            brush.patch(torso, 0.605, 0.585, -180, 180, dark)
    if top == "dress":
        brush.patch(torso, 0.618, 0.596, -180, 180, person.accent)


def _paint_arm(brush: _Brush, person: DrawnPerson, arm: _Arm) -> None:
    plump = 0.6 + 0.4 * person.build
    tone = 0.88 if _arm_nearness(brush, arm) < -0.035 else 1.0
    skin = _toned(person.skin, tone)
    sleeve = _toned(person.accent if person.pattern == "raglan" else person.top_colour, tone * 0.97)
    thick = (0.4 + 0.6 * _TOPS[person.top][1]) * plump
    carried = arm.side == person.bag_side
    if carried and person.bag == "handbag":
        _paint_handbag(brush, person, arm)
    brush.limb([(arm.wrist, 0.015), (arm.hand, 0.018)], skin, shaded=False)
    if person.sleeves < 1.0:
        bare = [(arm.shoulder, 0.031), (arm.elbow, 0.025), (arm.wrist, 0.017)]
        brush.limb(bare, skin, plump=plump, rim=True)
        if person.sleeves > 0.0:
            end = _between(arm.shoulder, arm.elbow, 0.80)
            brush.limb([(arm.shoulder, 0.036), (end, 0.038)], sleeve, plump=thick, ends="open")
    else:
        end = _between(arm.elbow, arm.wrist, 1.02)
        long = [(arm.shoulder, 0.036), (arm.elbow, 0.032), (end, 0.025)]
        brush.limb(long, sleeve, plump=thick, rim=True, ends="open")
    if person.pattern in {"hoops", "chest band"} and person.sleeves == 1.0:
        accent = _toned(person.accent, tone * 0.94)
        places = (0.35, 0.75) if person.pattern == "hoops" else (0.45,)
        for t in places:
            a, b = _between(arm.shoulder, arm.elbow, t), _between(arm.shoulder, arm.elbow, t + 0.2)
            brush.limb([(a, 0.0345), (b, 0.0335)], accent, plump=thick, ends="flat")
    if carried and person.bag == "tote":
        _paint_tote(brush, person, arm)


def _paint_neck_and_head(brush: _Brush, person: DrawnPerson, torso: list[_Slice]) -> None:
    skin = person.skin
    neck = [((0.0, 0.850, -0.004), 0.030), ((0.0, 0.885, 0.002), 0.029)]
    brush.limb(neck, _toned(skin, 0.86))
    _paint_collar(brush, person, torso)
    head = _around_head(brush, person)
    brush.fill(head, skin)
    if person.headwear != "headscarf":
        for side in (-1, 1):
            if brush.nearness((float(side), 0.0, 0.0)) > -0.4:
                ear = (side * 0.053 * person.head_size, 0.926, -0.002)
                brush.spot(ear, 0.011, _toned(skin, 0.9))
    _paint_face(brush, person, head)
    _paint_hair(brush, person)
    _paint_headwear(brush, person)


def _around_head(
    brush: _Brush, person: DrawnPerson, grow: float = 1.0, profile: Sequence[Ring] = _HEAD
) -> list[_Slice]:
    """The head, or something that lies on it, grown by a factor."""
    size, middle = person.head_size, _HEAD_MIDDLE
    return brush.solid(
        *(
            (middle + (h - middle) * size * grow, a * size * grow, b * size * grow, z)
            for h, a, b, z in profile
        )
    )


def _paint_collar(brush: _Brush, person: DrawnPerson, torso: list[_Slice]) -> None:
    if person.top == "hoodie":
        hood = brush.solid(
            (0.868, 0.046, 0.044, -0.016),
            (0.845, 0.064, 0.056, -0.022),
            (0.815, 0.072, 0.058, -0.024),
            (0.785, 0.056, 0.052, -0.026),
        )
        colour = _toned(person.top_colour, 0.88)
        brush.patch(hood, 0.868, 0.825, -180, 180, colour)
        brush.patch(hood, 0.825, 0.785, 95, 265, colour)
        brush.patch(hood, 0.868, 0.830, -34, 34, _toned(person.skin, 0.82))
        brush.shade(hood, 0.868, 0.83)
    elif person.top in {"zipped jacket", "quilted jacket", "long coat"}:
        collar = brush.solid((0.872, 0.039, 0.040, 0.0), (0.832, 0.050, 0.046, -0.002))
        brush.fill(collar, _toned(person.top_colour, 0.85))
        if person.top == "long coat":
            brush.patch(collar, 0.872, 0.832, -38, 38, _toned(person.skin, 0.86))
    if person.scarf is not None:
        scarf = brush.solid(
            (0.876, 0.042, 0.044, 0.004), (0.852, 0.056, 0.054, 0.004), (0.826, 0.052, 0.05, 0.0)
        )
        brush.fill(scarf, person.scarf, rim=True)
        brush.patch(scarf, 0.858, 0.850, -180, 180, _BLACK, 50)
        brush.patch(torso, 0.835, 0.715, 8, 30, person.scarf)
        brush.patch(torso, 0.724, 0.715, 8, 30, _toned(person.scarf, 0.7))


def _paint_face(brush: _Brush, person: DrawnPerson, head: list[_Slice]) -> None:
    if brush.cos_heading < -0.5:
        return
    skin = person.skin
    for side in (-1, 1):
        brush.mark(head, 0.903, 38 * side, 0.012, 0.008, (222, 112, 104), 60)
    if abs(brush.sin_heading) > 0.25:
        brush.spot((0.0, 0.913, 0.060 * person.head_size), 0.0095, _toned(skin, 0.97))
    else:
        brush.mark(head, 0.911, 0, 0.007, 0.010, _toned(skin, 0.86))
    if person.beard:
        brush.patch(head, 0.897, 0.860, -78, 78, person.hair)
        brush.patch(head, 0.925, 0.890, -95, -66, person.hair)
        brush.patch(head, 0.925, 0.890, 66, 95, person.hair)
    brush.strap(head, [(0.893, -17), (0.888, -7), (0.888, 7), (0.893, 17)], 0.0065, (158, 72, 70))
    for side in (-1, 1):
        if person.glasses:
            brush.mark(head, 0.928, 25 * side, 0.017, 0.013, (34, 34, 40))
        else:
            brush.mark(head, 0.928, 24 * side, 0.0120, 0.0085, (244, 242, 238))
            brush.mark(head, 0.928, 23 * side, 0.0070, 0.0088, (42, 34, 34))
            brow = _toned(person.hair, 0.8)
            brush.strap(head, [(0.950, 15 * side), (0.944, 37 * side)], 0.006, brow)
    if person.glasses:
        brush.patch(head, 0.932, 0.927, -90, 90, (34, 34, 40))


def _paint_hair(brush: _Brush, person: DrawnPerson) -> None:
    """Paint the hair that lies on the head; long hair hangs down on its own."""
    style, colour = person.hair_style, person.hair
    if person.headwear == "headscarf" or style == "bald":
        return
    if style == "buzz cut":
        fuzz = _around_head(brush, person, 1.015)
        brush.patch(fuzz, 1.01, 0.958, -180, 180, colour, 215)
        brush.patch(fuzz, 0.958, 0.905, 88, 272, colour, 215)
        return
    if style == "afro":
        lifted = [
            (h + 0.012 * (h - 0.92) / 0.08, a * 1.5, b * 1.42, z - 0.014)
            for h, a, b, z in _HEAD[:-1]
        ]
        cloud = _around_head(brush, person, 1.0, lifted)
        in_front = brush.cos_heading > 0.1
        line, nape, front = (0.965, 0.895, 62.0) if in_front else (0.962, 0.885, 66.0)
        brush.patch(cloud, 1.04, line, -180, 180, colour)
        brush.patch(cloud, 0.97, nape, front, 360 - front, colour)
        brush.shade(cloud, 1.04, 0.965)
        return
    volume = 1.10 if style in {"bob", "long"} else 1.06
    mop = _around_head(brush, person, volume)
    crown = 0.962
    brush.patch(mop, 1.02, crown, -180, 180, colour)
    if style == "side parting":
        brush.patch(mop, 0.975, 0.946, -70, 20, colour)
    elif style in {"bob", "short"}:
        brush.patch(mop, 0.975, 0.950, -70, 70, colour)
    nape = {"short": 0.898, "side parting": 0.895, "bob": 0.862}.get(style, 0.885)
    front = {"bob": 56.0, "long": 60.0, "short": 82.0, "side parting": 80.0}.get(style, 84.0)
    brush.patch(mop, crown + 0.004, nape, front, 360 - front, colour)
    if style == "bob":
        bob = (
            (0.93, 0.06, 0.066, -0.004),
            (0.89, 0.066, 0.066, -0.006),
            (0.858, 0.062, 0.058, -0.008),
        )
        bell = _around_head(brush, person, 1.0, bob)
        brush.patch(bell, 0.930, 0.858, 58, 302, colour)
    brush.shade(mop, 1.02, crown)
    if style == "bun" and person.headwear == "none":
        brush.spot((0.0, 1.012, -0.030), 0.031, colour)
        brush.spot((0.0, 1.018, -0.030), 0.018, _WHITE, 26)


def _paint_hanging_hair(brush: _Brush, person: DrawnPerson) -> None:
    if person.hair_style == "ponytail":
        root, middle, tip = (0.0, 0.962, -0.064), (0.0, 0.900, -0.100), (0.0, 0.815, -0.086)
        brush.limb([(root, 0.018), (middle, 0.027), (tip, 0.010)], person.hair)
        brush.spot(root, 0.016, _toned(person.accent, 0.9))
        return
    sheet = brush.solid(
        (0.975, 0.046, 0.040, -0.022),
        (0.930, 0.063, 0.050, -0.020),
        (0.870, 0.070, 0.050, -0.026),
        (0.800, 0.072, 0.040, -0.042),
        (0.745, 0.062, 0.030, -0.054),
        (0.720, 0.046, 0.022, -0.058),
    )
    if abs(brush.cos_heading) < 0.5:
        brush.patch(sheet, 0.975, 0.72, 78, 282, person.hair)
    else:
        brush.fill(sheet, person.hair)
    for angle in (140, 165, 190, 215):
        brush.patch(sheet, 0.93, 0.73, angle, angle + 5, _BLACK, 36)


def _paint_headwear(brush: _Brush, person: DrawnPerson) -> None:
    kind, colour = person.headwear, person.headwear_colour
    dome = _around_head(brush, person, 1.10)
    if kind == "headscarf":
        drape = brush.solid(
            (0.900, 0.056, 0.058, 0.0),
            (0.860, 0.062, 0.060, 0.002),
            (0.815, 0.082, 0.066, 0.002),
            (0.795, 0.080, 0.066, 0.002),
        )
        brush.patch(dome, 1.02, 0.962, -180, 180, colour)
        brush.patch(dome, 0.966, 0.862, 46, 314, colour)
        brush.fill(drape, colour)
        brush.patch(drape, 0.90, 0.878, -40, 40, person.skin)
        brush.shade(dome, 1.02, 0.965)
    elif kind == "beanie":
        brush.patch(dome, 1.03, 0.945, -180, 180, colour)
        brush.shade(dome, 1.03, 0.945)
        brush.patch(dome, 0.968, 0.943, -180, 180, _toned(colour, 0.76))
        brush.spot((0.0, 1.020, -0.004), 0.017, _toned(colour, 1.3))
    elif kind == "cap":
        if brush.cos_heading < -0.1:
            _paint_peak(brush, person)
        brush.patch(dome, 1.03, 0.955, -180, 180, colour)
        brush.shade(dome, 1.03, 0.955)
        brush.mark(dome, 0.975, 0, 0.016, 0.012, _toned(colour, 1.7))
        if brush.cos_heading >= -0.1:
            _paint_peak(brush, person)
    elif kind == "sun hat":
        brim = brush.solid((0.966, 0.098, 0.102, 0.0), (0.957, 0.104, 0.108, 0.0))
        brush.fill(brim, _toned(colour, 1.05))
        brush.patch(dome, 1.03, 0.962, -180, 180, colour)
        brush.patch(dome, 0.978, 0.960, -180, 180, _toned(colour, 0.6))
        brush.shade(dome, 1.03, 0.962)


def _paint_peak(brush: _Brush, person: DrawnPerson) -> None:
    size = person.head_size
    for x, reach in ((-0.022, 0.094), (0.0, 0.104), (0.022, 0.094)):
        back, front = (x * size, 0.962, 0.045 * size), (x * size, 0.953, reach * size)
        colour = _toned(person.headwear_colour, 0.8)
        brush.limb([(back, 0.014), (front, 0.011)], colour, shaded=False)


def _paint_backpack(brush: _Brush, person: DrawnPerson) -> None:
    back = 0.060 * person.build
    colour = person.bag_colour
    pack = brush.solid(
        (0.826, 0.040, 0.020, -back - 0.030),
        (0.815, 0.064, 0.036, -back - 0.034),
        (0.780, 0.076, 0.046, -back - 0.040),
        (0.680, 0.080, 0.052, -back - 0.044),
        (0.610, 0.080, 0.054, -back - 0.046),
        (0.585, 0.066, 0.046, -back - 0.044),
    )
    brush.fill(pack, colour, rim=True)
    brush.patch(pack, 0.695, 0.605, 128, 232, _toned(colour, 0.74))
    brush.patch(pack, 0.700, 0.692, 126, 234, _toned(colour, 1.35))
    brush.patch(pack, 0.775, 0.767, 118, 242, _toned(colour, 0.66))


def _paint_messenger_bag(brush: _Brush, person: DrawnPerson, torso: list[_Slice]) -> None:
    side, colour = person.bag_side, person.bag_colour
    for start, turn in ((-48, 128), (-132, -128)):
        path = [(0.832 - 0.30 * t / 6, side * (start + turn * t / 6)) for t in range(7)]
        brush.strap(torso, path, 0.022, _toned(colour, 0.8))
    x = side * (0.100 * person.hips * person.build + 0.026)
    if brush.nearness((x, 0.0, -0.02)) < -0.05:
        return
    bag = brush.solid(
        (0.560, 0.028, 0.066, -0.012),
        (0.550, 0.032, 0.076, -0.012),
        (0.465, 0.034, 0.078, -0.012),
        (0.450, 0.028, 0.070, -0.012),
        x=x,
    )
    brush.fill(bag, colour, rim=True)
    brush.patch(bag, 0.552, 0.500, -180, 180, _toned(colour, 0.84))
    brush.mark(bag, 0.505, 90 * side, 0.010, 0.008, (226, 206, 150))


def _paint_handbag(brush: _Brush, person: DrawnPerson, arm: _Arm) -> None:
    x, y, z = arm.hand
    colour = person.bag_colour
    bag = brush.solid(
        (y - 0.075, 0.020, 0.050, z),
        (y - 0.085, 0.024, 0.058, z),
        (y - 0.165, 0.030, 0.068, z),
        (y - 0.175, 0.026, 0.062, z),
        x=x,
    )
    handle = ((0.08, -0.038), (0.012, -0.012), (0.012, 0.012), (0.08, 0.038))
    path = [(x, y - below, z + ahead) for below, ahead in handle]
    brush.line(path, 0.012, _toned(colour, 0.75))
    brush.fill(bag, colour, rim=True)
    brush.patch(bag, y - 0.085, y - 0.118, -180, 180, _toned(colour, 0.82))


def _paint_tote(brush: _Brush, person: DrawnPerson, arm: _Arm) -> None:
    side = arm.side
    x = arm.elbow[0] + side * 0.034
    colour = person.bag_colour
    for z in (-0.045, 0.035):
        brush.line([(arm.shoulder[0], 0.825, 0.0), (x, 0.63, z)], 0.012, _toned(colour, 0.8))
    bag = brush.solid(
        (0.635, 0.024, 0.066, -0.005),
        (0.560, 0.030, 0.072, -0.005),
        (0.480, 0.030, 0.070, -0.005),
        (0.470, 0.024, 0.064, -0.005),
        x=x,
    )
    brush.fill(bag, colour, rim=True)
    brush.mark(bag, 0.555, 90 * side, 0.030, 0.030, _toned(person.accent, 0.95))


def _paint_suitcase(brush: _Brush, person: DrawnPerson, arms: Sequence[_Arm]) -> None:
    arm = next(arm for arm in arms if arm.side == person.bag_side)
    colour = person.bag_colour
    lift, brush.lift = brush.lift, 0.0
    x, z = arm.hand[0] + arm.side * 0.02, -0.20
    hand = (arm.hand[0], arm.hand[1] + lift, arm.hand[2])
    brush.line([(x, 0.30, z + 0.02), hand], 0.012, (120, 122, 128))
    for wheel in (-0.04, 0.04):
        brush.spot((x, 0.012, z + wheel), 0.014, (40, 40, 44))
    case = brush.solid(
        (0.330, 0.060, 0.036, z),
        (0.320, 0.078, 0.048, z),
        (0.040, 0.080, 0.052, z),
        (0.026, 0.070, 0.044, z),
        x=x,
    )
    brush.fill(case, colour, rim=True)
    for height in (0.27, 0.20, 0.13):
        brush.patch(case, height, height - 0.012, -180, 180, _BLACK, 60)
    brush.lift = lift
