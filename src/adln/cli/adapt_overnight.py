"""`adln adapt ... --out`: a network for a site, learned in a night from its own cameras."""

import importlib.util
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from adln.atomic import locked, require_writable, suffix_of
from adln.cameras.captures import is_live
from adln.cameras.detector import Detector
from adln.cameras.redaction import public_name
from adln.cli import options
from adln.cli.progress import RenewedLine, TrainingView, clock, mention
from adln.errors import SettingsError, TracksError, TrainingError, how_to_install
from adln.site.crops import SiteCrops, are_crops, has_tracks, list_crops
from adln.site.harvest import digest_of, harvest, harvest_again, harvested
from adln.site.page import most_gained, write_page
from adln.training.stopping import stop_on_request

if TYPE_CHECKING:
    from adln.site.training import SiteOutcome, SiteRequest

NEEDS_OUT = ("start", "teacher", "network", "hours", "minutes", "work", "keep_crops", "pictures")
_NEEDED = ("torch", "lightning_fabric", "safetensors", "onnx", "onnxscript", "onnx_ir", "pydantic")
_NEEDED_FOR_CLUSTERS = {"sklearn": "cluster"}
_DEFAULT_HOURS = 8.0
_NO_TEACHER = "none"

_OPTIONS = (
    options.path("--out", help="Train a network for the site: .onnx file."),
    click.option(
        "--teacher",
        default="",
        help="Network to learn from, by name or file; none learns without one, from the clusters "
        "that the site's tracks form under several cameras.",
    ),
    options.path(
        "--start",
        help="What to start from: a network of `adln train`, or ImageNet weights of a ResNet-50.",
    ),
    click.option("--network", default="", help="Network in use, to be improved on; default: res2."),
    click.option("--hours", type=click.FloatRange(min=0, min_open=True), help="To learn; 8."),
    click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="To learn."),
    options.shown("--depth", type=click.IntRange(1, 4), default=2, help="Of the network."),
    options.path(
        "--work", help="Folder for intermediate files, to resume from; default: OUT.work."
    ),
    options.shown(
        "--collect",
        type=options.duration,
        default="8h",
        metavar="TIME",
        help="How long live cameras are watched for crops; recordings are read to their end.",
    ),
    options.path("--detector", help="See `adln watch`."),
    options.flag("--keep-crops", help="Keep the crops that were stored."),
    options.flag("--new-space", help="Allow a network that needs a new gallery."),
    options.flag("--pictures", help="Show people in the report."),
    options.flag("--yes", help="Store crops without asking."),
)


def overnight_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a training at a site."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def adapt_overnight(
    places: Sequence[str],
    *,
    out: Path,
    teacher: str,
    start: Path | None,
    network: str,
    hours: float | None,
    minutes: float | None,
    depth: int,
    work: Path | None,
    keep_crops: bool,
    new_space: bool,
    pictures: bool,
    **harvesting: Any,
) -> None:
    """Harvest, learn, judge, write; see `adapt`, whose options these are, and `_crops`."""
    _require_packages(_NEEDED_FOR_CLUSTERS if teacher == _NO_TEACHER else {})
    if suffix_of(out) != ".onnx":
        raise SettingsError(f"{out}: the name of the network must end in .onnx.")
    if not teacher or start is None:
        raise SettingsError(
            "a network for a site needs --teacher, a network that knows people well (`adln "
            "networks add` takes any; the galleries of res1 and res2 stay valid with "
            "person-reidentification-retail-0277 of Intel), or --teacher none to learn from the "
            "site's tracks alone, and --start, weights to start from: "
            "models/generalising-contrast.safetensors of the source tree (research only), or, with "
            "a teacher, ImageNet weights of a ResNet-50."
        )
    if hours is not None and minutes is not None:
        raise click.UsageError("give --hours or --minutes.")
    from adln.site.training import SiteRequest, past_outcome, require_new, require_same_space

    seconds = minutes * 60 if minutes is not None else (hours or _DEFAULT_HOURS) * 3600
    request = SiteRequest(
        start=start,
        teacher="" if teacher == _NO_TEACHER else teacher,
        network=network or "res2",
        out=out,
        work=work or out.with_name(out.name + ".work"),
        depth=depth,
        seconds=seconds,
        new_space=new_space,
    )
    crops_folder = request.work / "crops"
    past = past_outcome(request)
    if past is not None:
        page = out.with_suffix(".html")
        if not page.exists():
            write_page(page, past.facts)
        _clear(crops_folder, keep=keep_crops)
        mention(f"finished before: {past.reason}. Name another --work to start over.")
        return
    require_new(request)
    require_writable(out, raises=SettingsError)
    require_same_space(request)
    with _alone_in(request.work):
        crops = _crops(places, crops_folder, keep=keep_crops, **harvesting)
        outcome = _train(request, crops, crops_folder, keep=keep_crops)
        if not outcome.finished:
            mention(
                f"stopped: {outcome.reason}. The same command goes on; until then "
                f"{request.network} stays in use"
                + (f", and crops stay in {crops_folder}." if crops_folder.exists() else ".")
            )
            return
        _report(request, outcome, crops, pictures=pictures)
        _clear(crops_folder, keep=keep_crops)


@contextmanager
def _alone_in(work: Path) -> Iterator[None]:
    """Refuse a second run in the same folder, which would delete the crops of the first."""
    with ExitStack() as stack:
        try:
            work.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(work, wait=False))
        except BlockingIOError as error:
            raise SettingsError(
                f"{work}: another run is at work here. Wait for its end, or name another --work."
            ) from error
        except OSError as error:
            raise SettingsError(
                f"{work}: cannot be written ({error.strerror or error})."
            ) from error
        try:
            yield
        finally:
            with suppress(OSError):
                # Where nothing came of it.
                work.rmdir()


