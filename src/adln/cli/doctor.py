"""`adln doctor`: does re-identification help on your own recording?"""

import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from adln.atomic import suffix_of
from adln.cameras.detector import Detector
from adln.cli.progress import counting_frames
from adln.cli.watch import run_watch
from adln.pipeline import watch_settings
from adln.pipeline.doctor import Examination, Separation, examine, thresholds_of
from adln.pipeline.plain_watch import settings_of

_CLEAR, _SOME = 0.98, 0.90
# Settings that the second pass keeps; all others say where sightings go, or of whom there are none.
_EXAMINED = (
    "cameras",
    "quality",
    "crops_per_track",
    "templates_per_person",
    "detector",
    "network",
    "thresholds",
    "travel",
    "tracker",
    "selection",
    "identity",
    "load",
    "costs",
)


@click.command()
@click.argument("recording", type=click.Path(exists=True, path_type=Path))
@click.option("--network", default="", show_default="res2", help="Exported network to examine.")
@click.option("--detector", default="", help="YOLOX in ONNX; default: the downloaded one.")
@click.option("--boxes", default="", help="JSONL of boxes instead of a detector.")
@click.option("--camera", default="", show_default="recording", help="Its name in the boxes.")
def doctor(recording: Path, network: str, detector: str, boxes: str, camera: str) -> None:
    """Check if people can be told apart in RECORDING.

    It is a video, a folder of pictures, or the settings (TOML) of a watch; options then override
    these.

    Says whether scores within a track differ clearly from those of two people seen together,
    which thresholds follow, how identities change with them, and where the time goes. It needs no
    names and stores nothing.
    """
    if suffix_of(recording) == ".toml":
        if camera:
            raise click.UsageError("--camera is for a recording; the settings name their cameras.")
        settings, folder = settings_of(
            [str(recording)],
            [f"detector.boxes={json.dumps(str(Path(boxes).absolute()), ensure_ascii=False)}"]
            if boxes
            else [],
            detector=Path(detector) if detector else None,
            network=network,
        )
    else:
        folder = Path.cwd()
        source = watch_settings.CameraSettings(
            name=camera or "recording", number=1, source=str(recording.absolute())
        )
        settings = watch_settings.WatchSettings(
            cameras=(source,),
            detector=watch_settings.DetectorSettings(model=detector, boxes=boxes),
            network=watch_settings.WatchNetworkSettings(files=(network or "res2",)),
        )
    # Nothing is kept, so that nobody need say when a recording began.
    undated = tuple(
        replace(one, start=one.start or "1970-01-01T00:00:00Z") for one in settings.cameras
    )
    settings = replace(settings, cameras=undated)
    # What has not been examined yet needs no warning about its calibration.
    logging.getLogger("adln.pipeline.assembly").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="adln-doctor-") as work:
        found = examine(
            settings,
            folder,
            gallery_folder=Path(work) / "examined",
            on_progress=counting_frames("finding and following people"),
        )
        click.echo(
            f"RECORDING\n  {found.video_s:.0f} s, {found.frames} frames; {found.tracks} tracks "
            f"with usable crops, {found.without_crop} without; at most {found.most_together} "
            "people at once."
        )
        click.echo("\n".join(_separation(found)))
        depth = settings.network.depth or max(found.depths)
        if found.depths[depth].is_enough:
            thresholds = thresholds_of(found, depth)
            click.echo(
                f"\nTHRESHOLDS\n  For {found.depth_names[depth]} and {found.tracks} people. Put "
                f"this into the settings:\n\n  [thresholds]\n  match = {thresholds.match}\n"
                f"  candidate = {thresholds.candidate}"
            )
            settings = replace(settings, thresholds=thresholds)
        click.echo("\n".join(_effect(settings, folder, Path(work), found.detector)))
        click.echo("\n".join(_device(found)))


def _separation(found: Examination) -> list[str]:
    lines = ["", "DO PEOPLE STAND APART?  (cosines: one person's crops, two people in one frame)"]
    for depth, scores in found.depths.items():
        same = _quantiles(scores.same)
        different = _quantiles(scores.different)
        lines.append(
            f"  {found.depth_names[depth]}  same person {same} ({len(scores.same)} tracks)   "
            f"two people {different} ({len(scores.different)} pairs)"
        )
        lines.append(f"        {_judgement(scores)}")
    return lines


def _quantiles(scores: NDArray[np.float64]) -> str:
    if len(scores) == 0:
        return "none"
    low, middle, high = np.quantile(scores, [0.05, 0.5, 0.95])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _judgement(scores: Separation) -> str:
    if not scores.is_enough:
        return (
            "Too few to judge: it takes 20 tracks, and 20 pairs of people seen in one frame. "
            "Give a longer recording of a busier time."
        )
    share = scores.in_order
    text = f"In {100 * share:.1f} % of comparisons the same person scores higher: "
    if share >= _CLEAR:
        return text + "they stand apart well."
    if share >= _SOME:
        return text + "they stand apart, with mistakes. A deeper or better network would help."
    return text + (
        "they hardly stand apart. No threshold will help; use a better network, larger people or "
        "better light."
    )


def _effect(
    settings: watch_settings.WatchSettings, folder: Path, work: Path, detector: Detector | None
) -> list[str]:
    # A recording is examined, so nobody is told what happens in it.
    settings = watch_settings.WatchSettings(
        **{name: getattr(settings, name) for name in _EXAMINED},
        gallery=str(work / "gallery"),
        outbox=str(work / "outbox.db"),
        jsonl=watch_settings.JsonlSettings(path=str(work / "sightings.jsonl")),
    )
    count = counting_frames("watching with re-identification")
    summary = run_watch(
        settings,
        folder,
        detector=detector,
        on_progress=lambda progress: count(progress.frames.total(), 0),
    )
    tracks = sum(summary["tracks"].values())
    verdicts = summary["tracks_by_verdict"]
    identities = summary["identities"]
    lines = [
        "",
        "DOES RE-IDENTIFICATION CHANGE ANYTHING?",
        f"  Without it: {tracks} tracks, each an identity of its own.",
        f"  With it: {identities} identities; {verdicts.get('matched', 0)} tracks were matched to "
        f"somebody seen before, {verdicts.get('candidate', 0)} are candidates, "
        f"{verdicts.get('unknown', 0)} were new or unknown.",
    ]
    if not verdicts.get("matched"):
        lines.append(
            "  Nobody was found again: either nobody came back, or the threshold is too strict."
        )
    return lines


def _device(found: Examination) -> list[str]:
    total = sum(found.stage_ms.values())
    stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in found.stage_ms.items())
    slowest = max(found.stage_ms, key=lambda stage: found.stage_ms[stage])
    crops = ", ".join(f"{found.depth_names[depth]} {ms:.1f}" for depth, ms in found.crop_ms.items())
    lines = [
        "",
        "THIS DEVICE",
        f"  The network's answers: {found.verdict}.",
        f"  ms a frame: {total:.1f} ({stages}); a crop: {crops}.",
    ]
    if found.video_s > 0:
        rate = found.frames / found.video_s
        in_time = "in" if rate * total < 1000 else "NOT in"
        pace = (
            f"The recording has {rate:.1f} frames a second, which is {rate * total:.0f} ms of work "
            f"a second: {in_time} real time"
        )
    else:
        pace = "One moment does not tell how many frames a second there are to keep up with"
    return [*lines, f"  {pace}. Most goes into: {slowest}."]
