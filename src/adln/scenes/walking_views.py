"""A fixed camera's view of the floor plan: a camera of `adln.scenes.drawn_scene` in perspective."""

from dataclasses import dataclass
from math import atan2, cos, degrees, hypot, radians, sin

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from adln.scenes.drawn_figure import Figure
from adln.scenes.drawn_people import Colour, person_generator
from adln.scenes.drawn_scene import GROUND_PX, describe_camera

_STREAM_FLOOR = 8
_SMOOTHING = 2
_EYE_M = 0.9
"""Height of the middle of a body; the camera's tilt towards it determines foreshortening."""
_TILE_M = 0.9


@dataclass(frozen=True, kw_only=True)
class Mounting:
    """Position of a camera, and the background of its view.

    Attributes:
        xy_m: On the floor plan.
        look_rad: Viewing direction, counter-clockwise from east.
        tilt_rad: Downward.
        wall_m: Distance of the wall that closes the view, straight ahead.
        look_number: The camera of `describe_camera` whose place is the wall.
        floor: Colour of the tiles.
        pillar_xy_m: Position of an obstacle that occludes people.
        pillar: Which obstacle of `describe_camera` it is: 0 a lamp post, 2 a bush.
        pillar_m: Its height.
    """

    camera_id: int
    xy_m: tuple[float, float]
    look_rad: float
    tilt_rad: float
    height_m: float
    wall_m: float
    look_number: int
    floor: Colour
    pillar_xy_m: tuple[float, float]
    pillar: int
    pillar_m: float


