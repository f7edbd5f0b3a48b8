"""A drawn scene with exact ground truth, in place of the recordings of Sec. III.A.

People walk past the three cameras of `adln.scenes.walking_views`, pause, occlude one another, leave
and come back. Every picture depends only on the plan, the camera and the index.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import degrees
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.errors import DatasetError
from adln.scenes.drawn_figure import Box, Figure, draw_figure
from adln.scenes.drawn_folder import drawn_folder, receipt_text
from adln.scenes.drawn_people import DrawnPerson, describe_person, person_generator
from adln.scenes.drawn_scene import shade_ground
from adln.scenes.walking_routes import WalkedRoute, WalkerState, join_crowd, wander
from adln.scenes.walking_views import MOUNTINGS, Mounting, Projection, View
from adln.strict import parse_json

CAMERA_IDS: tuple[int, ...] = tuple(mounting.camera_id for mounting in MOUNTINGS)
TRUTH_FILE = "truth.jsonl"
RECEIPT = "drawn-scene.txt"
"""File that marks a folder as drawn, and records the plan."""

_STREAM_FRAME = 9
_SEEN_COVERAGE = 127  # a pixel belongs to a person if they cover more than half of it
_JPEG_QUALITY = 90


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """Number of people, duration and format of a scene.

    Attributes:
        num_persons: Persons who come and go all the time; about a third of them are in view.
        crowd: Further persons who gather in the square at once, in the middle third.
        frames_per_s: Pictures per second and camera.

    Raises:
        DatasetError: A number is out of range.
    """

    num_persons: int = 24
    crowd: int = 0
    duration_s: float = 60.0
    frames_per_s: float = 10.0
    width_px: int = 640
    height_px: int = 360
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "num_persons": (0, 999),
            "crowd": (0, 999),
            "duration_s": (0.1, 86_400.0),
            "frames_per_s": (0.1, 60.0),
            "width_px": (160, 3840),
            "height_px": (120, 2160),
            "seed": (0, 2**32),
        }
        for name, (least, most) in bounds.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise DatasetError(f"{name} must be from {least} to {most}, got {value}.")

    @property
    def num_frames(self) -> int:
        """Number of pictures of each camera."""
        return max(1, round(self.duration_s * self.frames_per_s))


@dataclass(frozen=True, kw_only=True)
class SeenPerson:
    """A person in a picture.

    Attributes:
        person_id: The identity, from 1, the same under all cameras.
        box_xyxy: In pixels, of the whole figure without occlusion, clipped to the picture.
        visible_fraction: Visible share of the figure, above 0; the rest is occluded or outside.
    """

    person_id: int
    box_xyxy: tuple[float, float, float, float]
    visible_fraction: float


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneFrame:
    """One picture, (H, W, 3) uint8 RGB, of one camera with its ground truth.

    Attributes:
        time_s: Since the start of the scene; all cameras have the same clock.
        people: The visible persons, from far to near.
    """

    camera_id: int
    frame_index: int
    time_s: float
    picture: NDArray[np.uint8]
    people: tuple[SeenPerson, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneTruth:
    """The ground truth of a whole scene as arrays, a row per person and picture.

    All are (N,), the boxes (N, 4) in pixels; frames count from 0, fractions are in 0..1.
    """

    frame_indices: NDArray[np.int64]
    camera_ids: NDArray[np.int64]
    person_ids: NDArray[np.int64]
    boxes_xyxy: NDArray[np.float64]
    visible_fractions: NDArray[np.float64]
    times_s: NDArray[np.float64]


class WalkingScene:
    """Draws the pictures of a plan.

    Args:
        plan: Default: that of `ScenePlan()`.
        routes: Id, from 1, -> person and route; default: those of the plan.
        mountings: The cameras.
    """

    def __init__(
        self,
        plan: ScenePlan | None = None,
        *,
        routes: Mapping[int, tuple[DrawnPerson, WalkedRoute]] | None = None,
        mountings: Sequence[Mounting] = MOUNTINGS,
    ) -> None:
        self.plan = plan if plan is not None else ScenePlan()
        seed, width_px, height_px = self.plan.seed, self.plan.width_px, self.plan.height_px
        self._views = {
            mounting.camera_id: View(seed, mounting, width_px=width_px, height_px=height_px)
            for mounting in mountings
        }
        self._routes = _routes(self.plan) if routes is None else dict(routes)

    def frames(self, camera_id: int) -> Iterator[SceneFrame]:
        """Draw the pictures of a camera in order; only one is held at a time.

        Raises:
            DatasetError: There is no such camera.
        """
        for frame_index in range(self.plan.num_frames):
            yield self.frame(camera_id, frame_index)

    def frame(self, camera_id: int, frame_index: int) -> SceneFrame:
        """Draw one picture; its index counts from 0.

        Raises:
            DatasetError: There is no such camera or picture.
        """
        view = self._views.get(camera_id)
        if view is None:
            raise DatasetError(f"The scene has cameras {tuple(self._views)}, got {camera_id}.")
        if not 0 <= frame_index < self.plan.num_frames:
            raise DatasetError(
                f"The scene has pictures 0 to {self.plan.num_frames - 1}, got {frame_index}."
            )
        time_s = frame_index / self.plan.frames_per_s
        canvas = _Canvas(view.background)
        # Depth, id, state, projection; the pillar is nobody.
        pillar = (view.pillar_seen.depth_m, 0, None, view.pillar_seen)
        standing = [pillar, *self._in_view(view, time_s)]
        for _, number, state, seen in sorted(standing, key=itemgetter(0, 1), reverse=True):
            if state is None:
                canvas.add(0, view.pillar, seen, shadow=0.5, light=0.0)
            else:
                light = view.camera.light
                figure = _draw(self._routes[number][0], state, seen, light)
                canvas.add(number, figure, seen, shadow=1.0, light=light)
        rng = person_generator(self.plan.seed, _STREAM_FRAME, camera_id, frame_index)
        return SceneFrame(
            camera_id=camera_id,
            frame_index=frame_index,
            time_s=time_s,
            picture=view.expose(canvas.picture, rng),
            people=canvas.seen_people(),
        )

    def _in_view(
        self, view: View, time_s: float
    ) -> Iterator[tuple[float, int, WalkerState | None, Projection]]:
        """Depth, id, state and projection of everybody in front of the camera."""
        for number, (_, route) in self._routes.items():
            state = route.at(time_s)
            seen = view.project(state.xy_m) if state is not None else None
            # Nothing of a person is visible from half a body's width outside the picture on.
            if seen is not None:
                margin = seen.px_per_m
                if -margin < seen.ground_xy[0] < self.plan.width_px + margin:
                    yield seen.depth_m, number, state, seen


def _draw(person: DrawnPerson, state: WalkerState, seen: Projection, light: float) -> Figure:
    # Headings of figures are measured from the direction towards the camera, to the right.
    turn = state.heading_rad - (seen.bearing_rad + np.pi)
    return draw_figure(
        person,
        height_px=person.height_m * seen.px_per_m,
        heading_deg=degrees(turn),
        phase=state.phase,
        tilt_deg=seen.tilt_deg,
        perspective=0.03 + 0.006 * seen.tilt_deg,
        light=light,
        gesture=state.gesture,
        supersampling=2,
    )


def write_scene(
    root: Path, plan: ScenePlan | None = None, *, on_progress: Callable[[int], None] | None = None
) -> int:
    """Draw a scene into a folder: ``camera_1/000000.jpg`` and so on, and ``truth.jsonl``.

    Args:
        root: Folder to make. An earlier drawing there is replaced.
        plan: Default: that of `ScenePlan()`.
        on_progress: Called with the number of pictures just written.

    Returns:
        The number of pictures written.

    Raises:
        DatasetError: The folder contains other files, or cannot be written.
    """
    scene = WalkingScene(plan)
    with drawn_folder(root, RECEIPT, receipt_text(scene.plan)) as folder:
        for camera_id in CAMERA_IDS:
            (folder / f"camera_{camera_id}").mkdir()
        with (folder / TRUTH_FILE).open("w", encoding="utf-8") as truth:
            for frame_index in range(scene.plan.num_frames):
                for camera_id in CAMERA_IDS:
                    frame = scene.frame(camera_id, frame_index)
                    file = f"camera_{camera_id}/{frame_index:06d}.jpg"
                    Image.fromarray(frame.picture).save(folder / file, quality=_JPEG_QUALITY)
                    truth.write(json.dumps(truth_row(frame, file=file)) + "\n")
                    if on_progress is not None:
                        on_progress(1)
    return scene.plan.num_frames * len(CAMERA_IDS)


def truth_row(frame: SceneFrame, *, file: str | None = None) -> dict[str, Any]:
    """The ground truth of a picture as plain values, as in ``truth.jsonl``."""
    return {
        "camera_id": frame.camera_id,
        "frame_index": frame.frame_index,
        "time_s": round(frame.time_s, 6),
        **({} if file is None else {"file": file}),
        "people": [asdict(seen) for seen in frame.people],
    }


def read_truth(root: str | Path) -> SceneTruth:
    """Read the ground truth of a scene drawn by `write_scene`.

    Raises:
        DatasetError: The file is missing or malformed; the message names the line.
    """
    path = Path(root) / TRUTH_FILE
    rows: list[Mapping[str, Any]] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    rows.append(parse_json(line))
                except ValueError as error:
                    raise DatasetError(
                        f"{path}, line {number} is not JSON: {error}. Draw the scene again."
                    ) from error
        return collect_truth(rows)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}. Draw a scene there first.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path} is not the ground truth of a drawn scene ({error!r}). Draw the scene again."
        ) from error


def collect_truth(rows: Sequence[Mapping[str, Any]]) -> SceneTruth:
    """Convert rows of `truth_row` to arrays."""
    flat = [(row, seen) for row in rows for seen in row["people"]]
    return SceneTruth(
        frame_indices=np.array([row["frame_index"] for row, _ in flat], np.int64),
        camera_ids=np.array([row["camera_id"] for row, _ in flat], np.int64),
        person_ids=np.array([seen["person_id"] for _, seen in flat], np.int64),
        boxes_xyxy=np.array([seen["box_xyxy"] for _, seen in flat], np.float64).reshape(-1, 4),
        visible_fractions=np.array([seen["visible_fraction"] for _, seen in flat], np.float64),
        times_s=np.array([row["time_s"] for row, _ in flat], np.float64),
    )


class _Canvas:
    """A picture composited back to front that records whose each pixel is."""

    def __init__(self, background: NDArray[np.uint8]) -> None:
        self.picture = background.copy()
        # Index into the list below plus one; 0 is nobody.
        self._owner = np.zeros(self.picture.shape[:2], np.uint16)
        self._people: list[tuple[int, Box, int]] = []

    def add(
        self, person_id: int, figure: Figure, seen: Projection, *, shadow: float, light: float
    ) -> None:
        """Composite a person, or something that is nobody (0), on softly darkened ground."""
        (x, y), scale = seen.ground_xy, shadow * seen.px_per_m
        x -= 0.12 * light * scale
        reach_x, reach_y = 0.6 * scale, 0.17 * scale
        rows = int(y - reach_y), int(y + reach_y) + 1
        columns = int(x - reach_x), int(x + reach_x) + 1
        shade_ground(self.picture, (x, y), (0.5 * reach_x, 0.5 * reach_y), rows, columns)
        laid = figure.blend(self.picture, seen.ground_xy)
        if laid is None:
            return
        (x0, y0, x1, y1), coverage = laid
        owner = len(self._people) + 1 if person_id else 0
        self._owner[y0:y1, x0:x1][coverage > _SEEN_COVERAGE] = owner
        num_pixels = int(np.count_nonzero(figure.coverage > _SEEN_COVERAGE))
        if person_id and num_pixels > 0:
            self._people.append((person_id, (x0, y0, x1, y1), num_pixels))

    def seen_people(self) -> tuple[SeenPerson, ...]:
        """Everyone with at least one visible pixel."""
        counts = np.bincount(self._owner.ravel(), minlength=len(self._people) + 1)
        return tuple(
            SeenPerson(
                person_id=person_id,
                box_xyxy=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
                visible_fraction=round(int(count) / num_pixels, 4),
            )
            for (person_id, box, num_pixels), count in zip(self._people, counts[1:], strict=True)
            if count > 0
        )


def _routes(plan: ScenePlan) -> dict[int, tuple[DrawnPerson, WalkedRoute]]:
    """Everyone's route, by id; the crowd's ids follow the others'."""
    routes: dict[int, tuple[DrawnPerson, WalkedRoute]] = {}
    third_s = plan.duration_s / 3
    for number in range(1, plan.num_persons + plan.crowd + 1):
        person = describe_person(plan.seed, number)
        if number <= plan.num_persons:
            route = wander(plan.seed, person, until_s=plan.duration_s + 1.0)
        else:
            route = join_crowd(plan.seed, person, begin_s=third_s, end_s=2 * third_s)
        routes[number] = (person, route)
    return routes
