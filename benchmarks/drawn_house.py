"""A house full of drawn people, as a service shows it after some days: nobody in it is real.

Eight people have names, four have none yet, one is there twice, one sighting is with the wrong
person, and two passers-by are nobody's. Five cameras saw them, of which three are running.
"""

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from adln.embeddings import unit_length
from adln.gallery.records import Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch_settings import WatchSettings
from adln.scenes.walking_scene import ScenePlan, SceneTruth, read_truth, write_scene
from adln.service.live import CameraPicture, CameraView, PersonInView, PipelineView, Scene
from adln.service.network import Network, make_thumbnail

CAMERAS: Mapping[int, str] = {
    1: "front door",
    2: "yard",
    3: "hall",
    4: "stairs",
    5: "garage",
}
NAMES = ("Alex", "Charlie", "Jo", "Kim", "Noor", "Robin", "Sam", "Sasha")
UNNAMED = 4
PASSERS_BY = 2
PLAN = ScenePlan(num_persons=len(NAMES) + UNNAMED + PASSERS_BY, duration_s=60.0, frames_per_s=4.0)
DAYS = 9
_LOOKS = 16
_CLEAR = 0.97
_LEAST_HEIGHT_PX = 60
_EDGE_PX = 3
_MAX_PIXELS = 1_000_000
_NOISE = 0.02


@dataclass(frozen=True)
class Look:
    """Somebody as a camera saw them.

    Attributes:
        embedding: (D,) of unit length.
        thumbnail: JPEG.
        picture: JPEG, to search with.
    """

    embedding: NDArray[np.float32]
    thumbnail: bytes
    picture: bytes


@dataclass(frozen=True)
class House:
    """What was drawn.

    Attributes:
        folder: all of it.
        numbers: person of the drawing, from 1 -> person of the gallery; passers-by are nobody.
        looks: person of the drawing -> how cameras saw them.
    """

    folder: Path
    numbers: Mapping[int, int]
    looks: Mapping[int, Sequence[Look]]

    @property
    def gallery(self) -> Path:
        """Folder of the gallery."""
        return self.folder / "gallery"

    @property
    def scene(self) -> Path:
        """Folder of what the cameras see."""
        return self.folder / "scene"


def draw_house(
    folder: Path, network: Network, *, now_s: float, plan: ScenePlan = PLAN, days: int = DAYS
) -> House:
    """Draw everybody and write the gallery of the last days.

    Args:
        folder: new; a scene that was drawn there before is used again.
        network: makes the embeddings.
        now_s: until when people were seen, seconds since 1970.
        plan: who walks how long through the pictures.
        days: so many are full of visits.
    """
    scene = folder / "scene"
    write_scene(scene, plan)
    truth = read_truth(scene)
    looks = {person: list(_looks(scene, truth, person, network)) for person in _everybody(plan)}
    with SqliteGallery(folder / "gallery", create=True, actor="drawing") as gallery:
        known = len(NAMES) + UNNAMED
        numbers = {
            person: gallery.enrol(NAMES[person - 1] if person <= len(NAMES) else None)
            for person in range(1, known + 1)
        }
        twice = gallery.enrol(None)
        rng = np.random.default_rng(0)
        sightings: list[Sighting] = []
        for day in range(days, -1, -1):
            for person in _everybody(plan):
                sightings += _a_day(person, numbers.get(person), looks[person], day, now_s, rng)
        made = [replace(one, model=network.model) for one in sightings if one.time_s < now_s]
        # Somebody is there twice, and one sighting is with the wrong person.
        fourth = [at for at, one in enumerate(made) if one.person_id == numbers[4]]
        for at in fourth[-4:]:
            made[at] = replace(made[at], person_id=twice)
        seventh = next(at for at, one in enumerate(made) if one.person_id == numbers[7])
        made[seventh] = replace(made[seventh], person_id=numbers[3])
        gallery.add(sorted(made, key=lambda one: one.time_s))
    return House(folder, numbers, looks)


def _everybody(plan: ScenePlan) -> range:
    return range(1, plan.num_persons + 1)


def _a_day(
    person: int,
    number: int | None,
    looks: Sequence[Look],
    days_ago: int,
    now_s: float,
    rng: np.random.Generator,
) -> Iterator[Sighting]:
    """Visits of somebody on one day; their track is the visit's."""
    begin = datetime.fromtimestamp(now_s).astimezone() - timedelta(days=days_ago)
    begin = begin.replace(hour=7, minute=0, second=0, microsecond=0)
    hours = min(14.0, max(2.0, (now_s - begin.timestamp()) / 3600)) if days_ago == 0 else 14.0
    visits = int(rng.integers(1, 6)) if number is not None else int(days_ago in (0, 2))
    if rng.random() < 0.25 and days_ago > 0:
        return
    for _ in range(visits):
        start_s = begin.timestamp() + 3600 * hours * rng.random()
        camera = int(rng.integers(1, 6)) if days_ago else int(rng.integers(1, 5))
        track = int(rng.integers(1, 2**30))
        for _ in range(int(rng.integers(2, 6))):
            look = looks[int(rng.integers(len(looks)))]
            noise = _NOISE * rng.standard_normal(len(look.embedding))
            yield Sighting(
                embedding=unit_length((look.embedding + noise).astype(np.float32)),
                model=None,  # type: ignore[arg-type]  # the caller knows it
                camera_id=camera,
                time_s=start_s,
                person_id=number,
                track_id=track,
                quality=float(rng.uniform(0.5, 1)),
                thumbnail=look.thumbnail,
            )
            start_s += float(rng.uniform(3, 60))


