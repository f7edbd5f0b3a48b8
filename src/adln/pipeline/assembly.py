"""Builds the parts of a watch from its settings."""

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adln.atomic import is_there
from adln.cameras.appearance import Appearance, crop_appearance
from adln.cameras.boxes_file import BoxesFile
from adln.cameras.captures import is_live
from adln.cameras.clocks import SteadyClock
from adln.cameras.detector import Detector, YoloxDetector
from adln.cameras.fetching import default_detector
from adln.cameras.recordings import ImageFolder, VideoFile
from adln.cameras.selection import CropSelector
from adln.cameras.tracker import ByteTracker, GivenTracks, Tracker
from adln.cameras.watching import CameraGroup, open_source
from adln.embedders.quality import depths_for, files_for
from adln.embedders.shipped import SHIPPED, TRACKING, find_network
from adln.errors import DeliveryError, SettingsError
from adln.gallery.interface import Gallery
from adln.gallery.names import kept_form
from adln.gallery.retention import DAY_S, Retention
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.matching.calibration import Scale, Scales, read_calibration
from adln.matching.thresholds import StatedThresholds
from adln.pipeline.alert_settings import ANYBODY, UNKNOWN
from adln.pipeline.alerts import AlertSink, CommandSink
from adln.pipeline.broker import Broker
from adln.pipeline.delivery import Delivery, Sink
from adln.pipeline.depths import DepthEmbedder
from adln.pipeline.home_assistant import HomeAssistant
from adln.pipeline.identity import IdentityBook
from adln.pipeline.jsonl_sink import JsonlSink
from adln.pipeline.load import Costs, LoadController, LoadSettings, make_ladder
from adln.pipeline.mqtt_sink import MqttSink
from adln.pipeline.outbox import Outbox
from adln.pipeline.people import ReportedPeople, leaving_out
from adln.pipeline.roster import enter_cameras
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch import CameraParts, Watch
from adln.pipeline.watch_settings import (
    CameraSettings,
    MqttSettings,
    WatchSettings,
    WebhookSettings,
)
from adln.pipeline.webhook_sink import WebhookSink

if TYPE_CHECKING:
    from adln.pipeline.metrics import PipelineMetrics

# The gallery keeps this many unassigned sightings (candidates to review).
_MOST_UNNAMED = 2_000
# Recordings outrun the disk: after this many sightings, wait for the outbox.
_SYNC_EVERY = 200
_SYNC_WAIT_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, kw_only=True)
class Assembly:
    """The parts of a watch, ready to run (see `Watch`); close it when done.

    Attributes:
        parts: camera name -> the parts for this camera.
        gallery: stored people and sightings.
        run: run number on this gallery, from 1.
        live: whether any camera is live.
    """

    cameras: CameraGroup
    parts: Mapping[str, CameraParts]
    detector: Detector
    embedder: DepthEmbedder
    gallery: Gallery
    book: IdentityBook
    load: LoadController
    first_depth: int | None
    costs: Costs | None
    run: int
    live: bool

    def loop(self, deliver: Callable[[SightingEvent], object], **outputs: Any) -> Watch:
        """The loop over these parts; `outputs` are other arguments of `Watch`."""
        return Watch(
            cameras=self.cameras,
            parts=self.parts,
            detector=self.detector,
            embedder=self.embedder,
            book=self.book,
            load=self.load,
            costs=self.costs,
            first_depth=self.first_depth,
            run=self.run,
            deliver=deliver,
            **outputs,
        )

    def close(self) -> None:
        """Close the cameras and the gallery."""
        self.cameras.close()
        self.gallery.close()


