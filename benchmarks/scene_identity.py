r"""Measures identities across cameras on the drawn scene: IDF1 with and without re-identification.

    python -m benchmarks.scene_identity --model drawn.onnx --work out/scene

The model should have been trained on drawn people (`adln demo`, then `adln export --depths
1,2,3,4`). People are found by the truth's boxes, which go through a file of boxes in place of a
detector, because detectors of real people do not know drawn ones; they are followed by the usual
tracker, without their identities. The threshold is the one that serves another scene with other
people best. Each depth runs twice on a new gallery; the sightings must be the same, byte by byte.
"""

import json
import logging
import shutil
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from adln.evaluation.identity_tracking import (
    IdentityBoxes,
    IdentityMetrics,
    measure_identities,
)
from adln.pipeline.assembly import assemble, open_delivery, paced_submit
from adln.pipeline.doctor import examine
from adln.pipeline.roster import track_number
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch import SeenFrame, Watch
from adln.pipeline.watch_settings import (
    CameraSettings,
    DetectorSettings,
    ThresholdSettings,
    TravelSettings,
    WatchNetworkSettings,
    WatchSettings,
)
from adln.scenes.walking_scene import (
    CAMERA_IDS,
    RECEIPT,
    ScenePlan,
    SceneTruth,
    read_truth,
    write_scene,
)

# Of people who are hidden more than this no detector would find the whole box.
_LEAST_VISIBLE = 0.4
# The scene's way between square and hall takes a quarter of a minute; stated with caution.
_WALK_S = 8.0
# Shares of searches for strangers that may be answered, from which the best is chosen.
_RATES = (0.9, 0.7, 0.4, 0.1)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run over the scene.

    Attributes:
        with_reid: identities across cameras.
        without: track ids in place of identities.
        identities: people in the gallery at the end.
        tracks: all tracks.
        sightings: the file, as bytes.
    """

    with_reid: IdentityMetrics
    without: IdentityMetrics
    identities: int
    tracks: int
    sightings: bytes


def scene_settings(
    scene: Path, model: Path, *, depth: int, frames_per_s: float, thresholds: ThresholdSettings
) -> WatchSettings:
    """Settings that watch a drawn scene."""
    return WatchSettings(
        cameras=tuple(
            CameraSettings(
                name=f"camera_{camera}",
                number=camera,
                source=str((scene / f"camera_{camera}").resolve()),
                fps=frames_per_s,
            )
            for camera in CAMERA_IDS
        ),
        detector=DetectorSettings(boxes=str((scene / "boxes.jsonl").resolve())),
        network=WatchNetworkSettings(files=(str(model.resolve()),), depth=depth),
        thresholds=thresholds,
        # Nobody is told where the cameras hang but for this: the hall is a walk away.
        travel=tuple(
            TravelSettings(cameras=(f"camera_{square}", "camera_3"), least_s=_WALK_S)
            for square in (1, 2)
        ),
    )


def draw_scene(folder: Path, plan: ScenePlan) -> None:
    """Draw a scene with its file of boxes, unless it is there."""
    wanted = "".join(f"{name} = {value}\n" for name, value in asdict(plan).items())
    receipt = folder / RECEIPT
    if not receipt.is_file() or receipt.read_text(encoding="utf-8") != wanted:
        write_scene(folder, plan)
    truth = read_truth(folder)
    with (folder / "boxes.jsonl").open("w", encoding="utf-8") as file:
        for at in np.flatnonzero(_usable(truth)).tolist():
            row = {
                "camera_id": f"camera_{truth.camera_ids[at]}",
                "frame": int(truth.frame_indices[at]),
                "box_xyxy": truth.boxes_xyxy[at].tolist(),
                "confidence": round(float(truth.visible_fractions[at]), 3),
            }
            file.write(json.dumps(row) + "\n")


def _usable(truth: SceneTruth) -> NDArray[np.bool_]:
    size = truth.boxes_xyxy[:, 2:] - truth.boxes_xyxy[:, :2]
    usable: NDArray[np.bool_] = (truth.visible_fractions >= _LEAST_VISIBLE) & (size > 1).all(axis=1)
    return usable


def run_scene(scene: Path, work: Path, settings: WatchSettings) -> Outcome:
    """Watch a scene once, on a new gallery."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rows: list[tuple[int, int, int, tuple[float, float, float, float]]] = []
    last: dict[tuple[int, int], SightingEvent] = {}
    assembly = assemble(settings, work)
    delivery = open_delivery(settings, work)
    submit = paced_submit(delivery, live=False)

    def note(seen: SeenFrame) -> None:
        camera = assembly.parts[seen.frame.camera_id].number
        rows.extend(
            (
                seen.frame.index,
                camera,
                track_number(assembly.run, person.track_id),
                person.box_xyxy,
            )
            for person in seen.people
        )

    def deliver(event: SightingEvent) -> None:
        last[event.camera_id, event.track_id] = event
        submit(event)

    try:
        Watch(
            cameras=assembly.cameras,
            parts=assembly.parts,
            detector=assembly.detector,
            embedder=assembly.embedder,
            book=assembly.book,
            load=assembly.load,
            run=assembly.run,
            deliver=deliver,
            on_frame=note,
        ).run()
        if not delivery.drain(60.0):
            raise click.ClickException("the sightings could not be written")
        identities = assembly.book.num_persons
    finally:
        delivery.close()
        assembly.close()
    truth = _true_boxes(read_truth(scene))
    return Outcome(
        with_reid=measure_identities(truth, _predicted(rows, _by_person(rows, last))),
        without=measure_identities(truth, _predicted(rows, {})),
        identities=identities,
        tracks=len({(camera, track) for _, camera, track, _ in rows}),
        sightings=(work / settings.jsonl.path).read_bytes(),
    )


