"""A drawn re-identification data set, generated from a seed in the layout of Market-1501.

Replaces the data of Sec. III.A in tests and in the demo. Picture k of a person depends only on the
seed, the person, the camera and k, so a larger set contains the smaller one.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.datasets.market1501 import GALLERY_FOLDER, QUERY_FOLDER, TRAIN_FOLDER, read_market1501
from adln.datasets.split import ReidDataset
from adln.errors import DatasetError
from adln.scenes.drawn_figure import Figure
from adln.scenes.drawn_folder import drawn_folder, receipt_text
from adln.scenes.drawn_people import DrawnPerson, describe_person, person_generator
from adln.scenes.drawn_scene import Camera, describe_camera, draw_crop, strike_pose

RECEIPT = "drawn-people.txt"
"""File that marks a folder as drawn, and records the plan."""

_STREAM_SEEN = 3
_STREAM_CROP = 4
_STREAM_POSE = 5
_CROPS_PER_MOMENT = 2  # two detections of the same moment, slightly different
_FRAMES_PER_SEQUENCE = 25


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Numbers of persons, cameras and pictures to draw.

    Attributes:
        num_test_persons: Other persons than for training, in query and gallery.
        num_distractors: Gallery pictures of persons without a query (person 0).
        num_junk: Gallery pictures of wrong detections (person -1).
        num_cameras: Each person passes at least two thirds of them.
        crops_per_camera: Pictures of a person per camera.

    Raises:
        DatasetError: A number is out of range.
    """

    num_train_persons: int = 64
    num_test_persons: int = 40
    num_distractors: int = 40
    num_junk: int = 20
    num_cameras: int = 6
    crops_per_camera: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = 0 if name in {"num_distractors", "num_junk", "seed"} else 2
            if value < least:
                raise DatasetError(f"{name} must be at least {least}, got {value}.")
        if self.num_cameras > 9:
            raise DatasetError(
                f"num_cameras must be at most 9, as names have one digit, got {self.num_cameras}."
            )
        if self.num_train_persons + self.num_test_persons > 9999:
            raise DatasetError("At most 9,999 persons fit into file names of this layout.")


@dataclass(frozen=True)
class _Shot:
    path: Path
    drawn_person: int
    camera_id: int
    index: int
    is_junk: bool = False


def draw_dataset(
    root: Path, plan: Plan | None = None, *, on_progress: Callable[[int], None] | None = None
) -> ReidDataset:
    """Draw people and write them in the layout of Market-1501.

    Args:
        root: Folder to make. An earlier drawing of the same plan is reused; one of another plan is
            replaced.
        plan: Default: `Plan()`.
        on_progress: Called with the number of pictures just written.

    Returns:
        The data set, read back from disk.

    Raises:
        DatasetError: The folder contains other files, or cannot be written.
    """
    plan = plan or Plan()
    receipt = receipt_text(plan)
    if (root / RECEIPT).is_file() and (root / RECEIPT).read_text(encoding="utf-8") == receipt:
        return read_market1501(root)
    with drawn_folder(root, RECEIPT, receipt) as folder:
        for name in (TRAIN_FOLDER, QUERY_FOLDER, GALLERY_FOLDER):
            (folder / name).mkdir()
        _draw_all(folder, plan, on_progress)
    return read_market1501(root)


def contact_sheet(
    plan: Plan | None = None, *, persons: Sequence[int] = range(1, 7), scale: int = 2
) -> NDArray[np.uint8]:
    """Show some persons under every camera, one row per person, as (H, W, 3) uint8 RGB.

    Args:
        plan: Its seed and number of cameras are used.
        persons: Drawing numbers of the persons, from 1.
        scale: 1 draws crops of 128x64 px, 2 of 256x128 px.
    """
    plan = plan or Plan()
    cameras = [describe_camera(plan.seed, number + 1) for number in range(plan.num_cameras)]
    gap, height, width = 4 * scale, 128 * scale, 64 * scale
    shape = (len(persons) * (height + gap) + gap, len(cameras) * (width + gap) + gap, 3)
    sheet = np.full(shape, 255, np.uint8)
    for (row, number), (column, camera) in product(enumerate(persons), enumerate(cameras)):
        person = describe_person(plan.seed, number)
        figure = _pose(plan, person, camera, 0, scale=scale)
        crop = _crop(plan, person, camera, figure, 0, scale=scale)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = crop
    return sheet


