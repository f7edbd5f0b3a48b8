"""A demonstration: a gallery with named, drawn people, and three cameras that see them.

No one in it is real. Everything is drawn on this machine, into one folder.
"""

import json
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adln.crops import cut, read_image, to_jpeg
from adln.errors import SettingsError
from adln.gallery.records import Sighting
from adln.gallery.retention import DAY_S, Retention
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.scenes.walking_scene import ScenePlan, SceneTruth, read_truth, write_scene
from adln.service.network import Network, make_thumbnail
from adln.strict import parse_json

CAMERAS: Mapping[int, str] = {1: "square-north", 2: "square-south", 3: "hall"}
NAMES = ("Alex", "Charlie", "Jo", "Kim", "Noor", "Robin", "Sam", "Sasha")
PLAN = ScenePlan(num_persons=len(NAMES), duration_s=60.0, frames_per_s=5.0)
STRANGERS = ("Noor", "Sasha")
"""Seen by the cameras, but not in the gallery: people to enrol."""
_LOOKS = 8
_CLEAR = 0.97
_LEAST_HEIGHT_PX = 60
_EDGE_PX = 3
_APART_S = 1.0
_MARGIN = 0.06
_TRACK_GAP_S = 1.0
_SETTINGS = """\
# Drawn people and drawn cameras; docs/watch.md lists all settings.
pictures = true

[detector]
# The true boxes of the drawing. With real cameras, leave this out.
boxes = "boxes.jsonl"

[jsonl]
path = ""
"""
_CAMERA = """
[[cameras]]
name = "{1}"
number = {0}
source = "scene/camera_{0}"
fps = {2}
"""
_RECEIPT = "demo.json"
_FORMAT = 1
_MAX_PIXELS = 1_000_000


