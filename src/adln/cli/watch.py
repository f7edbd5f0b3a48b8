"""`adln watch`: cameras in, sightings out."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from adln.atomic import is_there, require_writable, suffix_of
from adln.cameras.detector import Detector
from adln.cameras.fetching import DETECTOR_VARIABLE, YOLOX_NANO, default_detector, fetch
from adln.cameras.frames import CameraStatus
from adln.cli import options
from adln.cli.progress import print_json
from adln.cli.watch_summary import summary_lines
from adln.cli.watch_view import WatchView
from adln.errors import ModelFileError, SettingsError
from adln.pipeline.annotated_video import VideoWriters
from adln.pipeline.assembly import Assembly, assemble, open_outputs
from adln.pipeline.plain_watch import settings_of
from adln.pipeline.timeline import Timeline
from adln.pipeline.timeline_page import write_timeline
from adln.pipeline.watch import SeenFrame, WatchProgress, stopping_on_signals
from adln.pipeline.watch_settings import WatchSettings
from adln.settings import to_toml

_DRAIN_S = 5.0


@click.command()
@click.argument("sources", nargs=-1, metavar="SOURCE...")
@options.path("--gallery", help="Folder of the gallery.")
@click.option("--network", default="", help="Network that recognises people; default: res2.")
@options.quality
@options.path(
    "--detector", help="YOLOX in ONNX that detects people; also set by the variable ADLN_DETECTOR."
)
@click.option(
    "--start", default="", metavar="TIME", help="When the recordings began: 2026-11-22T14:30."
)
@options.path(
    "--report",
    help="At the end, write a page of who was seen when: a .html file, or a folder for it.",
)
@options.path(
    "--video",
    help="Write video with boxes and names: .mp4, .webm (faster), or a folder. Shows people.",
)
@options.path("--save", help="Write the settings used to this file (TOML).")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, as in TOML: --set network.depth=1. May be repeated.",
)
@options.flag("--yes", help="Download the detector if it is missing, without asking.")
@options.flag("--fetch-detector", help="Download YOLOX-Nano (3.7 MB, Apache-2.0) from its release.")
@options.flag("--json", "as_json", help="Print the final figures as JSON.")
@options.flag("--quiet", help="Show only warnings and errors.")
def watch(
    sources: tuple[str, ...],
    report: Path | None,
    video: Path | None,
    save: Path | None,
    overrides: tuple[str, ...],
    yes: bool,
    fetch_detector: bool,
    as_json: bool,
    quiet: bool,
    **plain: Any,
) -> None:
    """Watch cameras and recordings: who is where, and who was where before.

    SOURCE is a video file, a folder of pictures, rtsp://..., http://.../snapshot.jpg, or a USB
    camera (0, /dev/video0); several are watched together. Or name one file of settings (TOML).

    Ctrl-C or SIGTERM stops it cleanly: open tracks are finished and all sightings stored.
    """
    if fetch_detector:
        click.echo(f"detector: {fetch()}")
        if not sources:
            return
    if not sources:
        raise click.UsageError(
            "name what to watch: a video file, a folder of pictures, rtsp://..., a USB camera "
            "such as 0, or a file of settings (TOML)."
        )
    settings, folder = settings_of(sources, overrides, **plain)
    if not settings.detector.boxes and not settings.detector.model:
        have_detector(yes=yes)
    if save is not None:
        _save(settings, save)
    summary = run_watch(
        settings,
        folder,
        report=report,
        video=video,
        quiet=quiet or as_json,
        written=[("settings", save)] if save is not None else [],
    )
    if as_json:
        print_json(summary, indent=1)


def have_detector(*, yes: bool) -> None:
    """Fetch the detector where it is missing and somebody agrees."""
    path = default_detector()
    if is_there(path):
        return
    offline = (
        "Without a way to the internet, copy a YOLOX file here and name it: --detector FILE, or "
        f"the variable {DETECTOR_VARIABLE}."
    )
    if os.environ.get(DETECTOR_VARIABLE):
        raise SettingsError(f"{path}: {DETECTOR_VARIABLE} names this file, which is not there.")
    question = (
        f"Finding people needs a detector, once: YOLOX-Nano, {YOLOX_NANO.size_bytes / 1e6:.1f} MB, "
        f"{YOLOX_NANO.licence}, from {YOLOX_NANO.url}"
    )
    if not yes and not (sys.stdin.isatty() and click.confirm(f"{question}. Fetch it?", err=True)):
        raise SettingsError(f"{question}. Run again with --yes to fetch it. {offline}")
    try:
        fetch()
    except ModelFileError as error:
        raise ModelFileError(f"{error} {offline}") from error


def _save(settings: WatchSettings, path: Path) -> None:
    """Write settings to a new file that only its owner reads: addresses hold passwords."""
    require_writable(path, raises=SettingsError)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(to_toml(settings))
    except FileExistsError as error:
        raise SettingsError(
            f"{path}: is there already; name a new file for the settings."
        ) from error
    except OSError as error:
        raise SettingsError(f"{path}: cannot be written ({error.strerror}).") from error


def run_watch(
    settings: WatchSettings,
    folder: Path,
    *,
    report: Path | None = None,
    video: Path | None = None,
    quiet: bool = True,
    written: Sequence[tuple[str, Path]] = (),
    detector: Detector | None = None,
    on_progress: Callable[[WatchProgress], object] = lambda _: None,
) -> dict[str, Any]:
    """Run a watch from beginning to end.

    Args:
        settings: of the watch.
        folder: that paths in the settings are relative to.
        report: where the report goes: a file that ends in .html, or a folder.
        video: where annotated videos go: a file that ends in .mp4 or .webm, or a folder.
        quiet: show only warnings and errors.
        written: what was written before, for the summary.
        detector: in place of the one of the settings.
        on_progress: called after each round.

    Returns:
        The final figures, as plain values.
    """
    if not settings.has_receivers and not settings.home_assistant.enabled:
        raise SettingsError(
            "there is no output for sightings: set jsonl.path, mqtt.host (without "
            "mqtt.sightings = false) or webhook.url, or enable home_assistant."
        )
    if report is not None:
        require_writable(report, raises=SettingsError, folder=suffix_of(report) != ".html")
    for path in (folder / settings.outbox, folder / settings.jsonl.path):
        if path != folder:
            require_writable(path, raises=SettingsError)
    stop = threading.Event()
    view = WatchView(quiet=quiet)
    with ExitStack() as stack:
        stack.enter_context(view.taking_logs(logging.getLogger("adln")))
        shown_to: list[Callable[[SeenFrame], None]] = []
        writers: VideoWriters | None = None
        if video is not None:
            writers = VideoWriters(
                video,
                recordings=[folder / camera.source for camera in settings.cameras],
                cameras=len(settings.cameras),
                name_of=lambda number: outputs.people.name_of(number),
            )
            stack.callback(writers.close)
            shown_to.append(writers.add)
        assembly = assemble(settings, folder, detector=detector)
        stack.callback(assembly.close)
        outputs = open_outputs(settings, folder, assembly, stack)
        delivery = outputs.delivery
        if outputs.home is not None:
            shown_to.append(outputs.home.saw)

        def show(seen: SeenFrame) -> None:
            for take in shown_to:
                take(seen)

        timeline = Timeline(pictures=settings.pictured if report is not None else False)
        loop = assembly.loop(
            outputs.submit,
            pictures=settings.pictured,
            metrics=outputs.metrics,
            on_frame=show if shown_to else None,
            on_track_end=timeline.add,
        )

        def stop_now() -> None:
            stop.set()
            assembly.cameras.wake()

        def on_round(now: WatchProgress, statuses: list[CameraStatus]) -> None:
            view.show(now, statuses, delivery)
            on_progress(now)

        with stopping_on_signals(stop_now):
            progress = loop.run(should_stop=stop.is_set, on_round=on_round)
        is_stored = delivery is None or delivery.flush(60.0)
        is_delivered = delivery is None or delivery.drain(_DRAIN_S)
        view.end(progress, assembly.cameras.statuses(), delivery)
        if not is_stored:
            view.say("the disk takes no sightings; some are lost")
        if not is_delivered:
            view.say("some sightings are not delivered yet; they stay in the outbox")
        summary = _summary(progress, assembly)
        places = [*written, ("gallery", folder / settings.gallery)]
        if settings.jsonl.path:
            places.append(("sightings", folder / settings.jsonl.path))
        # Not from the start: whoever was forgotten meanwhile is in no report.
        names = {person.person_id: person.name for person in assembly.gallery.persons()}
        timeline.leave_out(assembly.gallery.gone)
        if writers is not None:
            writers.close()
            places += [("video", path) for path in writers.paths]
        if report is not None:
            page = write_timeline(report, timeline, names=names)
            view.say(f"report: {page}")
            places.append(("report", page))
        if not quiet:
            for line in summary_lines(progress, timeline, names, places):
                click.echo(line)
    return summary


def _summary(progress: WatchProgress, assembly: Assembly) -> dict[str, Any]:
    frames = max(1, progress.frames.total())
    return {
        "video_s": round(progress.video_s, 3),
        "wall_s": round(progress.wall_s, 3),
        "cameras": len(assembly.parts),
        "frames": dict(progress.frames),
        "frames_skipped": dict(progress.skipped),
        "tracks": dict(progress.tracks),
        "tracks_by_verdict": dict(progress.verdicts),
        "identities": assembly.book.num_persons,
        "crops_by_depth": {f"res{depth}": count for depth, count in progress.crops.items()},
        "level_changes": progress.steps,
        "ms_per_frame": {stage: round(ms / frames, 3) for stage, ms in progress.stage_ms.items()},
    }
