"""`adln watch`: cameras in, sightings out."""

import json
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from adln.pipeline.assembly import Assembly
    from adln.pipeline.watch import Progress, SeenFrame
    from adln.pipeline.watch_settings import WatchSettings

_DRAIN_S = 5.0


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, as in TOML: --set network.depth=1. May be repeated.",
)
@click.option(
    "--report",
    "report_folder",
    type=click.Path(path_type=Path),
    help="At the end, write a page of identities and when each camera saw them into this folder.",
)
@click.option(
    "--video",
    "video_folder",
    type=click.Path(path_type=Path),
    help="Write each camera's video with boxes and identities into this folder. Shows people.",
)
@click.option(
    "--fetch-detector", is_flag=True, help="Fetch YOLOX-Nano (3.7 MB, Apache-2.0) from its release."
)
@click.option("--json", "as_json", is_flag=True, help="Print the final figures as JSON.")
@click.option("--quiet", is_flag=True, help="Show only warnings and errors.")
def watch(
    config: Path | None,
    overrides: tuple[str, ...],
    report_folder: Path | None,
    video_folder: Path | None,
    fetch_detector: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Watch the cameras named in CONFIG (TOML): who is where, and who was where before.

    Ctrl-C or SIGTERM ends it in good order: open tracks are finished and all sightings stored.
    """
    if fetch_detector:
        from adln.cameras.fetching import fetch

        click.echo(f"detector: {fetch()}")
        if config is None:
            return
    if config is None:
        raise click.UsageError("name a settings file, or --fetch-detector.")

    from adln.pipeline.watch_settings import read_watch_settings

    settings = read_watch_settings(config, overrides)
    summary = run_watch(
        settings,
        config.resolve().parent,
        report_folder=report_folder,
        video_folder=video_folder,
        quiet=quiet or as_json,
    )
    if as_json:
        click.echo(json.dumps(summary, indent=1))


def run_watch(
    settings: "WatchSettings",
    folder: Path,
    *,
    report_folder: Path | None = None,
    video_folder: Path | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Run a watch from beginning to end.

    Args:
        settings: of the watch.
        folder: that paths in the settings are relative to.
        report_folder: where the report goes.
        video_folder: where annotated videos go.
        quiet: show only warnings and errors.

    Returns:
        The final figures, as plain values.
    """
    from adln.cli.watch_view import WatchView
    from adln.pipeline.annotated_video import VideoWriters
    from adln.pipeline.assembly import assemble, open_delivery, paced_submit
    from adln.pipeline.metrics import MetricsServer, PipelineMetrics
    from adln.pipeline.timeline import Timeline
    from adln.pipeline.timeline_page import write_timeline
    from adln.pipeline.watch import Watch, stopping_on_signals

    stop = threading.Event()
    view = WatchView(quiet=quiet)
    with ExitStack() as stack:
        stack.enter_context(view.taking_logs(logging.getLogger("adln")))
        assembly = assemble(settings, folder)
        stack.callback(assembly.close)
        delivery = open_delivery(settings, folder, assembly.gallery)
        stack.callback(delivery.close)
        metrics: PipelineMetrics | None = None
        if settings.metrics.port:
            metrics = PipelineMetrics()
            metrics.watch_delivery(delivery.counts)
            server = MetricsServer(metrics, settings.metrics.port, host=settings.metrics.host)
            stack.callback(server.close)
        timeline = Timeline(pictures=settings.pictures) if report_folder is not None else None
        on_frame: Callable[[SeenFrame], None] | None = None
        if video_folder is not None:
            writers = VideoWriters(video_folder)
            stack.callback(writers.close)
            on_frame = writers.add
        loop = Watch(
            cameras=assembly.cameras,
            parts=assembly.parts,
            detector=assembly.detector,
            embedder=assembly.embedder,
            book=assembly.book,
            load=assembly.load,
            costs=assembly.costs,
            run=assembly.run,
            deliver=paced_submit(delivery, live=assembly.live),
            pictures=settings.pictures,
            metrics=metrics,
            on_frame=on_frame,
            on_track_end=None if timeline is None else timeline.add,
        )

        def stop_now() -> None:
            stop.set()
            assembly.cameras.wake()

        with stopping_on_signals(stop_now):
            progress = loop.run(
                should_stop=stop.is_set,
                on_round=lambda now, cameras: view.show(now, cameras, delivery),
            )
        is_stored, is_delivered = delivery.flush(60.0), delivery.drain(_DRAIN_S)
        view.end(progress, assembly.cameras.statuses(), delivery)
        if not is_stored:
            view.say("the disk takes no sightings; some are lost")
        if not is_delivered:
            view.say("some sightings are not delivered yet; they stay in the outbox")
        summary = _summary(progress, assembly)
        if timeline is not None and report_folder is not None:
            names = {person.person_id: person.name for person in assembly.gallery.persons()}
            page = write_timeline(report_folder, timeline, names=names)
            view.say(f"report: {page}")
    return summary


def _summary(progress: "Progress", assembly: "Assembly") -> dict[str, Any]:
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