def _pose(
    plan: Plan, person: DrawnPerson, camera: Camera, moment: int, *, scale: int = 1
) -> Figure:
    key = (person.person_id, camera.camera_id)
    # A person usually crosses a camera's view in one direction; sometimes they turn.
    direction = person_generator(plan.seed, _STREAM_SEEN, *key)
    heading_deg = float(camera.headings_deg[direction.integers(4)] + direction.normal(0, 12))
    rng = person_generator(plan.seed, _STREAM_POSE, *key, moment)
    if rng.random() < 0.2:
        heading_deg = float(rng.uniform(0, 360))
    heading_deg += float(rng.normal(0, 8))
    return strike_pose(person, camera, rng, heading_deg=heading_deg, height_px=128 * scale)


def _crop(
    plan: Plan, person: DrawnPerson, camera: Camera, figure: Figure, index: int, *, scale: int = 1
) -> NDArray[np.uint8]:
    rng = person_generator(plan.seed, _STREAM_CROP, person.person_id, camera.camera_id, index)
    return draw_crop(figure, camera, rng, height_px=128 * scale)


def _draw_all(root: Path, plan: Plan, on_progress: Callable[[int], None] | None) -> None:
    cameras = {n: describe_camera(plan.seed, n) for n in range(1, plan.num_cameras + 1)}
    for (number, camera_id, moment), shots in groupby(_shots(root, plan), key=_moment):
        person, camera = describe_person(plan.seed, number), cameras[camera_id]
        figure = _pose(plan, person, camera, moment)
        for shot in shots:
            crop = Image.fromarray(_crop(plan, person, camera, figure, shot.index))
            if shot.is_junk:
                crop = crop.resize((64, 128), box=(20, 40, 64, 128))  # a piece of somebody
            crop.save(shot.path, quality=camera.jpeg_quality)
            if on_progress is not None:
                on_progress(1)


def _moment(shot: _Shot) -> tuple[int, int, int]:
    return shot.drawn_person, shot.camera_id, shot.index // _CROPS_PER_MOMENT


def num_pictures(plan: Plan) -> int:
    """Number of pictures of a plan."""
    return sum(1 for _ in _shots(Path(), plan))


def _shots(root: Path, plan: Plan) -> Iterator[_Shot]:
    indices = range(plan.crops_per_camera)
    last_train = plan.num_train_persons
    for person_id in range(1, last_train + plan.num_test_persons + 1):
        for camera_id, index in product(_cameras_passed(plan, person_id), indices):
            # The first picture of a test person under a camera is the query.
            test_folder = GALLERY_FOLDER if index else QUERY_FOLDER
            folder = TRAIN_FOLDER if person_id <= last_train else test_folder
            path = root / folder / _name(f"{person_id:04d}", camera_id, index)
            yield _Shot(path, person_id, camera_id, index)
    extra = last_train + plan.num_test_persons
    for label, count in (("0000", plan.num_distractors), ("-1", plan.num_junk)):
        for number in range(count):
            extra += 1
            camera_id = number % plan.num_cameras + 1
            path = root / GALLERY_FOLDER / _name(label, camera_id, number)
            yield _Shot(path, extra, camera_id, 0, is_junk=label == "-1")


def _cameras_passed(plan: Plan, person_id: int) -> list[int]:
    """At least two thirds of the cameras, and at least two."""
    rng = person_generator(plan.seed, _STREAM_SEEN, person_id)
    least = max(2, -(-2 * plan.num_cameras // 3))
    count = int(rng.integers(least, plan.num_cameras + 1))
    chosen = rng.choice(plan.num_cameras, size=count, replace=False) + 1
    return sorted(int(camera_id) for camera_id in chosen)


def _name(label: str, camera_id: int, index: int) -> str:
    frame = 1 + index * _FRAMES_PER_SEQUENCE
    return f"{label}_c{camera_id}s1_{frame:06d}_01.jpg"