@dataclass(frozen=True)
class Demo:
    """Paths of a demonstration; its pictures to search with are not in the gallery."""

    folder: Path
    gallery: Path
    watch: Path
    pictures: Path

    def is_ready(self, network: Network) -> bool:
        """Whether it has been drawn, and its people enrolled with this network."""
        return self._receipt() == _receipt_of(network)

    @property
    def is_ours(self) -> bool:
        """Whether the folder contains a demonstration, maybe unfinished, or nothing."""
        is_empty = not self.folder.exists() or not any(self.folder.iterdir())
        return is_empty or self._receipt() is not None

    def _receipt(self) -> object:
        try:
            return parse_json((self.folder / _RECEIPT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def demo_in(folder: Path) -> Demo:
    """The demonstration in a folder, drawn or not."""
    return Demo(folder, folder / "gallery", folder / "watch.toml", folder / "pictures")


def draw_demo(
    demo: Demo,
    network: Network,
    *,
    plan: ScenePlan = PLAN,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Draw the scene, enrol its people, and write the watch file.

    `on_progress` is called with the number of pictures just drawn.

    Raises:
        AdlnError: the folder contains other files or cannot be written.
    """
    scene = demo.folder / "scene"
    try:
        if not demo.is_ours:
            raise SettingsError(
                f"{demo.folder} contains files that do not belong to a demonstration; they are not "
                "touched. Give a new or empty folder."
            )
        demo.folder.mkdir(parents=True, exist_ok=True)
        (demo.folder / _RECEIPT).write_text(json.dumps({"format": _FORMAT}), encoding="utf-8")
        write_scene(scene, plan, on_progress=on_progress)
        truth = read_truth(scene)
        # Made with another network, or interrupted.
        shutil.rmtree(demo.gallery, ignore_errors=True)
        _write_boxes(demo.folder / "boxes.jsonl", truth)
        cameras = [_CAMERA.format(*one, plan.frames_per_s) for one in CAMERAS.items()]
        demo.watch.write_text(_SETTINGS + "".join(cameras), encoding="utf-8")
        demo.pictures.mkdir(exist_ok=True)
        _enrol(demo, truth, network, scene)
        receipt = json.dumps(_receipt_of(network))
        (demo.folder / _RECEIPT).write_text(receipt, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{demo.folder} cannot be written ({error}). Free some space or choose another folder."
        ) from error


def _receipt_of(network: Network) -> dict[str, object]:
    model = network.model
    return {"format": _FORMAT, "model": model.digest, "depth": model.depth}


def _write_boxes(path: Path, truth: SceneTruth) -> None:
    """Write the true boxes, used instead of a detector and tracker, which need a download."""
    tracks: dict[tuple[int, int], tuple[int, float]] = {}
    with path.open("w", encoding="utf-8") as file:
        for at in range(len(truth.person_ids)):
            if truth.visible_fractions[at] < 0.5:
                continue
            place = int(truth.camera_ids[at]), int(truth.person_ids[at])
            time_s = float(truth.times_s[at])
            track_id, last_s = tracks.get(place, (0, float("-inf")))
            if time_s - last_s > _TRACK_GAP_S:
                # A person who returns gets a new track, as with any tracker.
                track_id = 1 + max((one for one, _ in tracks.values()), default=0)
            tracks[place] = track_id, time_s
            row = {
                "camera_id": CAMERAS[place[0]],
                "frame": int(truth.frame_indices[at]),
                "box_xyxy": truth.boxes_xyxy[at].tolist(),
                "confidence": float(truth.visible_fractions[at]),
                "track_id": track_id,
            }
            file.write(json.dumps(row) + "\n")


def _enrol(demo: Demo, truth: SceneTruth, network: Network, scene: Path) -> None:
    now_s = time.time()
    with SqliteGallery(demo.gallery, create=True, actor="demo") as gallery:
        gallery.set_retention(Retention(keep_s=30 * DAY_S, max_templates=24, max_unnamed=2000))
        for person_id, rows in _clear_looks(truth).items():
            name = NAMES[(person_id - 1) % len(NAMES)]
            *kept, last = rows
            (demo.pictures / f"{name.lower()}.jpg").write_bytes(_cut(scene, truth, last))
            if name in STRANGERS or not kept:
                continue
            number = gallery.enrol(name)
            pictures = [_cut(scene, truth, row) for row in kept]
            sightings = [
                Sighting(
                    embedding=network.embed(picture),
                    model=network.model,
                    camera_id=int(truth.camera_ids[row]),
                    time_s=now_s - DAY_S + float(truth.times_s[row]) * 60,
                    person_id=number,
                    thumbnail=make_thumbnail(picture, max_pixels=_MAX_PIXELS),
                )
                for row, picture in zip(kept, pictures, strict=True)
            ]
            gallery.add(sightings)


def _clear_looks(truth: SceneTruth) -> dict[int, list[int]]:
    """Person -> rows in which they are not occluded, spread over cameras and time."""
    starts, ends = truth.boxes_xyxy[:, :2], truth.boxes_xyxy[:, 2:]
    size = np.array([PLAN.width_px, PLAN.height_px])
    inside = ((starts > _EDGE_PX) & (ends < size - _EDGE_PX)).all(axis=1)
    heights = ends[:, 1] - starts[:, 1]
    clear = inside & (truth.visible_fractions >= _CLEAR) & (heights >= _LEAST_HEIGHT_PX)
    looks: dict[int, list[int]] = defaultdict(list)
    newest_s: dict[tuple[int, int], float] = {}
    for row in np.flatnonzero(clear).tolist():
        place = int(truth.person_ids[row]), int(truth.camera_ids[row])
        if truth.times_s[row] - newest_s.get(place, -_APART_S) < _APART_S:
            continue
        newest_s[place] = float(truth.times_s[row])
        looks[place[0]].append(row)
    return {person: _spread(rows) for person, rows in sorted(looks.items())}


def _spread(rows: Sequence[int]) -> list[int]:
    at = np.linspace(0, len(rows) - 1, min(_LOOKS, len(rows))).round().astype(int)
    return [rows[place] for place in dict.fromkeys(at.tolist())]


def _cut(scene: Path, truth: SceneTruth, row: int) -> bytes:
    """The crop of a person, with a small margin."""
    camera, frame = int(truth.camera_ids[row]), int(truth.frame_indices[row])
    box = truth.boxes_xyxy[row]
    more = _MARGIN * (box[2:] - box[:2])
    picture = read_image(scene / f"camera_{camera}" / f"{frame:06d}.jpg")
    person = cut(picture, [*(box[:2] - more).round(), *(box[2:] + more).round()])
    return to_jpeg(person, quality=92)
