r"""Watches four file cameras at once while a crowd gathers: pace, steps and memory.

    python -m benchmarks.watch_load --model split-1.onnx --model split-2.onnx ... --minutes 30

The scene is drawn, with a crowd in its middle third; two of its cameras are used twice. Files of a
split export let the depth follow the load. The costs by which the pace is kept are measured first
and then stated, so that they stay the same. "Utilisation" is wall time over video time: below 1 is
real time on the cores that the process may use. Without `--detector` the truth's boxes take the
detector's place and its cost is stated by `--frame-ms` and waited for, so that the crowd is the
same for all.
"""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from benchmarks.scene_identity import draw_scene, scene_settings

from adln.cameras.detections import Detections
from adln.cameras.detector import Detector
from adln.cameras.frames import CameraStatus, Frame
from adln.pipeline.assembly import assemble, open_delivery, paced_submit
from adln.pipeline.depths import DepthEmbedder
from adln.pipeline.load import LoadSettings
from adln.pipeline.watch import Watch, WatchProgress
from adln.pipeline.watch_settings import (
    CostSettings,
    ThresholdSettings,
    WatchNetworkSettings,
)
from adln.scenes.walking_scene import ScenePlan


class SlowDetector:
    """A detector that takes its time."""

    def __init__(self, inner: Detector, frame_ms: float) -> None:
        self._inner = inner
        self._frame_ms = frame_ms

    def detect(self, frames: Sequence[Frame]) -> list[Detections]:
        """Find people, no sooner than a detector would."""
        until = time.perf_counter() + self._frame_ms * len(frames) / 1000
        found = self._inner.detect(frames)
        while time.perf_counter() < until:
            pass
        return found


@click.command()
@click.option("--model", "models", required=True, multiple=True, type=click.Path(path_type=Path))
@click.option("--work", default="out/load", type=click.Path(path_type=Path), show_default=True)
@click.option("--minutes", default=30.0, show_default=True, help="Of video.")
@click.option("--crowd", default=30, show_default=True)
@click.option("--fps", default=5.0, show_default=True)
@click.option("--frame-ms", default=30.0, show_default=True, help="Cost of detecting in a frame.")
@click.option("--budget-ms", default=900.0, show_default=True, help="For a second of video.")
@click.option("--match", default=0.8, show_default=True, help="Cosine from which on it is a match.")
def main(
    models: tuple[Path, ...],
    work: Path,
    minutes: float,
    crowd: int,
    fps: float,
    frame_ms: float,
    budget_ms: float,
    match: float,
) -> None:
    """Draw, watch, report every twentieth part of the video."""
    logging.getLogger("adln.pipeline.assembly").setLevel(logging.ERROR)
    plan = ScenePlan(num_persons=12, crowd=crowd, duration_s=60 * minutes, frames_per_s=fps, seed=3)
    scene = work / "scene"
    draw_scene(scene, plan)
    costs = DepthEmbedder(models).measure_ms()
    click.echo("ms a crop: " + ", ".join(f"Res{d} {ms:.1f}" for d, ms in costs.items()))
    settings = scene_settings(
        scene, models[0], depth=0, frames_per_s=fps, thresholds=ThresholdSettings(match=match)
    )
    cameras = settings.cameras
    again = replace(cameras[0], name="camera_4", number=4)
    with (scene / "boxes.jsonl").open(encoding="utf-8") as lines:
        rows = lines.readlines()
    fourth = [row.replace('"camera_1"', '"camera_4"') for row in rows if '"camera_1"' in row]
    (scene / "boxes4.jsonl").write_text("".join(rows + fourth), encoding="utf-8")
    settings = replace(
        settings,
        cameras=(*cameras, again),
        detector=replace(settings.detector, boxes=str((scene / "boxes4.jsonl").resolve())),
        network=WatchNetworkSettings(files=tuple(str(path.resolve()) for path in models)),
        load=LoadSettings(budget_ms=budget_ms),
        costs=CostSettings(frame_ms=frame_ms + 3, crop_ms=tuple(costs.values())),
    )
    folder = work / "watch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    assembly = assemble(settings, folder)
    delivery = open_delivery(settings, folder)
    loop = Watch(
        cameras=assembly.cameras,
        parts=assembly.parts,
        detector=SlowDetector(assembly.detector, frame_ms),
        embedder=assembly.embedder,
        book=assembly.book,
        load=assembly.load,
        costs=assembly.costs,
        run=assembly.run,
        deliver=paced_submit(delivery, live=False),
    )
    click.echo(
        "video_s  people  level           load_ms  skipped  known  open  waiting  memory_mb  use"
    )
    last = [0.0, 0.0]

    def show(now: WatchProgress, _: list[CameraStatus]) -> None:
        if now.video_s - last[0] < 60 * minutes / 20:
            return
        use = (now.wall_s - last[1]) / (now.video_s - last[0])
        last[:] = [now.video_s, now.wall_s]
        click.echo(
            f"{now.video_s:>7.0f}  {sum(now.people.values()):>6}  "
            f"{now.crops_per_track} x Res{now.depth}, 1 in {now.keep_one_in}  "
            f"{now.load_ms:>7.0f}  {now.skipped.total():>7}  {now.identities:>5}  "
            f"{assembly.book.num_open:>4}  {delivery.counts().waiting:>7}  "
            f"{_memory_mb():>9.1f}  {use:.2f}"
        )

    try:
        end = loop.run(on_round=show)
        click.echo(
            f"{end.video_s:.0f} s of video of {len(assembly.parts)} cameras in {end.wall_s:.0f} s: "
            f"utilisation {end.wall_s / end.video_s:.2f}, {end.steps} steps, crops by depth "
            f"{dict(end.crops)}"
        )
    finally:
        delivery.close()
        assembly.close()


def _memory_mb() -> float:
    """Memory in use now, in MB (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
