"""Cameras for drawn people (Sec. III.A), each with its own place, light, lens and colours.

From picture to picture, the visible part of the place, the sun, passers-by and obstacles change.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from adln.scenes.drawn_figure import GESTURES, SUPERSAMPLING, Figure, draw_figure
from adln.scenes.drawn_people import Colour, DrawnPerson, describe_person, person_generator

PLACE_WIDTH_PX = 900
PLACE_HEIGHT_PX = 280
GROUND_PX = 170
"""Row of a place where the ground begins, from its top."""

_SMOOTHING = 2
_STREAM_CAMERA = 2
_STREAM_PASSER_BY = 1_000_000
_PASSERS_BY = 10
_GRAIN_PX = 128

Paint = Callable[[ImageDraw.ImageDraw, np.random.Generator], None]


@dataclass(frozen=True, eq=False)
class Camera:
    """The fixed properties of a camera.

    Attributes:
        place: (PLACE_HEIGHT_PX, PLACE_WIDTH_PX, 3) uint8 RGB, the place without people.
        perspective: By how much heads are drawn wider than feet.
        light: Side of the sun, -1 (left) to +1 (right).
        gains: Factors on red, green and blue.
        gamma: Exponent of the tone curve.
        contrast: Factor on the distance to middle grey.
        saturation: Factor on the distance to grey of the same brightness.
        lift: Added to all colours, as a share of white: haze, or a lens against the light.
        grain: (_GRAIN_PX, _GRAIN_PX) int16, sensor noise; each picture uses another part.
        headings_deg: Usual directions of walking; 0 is towards the camera.
        obstacles: Things that may occlude people, RGBA.
    """

    camera_id: int
    place: NDArray[np.uint8]
    tilt_deg: float
    perspective: float
    light: float
    gains: tuple[float, float, float]
    gamma: float
    contrast: float
    saturation: float
    lift: float
    blur_px: float
    grain: NDArray[np.int16]
    jpeg_quality: int
    headings_deg: tuple[float, ...]
    passers_by: tuple[Figure, ...]
    obstacles: tuple[Image.Image, ...]

    def tone_curves(self, gains: NDArray[np.float64], exposure: float = 1.0) -> list[int]:
        """A table of 3 x 256 bytes for Pillow, of red, green and blue."""
        tones = gains[:, None] * (exposure * (np.arange(256) / 255)) ** self.gamma
        return np.clip(255 * tones, 0, 255).astype(np.uint8).ravel().tolist()

    def colour_matrix(self) -> tuple[float, ...]:
        """Saturation, contrast and haze as one 3x4 matrix for Pillow."""
        grey, own = self.contrast * (1 - self.saturation) / 3, self.contrast * self.saturation
        offset = 255 * (0.5 * (1 - self.contrast) + self.lift)
        rows = [[grey + own * (row == column) for column in range(3)] for row in range(3)]
        return tuple(value for row in rows for value in [*row, offset])

    def add_grain(self, canvas: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
        """A picture as (H, W, 3) uint8 with the noise of the sensor."""
        width, height = canvas.size
        top, left = rng.integers(0, _GRAIN_PX, 2)
        grain = np.tile(self.grain, (2 + height // _GRAIN_PX, 2 + width // _GRAIN_PX))
        noisy = np.asarray(canvas) + grain[top : top + height, left : left + width, None]
        return np.clip(noisy, 0, 255).astype(np.uint8)


def describe_camera(seed: int, camera_id: int) -> Camera:
    """Generate a camera, by its id from 1; consecutive ones are in different places."""
    rng = person_generator(seed, _STREAM_CAMERA, camera_id)
    paint = _PLACES[(camera_id - 1) % len(_PLACES)]
    temperature = rng.uniform(-0.1, 0.1)  # warm to cold
    tint = rng.uniform(-0.04, 0.04)
    tilt_deg = float(rng.uniform(4, 22))
    light = float(rng.choice((-1, 1)) * rng.uniform(0.3, 1.0))
    passers_by = []
    for index in range(_PASSERS_BY):
        stranger = describe_person(seed, _STREAM_PASSER_BY + camera_id * _PASSERS_BY + index)
        passers_by.append(
            draw_figure(
                stranger,
                height_px=float(rng.uniform(70, 116)),
                heading_deg=float(rng.uniform(0, 360)),
                phase=float(rng.uniform(0, 6.28)),
                tilt_deg=tilt_deg,
                light=light,
            )
        )
    along = float(rng.uniform(-35, 35))
    return Camera(
        camera_id=camera_id,
        place=_paint_place(paint, rng),
        tilt_deg=tilt_deg,
        perspective=float(0.03 + 0.006 * tilt_deg),
        light=light,
        gains=(1 + temperature + tint, 1 - tint, 1 - temperature + tint),
        gamma=float(rng.uniform(0.8, 1.2)),
        contrast=float(rng.uniform(0.85, 1.15)),
        saturation=float(rng.uniform(0.7, 1.15)),
        lift=float(rng.uniform(-0.03, 0.05)),
        blur_px=float(rng.uniform(0.0, 0.55)),
        grain=np.rint(rng.normal(0, rng.uniform(1, 3.5), (_GRAIN_PX, _GRAIN_PX))).astype(np.int16),
        jpeg_quality=int(rng.integers(72, 95)),
        headings_deg=tuple(along + turn for turn in (0.0, 90.0, 180.0, 270.0)),
        passers_by=tuple(passers_by),
        obstacles=_paint_obstacles(rng),
    )


def strike_pose(
    person: DrawnPerson,
    camera: Camera,
    rng: np.random.Generator,
    *,
    heading_deg: float,
    height_px: int = 128,
) -> Figure:
    """Draw a person as seen by a camera at some moment, for a crop of a height.

    The generator determines the moment of the walk, the gesture and the distance.
    """
    return draw_figure(
        person,
        height_px=height_px * float(np.clip(rng.normal(0.875, 0.035), 0.76, 0.97)),
        heading_deg=heading_deg,
        phase=float(rng.uniform(0, 2 * np.pi)),
        tilt_deg=camera.tilt_deg,
        perspective=camera.perspective,
        light=camera.light,
        gesture="walk" if rng.random() < 0.6 else GESTURES[rng.integers(len(GESTURES))],
        supersampling=2 if height_px <= 128 else SUPERSAMPLING,
    )


def draw_crop(
    figure: Figure, camera: Camera, rng: np.random.Generator, *, height_px: int = 128
) -> NDArray[np.uint8]:
    """Draw a crop of a person (from `strike_pose` for the same height), as a detector cuts it out.

    Returns:
        (height_px, height_px / 2, 3) uint8 RGB.
    """
    scale, width_px = height_px / 128, height_px // 2
    feet_x = width_px * float(np.clip(rng.normal(0.5, 0.05), 0.36, 0.64))
    feet_y = height_px * float(np.clip(rng.normal(0.935, 0.022), 0.87, 1.02))
    picture = _stretch_of_place(camera, rng, height_px, feet_y)
    if rng.random() < 0.22:  # somebody farther away
        stranger = camera.passers_by[rng.integers(len(camera.passers_by))]
        x = width_px * float(rng.choice((-0.02, 1.02)) + rng.normal(0, 0.1))
        ground_xy = (x, feet_y - scale * rng.uniform(4, 16))
        _shade_feet(picture, ground_xy, scale)
        stranger.blend(picture, ground_xy)
    _shade_feet(picture, (feet_x, feet_y), scale, lean=camera.light)
    figure.blend(picture, (feet_x, feet_y))
    chance = rng.random()
    if chance < 0.12:
        picture = _set_obstacle(picture, camera, rng, scale)
    elif chance < 0.2:  # somebody nearer, cut by the edge
        stranger = camera.passers_by[rng.integers(len(camera.passers_by))]
        x = width_px * float(rng.choice((-0.08, 1.08)) + rng.normal(0, 0.04))
        stranger.blend(picture, (x, feet_y + scale * rng.uniform(3, 12)))
    return _expose(picture, camera, rng)


def _stretch_of_place(
    camera: Camera, rng: np.random.Generator, height_px: int, feet_y: float
) -> NDArray[np.uint8]:
    """A copy of the part of the place around a person at a random point of its ground."""
    ground = GROUND_PX + int(rng.integers(6, PLACE_HEIGHT_PX - GROUND_PX - 24))
    top = int(np.clip(ground - feet_y * 128 / height_px, 0, PLACE_HEIGHT_PX - 129))
    left = int(rng.integers(0, PLACE_WIDTH_PX - 64))
    stretch = Image.fromarray(camera.place[top : top + 128, left : left + 64])
    return np.array(stretch.resize((height_px // 2, height_px), Image.Resampling.BILINEAR))


def _shade_feet(
    picture: NDArray[np.uint8], ground_xy: tuple[float, float], scale: float, *, lean: float = 0.0
) -> None:
    x, y = ground_xy[0] - 7 * lean * scale, ground_xy[1]
    rows = int(y - 9 * scale), int(y + 8 * scale)
    shade_ground(picture, (x, y), (19 * scale, 6 * scale), rows, (0, picture.shape[1]))


def shade_ground(
    picture: NDArray[np.uint8],
    middle_xy: tuple[float, float],
    reach_xy: tuple[float, float],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> None:
    """Softly darken an oval of a picture (H, W, 3), in place, within some rows and columns."""
    y0, y1 = max(rows[0], 0), min(rows[1], len(picture))
    x0, x1 = max(columns[0], 0), min(columns[1], picture.shape[1])
    if x1 <= x0 or y1 <= y0:
        return
    down = (np.arange(y0, y1, dtype=np.float32) - middle_xy[1]) / reach_xy[1]
    across = (np.arange(x0, x1, dtype=np.float32) - middle_xy[0]) / reach_xy[0]
    depth = 0.5 * np.exp(-(down**2))[:, None] * np.exp(-(across**2))
    picture[y0:y1, x0:x1] = picture[y0:y1, x0:x1] * (1 - depth)[:, :, None]


def _set_obstacle(
    picture: NDArray[np.uint8], camera: Camera, rng: np.random.Generator, scale: float
) -> NDArray[np.uint8]:
    obstacle = camera.obstacles[rng.integers(len(camera.obstacles))]
    canvas = Image.fromarray(picture)
    obstacle = obstacle.resize((round(obstacle.width * scale), round(obstacle.height * scale)))
    x = round(canvas.width * rng.uniform(-0.15, 1.15) - obstacle.width / 2)
    y = canvas.height - obstacle.height + round(rng.uniform(0, 14) * scale)
    canvas.paste(obstacle, (x, y), obstacle)
    return np.asarray(canvas)


def _expose(
    picture: NDArray[np.uint8], camera: Camera, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Simulate lens and sensor: light, colours, blur, noise."""
    height, width, _ = picture.shape
    # The light falls off to one side, and slightly from top to bottom.
    across = 1 + np.linspace(-1, 1, width, dtype=np.float32) * np.float32(rng.normal(0, 0.1))
    down = 1 + np.linspace(-1, 1, height, dtype=np.float32) * np.float32(rng.normal(0, 0.07))
    lit = picture * (down[:, None] * across)[:, :, None]
    canvas = Image.fromarray(np.minimum(lit, 255, out=lit).astype(np.uint8))
    exposure = float(np.exp(rng.normal(0, 0.11)))
    gains = np.array(camera.gains) * rng.normal(1, 0.03, 3)
    canvas = canvas.point(camera.tone_curves(gains, exposure))
    canvas = canvas.convert("RGB", camera.colour_matrix())
    blur_px = camera.blur_px + (float(rng.uniform(0.3, 0.8)) if rng.random() < 0.15 else 0.0)
    if blur_px > 0.25:
        canvas = canvas.filter(ImageFilter.BoxBlur(blur_px * height / 128))
    return camera.add_grain(canvas, rng)


