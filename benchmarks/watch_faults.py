r"""Breaks a watch on purpose and looks at what is left: kill -9, full disk, damage, dead camera.

    python -m benchmarks.watch_faults --model drawn.onnx --work out/faults

Works on the drawn scene, with the truth's boxes in place of a detector. `adln watch` runs as a
process of its own where it is killed or its disk is taken away. A broker that stops is tried in
tests/pipeline. Ends with status 1 if a promise does not hold.
"""

import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from benchmarks.scene_identity import draw_scene, scene_settings

from adln.cameras.captures import Picture
from adln.cameras.clocks import Backoff, SteadyClock
from adln.cameras.detections import Detections
from adln.cameras.frames import Frame
from adln.cameras.live import LiveCamera, Patience
from adln.cameras.selection import CropSelector
from adln.cameras.tracker import ByteTracker
from adln.cameras.watching import CameraGroup
from adln.errors import CameraError
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.assembly import assemble
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch import CameraParts, Watch
from adln.pipeline.watch_settings import ThresholdSettings
from adln.scenes.walking_scene import ScenePlan, WalkingScene

_FULL_AT_BYTES = 400_000
_CUT_AT_BYTES = 3_000
_WAIT_S = 300.0


class Place:
    """A folder with a scene and settings for it."""

    def __init__(self, scene: Path, model: Path, folder: Path, fps: float) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.folder = folder
        self.config = folder / "watch.toml"
        text = "".join(
            f'[[cameras]]\nname = "camera_{n}"\nnumber = {n}\nfps = {fps}\n'
            f'source = "{(scene / f"camera_{n}").resolve()}"\n'
            for n in (1, 2, 3)
        )
        text += f'[detector]\nboxes = "{(scene / "boxes.jsonl").resolve()}"\n'
        text += f'[network]\nfiles = ["{model.resolve()}"]\n'
        text += "[thresholds]\nmatch = 0.82\ncandidate = 0.8\n"
        self.config.write_text(text, encoding="utf-8")

    def start(self, prepare: Callable[[], None] | None = None) -> "subprocess.Popen[str]":
        """Start `adln watch` here."""
        return subprocess.Popen(
            [sys.executable, "-m", "adln", "watch", str(self.config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=prepare,
        )

    def run(self, prepare: Callable[[], None] | None = None) -> tuple[int, str]:
        """Run it to its end; status and what it said."""
        running = self.start(prepare)
        _, said = running.communicate(timeout=_WAIT_S)
        return running.returncode, said

    def lines(self) -> list[str]:
        """Whole lines of the sightings that were written."""
        path = self.folder / "sightings.jsonl"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def persons(self) -> int:
        """People in the gallery."""
        with SqliteGallery(self.folder / "gallery") as gallery:
            return len(gallery.persons())


def kills(place: Place, times: int) -> Iterator[tuple[str, bool]]:
    """Kill a watch in the middle of its work, again and again."""
    rng = np.random.default_rng(0)
    kept = True
    for _ in range(times):
        before = place.lines()
        running = place.start()
        until = time.monotonic() + 60
        while len(place.lines()) <= len(before) and running.poll() is None:
            if time.monotonic() > until:
                break
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 1.5)))
        running.send_signal(signal.SIGKILL)
        running.communicate()
        kept = kept and place.lines()[: len(before)] == before
    acknowledged = place.lines()
    status, _ = place.run()
    after = place.lines()
    yield (
        f"killed {times} times: {len(acknowledged)} sightings acknowledged by then, all kept",
        (kept and after[: len(acknowledged)] == acknowledged),
    )
    for line in after:
        SightingEvent.from_json(line)
    yield f"every line is whole; the last run ended with status {status}", status == 0
    status, _ = place.run()
    ids = {json.loads(line)["person_id"] for line in place.lines()} - {None}
    yield (
        f"{place.persons()} people known, {len(ids)} named in sightings after one more run",
        (status == 0 and len(ids) > 0),
    )