def assemble(
    settings: WatchSettings,
    folder: Path,
    *,
    gallery_folder: Path | None = None,
    detector: Detector | None = None,
) -> Assembly:
    """Open everything that a watch needs, except its outputs; see `open_outputs`.

    Relative paths in the settings are based on `folder`. `gallery_folder` replaces their gallery,
    `detector` their detector.

    Raises:
        AdlnError: something cannot be opened, or settings contradict each other.
    """
    live = any(is_live(camera.source) for camera in settings.cameras)
    embedder, first_depth, depth = _open_network(settings, folder)
    if detector is None or settings.detector.boxes:
        detector = _open_detector(settings, folder)
    load, costs = _open_load(settings, embedder, first_depth, depth, live=live)
    gallery = SqliteGallery(gallery_folder or folder / settings.gallery, create=True, actor="watch")
    group = CameraGroup()
    try:
        rules = gallery.retention
        if rules == Retention():
            rules = Retention(
                max_templates=settings.templates_per_person, max_unnamed=_MOST_UNNAMED
            )
        rules = keep_by_camera(rules, settings.cameras)
        if rules != gallery.retention:
            gallery.set_retention(rules)
        numbers = {camera.name: camera.number for camera in settings.cameras}
        run = enter_cameras(gallery.folder, numbers, last_track=gallery.last_track)
        book = IdentityBook(
            gallery,
            digest=embedder.digest,
            dim=embedder.dim,
            scales=open_scales(settings, embedder),
            spaces=embedder.spaces,
            settings=settings.identity,
            travel_s={
                (numbers[a], numbers[b]): way.least_s
                for way in settings.travel
                for a, b in combinations(way.cameras, 2)
            },
        )
        parts, clock = {}, SteadyClock()
        appearance = open_appearance(settings, embedder)
        for camera in settings.cameras:
            address = camera.source if is_live(camera.source) else str(folder / camera.source)
            source = open_source(
                address,
                camera.name,
                fps=camera.fps,
                start_s=camera.start_s,
                clock=clock,
                on_frame=group.wake,
            )
            group.add(source)
            if not camera.start and isinstance(source, VideoFile | ImageFolder):
                _require_kept(source, rules)
            tracker: Tracker = ByteTracker(settings.tracker, appearance=appearance)
            if isinstance(detector, BoxesFile) and detector.has_tracks(camera.name):
                tracker = GivenTracks(keep_s=settings.tracker.keep_s)
            parts[camera.name] = CameraParts(
                number=camera.number,
                tracker=tracker,
                selector=CropSelector(
                    camera.name,
                    crops_per_track=settings.crops_per_track,
                    crop_size=embedder.crop_size,
                    settings=settings.selection,
                ),
                source_name=(
                    f"live {run} {time.time()}" if source.live else _content_name(Path(address))
                ),
                live=source.live,
            )
    except BaseException:
        group.close()
        gallery.close()
        raise
    return Assembly(
        cameras=group,
        parts=parts,
        detector=detector,
        embedder=embedder,
        gallery=gallery,
        book=book,
        load=load,
        first_depth=None if first_depth == depth else first_depth,
        costs=costs,
        run=run,
        live=live,
    )


def keep_by_camera(rules: Retention, cameras: Iterable[CameraSettings]) -> Retention:
    """A gallery's retention rules, with the times that cameras state as their `keep_days`."""
    stated = {one.number: one.keep_days * DAY_S for one in cameras if one.keep_days}
    return replace(rules, camera_keep_s={**rules.camera_keep_s, **stated})


@dataclass(frozen=True, eq=False, kw_only=True)
class Outputs:
    """Where the results of a watch go.

    Attributes:
        people: whom they report.
        submit: takes sightings; see `paced_submit`. Without receivers it does nothing.
        delivery: None without receivers of sightings.
        home: takes frames; None unless enabled.
        metrics: None unless they are served.
    """

    people: ReportedPeople
    submit: Callable[[SightingEvent], object]
    delivery: Delivery | None
    home: HomeAssistant | None
    metrics: "PipelineMetrics | None"


