"""The settings of `adln watch`: one TOML file, read strictly. Paths are relative to that file."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

from adln.cameras.names import camera_name, require_camera_number, tidy_name
from adln.cameras.redaction import public_name
from adln.cameras.selection import SelectionSettings
from adln.cameras.tracker import TrackerSettings
from adln.embedders.quality import Quality
from adln.errors import SettingsError
from adln.pipeline.alert_settings import AlertSettings, require_letters
from adln.pipeline.identity import IdentitySettings
from adln.pipeline.load import LoadSettings
from adln.settings import read_settings, require_between, settings

MOST_DAYS = 36_500
"""Upper bound of `keep_days`."""
_LARGEST_PORT = 65_535


@settings
class CameraSettings:
    """One camera.

    Attributes:
        name: at most 64 printable characters, without slashes, + and #; used in sightings and
            topics.
        number: from 0; permanent, because the gallery identifies the camera by it.
        source: "rtsp://...", "http://.../snapshot.jpg", "usb:0", a video file, or a folder of
            pictures.
        fps: pictures per second of a folder (10 if left out), or of a video without time stamps,
            such as a raw H.264 stream.
        start: start of a recording, such as "2026-05-01T12:00:00+02:00"; derived from the file's
            modification time if left out.
        pictures: whether pictures of people from this camera are kept, sent and shown; if left out,
            the `pictures` setting of the watch applies.
        keep_days: days to keep sightings of this camera; 0 applies the gallery's rules.
    """

    name: str = ""
    number: int = 0
    source: str = ""
    fps: float = 0.0
    start: str = ""
    pictures: bool | None = None
    keep_days: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", tidy_name(self.name))
        if not self.fps >= 0:
            raise SettingsError(f"camera {self.name!r}: fps must be above 0, got {self.fps}.")
        if not 0 <= self.keep_days <= MOST_DAYS:
            raise SettingsError(
                f"camera {self.name!r}: keep_days must be 0 to {MOST_DAYS:,}, got {self.keep_days}."
            )

    @property
    def start_s(self) -> float | None:
        """Start of the recording in Unix time; None if not stated.

        Raises:
            SettingsError: it is not a time, or has no time zone.
        """
        if not self.start:
            return None
        try:
            begin = datetime.fromisoformat(self.start)
        except ValueError as error:
            raise SettingsError(f"camera {self.name!r}: start is not a time: {error}.") from error
        if begin.tzinfo is None:
            raise SettingsError(
                f"camera {self.name!r}: start {self.start!r} needs a zone, such as +02:00 or Z."
            )
        return begin.timestamp()


@settings
class DetectorSettings:
    """Detection of people.

    Attributes:
        model: YOLOX in ONNX. If this and `boxes` are left out, the one fetched by
            `adln watch --fetch-detector`.
        boxes: JSONL file of boxes in place of a detector; see `adln.cameras.boxes_file`.
        min_confidence: boxes of lower confidence are dropped.
    """

    model: str = ""
    boxes: str = ""
    min_confidence: float = 0.1
    threads: int = 1


@settings
class WatchNetworkSettings:
    """The network that recognises people.

    Attributes:
        files: see `DepthEmbedder`; with several, the depth can vary. "res2" alone stands for both
            shipped networks, between which `quality` chooses.
        depth: deepest depth to use; 0 is the deepest available.
    """

    files: tuple[str, ...] = ("res2",)
    depth: int = 0
    threads: int = 1


@settings
class ThresholdSettings:
    """Lowest cosines of a match and of a candidate, for a network without a calibration."""

    match: float = 0.65
    candidate: float = 0.55


@settings
class TravelSettings:
    """Shortest time, in s, in which anybody gets from one of these cameras to another.

    There are at least two of them, whose views do not overlap.
    """

    cameras: tuple[str, ...] = ()
    least_s: float = 0.0


@settings
class CostSettings:
    """Stated costs for adapting recordings to the load, so that each run gives the same results.

    `frame_ms` is for detecting and tracking in one frame; with 0, recordings are not adapted.
    `crop_ms` is for embedding one crop, for each network file in order.
    """

    frame_ms: float = 0.0
    crop_ms: tuple[float, ...] = ()


@settings
class JsonlSettings:
    """Sightings as a JSONL file; the path "" writes none."""

    path: str = "sightings.jsonl"


@settings
class MqttSettings:
    """Sightings to an MQTT broker.

    Attributes:
        host: "" publishes nothing.
        topic: prefix of the cameras' topics.
        client_id: this device's id at the broker.
        password_env: name of the environment variable with the password.
        ca_file: trusted certificates in place of the system's.
        sightings: false uses the broker only for `home_assistant` and alerts.
    """

    host: str = ""
    port: int = 1883
    topic: str = "adln/sightings"
    client_id: str = ""
    username: str = ""
    password_env: str = ""
    tls: bool = False
    ca_file: str = ""
    sightings: bool = True

    def __post_init__(self) -> None:
        require_between(self, (1, _LARGEST_PORT, ["port"]))
        if self.password_env and not self.username:
            raise SettingsError(
                "mqtt.password_env needs mqtt.username: without a user no password is sent."
            )


@settings
class HomeAssistantSettings:
    """Sensors for Home Assistant, on the broker of `mqtt`.

    Attributes:
        instance: unique name of this watch, of a-z, A-Z, 0-9, _ and -.
        device_name: in Home Assistant; `instance` if left out.
        prefix: prefix of Home Assistant's discovery topics.
        topic: prefix of the state topics.
        names: whether people's names are published; otherwise they are numbered.
        persons: whether there is a device tracker for each person with a name.
        place: state of a device tracker: "home", or the name of the "camera" that sees the person.
        absent_after_s: after this time unseen, a person counts as gone from a camera.
        away_after_s: after this time unseen by all cameras, a person counts as not at home.
    """

    enabled: bool = False
    instance: str = "adln"
    device_name: str = ""
    prefix: str = "homeassistant"
    topic: str = "adln/home"
    names: bool = False
    persons: bool = False
    place: Literal["home", "camera"] = "home"
    absent_after_s: float = 30.0
    away_after_s: float = 900.0

    def __post_init__(self) -> None:
        require_letters(self.instance, "home_assistant.instance")
        if not 0 < self.absent_after_s <= self.away_after_s:
            raise SettingsError(
                "home_assistant needs absent_after_s above 0 and away_after_s no shorter, got "
                f"{self.absent_after_s:g} and {self.away_after_s:g}."
            )


@settings
class WebhookSettings:
    """Sightings by HTTP POST.

    Attributes:
        url: "" posts nothing.
        secret_env: name of the environment variable with the signing secret.
        batch_size: most sightings per request.
        ca_file: trusted certificates in place of the system's.
        allow_plain_http: whether sightings may travel unencrypted beyond this machine.
    """

    url: str = ""
    secret_env: str = ""
    batch_size: int = 1
    ca_file: str = ""
    allow_plain_http: bool = False


@settings
class MetricsSettings:
    """Metrics for Prometheus: port 0 serves none; by default only this machine has access."""

    port: int = 0
    host: str = "127.0.0.1"

    def __post_init__(self) -> None:
        require_between(self, (0, _LARGEST_PORT, ["port"]))


@settings
class WatchSettings:
    """All settings of `adln watch`.

    Attributes:
        cameras: at least one, live or recorded.
        gallery: its folder; created if missing.
        outbox: file in which sightings wait until all receivers have them.
        quality: depth at which crops are embedded, see `Quality`.
        pictures: whether gallery, sightings and report keep pictures of people; each camera may
            override this.
        crops_per_track: most crops embedded per track.
        templates_per_person: crops that the gallery keeps of a person at each depth.
        travel: nothing is assumed about cameras not named.
        ignore: names, or numbers such as "id:6", of people who are known and never reported: no
            sighting or alert of them is delivered, and Home Assistant does not show them.
    """

    cameras: tuple[CameraSettings, ...] = ()
    gallery: str = "gallery"
    outbox: str = "outbox.db"
    quality: Quality = "best"
    pictures: bool = False
    crops_per_track: int = 4
    templates_per_person: int = 24
    detector: DetectorSettings = DetectorSettings()
    network: WatchNetworkSettings = WatchNetworkSettings()
    thresholds: ThresholdSettings = ThresholdSettings()
    travel: tuple[TravelSettings, ...] = ()
    tracker: TrackerSettings = TrackerSettings()
    selection: SelectionSettings = SelectionSettings()
    identity: IdentitySettings = IdentitySettings()
    load: LoadSettings = LoadSettings()
    costs: CostSettings = CostSettings()
    jsonl: JsonlSettings = JsonlSettings()
    mqtt: MqttSettings = MqttSettings()
    webhook: WebhookSettings = WebhookSettings()
    metrics: MetricsSettings = MetricsSettings()
    home_assistant: HomeAssistantSettings = HomeAssistantSettings()
    alerts: tuple[AlertSettings, ...] = ()
    ignore: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require_unique("cameras", "name", [camera.name for camera in self.cameras])
        _require_unique("cameras", "number", [camera.number for camera in self.cameras])
        for camera in self.cameras:
            if not camera.name or not camera.source or camera.number < 0:
                raise SettingsError(
                    "a camera needs a name, a number from 0 and a source, got "
                    f"name {camera.name!r}, number {camera.number}, source "
                    f"{public_name(camera.source)!r}."
                )
            camera_name(camera.name)
            require_camera_number(camera.name, camera.number)
        names = {camera.name for camera in self.cameras}
        for way in self.travel:
            strangers = sorted(set(way.cameras) - names)
            if strangers or len(set(way.cameras)) < 2 or not way.least_s >= 0:
                raise SettingsError(
                    f"travel needs two or more of the cameras {sorted(names)} and least_s of 0 or "
                    f"more, got {list(way.cameras)} and {way.least_s}."
                )
        if self.detector.model and self.detector.boxes:
            raise SettingsError("name detector.model or detector.boxes, not both.")
        for alert in self.alerts:
            alert.require_way()
            if alert.to == "mqtt" and not self.mqtt.host:
                raise SettingsError(
                    f"alert {alert.name!r} uses MQTT: set mqtt.host, or another channel in `to`."
                )
            strangers = sorted(set(alert.cameras) - names)
            if strangers:
                raise SettingsError(
                    f"alert {alert.name!r} names the camera {strangers[0]!r}; there are "
                    f"{sorted(names)}."
                )
        _require_unique("alerts", "name", [alert.name for alert in self.alerts])
        if self.home_assistant.enabled and not self.mqtt.host:
            raise SettingsError("home_assistant.enabled needs mqtt.host.")

    @property
    def has_receivers(self) -> bool:
        """Whether sightings are sent anywhere: to a file, a broker, a webhook or an alert."""
        is_published = bool(self.mqtt.host) and self.mqtt.sightings
        return bool(self.jsonl.path or is_published or self.webhook.url or self.alerts)

    @property
    def pictured(self) -> frozenset[str]:
        """Names of the cameras whose pictures are kept, sent and shown."""
        return frozenset(
            camera.name
            for camera in self.cameras
            if (self.pictures if camera.pictures is None else camera.pictures)
        )


def _require_unique(owners: str, what: str, values: Sequence[object]) -> None:
    for value, count in Counter(values).items():
        if count > 1:
            raise SettingsError(f"{count} {owners} have the {what} {value!r}; each needs its own.")


def read_watch_settings(path: Path, overrides: tuple[str, ...] = ()) -> WatchSettings:
    """Read the settings of a watch.

    Raises:
        SettingsError: the file is missing or malformed, a key is unknown, a value is invalid, or
            there is no camera.
    """
    found = read_settings(WatchSettings, path, overrides)
    if not found.cameras:
        raise SettingsError(
            f"{path}: no camera. Write at least one:\n"
            '[[cameras]]\nname = "door"\nnumber = 1\nsource = "rtsp://..."'
        )
    return found