MOUNTINGS: tuple[Mounting, ...] = (
    Mounting(
        camera_id=1,
        xy_m=(4.5, -3.5),
        look_rad=radians(90),
        tilt_rad=radians(7),
        height_m=2.5,
        wall_m=11.5,
        look_number=1,
        floor=(164, 160, 152),
        pillar_xy_m=(2.4, 4.6),
        pillar=0,
        pillar_m=3.1,
    ),
    Mounting(
        camera_id=2,
        xy_m=(11.5, 4.0),
        look_rad=radians(180),
        tilt_rad=radians(9),
        height_m=2.9,
        wall_m=12.5,
        look_number=6,
        floor=(164, 160, 152),
        pillar_xy_m=(2.4, 4.6),
        pillar=0,
        pillar_m=3.1,
    ),
    Mounting(
        camera_id=3,
        xy_m=(46.0, -3.5),
        look_rad=radians(90),
        tilt_rad=radians(8),
        height_m=2.7,
        wall_m=11.5,
        look_number=3,
        floor=(150, 154, 164),
        pillar_xy_m=(49.0, 2.6),
        pillar=2,
        pillar_m=0.9,
    ),
)
"""Cameras 1 and 2 see the square from two sides, camera 3 the hall."""


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Position and scale in the picture of something on the ground.

    Attributes:
        ground_xy: Its ground point, px.
        px_per_m: Of height at that distance, for a level camera.
        depth_m: Distance along the viewing direction.
        tilt_deg: Downward angle from the camera to it.
        bearing_rad: Direction from the camera to it, counter-clockwise from east.
    """

    ground_xy: tuple[float, float]
    px_per_m: float
    depth_m: float
    tilt_deg: float
    bearing_rad: float


class View:
    """A camera of the scene, by its seed: projects the ground and exposes pictures."""

    def __init__(self, seed: int, mounting: Mounting, *, width_px: int, height_px: int) -> None:
        self.mounting = mounting
        self.camera = describe_camera(seed, mounting.look_number)
        self._width_px, self._height_px = width_px, height_px
        self._focal_px = 0.66 * width_px  # 74 degrees across
        self._cos, self._sin = cos(mounting.tilt_rad), sin(mounting.tilt_rad)
        self.background: NDArray[np.uint8] = self._paint_background(seed)
        obstacle = self.camera.obstacles[mounting.pillar]
        seen = self.project(mounting.pillar_xy_m)
        if seen is None:
            raise AssertionError("a pillar stands behind its camera")
        tall = max(round(mounting.pillar_m * seen.px_per_m), 1)
        wide = max(round(obstacle.width * tall / obstacle.height), 1)
        pixels = np.asarray(obstacle.resize((wide, tall)))
        coverage = pixels[:, :, 3]
        colour = (pixels[:, :, :3].astype(np.uint16) * coverage[:, :, None] // 255).astype(np.uint8)
        self.pillar = Figure(colour=colour, coverage=coverage, ground_xy=(wide / 2, tall))
        self.pillar_seen: Projection = seen
        self._tones = self.camera.tone_curves(np.array(self.camera.gains))
        self._matrix = self.camera.colour_matrix()

    def project(self, xy_m: tuple[float, float]) -> Projection | None:
        """Project a point of the ground into the picture.

        Returns:
            Its projection, which may lie outside the picture; None if the point is behind the
            camera, right below it, or behind the wall.
        """
        mounting = self.mounting
        dx, dy = xy_m[0] - mounting.xy_m[0], xy_m[1] - mounting.xy_m[1]
        ahead = dx * cos(mounting.look_rad) + dy * sin(mounting.look_rad)
        right = dx * sin(mounting.look_rad) - dy * cos(mounting.look_rad)
        if not 1.2 < ahead < mounting.wall_m - 0.1:
            return None
        depth = ahead * self._cos + mounting.height_m * self._sin
        down = mounting.height_m * self._cos - ahead * self._sin
        x = self._width_px / 2 + self._focal_px * right / depth
        y = self._height_px / 2 + self._focal_px * down / depth
        return Projection(
            ground_xy=(x, y),
            px_per_m=self._focal_px / depth,
            depth_m=depth,
            tilt_deg=degrees(atan2(mounting.height_m - _EYE_M, hypot(ahead, right))),
            bearing_rad=atan2(dy, dx),
        )

    def expose(self, picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """The camera's output, with its colours, blur and noise: uint8 (H, W, 3), RGB, as given."""
        canvas = Image.fromarray(picture).point(self._tones).convert("RGB", self._matrix)
        blur_px = self.camera.blur_px * 0.8
        if blur_px > 0.2:
            canvas = canvas.filter(ImageFilter.BoxBlur(blur_px))
        return self.camera.add_grain(canvas, rng)

    def _paint_background(self, seed: int) -> NDArray[np.uint8]:
        """The place without people: a wall straight ahead, and a tiled floor before it."""
        width, height = self._width_px, self._height_px
        mounting = self.mounting
        foot = mounting.height_m * self._cos - mounting.wall_m * self._sin
        depth = mounting.wall_m * self._cos + mounting.height_m * self._sin
        base = round(height / 2 + self._focal_px * foot / depth)
        picture = self._paint_floor(seed, base)
        # The wall's picture is stretched so that its foot meets the floor.
        wall = self.camera.place[:GROUND_PX]
        columns = min(round(width * GROUND_PX / base), wall.shape[1])
        left = (wall.shape[1] - columns) // 2
        part = Image.fromarray(wall[:, left : left + columns])
        picture[:base] = np.asarray(part.resize((width, base), Image.Resampling.BILINEAR))
        return picture

    def _paint_floor(self, seed: int, base: int) -> NDArray[np.uint8]:
        """Tiles in true perspective, the same floor for all cameras."""
        n, mounting = _SMOOTHING, self.mounting
        width, height = self._width_px * n, self._height_px * n
        rows = (np.arange(base * n, height) + 0.5) / n - self._height_px / 2
        columns = (np.arange(width) + 0.5) / n - self._width_px / 2
        # Distance ahead and to the right at which the ray through a pixel meets the ground.
        slope = rows / self._focal_px
        ahead = (
            mounting.height_m * (self._cos - slope * self._sin) / (self._sin + slope * self._cos)
        )
        depth = ahead * self._cos + mounting.height_m * self._sin
        right = depth[:, None] * (columns / self._focal_px)[None, :]
        look_x, look_y = cos(mounting.look_rad), sin(mounting.look_rad)
        x = mounting.xy_m[0] + ahead[:, None] * look_x + right * look_y
        y = mounting.xy_m[1] + ahead[:, None] * look_y - right * look_x
        tile_x, tile_y = np.floor(x / _TILE_M).astype(int), np.floor(y / _TILE_M).astype(int)
        rng = person_generator(seed, _STREAM_FLOOR)
        tints = rng.normal(0, 5, (64, 64))
        stains = rng.normal(0, 5, (16, 16))
        tint = tints[tile_x % 64, tile_y % 64]
        tint += stains[np.floor(x / 2.7).astype(int) % 16, np.floor(y / 2.7).astype(int) % 16] * 0.5
        joint_m = 0.02
        in_joint = (x % _TILE_M < joint_m) | (y % _TILE_M < joint_m)
        # Distant joints are thinner than a pixel; they fade instead of flickering.
        fade = np.clip(9.0 / ahead, 0.25, 1.0)[:, None]
        shade = np.where(in_joint, -26.0 * fade, tint)
        # Floors are slightly darker towards the wall.
        shade -= np.clip((ahead[:, None] - mounting.wall_m + 2.0) * 7, 0, 14)
        floor = np.asarray(mounting.floor, dtype=np.float64)[None, None, :] + shade[:, :, None]
        large = np.zeros((height, width, 3), np.uint8)
        large[base * n :] = np.clip(floor, 0, 255)
        return np.array(Image.fromarray(large).reduce(n), dtype=np.uint8)