def open_outputs(
    settings: WatchSettings, folder: Path, assembly: Assembly, stack: ExitStack
) -> Outputs:
    """Open the outputs that the settings name; `stack` closes them, before the assembly.

    Relative paths in the settings are based on `folder`.

    Raises:
        DeliveryError: the outbox or a receiver cannot be used.
        SettingsError: an environment variable is missing, or the metrics' address cannot be used.
    """
    people = open_people(settings, assembly.gallery)
    submit: Callable[[SightingEvent], object] = _to_nobody
    delivery = metrics = None
    if settings.has_receivers:
        delivery = open_delivery(settings, folder, assembly.gallery, people=people)
        stack.callback(delivery.close)
        submit = leaving_out(paced_submit(delivery, live=assembly.live), people)
    home = open_home_assistant(settings, folder, people)
    if home is not None:
        stack.callback(home.close)
    if settings.metrics.port:
        from adln.pipeline.metrics import MetricsServer, PipelineMetrics

        metrics = PipelineMetrics()
        if delivery is not None:
            metrics.watch_delivery(delivery.counts)
        server = MetricsServer(metrics, settings.metrics.port, host=settings.metrics.host)
        stack.callback(server.close)
    return Outputs(people=people, submit=submit, delivery=delivery, home=home, metrics=metrics)


def _to_nobody(_: SightingEvent) -> None:
    pass


def open_people(settings: WatchSettings, gallery: Gallery) -> ReportedPeople:
    """The gallery's people, for the parts that report them."""
    people = ReportedPeople(gallery.persons, ignored=settings.ignore)
    names = people.names() or {}
    called = {kept_form(name) for name in names.values() if name is not None}
    # Names stay out of the log.
    known = {*called, *(f"id:{number}" for number in names)}
    if any(kept_form(name) not in known for name in settings.ignore):
        _log.warning("ignore has a person that the gallery does not know (yet)")
    for alert in settings.alerts:
        if kept_form(alert.person) not in {ANYBODY, UNKNOWN, *called}:
            _log.warning(
                "alert %s is about a person whom the gallery does not know (yet)", alert.name
            )
    return people


def open_delivery(
    settings: WatchSettings,
    folder: Path,
    gallery: Gallery | None = None,
    *,
    people: ReportedPeople | None = None,
) -> Delivery:
    """Open outbox and sinks; alerts need the gallery, or its people if they are open already.

    The settings must have receivers, see `WatchSettings.has_receivers`. Relative paths in them are
    based on `folder`.

    Raises:
        DeliveryError: the outbox or a sink cannot be used.
        SettingsError: an environment variable is missing.
    """
    if people is None and gallery is not None:
        people = open_people(settings, gallery)
    sinks: dict[str, Sink] = {}
    if settings.jsonl.path:
        sinks["jsonl"] = JsonlSink(folder / settings.jsonl.path)
    if settings.mqtt.host and settings.mqtt.sightings:
        sinks["mqtt"] = MqttSink(
            _broker(settings.mqtt, folder),
            topic=settings.mqtt.topic,
            client_id=settings.mqtt.client_id,
        )
    if settings.webhook.url:
        sinks["webhook"] = _open_webhook(
            settings.webhook, folder, settings.webhook.url, settings.webhook.batch_size
        )
    for alert in settings.alerts:
        if people is None:
            raise SettingsError(f"alert {alert.name!r} needs a gallery to know the people's names.")
        way: Sink
        if alert.to == "mqtt":
            way = MqttSink(
                _broker(settings.mqtt, folder),
                topic=alert.topic,
                client_id=_client_id(settings.mqtt, alert.name),
            )
        elif alert.to == "webhook":
            way = _open_webhook(settings.webhook, folder, alert.url, 1)
        else:
            way = CommandSink(alert.command, folder=folder)
        sinks[f"alert-{alert.name}"] = AlertSink(alert, people, way)
    path = folder / settings.outbox
    try:
        outbox = Outbox(path, list(sinks))
        return Delivery(outbox, sinks, gone=None if gallery is None else gallery.gone)
    except DeliveryError as error:
        if "locked" not in str(error):
            raise
        raise DeliveryError(
            f"{path}: another watch is using this outbox. Each watch needs its own outbox and its "
            'own file of sightings: outbox = "second.db" and jsonl.path = "second.jsonl"; the '
            "gallery may be shared."
        ) from error