def _crops(
    places: Sequence[str],
    target: Path,
    *,
    keep: bool,
    collect: float,
    detector: Path | None,
    yes: bool,
    opened_detector: Detector | None = None,
) -> SiteCrops:
    """The crops in folders, and those harvested from cameras and recordings."""
    folders = [Path(place) for place in places if has_tracks(Path(place))]
    sources = [place for place in places if not has_tracks(Path(place))]
    if folders:
        mention(f"reading crops where they are: {', '.join(map(str, folders))}; nothing is copied")
    for place in sources:
        if Path(place).is_dir() and are_crops(Path(place)):
            list_crops([Path(place)])  # which says how crops tell their tracks
    named, before = digest_of(_addresses(sources)), harvested(target)
    if sources and before not in (named, ""):
        from adln.cli.watch import have_detector
        from adln.pipeline.plain_watch import settings_of
        from adln.site.training import is_begun

        if before is not None and is_begun(target.parent):
            raise SettingsError(
                f"{target.parent}: belongs to a run with other recordings or cameras. Resume it "
                "with its original arguments, or name another --work."
            )
        settings, base = settings_of(sources, gallery=target, detector=detector)
        if opened_detector is None and not settings.detector.boxes and not settings.detector.model:
            have_detector(yes=yes)
        mention(
            f"This stores pictures of people, cut out of {len(settings.cameras)} camera(s) or "
            f"recording(s), in {target.absolute()}: to learn from, on this machine only. "
            + ("They stay there (--keep-crops)." if keep else "They are deleted in the end.")
        )
        if not yes and not (sys.stdin.isatty() and click.confirm("Store them?", err=True)):
            raise SettingsError("nothing was stored; run again with --yes to store crops.")
        begun = time.monotonic()
        live = RenewedLine(30.0)
        harvest(
            settings,
            base,
            target,
            sources=named,
            detector=opened_detector,
            should_stop=lambda: time.monotonic() - begun > collect,
            on_progress=lambda frames, tracks: live.renew(
                f"harvesting: {frames:,} frames, {tracks:,} tracks, "
                f"{clock(time.monotonic() - begun)}"
            ),
        )
        live.end()
        if not folders and not has_tracks(target):
            shutil.rmtree(target)
            raise TracksError(
                f"nobody was followed in {', '.join(map(public_name, sources))}. Let cameras run "
                "for longer, at a busier time, or give recordings on which people can be seen."
            )
    return list_crops([*folders, *([target] if sources else [])])


def _addresses(sources: Sequence[str]) -> list[str]:
    """What is harvested, be it still there or not: recordings with their whole paths, cameras."""
    base = Path.cwd()
    if any(suffix_of(Path(source)) == ".toml" for source in sources):
        from adln.pipeline.plain_watch import settings_of

        settings, base = settings_of(sources)
        sources = [camera.source for camera in settings.cameras]
    return [source if is_live(source) else str(base / source) for source in sources]


def _train(
    request: "SiteRequest", crops: SiteCrops, crops_folder: Path, *, keep: bool
) -> "SiteOutcome":
    from adln.site.training import train_for_site

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    watch = TrainingView(quiet=False)
    try:
        with stop_on_request(None) as should_stop:
            return train_for_site(
                request,
                crops,
                say=watch.say,
                on_progress=watch.on_progress,
                should_stop=should_stop,
            )
    except TracksError:
        # The same crops would be refused again.
        harvest_again(crops_folder)
        _clear(crops_folder, keep=keep)
        raise
    finally:
        watch.close()


def _report(
    request: "SiteRequest", outcome: "SiteOutcome", crops: SiteCrops, *, pictures: bool
) -> None:
    compared, judging = outcome.comparison, outcome.judging
    assert compared is not None
    assert judging is not None
    tracks = most_gained(compared, [crops.paths[at] for at in judging]) if pictures else []
    page = request.out.with_suffix(".html")
    write_page(page, outcome.facts, tracks)
    mention(
        f"true pairs recognised at {compared.rate:.1%} false ones: "
        f"{compared.recognised_before:.1%} before, {compared.recognised:.1%} after "
        f"({compared.gain:+.1%}, at least {compared.gain_least:+.1%}), by {compared.num_tracks} "
        "tracks that were not learned from"
    )
    if outcome.written:
        mention(f"{request.out}: {outcome.reason}; calibration: {outcome.facts['calibration']}")
        mention(f"terms: {outcome.facts['terms']}")
        bridge = str(outcome.facts["bridge"])
        mention(f"bridge for what galleries have stored: {bridge}")
        carries = "" if bridge.startswith("none") else " --gallery GALLERY"
        mention(f"next: adln networks use {request.out} --name site{carries}")
    else:
        mention(f"no new network: {outcome.reason}; {request.network} stays in use")
    mention(f"report: {page}")


def _clear(folder: Path, *, keep: bool) -> None:
    """Delete the crops that were stored."""
    if not folder.exists():
        return
    if keep:
        mention(f"kept: pictures of people in {folder.absolute()}")
        return
    shutil.rmtree(folder)
    mention(f"deleted: the crops in {folder.absolute()}")


def _require_packages(more: Mapping[str, str]) -> None:
    missing = [name for name in (*_NEEDED, *more) if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(["train,export", *more.values()])
        raise TrainingError(
            f"training needs {', '.join(missing)}; {how_to_install(extras)}. A machine "
            "that only watches can leave that to another one, and take the network from it."
        )