def _looks(scene: Path, truth: SceneTruth, person: int, network: Network) -> Iterator[Look]:
    boxes = truth.boxes_xyxy
    inside = (boxes[:, 0] > _EDGE_PX) & (boxes[:, 1] > _EDGE_PX)
    inside &= (boxes[:, 2] < PLAN.width_px - _EDGE_PX) & (boxes[:, 3] < PLAN.height_px - _EDGE_PX)
    clear = inside & (truth.visible_fractions >= _CLEAR) & (truth.person_ids == person)
    clear &= boxes[:, 3] - boxes[:, 1] >= _LEAST_HEIGHT_PX
    rows = np.flatnonzero(clear)
    for row in rows[np.linspace(0, len(rows) - 1, min(_LOOKS, len(rows))).round().astype(int)]:
        name = f"{int(truth.frame_indices[row]):06d}.jpg"
        stream = io.BytesIO()
        with Image.open(scene / f"camera_{int(truth.camera_ids[row])}" / name) as picture:
            left, top, right, bottom = boxes[row].tolist()
            picture.crop((int(left) - 2, int(top) - 3, int(right) + 2, int(bottom) + 3)).save(
                stream, "JPEG", quality=92
            )
        data = stream.getvalue()
        yield Look(network.embed(data), make_thumbnail(data, max_pixels=_MAX_PIXELS), data)


class HouseCameras:
    """The cameras of a house: three play their scene again and again, two have trouble.

    Args:
        house: what they see.
        every_s: between two moments.
    """

    def __init__(self, house: House, *, every_s: float = 0.5) -> None:
        self._house = house
        self._every_s = every_s
        self._truth = read_truth(house.scene)
        self._pictures: dict[int, CameraPicture] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, receive: Callable[[SightingEvent | Scene], None]) -> None:
        """Begin to play."""
        self._thread = threading.Thread(target=self._play, args=(receive,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def cameras(self) -> Sequence[CameraView]:
        """Three that run, one that is silent, one that is not there yet."""
        now_s = time.time()
        running = [
            CameraView(
                camera_id=number,
                name=CAMERAS[number],
                state="running",
                fps=4.0,
                people=2,
                last_frame_s=now_s,
            )
            for number in (1, 2, 3)
        ]
        stairs = CameraView(
            camera_id=4, name=CAMERAS[4], state="connecting", fps=0, people=0, last_frame_s=None
        )
        garage = CameraView(
            camera_id=5,
            name=CAMERAS[5],
            state="lost",
            fps=0,
            people=0,
            last_frame_s=now_s - 7 * 3600,
            last_error="The camera does not answer.",
        )
        return [*running, stairs, garage]

    def pipeline(self) -> PipelineView | None:
        """It has a third of the work that is allowed."""
        return PipelineView(
            state="running", depth=2, crops_per_track=4, load_ms=270, budget_ms=800, pictures=True
        )

    def picture(self, camera_id: int) -> CameraPicture | None:
        """What a camera sees."""
        return self._pictures.get(camera_id)

    def watch(self, settings: WatchSettings) -> bool:
        """These are all there are."""
        return False

    def ignore(self, names: frozenset[str]) -> None:
        """Nobody is told of anybody."""

    def _play(self, receive: Callable[[SightingEvent | Scene], None]) -> None:
        frames = int(self._truth.frame_indices.max()) + 1
        frame = frames // 3
        while not self._ended.wait(self._every_s):
            frame = (frame + 2) % frames
            for camera in (1, 2, 3):
                scene = self._scene(camera, frame)
                path = self._house.scene / f"camera_{camera}" / f"{frame:06d}.jpg"
                self._pictures[camera] = CameraPicture(
                    camera_id=camera, time_s=scene.time_s, jpeg=path.read_bytes()
                )
                receive(scene)
                for one in scene.people[:1]:
                    receive(_event(scene, one))

    def _scene(self, camera: int, frame: int) -> Scene:
        truth = self._truth
        rows = np.flatnonzero((truth.camera_ids == camera) & (truth.frame_indices == frame))
        people = []
        for row in rows[truth.visible_fractions[rows] > 0.3]:
            person = int(truth.person_ids[row])
            left, top, right, bottom = truth.boxes_xyxy[row].tolist()
            number = self._house.numbers.get(person)
            verdict = "unknown" if number is None else "candidate" if person == 6 else "matched"
            people.append(
                PersonInView(
                    track_id=person,
                    box_xyxy=(left, top, right, bottom),
                    person_id=number,
                    verdict=verdict,  # type: ignore[arg-type]  # one of the three
                )
            )
        return Scene(
            camera_id=camera,
            time_s=time.time(),
            width_px=PLAN.width_px,
            height_px=PLAN.height_px,
            people=tuple(people),
        )


def _event(scene: Scene, one: PersonInView) -> SightingEvent:
    return SightingEvent(
        event_id=f"{scene.camera_id}-{one.track_id}",
        camera_id=scene.camera_id,
        camera_name=CAMERAS[scene.camera_id],
        track_id=one.track_id,
        first_time_s=scene.time_s,
        last_time_s=scene.time_s,
        person_id=one.person_id,
        verdict=one.verdict,
        probability=0.0 if one.person_id is None else 0.97,
        depth=2,
        model="drawn",
        box_xyxy=one.box_xyxy,
        quality=0.9,
    )