def full_disk(place: Place) -> Iterator[tuple[str, bool]]:
    """No file may grow beyond some size; then it may again."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FULL_AT_BYTES, _FULL_AT_BYTES))

    status, said = place.run(limit)
    told = [line for line in said.splitlines() if "error" in line]
    yield (
        f"full disk: ended with status {status} and {len(told)} error lines",
        (status == 0 and len(told) > 0 and "Traceback" not in said),
    )
    click.echo("  " + "\n  ".join(told[:3]))
    before = place.lines()
    status, _ = place.run()
    after = place.lines()
    yield (
        f"with room again: status {status}, {len(before)} earlier sightings kept",
        (status == 0 and after[: len(before)] == before and len(after) > len(before)),
    )


def damage(place: Place, scene: Path) -> Iterator[tuple[str, bool]]:
    """Cut pictures short."""
    pictures = sorted((scene / "camera_1").glob("*.jpg"))[10:60:10]
    whole = [path.read_bytes() for path in pictures]
    try:
        for path, content in zip(pictures, whole, strict=True):
            path.write_bytes(content[:_CUT_AT_BYTES])
        status, said = place.run()
    finally:
        for path, content in zip(pictures, whole, strict=True):
            path.write_bytes(content)
    told = said.count("left out")
    yield (
        f"{len(pictures)} damaged frames: status {status}, {told} log lines",
        (status == 0 and told >= len(pictures)),
    )


class Flaky:
    """A camera on the drawn scene that dies for a while in the middle, as a capture."""

    fps = 0.0
    announced_frames = 0

    def __init__(self, scene: WalkingScene, camera: int, dies: bool) -> None:
        self._scene, self._camera, self._dies = scene, camera, dies
        self.index = 0
        self.attempts = 0

    def open(self, _: str) -> "Flaky":
        """Open it; for a while in vain."""
        self.attempts += 1
        if self._dies and 1 < self.attempts < 5:
            raise CameraError("no route to the camera")
        return self

    def read(self) -> Picture | None:
        """The next picture."""
        if self._dies and self.index == self._scene.plan.num_frames // 2 and self.attempts == 1:
            raise CameraError("the connection was reset")
        frame = self._scene.frame(self._camera, self.index % self._scene.plan.num_frames)
        self.index += 1
        return Picture(frame.picture, None)

    def close(self) -> None:
        """Nothing to close."""


class Truth:
    """A detector that knows where everybody was drawn."""

    def __init__(self, scene: WalkingScene) -> None:
        self._scene = scene

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Boxes of those who can be seen."""
        found = []
        for frame in frames:
            index = frame.index % self._scene.plan.num_frames
            drawn = self._scene.frame(int(frame.camera_id[-1]), index)
            boxes = [one.box_xyxy for one in drawn.people if one.visible_fraction > 0.5]
            found.append(
                Detections(
                    np.array(boxes, np.float32).reshape(-1, 4),
                    np.full(len(boxes), 0.9, np.float32),
                )
            )
        return found


def dead_camera(place: Place, model: Path, scene: Path) -> Iterator[tuple[str, bool]]:
    """One of two live cameras dies and comes back, while the wall clock jumps by a day."""
    plan = ScenePlan(num_persons=6, duration_s=10, frames_per_s=5, width_px=320, height_px=180)
    drawn = WalkingScene(plan)
    jumps = iter([1_700_000_000.0])

    def wall() -> float:
        # Read once when the camera was made; later answers would be a day earlier.
        return next(jumps, 1_699_900_000.0)

    settings = scene_settings(
        scene, model, depth=0, frames_per_s=5, thresholds=ThresholdSettings(match=0.82)
    )
    assembly = assemble(replace(settings, gallery=str(place.folder / "live")), place.folder)
    flaky, steady = Flaky(drawn, 1, True), Flaky(drawn, 2, False)
    group = CameraGroup()
    clock = SteadyClock(wall=wall)
    for name, capture in (("camera_1", flaky), ("camera_2", steady)):
        camera = LiveCamera(
            "rtsp://drawn",
            name,
            opener=capture.open,
            backoff=Backoff(first_s=0.2, longest_s=0.5),
            clock=clock,
            patience=Patience(close_s=10.0),
            on_frame=group.wake,
        )
        camera.start()
        group.add(camera)
    said: list[SightingEvent] = []
    parts = {
        name: CameraParts(
            number=number,
            tracker=ByteTracker(),
            selector=CropSelector(name, crop_size=assembly.embedder.crop_size),
            source_name="live",
        )
        for number, name in enumerate(("camera_1", "camera_2"), 1)
    }
    loop = Watch(
        cameras=group,
        parts=parts,
        detector=Truth(drawn),
        embedder=assembly.embedder,
        book=assembly.book,
        load=assembly.load,
        run=1,
        deliver=said.append,
    )
    end_s = time.monotonic() + 20
    loop.run(should_stop=lambda: time.monotonic() > end_s)
    one, two = group.statuses()
    group.close()
    assembly.close()
    yield (
        f"a camera that died came back ({one.reconnects} reconnects, {one.frames_read} frames)",
        (one.reconnects >= 1),
    )
    yield f"the other went on meanwhile ({two.frames_read} frames)", two.frames_read > 10
    yield (
        "a clock that jumps back by a day moves no frame",
        (min(event.first_time_s for event in said) > 1_699_950_000 if said else True),
    )


@click.command()
@click.option("--model", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--work", default="out/faults", type=click.Path(path_type=Path), show_default=True)
@click.option("--kills", "num_kills", default=10, show_default=True)
@click.option("--seconds", default=30.0, show_default=True)
def main(model: Path, work: Path, num_kills: int, seconds: float) -> None:
    """Break it, look, say what held."""
    fps = 6.0
    scene = work / "scene"
    draw_scene(scene, ScenePlan(num_persons=12, duration_s=seconds, frames_per_s=fps, seed=5))
    held = True
    for name, checks in (
        ("kill", lambda place: kills(place, num_kills)),
        ("disk", full_disk),
        ("damage", lambda place: damage(place, scene)),
        ("camera", lambda place: dead_camera(place, model, scene)),
    ):
        for text, is_fine in checks(Place(scene, model, work / name, fps)):
            click.echo(f"{'held ' if is_fine else 'BROKE'}  {text}")
            held = held and is_fine
    if not held:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