def open_home_assistant(
    settings: WatchSettings, folder: Path, people: ReportedPeople
) -> HomeAssistant | None:
    """Connect to Home Assistant; None if it is not enabled.

    Raises:
        DeliveryError: the broker's settings cannot be used.
        SettingsError: an environment variable is missing.
    """
    if not settings.home_assistant.enabled:
        return None
    return HomeAssistant(
        _broker(settings.mqtt, folder),
        settings.home_assistant,
        cameras={camera.name: camera.number for camera in settings.cameras},
        people=people,
        client_id=_client_id(settings.mqtt, "home"),
    )


def _client_id(mqtt: MqttSettings, part: str) -> str:
    """An id of its own: a broker disconnects one of two clients with the same id."""
    return f"{mqtt.client_id}-{part}" if mqtt.client_id else ""


def _broker(mqtt: MqttSettings, folder: Path) -> Broker:
    return Broker(
        mqtt.host,
        mqtt.port,
        username=mqtt.username or None,
        password=_secret(mqtt.password_env, "mqtt.password_env"),
        tls=mqtt.tls,
        ca_file=folder / mqtt.ca_file if mqtt.ca_file else None,
    )


def _open_webhook(webhook: WebhookSettings, folder: Path, url: str, batch_size: int) -> WebhookSink:
    secret = _secret(webhook.secret_env, "webhook.secret_env")
    return WebhookSink(
        url,
        secret=None if secret is None else secret.encode("utf-8"),
        batch_size=batch_size,
        ca_file=folder / webhook.ca_file if webhook.ca_file else None,
        allow_plain_http=webhook.allow_plain_http,
    )


def paced_submit(delivery: Delivery, *, live: bool) -> Callable[[SightingEvent], None]:
    """A `deliver` for the loop: live cameras never wait for the disk, recordings sometimes do."""
    since = 0

    def submit(event: SightingEvent) -> None:
        nonlocal since
        delivery.submit(event)
        since += 1
        if not live and since >= _SYNC_EVERY:
            since = 0
            if not delivery.flush(_SYNC_WAIT_S):
                _log.error("the outbox cannot be written; sightings wait in memory")

    return submit


def _require_kept(source: VideoFile | ImageFolder, rules: Retention) -> None:
    """Refuse a recording whose guessed start date makes the gallery erase it."""
    keep = [rules.keep_s, *rules.camera_keep_s.values(), *rules.person_keep_s.values()]
    least_s = min((one for one in keep if one is not None), default=None)
    if least_s is None or source.start_s >= time.time() - least_s:
        return
    begin = datetime.fromtimestamp(source.start_s, UTC).isoformat(timespec="seconds")
    raise SettingsError(
        f"camera {source.camera_id!r}: according to its file, the recording begins {begin}, but "
        f"this gallery erases what is older than {least_s / DAY_S:g} days. Set start = "
        f'"{begin}" if that is right, the true time if it is not, or use another gallery.'
    )


def _open_network(settings: WatchSettings, folder: Path) -> tuple[DepthEmbedder, int, int]:
    """The network, the depth at which every crop is embedded, and the deepest depth in use."""
    files = files_for(settings.network.files, settings.quality)
    # A shipped network is given by its name alone.
    paths = [folder / name if (folder / name).exists() else Path(name) for name in files]
    embedder = DepthEmbedder(paths, threads=settings.network.threads)
    depth = settings.network.depth or max(embedder.depths)
    if depth not in embedder.depths:
        raise SettingsError(
            f"network.depth is {depth}, but the network files offer {list(embedder.depths)}."
        )
    depths = [one for one in embedder.priced_depths if one < depth] + [depth]
    return embedder, *depths_for(depths, settings.quality, files=files)


def open_appearance(settings: WatchSettings, embedder: DepthEmbedder) -> Appearance:
    """The appearance network of trackers: the cheapest one, as one camera is an easy case."""
    eye = embedder
    if set(settings.network.files) <= set(SHIPPED):
        eye = DepthEmbedder([find_network(TRACKING)], threads=settings.network.threads)
    depth = eye.priced_depths[0]
    return crop_appearance(lambda crops: eye.embed(crops, depth)[depth], eye.crop_size)


