"""Drawn sequences with a known truth, for `benchmarks.tracking`: who walks, and what is found.

Five kinds, each from a seed: people who cross, people who stop behind a hedge, both of them in
three outfits only, people who cross before a camera that shakes, and people who meet nobody. The
truth becomes what a detector would find: boxes jitter, are missed, are weak where a person is half
hidden, end at the sides of the picture, swallow the one behind, and some show nobody.

Sequences are laid out as those of the MOTChallenge (`img1/000001.jpg`, `gt/gt.txt`,
`det/det.txt`), so that real ones can take their place. Where a real one lacks `det/det.txt`, what
is found is made of its truth in the same way.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from adln.boxes import iou, xyxy_to_xywh
from adln.cameras.mot_files import MotBoxes, read_mot
from adln.scenes.drawn_people import DrawnPerson, describe_person, person_generator
from adln.scenes.walking_routes import WalkedRoute
from adln.scenes.walking_scene import ScenePlan, WalkingScene
from adln.scenes.walking_views import MOUNTINGS

KINDS = ("crossing", "hedge", "outfits", "shake", "apart")
FRAMES_PER_S = 10.0
# Of whom less is seen, nobody is asked to find; a gap in a person's track lasts while this is so.
LEAST_VISIBLE = 0.25

_STREAM_WALK = 31
_STREAM_NOISE = 32
_STREAM_SHAKE = 33
_HEDGE_XY_M = (4.5, 3.0)
_HEDGE_M = 2.3
# Beside these the camera sees nobody.
_ENDS_M = (-4.0, 13.0)


@dataclass(frozen=True, eq=False)
class TrackedSequence:
    """A sequence with its truth.

    Attributes:
        folder: where it lies.
        name: of the folder.
        frames_per_s: pictures a second.
        num_frames: pictures.
        truth: who is where, those of whom enough is seen.
        found: what the detector found.
    """

    folder: Path
    name: str
    frames_per_s: float
    num_frames: int
    truth: MotBoxes
    found: MotBoxes

    @property
    def has_pictures(self) -> bool:
        """Whether its pictures are there; truth and boxes can be had without."""
        return (self.folder / "img1").is_dir()

    def picture(self, frame: int) -> NDArray[np.uint8]:
        """A picture, (H, W, 3) uint8 RGB; frames count from 1."""
        path = self.folder / "img1" / f"{frame:06d}.jpg"
        bgr = cv2.imread(str(path))
        if bgr is None:
            raise FileNotFoundError(path)
        return np.ascontiguousarray(bgr[:, :, ::-1]).astype(np.uint8, copy=False)


def read_sequence(folder: Path) -> TrackedSequence:
    """Read a sequence in the layout of the MOTChallenge."""
    info = dict(
        line.split("=", 1)
        for line in (folder / "seqinfo.ini").read_text(encoding="utf-8").splitlines()
        if "=" in line
    )
    rows = np.loadtxt(folder / "gt" / "gt.txt", delimiter=",", ndmin=2)
    truth = read_mot(folder / "gt" / "gt.txt")
    # Consider flag, class (1 is a pedestrian), visibility.
    is_person = (rows[:, 6] == 1) & (rows[:, 7] == 1)
    counts = is_person & (rows[:, 8] >= LEAST_VISIBLE)
    if (folder / "det" / "det.txt").is_file():
        found = read_mot(folder / "det" / "det.txt")
    else:
        found = _find_all(truth, rows[:, 8], is_person, info)
    return TrackedSequence(
        folder=folder,
        name=info["name"],
        frames_per_s=float(info["frameRate"]),
        num_frames=int(info["seqLength"]),
        truth=MotBoxes(
            truth.frames[counts],
            truth.ids[counts],
            truth.boxes_xyxy[counts],
            truth.confidences[counts],
        ),
        found=found,
    )


def _find_all(
    truth: MotBoxes,
    visible: NDArray[np.float64],
    is_person: NDArray[np.bool_],
    info: dict[str, str],
) -> MotBoxes:
    """What a detector would find of a sequence, with confidences."""
    noise = np.random.default_rng(0)
    size_px = int(info["imWidth"]), int(info["imHeight"])
    frames, boxes, confidences = [], [], []
    for frame in range(1, int(info["seqLength"]) + 1):
        at = is_person & (truth.frames == frame)
        for (left, top, width, height), confidence in _find(
            noise, truth.boxes_xyxy[at], visible[at], *size_px
        ):
            frames.append(frame)
            boxes.append([left, top, left + width, top + height])
            confidences.append(confidence)
    return MotBoxes(
        np.array(frames, dtype=np.int64),
        np.full(len(frames), -1, np.int64),
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.array(confidences, dtype=np.float64),
    )


def draw_sequence(root: Path, kind: str, seed: int, *, seconds: float = 30.0) -> Path:
    """Draw a sequence unless it is there; gives its folder."""
    folder = root / f"{kind}-{seed}"
    if (folder / "seqinfo.ini").is_file():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("img1", "gt", "det"):
        (folder / part).mkdir(parents=True)
    plan = ScenePlan(num_persons=0, duration_s=seconds, frames_per_s=FRAMES_PER_S, seed=seed)
    mounting = MOUNTINGS[0]
    if kind in ("hedge", "outfits"):
        mounting = replace(mounting, pillar_xy_m=_HEDGE_XY_M, pillar=2, pillar_m=_HEDGE_M)
    scene = WalkingScene(plan, routes=_ROUTES[kind](seed, seconds), mountings=(mounting,))
    shifts = _shake(seed, plan.num_frames) if kind == "shake" else np.zeros((plan.num_frames, 2))
    noise = person_generator(seed, _STREAM_NOISE, KINDS.index(kind))
    truth, found = [], []
    for frame in scene.frames(mounting.camera_id):
        number = frame.frame_index + 1
        shift = shifts[frame.frame_index]
        picture = _moved(frame.picture, shift)
        cv2.imwrite(
            str(folder / "img1" / f"{number:06d}.jpg"),
            picture[:, :, ::-1],
            [cv2.IMWRITE_JPEG_QUALITY, 92],
        )
        boxes = np.array([seen.box_xyxy for seen in frame.people], np.float64).reshape(-1, 4)
        boxes = boxes + np.tile(shift, 2)
        visible = np.array([seen.visible_fraction for seen in frame.people])
        for seen, box in zip(frame.people, xyxy_to_xywh(boxes).tolist(), strict=True):
            sides = _sides(box)
            truth.append(f"{number},{seen.person_id},{sides},1,1,{seen.visible_fraction:.4f}\n")
        for box, confidence in _find(noise, boxes, visible, plan.width_px, plan.height_px):
            found.append(f"{number},-1,{_sides(box)},{confidence:.4f},-1,-1,-1\n")
    (folder / "gt" / "gt.txt").write_text("".join(truth), encoding="utf-8")
    (folder / "det" / "det.txt").write_text("".join(found), encoding="utf-8")
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={FRAMES_PER_S:g}\n"
        f"seqLength={plan.num_frames}\nimWidth={plan.width_px}\nimHeight={plan.height_px}\n"
        "imExt=.jpg\n",
        encoding="utf-8",
    )
    return folder


# -- who walks where -------------------------------------------------------------------------


def _crossing(seed: int, seconds: float) -> dict[int, tuple[DrawnPerson, WalkedRoute]]:
    """Both ways, at many distances, often before one another."""
    rng = person_generator(seed, _STREAM_WALK, 0)
    count = round(0.6 * seconds)
    return {
        number: _walker(rng, seed, number, start_s=float(rng.uniform(-8, seconds - 6)))
        for number in range(1, count + 1)
    }


def _hedge(seed: int, seconds: float) -> dict[int, tuple[DrawnPerson, WalkedRoute]]:
    """Half of them go behind the hedge, stay there for a while and come out again."""
    rng = person_generator(seed, _STREAM_WALK, 1)
    people = {}
    for number in range(1, round(0.5 * seconds) + 1):
        start_s = float(rng.uniform(-6, seconds - 8))
        wait_s = float(np.exp(rng.uniform(np.log(0.2), np.log(8.0)))) if number % 2 else None
        people[number] = _walker(rng, seed, number, start_s=start_s, wait_s=wait_s)
    return people


def _outfits(seed: int, seconds: float) -> dict[int, tuple[DrawnPerson, WalkedRoute]]:
    """As behind the hedge, in three outfits; people differ by stature, hair, skin and bag."""
    worn = [describe_person(seed, 900 + outfit) for outfit in range(3)]
    dressed = {}
    for number, (person, route) in _hedge(seed + 50, seconds).items():
        outfit = worn[number % len(worn)]
        person = replace(
            person,
            top=outfit.top,
            top_colour=outfit.top_colour,
            accent=outfit.accent,
            pattern=outfit.pattern,
            hoops=outfit.hoops,
            sleeves=outfit.sleeves,
            bottom=outfit.bottom,
            bottom_colour=outfit.bottom_colour,
            shoes=outfit.shoes,
            shoe_colour=outfit.shoe_colour,
            scarf=None,
        )
        dressed[number] = person, route
    return dressed


def _shaken(seed: int, seconds: float) -> dict[int, tuple[DrawnPerson, WalkedRoute]]:
    return _crossing(seed + 100, seconds)


def _apart(seed: int, seconds: float) -> dict[int, tuple[DrawnPerson, WalkedRoute]]:
    """One after the other on one lane; nobody overtakes."""
    rng = person_generator(seed, _STREAM_WALK, 2)
    y = float(rng.uniform(1.0, 2.5))
    return {
        number: _walker(rng, seed, number, start_s=4.0 * number - 10, y=y, ahead=True, speed=1.3)
        for number in range(1, round(seconds / 4) + 2)
    }


_ROUTES: dict[str, Callable[[int, float], dict[int, tuple[DrawnPerson, WalkedRoute]]]] = {
    "crossing": _crossing,
    "hedge": _hedge,
    "outfits": _outfits,
    "shake": _shaken,
    "apart": _apart,
}


def _walker(
    rng: np.random.Generator,
    seed: int,
    number: int,
    *,
    start_s: float,
    wait_s: float | None = None,
    y: float | None = None,
    ahead: bool | None = None,
    speed: float | None = None,
) -> tuple[DrawnPerson, WalkedRoute]:
    """Somebody who crosses the view, straight on or by way of the hedge."""
    person = describe_person(seed, number)
    speed = float(rng.uniform(0.9, 1.7)) if speed is None else speed
    ahead = bool(rng.random() < 0.5) if ahead is None else ahead
    begin, end = _ENDS_M if ahead else _ENDS_M[::-1]
    if wait_s is None:
        lane = float(rng.uniform(0.5, 6.5)) if y is None else y
        drift = 0.0 if y is not None else float(rng.uniform(-0.8, 0.8))
        middle = (float(rng.uniform(3, 6)), lane + drift)
        points = [(begin, lane), middle, (end, float(np.clip(lane - drift, 0.3, 6.8)))]
        pause = 0.0 if y is not None or rng.random() < 0.7 else float(rng.uniform(0.5, 2.5))
        pauses = [0.0, pause, 0.0]
    else:
        lane = float(rng.uniform(4.0, 6.0))
        hidden = (_HEDGE_XY_M[0] + float(rng.uniform(-0.25, 0.25)), lane)
        if rng.random() < 0.4:
            end = begin  # turns round behind the hedge
        points = [(begin, lane), hidden, (end, lane + float(rng.uniform(-0.3, 0.3)))]
        pauses = [0.0, wait_s, 0.0]
    times_s, places, gestures = [start_s], [points[0]], []
    for place, pause in zip(points[1:], pauses[1:], strict=True):
        way = float(np.hypot(place[0] - places[-1][0], place[1] - places[-1][1]))
        gestures.append("walk")
        times_s.append(times_s[-1] + way / speed)
        places.append(place)
        if pause > 0:
            gestures.append("stand")
            times_s.append(times_s[-1] + pause)
            places.append(place)
    return person, WalkedRoute(person, np.array(times_s), np.array(places, np.float64), gestures)


# -- what the camera and the detector make of it ----------------------------------------------


def _shake(seed: int, num_frames: int) -> NDArray[np.float64]:
    """Shift of each picture in px: a swaying mast that is knocked now and then."""
    rng = person_generator(seed, _STREAM_SHAKE)
    times_s = np.arange(num_frames) / FRAMES_PER_S
    sway = np.stack(
        [9 * np.sin(2 * np.pi * 0.7 * times_s), 4 * np.sin(2 * np.pi * 1.1 * times_s + 1)], axis=1
    )
    knocks = np.zeros((num_frames, 2))
    for begin in rng.integers(0, num_frames, 5).tolist():
        after = np.arange(num_frames - begin) / FRAMES_PER_S
        kick = rng.normal(0, 1, 2) * np.array([28.0, 12.0])
        knocks[begin:] += kick * (np.exp(-after / 0.5) * np.cos(2 * np.pi * 1.6 * after))[:, None]
    return sway + knocks + rng.normal(0, 0.8, (num_frames, 2))


def _moved(picture: NDArray[np.uint8], shift: NDArray[np.float64]) -> NDArray[np.uint8]:
    if not shift.any():
        return picture
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    height, width = picture.shape[:2]
    moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    return moved.astype(np.uint8, copy=False)


def _find(
    rng: np.random.Generator,
    boxes: NDArray[np.float64],
    visible: NDArray[np.float64],
    width_px: int,
    height_px: int,
) -> list[tuple[list[float], float]]:
    """What a detector would find: (left, top, width, height) and confidence of each box."""
    found: list[tuple[NDArray[np.float64], float]] = []
    for box, seen in zip(boxes, visible.tolist(), strict=True):
        size = box[2:] - box[:2]
        chance = 0.97 * float(np.clip((seen - 0.2) / 0.5, 0, 1))
        jitter = rng.normal(0, 1, 4) * (0.02 + 0.05 * (1 - seen)) * np.tile(size, 2)
        confidence = float(np.clip(0.25 + 0.65 * seen + rng.normal(0, 0.07), 0.11, 0.97))
        if rng.random() >= chance or size.min() < 8:
            continue
        found.append((box + jitter, confidence))
    for _ in range(int(rng.poisson(0.15))):
        height = float(rng.uniform(60, 160))
        x, y = rng.uniform(0, width_px - 40), rng.uniform(60, height_px - height / 2)
        box = np.array([x, y, x + 0.4 * height, y + height])
        found.append((box, float(rng.uniform(0.1, 0.7))))
    # Of two boxes that nearly coincide a detector keeps the surer one.
    kept: list[tuple[NDArray[np.float64], float]] = []
    for box, confidence in sorted(found, key=lambda one: -one[1]):
        if not kept or iou(box[None], np.stack([other for other, _ in kept])).max() < 0.65:
            kept.append((box, confidence))
    return [(xyxy_to_xywh(box).tolist(), confidence) for box, confidence in kept]


def _sides(box_xywh: Sequence[float]) -> str:
    left, top, width, height = box_xywh
    return f"{left + 1:.2f},{top + 1:.2f},{width:.2f},{height:.2f}"