def _paint_place(paint: Paint, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Paint a place larger than needed, downscale it, and roughen its surfaces."""
    canvas = Image.new("RGB", (PLACE_WIDTH_PX * _SMOOTHING, PLACE_HEIGHT_PX * _SMOOTHING))
    paint(ImageDraw.Draw(canvas, "RGBA"), rng)
    place = np.asarray(canvas.reduce(_SMOOTHING)).astype(np.float32)
    for cell_px, strength in ((90, 9.0), (16, 5.0), (2, 4.0)):
        coarse = rng.normal(size=(PLACE_HEIGHT_PX // cell_px + 2, PLACE_WIDTH_PX // cell_px + 2))
        spots = Image.fromarray(coarse.astype(np.float32)).resize(
            (PLACE_WIDTH_PX, PLACE_HEIGHT_PX), Image.Resampling.BICUBIC
        )
        place += strength * np.asarray(spots)[:, :, None]
    return np.clip(place, 0, 255).astype(np.uint8)


def _box(
    draw: ImageDraw.ImageDraw, left: float, top: float, right: float, bottom: float, colour: Colour
) -> None:
    n = _SMOOTHING
    draw.rectangle((left * n, top * n, right * n - 1, bottom * n - 1), fill=colour)


def _line(draw: ImageDraw.ImageDraw, points: list[float], colour: Colour) -> None:
    draw.line([value * _SMOOTHING for value in points], fill=colour, width=_SMOOTHING)


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    n = _SMOOTHING
    draw.ellipse([n * (x - radius), n * (y - radius), n * (x + radius), n * (y + radius)], colour)


def _varied(rng: np.random.Generator, colour: Colour, amount: int) -> Colour:
    shift = int(rng.integers(-amount, amount + 1))
    red, green, blue = (int(np.clip(value + shift, 0, 255)) for value in colour)
    return red, green, blue


def _paint_paving(
    draw: ImageDraw.ImageDraw, rng: np.random.Generator, colour: Colour, joint: Colour
) -> None:
    """Slabs that grow towards the camera."""
    _box(draw, 0, GROUND_PX, PLACE_WIDTH_PX, PLACE_HEIGHT_PX, colour)
    y, step, row = float(GROUND_PX), 6.0, 0
    while y < PLACE_HEIGHT_PX:
        slab = 34 + 1.1 * (y - GROUND_PX)
        x = -slab * (row % 2) / 2
        while x < PLACE_WIDTH_PX:
            _box(draw, x, y, x + slab, y + step, _varied(rng, colour, 7))
            _line(draw, [x, y, x, y + step], joint)
            x += slab
        _line(draw, [0, y, PLACE_WIDTH_PX, y], joint)
        y, step, row = y + step, step * 1.28, row + 1


def _paint_street(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    walls: tuple[Colour, ...] = (
        (196, 178, 150),
        (168, 124, 104),
        (206, 204, 196),
        (142, 156, 160),
        (186, 152, 116),
    )
    awnings: tuple[Colour, ...] = ((150, 60, 54), (56, 96, 84), (60, 80, 122), (196, 148, 70))
    x = 0.0
    while x < PLACE_WIDTH_PX:
        width = float(rng.uniform(110, 170))
        wall = walls[rng.integers(len(walls))]
        _box(draw, x, 0, x + width, GROUND_PX, wall)
        _box(draw, x, GROUND_PX - 16, x + width, GROUND_PX, _varied(rng, (110, 106, 102), 12))
        _box(draw, x + 10, 74, x + width - 42, GROUND_PX - 18, (62, 76, 88))
        _box(draw, x + 14, 78, x + width - 46, GROUND_PX - 24, (104, 126, 138))
        _line(draw, [x + 20, GROUND_PX - 30, x + 60, 80], (150, 170, 178))
        _box(draw, x + width - 34, 70, x + width - 8, GROUND_PX, (82, 64, 52))
        _box(draw, x + width - 30, 76, x + width - 12, 124, (120, 134, 140))
        awning = awnings[rng.integers(len(awnings))]
        for index in range(int((width - 48) // 12)):
            left = x + 6 + index * 12
            _box(draw, left, 50, left + 12, 74, awning if index % 2 else (232, 226, 214))
        _box(draw, x + 10, 6, x + width - 12, 40, _varied(rng, wall, 18))
        x += width
    _paint_paving(draw, rng, (158, 154, 148), (132, 128, 122))


def _paint_bricks(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _box(draw, 0, 0, PLACE_WIDTH_PX, GROUND_PX, (150, 132, 120))
    for row in range(GROUND_PX // 8 + 1):
        for column in range(PLACE_WIDTH_PX // 20 + 2):
            left = column * 20 - (row % 2) * 10
            _box(draw, left, row * 8, left + 19, row * 8 + 7, _varied(rng, (146, 84, 66), 16))
    posters: tuple[Colour, ...] = ((214, 196, 96), (84, 130, 156), (206, 206, 198), (178, 78, 70))
    for _ in range(9):
        x, y = float(rng.uniform(0, PLACE_WIDTH_PX - 40)), float(rng.uniform(40, 90))
        colour = posters[rng.integers(len(posters))]
        _box(draw, x, y, x + 34, y + 48, colour)
        _box(draw, x + 5, y + 6, x + 29, y + 22, _varied(rng, colour, 60))
        for line in (28, 34, 40):
            _line(draw, [x + 6, y + line, x + 27, y + line], (70, 66, 62))
    _box(draw, 0, GROUND_PX - 12, PLACE_WIDTH_PX, GROUND_PX, (120, 114, 108))
    _box(draw, 0, GROUND_PX, PLACE_WIDTH_PX, PLACE_HEIGHT_PX, (112, 112, 114))
    for _ in range(60):
        x, y = float(rng.uniform(0, PLACE_WIDTH_PX)), float(rng.uniform(GROUND_PX, PLACE_HEIGHT_PX))
        _line(draw, [x, y, x + float(rng.uniform(8, 50)), y + 1], _varied(rng, (100, 100, 102), 10))


def _paint_park(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _box(draw, 0, 0, PLACE_WIDTH_PX, GROUND_PX, (186, 206, 214))
    for _ in range(170):
        x, y = float(rng.uniform(-20, PLACE_WIDTH_PX)), float(rng.uniform(-20, 96))
        _disc(draw, x, y, float(rng.uniform(14, 36)), _varied(rng, (92, 124, 76), 26))
    for _ in range(13):
        x, width = float(rng.uniform(0, PLACE_WIDTH_PX)), float(rng.uniform(5, 11))
        _box(draw, x, 50, x + width, GROUND_PX, _varied(rng, (92, 74, 58), 12))
    for left in range(-10, PLACE_WIDTH_PX, 9):
        radius = float(rng.uniform(9, 15))
        _disc(draw, left, GROUND_PX - 22, radius, _varied(rng, (74, 106, 62), 16))
    _box(draw, 0, GROUND_PX - 20, PLACE_WIDTH_PX, GROUND_PX + 30, (116, 146, 82))
    for _ in range(1500):
        x, y = float(rng.uniform(0, PLACE_WIDTH_PX)), float(rng.uniform(GROUND_PX - 20, 200))
        _line(draw, [x, y, x + 1, y - 4], _varied(rng, (110, 142, 78), 22))
    _box(draw, 0, GROUND_PX + 30, PLACE_WIDTH_PX, PLACE_HEIGHT_PX, (190, 176, 152))
    for _ in range(900):
        x = float(rng.uniform(0, PLACE_WIDTH_PX))
        y = float(rng.uniform(GROUND_PX + 32, PLACE_HEIGHT_PX))
        _disc(draw, x, y, 1.0, _varied(rng, (178, 164, 142), 22))


def _paint_hall(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _box(draw, 0, 0, PLACE_WIDTH_PX, GROUND_PX, (206, 208, 206))
    for x in range(0, PLACE_WIDTH_PX, 75):
        _box(draw, x, 0, x + 74, GROUND_PX, _varied(rng, (204, 206, 204), 6))
        _line(draw, [x, 0, x, GROUND_PX], (178, 180, 180))
    _box(draw, 0, 34, PLACE_WIDTH_PX, 52, (64, 92, 136))
    for x in range(20, PLACE_WIDTH_PX, 150):
        _box(draw, x, 38, x + 56, 48, (232, 234, 234))
        _box(draw, x + 70, 66, x + 122, 132, (70, 76, 84))
        _box(draw, x + 74, 70, x + 118, 128, _varied(rng, (96, 120, 140), 34))
    for x in range(60, PLACE_WIDTH_PX, 240):
        _box(draw, x, 0, x + 26, GROUND_PX + 6, (170, 172, 170))
        _box(draw, x + 4, 0, x + 10, GROUND_PX + 6, (190, 192, 190))
    _box(draw, 0, GROUND_PX - 8, PLACE_WIDTH_PX, GROUND_PX, (130, 130, 128))
    _paint_paving(draw, rng, (186, 182, 174), (164, 160, 152))


def _paint_car_park(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _box(draw, 0, 0, PLACE_WIDTH_PX, GROUND_PX, (138, 138, 134))
    _box(draw, 0, 0, PLACE_WIDTH_PX, 40, (104, 104, 102))
    for left in range(0, PLACE_WIDTH_PX, 120):
        _box(draw, left, 0, left + 18, GROUND_PX, (156, 156, 150))
        _box(draw, left, 96, left + 18, 120, (206, 178, 62))
    bodies: tuple[Colour, ...] = ((150, 44, 42), (54, 74, 108), (206, 206, 204), (60, 62, 64))
    x = 24.0
    while x < PLACE_WIDTH_PX:
        colour = bodies[rng.integers(len(bodies))]
        _box(draw, x, 122, x + 92, 160, colour)
        _box(draw, x + 16, 98, x + 78, 124, _varied(rng, colour, 10))
        _box(draw, x + 22, 102, x + 72, 122, (64, 78, 88))
        _box(draw, x + 4, 134, x + 18, 142, (232, 226, 196))
        _box(draw, x + 74, 134, x + 88, 142, (232, 226, 196))
        _disc(draw, x + 18, 160, 10, (34, 34, 36))
        _disc(draw, x + 76, 160, 10, (34, 34, 36))
        x += float(rng.uniform(106, 150))
    _box(draw, 0, GROUND_PX - 2, PLACE_WIDTH_PX, PLACE_HEIGHT_PX, (88, 90, 94))
    for left in range(10, PLACE_WIDTH_PX, 120):
        n, top, bottom = _SMOOTHING, GROUND_PX, PLACE_HEIGHT_PX
        foot = [(left, top), (left + 5, top), (left + 34, bottom), (left + 20, bottom)]
        draw.polygon([(a * n, b * n) for a, b in foot], fill=(206, 206, 200))


def _paint_campus(draw: ImageDraw.ImageDraw, rng: np.random.Generator) -> None:
    _box(draw, 0, 0, PLACE_WIDTH_PX, GROUND_PX, (222, 212, 190))
    for y in (8, 66):
        for left in range(12, PLACE_WIDTH_PX, 58):
            _box(draw, left, y, left + 36, y + 44, (236, 232, 222))
            _box(draw, left + 3, y + 3, left + 33, y + 41, _varied(rng, (112, 136, 150), 18))
            _line(draw, [left + 18, y + 3, left + 18, y + 41], (236, 232, 222))
    _box(draw, 0, 122, PLACE_WIDTH_PX, 128, (190, 178, 156))
    for _ in range(14):
        x = float(rng.uniform(0, PLACE_WIDTH_PX))
        for wheel in (0, 22):
            n = _SMOOTHING
            box = [n * (x + wheel - 9), n * 148, n * (x + wheel + 9), n * 166]
            draw.ellipse(box, outline=(54, 54, 58), width=n)
        frame = _varied(rng, (120, 70, 64), 50)
        _line(draw, [x, 157, x + 9, 144, x + 22, 157, x + 11, 157, x + 9, 144], frame)
    _paint_paving(draw, rng, (208, 198, 178), (184, 174, 154))


_PLACES: tuple[Paint, ...] = (
    _paint_street,
    _paint_park,
    _paint_hall,
    _paint_bricks,
    _paint_car_park,
    _paint_campus,
)


def _paint_obstacles(rng: np.random.Generator) -> tuple[Image.Image, ...]:
    n = 4
    pole = Image.new("RGBA", (7 * n, 132 * n))
    draw = ImageDraw.Draw(pole)
    draw.rectangle((0, 0, 7 * n, 132 * n), fill=(96, 98, 102, 255))
    draw.rectangle((n, 0, 2 * n, 132 * n), fill=(140, 142, 146, 255))
    bollard = Image.new("RGBA", (14 * n, 52 * n))
    draw = ImageDraw.Draw(bollard)
    draw.rounded_rectangle((0, 0, 14 * n - 1, 60 * n), 5 * n, fill=(74, 76, 80, 255))
    draw.rectangle((0, 9 * n, 14 * n, 15 * n), fill=(206, 200, 186, 255))
    bush = Image.new("RGBA", (46 * n, 44 * n))
    draw = ImageDraw.Draw(bush)
    for _ in range(90):
        x, y = rng.uniform(8, 38), rng.uniform(9, 46)
        radius = rng.uniform(3, 7)
        box = [n * (x - radius), n * (y - radius), n * (x + radius), n * (y + radius)]
        draw.ellipse(box, fill=(*_varied(rng, (78, 112, 64), 24), 255))
    return pole.reduce(n), bollard.reduce(n), bush.reduce(n)