def _open_detector(settings: WatchSettings, folder: Path) -> Detector:
    chosen = settings.detector
    if chosen.boxes:
        boxes = BoxesFile(folder / chosen.boxes)
        names = {camera.name for camera in settings.cameras}
        strangers = sorted(set(boxes.camera_ids) - names)
        if strangers:
            raise SettingsError(
                f"{chosen.boxes}: has boxes of camera {strangers[0]!r}; the settings name only "
                f"{sorted(names)}."
            )
        return boxes
    path = folder / chosen.model if chosen.model else default_detector()
    if not is_there(path):
        raise SettingsError(
            f"{path}: detector not found. Set detector.model or the environment variable "
            "ADLN_DETECTOR to a YOLOX file, set detector.boxes, or run `adln watch "
            "--fetch-detector` once."
        )
    return YoloxDetector(path, min_confidence=chosen.min_confidence, threads=chosen.threads)


def _open_load(
    settings: WatchSettings, embedder: DepthEmbedder, first: int, depth: int, *, live: bool
) -> tuple[LoadController, Costs | None]:
    load, stated = settings.load, settings.costs
    priced = embedder.priced_depths
    # The crops of a track need a depth in common, at whatever level each was embedded: the first,
    # or one on the way to the deepest.
    shared = embedder.on_the_way(depth)
    depths = [one for one in priced if one < depth and (one >= first or one in shared)] + [depth]
    is_stated = not live and stated.frame_ms > 0
    if live:
        prices = embedder.measure_ms()
    elif is_stated:
        if len(stated.crop_ms) != len(priced):
            raise SettingsError(
                f"costs.crop_ms needs one number for each of the {len(priced)} network files, got "
                f"{len(stated.crop_ms)}."
            )
        prices = dict(zip(priced, stated.crop_ms, strict=True))
    else:
        _log.info("recordings are processed in full; set costs.frame_ms to adapt them to a load")
        prices = dict.fromkeys(priced, 1.0)
        load = LoadSettings(budget_ms=0.0)
    # A depth within a file costs as much as the deepest depth of that file.
    crop_ms = {one: prices[min(p for p in prices if p >= one)] for one in depths}
    # At the level of a deeper depth, a crop may be embedded at both.
    level_ms = {one: ms + (crop_ms[first] if one > first else 0) for one, ms in crop_ms.items()}
    ladder = make_ladder(
        crops_per_track=settings.crops_per_track,
        depths=depths,
        most_skipping=load.most_skipping,
    )
    costs = Costs(frame_ms=stated.frame_ms, crop_ms=crop_ms) if is_stated else None
    return LoadController(ladder, level_ms, load), costs


def open_scales(settings: WatchSettings, embedder: DepthEmbedder) -> Scales:
    """The meaning of scores: from calibrations beside the network, otherwise from the settings."""
    stated = StatedThresholds(
        match=settings.thresholds.match, candidate=settings.thresholds.candidate
    )
    scales: dict[int, Scale] = dict.fromkeys(embedder.depths, stated)
    pairs: dict[tuple[int, int], Scale] = {}
    missing = []
    for depth in embedder.depths:
        path, digest = embedder.file_of(depth)
        content = read_calibration(path, model_sha256=digest)
        known = Scales(own={}) if content is None else content.scales(flip=False)
        pairs |= known.pairs
        if depth in known.own:
            scales[depth] = known.own[depth]
        else:
            missing.append(embedder.depth_name(depth))
    if missing:
        _log.warning(
            "no calibration for %s: a cosine of %.2f counts as a match, %.2f as a candidate, and "
            "probabilities are guesses; `adln doctor` or `adln calibrate` finds better thresholds",
            ", ".join(missing),
            stated.match,
            stated.candidate,
        )
    return Scales(own=scales, pairs=pairs)


def _content_name(path: Path) -> str:
    """Id of a recording from its content, so that processing it again gives the same ids."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.iterdir()):
            digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _secret(variable: str, setting: str) -> str | None:
    if not variable:
        return None
    value = os.environ.get(variable)
    if not value:
        raise SettingsError(f"{setting} names {variable}, which is not set in the environment.")
    return value