def _true_boxes(truth: SceneTruth) -> IdentityBoxes:
    usable = _usable(truth)
    return IdentityBoxes(
        frames=truth.frame_indices[usable],
        camera_ids=truth.camera_ids[usable],
        identities=truth.person_ids[usable],
        boxes_xyxy=truth.boxes_xyxy[usable],
    )


def _by_person(
    rows: list[tuple[int, int, int, tuple[float, float, float, float]]],
    last: Mapping[tuple[int, int], SightingEvent],
) -> dict[tuple[int, int], int]:
    """Track -> the person whom its last sighting named.

    A candidate counts as the person it names, unless that person is in one of the same frames
    with more right.
    """
    beside: dict[tuple[int, int], set[int]] = defaultdict(set)
    for frame, camera, track, _ in rows:
        beside[camera, frame].add(track)
    named = {key: event.person_id for key, event in last.items() if event.person_id is not None}
    doubtful = {key for key in named if last[key].verdict == "candidate"}
    for (camera, _), tracks in beside.items():
        sure = {
            named[camera, track]
            for track in tracks
            if (camera, track) in named and (camera, track) not in doubtful
        }
        for track in sorted(tracks):
            key = camera, track
            if key in doubtful and key in named:
                if named[key] in sure:
                    del named[key]
                else:
                    sure.add(named[key])
    return named


def _predicted(
    rows: list[tuple[int, int, int, tuple[float, float, float, float]]],
    person_of: Mapping[tuple[int, int], int],
) -> IdentityBoxes:
    """Boxes with identities; a track without a person is an identity of its own."""
    own = {key: -1 - at for at, key in enumerate(sorted({(c, t) for _, c, t, _ in rows}))}
    return IdentityBoxes(
        frames=np.array([row[0] for row in rows], np.int64),
        camera_ids=np.array([row[1] for row in rows], np.int64),
        identities=np.array([person_of.get((c, t), own[c, t]) for _, c, t, _ in rows], np.int64),
        boxes_xyxy=np.array([row[3] for row in rows], np.float64).reshape(-1, 4),
    )


def learn_thresholds(scene: Path, work: Path, settings: WatchSettings) -> ThresholdSettings:
    """The threshold that serves another scene with other people best.

    Those tried are what `adln doctor` would give at several rates of wrong matches.
    """
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    found = examine(settings, work)
    scores = found.depths[settings.network.depth]
    tried = []
    for rate in _RATES:
        threshold = round(scores.threshold(rate, found.tracks), 3)
        # Without candidates: whoever is asked for an identity has to give one.
        thresholds = ThresholdSettings(match=threshold, candidate=threshold)
        outcome = run_scene(scene, work / "watch", replace(settings, thresholds=thresholds))
        tried.append((outcome.with_reid.idf1, thresholds))
    return max(tried, key=lambda one: one[0])[1]


@click.command()
@click.option("--model", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--work", default="out/scene", type=click.Path(path_type=Path), show_default=True)
@click.option("--persons", default=24, show_default=True)
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--fps", default=8.0, show_default=True)
@click.option("--depth", "depths", type=click.IntRange(1, 4), multiple=True)
@click.option("--seed", default=0, show_default=True)
def main(
    model: Path,
    work: Path,
    persons: int,
    seconds: float,
    fps: float,
    depths: tuple[int, ...],
    seed: int,
) -> None:
    """Draw, watch, measure."""
    # Thresholds are chosen here, so that a missing calibration needs no warning.
    logging.getLogger("adln.pipeline.assembly").setLevel(logging.ERROR)
    plan = ScenePlan(num_persons=persons, duration_s=seconds, frames_per_s=fps, seed=seed)
    scene, other = work / f"scene_{seed}", work / f"scene_{seed + 1}"
    draw_scene(scene, plan)
    draw_scene(other, replace(plan, seed=seed + 1))
    truth = read_truth(scene)
    people = len(np.unique(truth.person_ids[_usable(truth)]))
    click.echo(f"{people} people under {len(CAMERA_IDS)} cameras, {seconds:g} s at {fps:g} fps")
    click.echo("depth  threshold  tracks  identities   IDF1 with  without   gain  same twice")
    for depth in depths or (1, 2, 3, 4):
        start = ThresholdSettings()
        learning = scene_settings(other, model, depth=depth, frames_per_s=fps, thresholds=start)
        thresholds = learn_thresholds(other, work / "learn", learning)
        settings = scene_settings(
            scene, model, depth=depth, frames_per_s=fps, thresholds=thresholds
        )
        first = run_scene(scene, work / "watch", settings)
        second = run_scene(scene, work / "watch", settings)
        gain = first.with_reid.idf1 - first.without.idf1
        click.echo(
            f"Res{depth}       {thresholds.match:.3f}  "
            f"{first.tracks:>6}  {first.identities:>10}   {first.with_reid.idf1:>9.3f}  "
            f"{first.without.idf1:>7.3f}  {gain:+.3f}  {first.sightings == second.sightings}"
        )


if __name__ == "__main__":
    main()
