"""The settings of `adln watch`: one TOML file, read strictly. Paths are relative to that file."""

import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Literal

from adln.cameras.names import camera_name, require_camera_number, tidy_name
from adln.cameras.redaction import public_name
from adln.cameras.selection import SelectionSettings
from adln.cameras.tracker import TrackerSettings
from adln.embedders.quality import Quality
from adln.errors import SettingsError
from adln.pipeline.alert_settings import AlertSettings
from adln.pipeline.identity import IdentitySettings
from adln.pipeline.load import LoadSettings
from adln.settings import read_settings, settings

MOST_DAYS = 36_500
"""Longer than that nobody has to be told."""


@settings
class CameraSettings:
    """One camera.

    Attributes:
        name: at most 64 printable characters, without slashes, + and #; stands in sightings and
            topics.
        number: from 0; the same for ever, because the gallery knows the camera by it.
        source: "rtsp://...", "http://.../snapshot.jpg", "usb:0", a video file, or a folder of
            pictures.
        fps: pictures a second of a folder (10 if left out), or of a video without times of its
            own, such as a raw H.264 stream.
        start: when a recording began, such as "2026-05-01T12:00:00+02:00"; dated by its file if
            left out.
        pictures: whether pictures of people before it are kept, sent and shown; as `pictures` of
            the watch says if left out.
        keep_days: for how many days sightings of it are kept; as the gallery's rules say if 0.
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
        """Begin of the recording in Unix time; None if nobody says.

        Raises:
            SettingsError: it is no time, or its time zone is missing.
        """
        if not self.start:
            return None
        try:
            begin = datetime.fromisoformat(self.start)
        except ValueError as error:
            raise SettingsError(f"camera {self.name!r}: start is no time: {error}.") from error
        if begin.tzinfo is None:
            raise SettingsError(
                f"camera {self.name!r}: start {self.start!r} needs a zone, such as +02:00 or Z."
            )
        return begin.timestamp()


@settings
class DetectorSettings:
    """Who finds people.

    Attributes:
        model: YOLOX in ONNX. Left out, with `boxes` left out too: the one that
            `adln watch --fetch-detector` has fetched.
        boxes: JSONL of boxes in place of a detector; see `adln.cameras.boxes_file`.
        min_confidence: weaker boxes are left out.
        threads: cores for the detector.
    """

    model: str = ""
    boxes: str = ""
    min_confidence: float = 0.1
    threads: int = 1


@settings
class WatchNetworkSettings:
    """The network that recognises people.

    Attributes:
        files: one file of `adln export`, or several of one network from the shallowest on (all of
            a split export, or some that each start from crops), between which the depth can change.
            "res2" alone stands for both shipped networks, between which `quality` chooses.
        depth: deepest depth to use; the deepest there is if 0.
        threads: cores for the network.
    """

    files: tuple[str, ...] = ("res2",)
    depth: int = 0
    threads: int = 1


@settings
class ThresholdSettings:
    """What scores mean where a network has no calibration (`adln calibrate`).

    Attributes:
        match: cosine from which on it is the same person.
        candidate: cosine from which on it may be.
    """

    match: float = 0.65
    candidate: float = 0.55


@settings
class TravelSettings:
    """How far cameras are apart, where that is known.

    Attributes:
        cameras: names, at least two; none of them overlaps another.
        least_s: nobody gets from one of them to another in less time.
    """

    cameras: tuple[str, ...] = ()
    least_s: float = 0.0


@settings
class CostSettings:
    """Stated costs, by which recordings are adapted to the load, so that each run does the same.

    Attributes:
        frame_ms: to detect and follow people in one frame; 0 adapts no recordings.
        crop_ms: to embed a crop, for each network file in their order.
    """

    frame_ms: float = 0.0
    crop_ms: tuple[float, ...] = ()


@settings
class JsonlSettings:
    """Sightings as a file.

    Attributes:
        path: of the file; "" writes none.
    """

    path: str = "sightings.jsonl"


@settings
class MqttSettings:
    """Sightings to an MQTT broker.

    Attributes:
        host: the broker; "" publishes nothing.
        port: of the broker.
        topic: under which the cameras' topics lie.
        client_id: under which the broker knows this device.
        username: if the broker asks for one.
        password_env: name of the environment variable that holds the password.
        tls: whether the connection is encrypted.
        ca_file: certificates to trust in place of the system's.
        sightings: whether sightings are published; false leaves the broker to `home_assistant`
            and to alerts.
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


@settings
class HomeAssistantSettings:
    """Sensors for Home Assistant, on the broker of `mqtt`.

    Attributes:
        enabled: whether Home Assistant gets states.
        instance: names this watch among several, of a-z, A-Z, 0-9, _ and -; each needs its own.
        device_name: what Home Assistant calls the device; `instance` if left out.
        prefix: of Home Assistant's discovery.
        topic: under which the states lie.
        names: whether people's names are told; else they are numbered.
        persons: whether there is a device tracker for each person who has a name.
        place: what a device tracker says: "home", or the name of the "camera" that sees them.
        absent_after_s: without being seen, until somebody is gone from a camera.
        away_after_s: without being seen by any camera, until somebody is not at home.
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
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", self.instance):
            raise SettingsError(
                "home_assistant.instance needs 1 to 64 letters a-z, A-Z, digits, _ or -, got "
                f"{self.instance!r}."
            )
        if not 0 < self.absent_after_s <= self.away_after_s:
            raise SettingsError(
                "home_assistant needs absent_after_s above 0 and away_after_s no shorter, got "
                f"{self.absent_after_s:g} and {self.away_after_s:g}."
            )


@settings
class WebhookSettings:
    """Sightings by HTTP POST.

    Attributes:
        url: where to; "" posts nothing.
        secret_env: name of the environment variable that holds the secret of the signature.
        batch_size: most sightings in a request.
        ca_file: certificates to trust in place of the system's.
        allow_plain_http: whether sightings may travel unencrypted beyond this machine.
    """

    url: str = ""
    secret_env: str = ""
    batch_size: int = 1
    ca_file: str = ""
    allow_plain_http: bool = False


@settings
class MetricsSettings:
    """Numbers for Prometheus.

    Attributes:
        port: 0 serves none.
        host: address to listen on; only this machine can read by default.
    """

    port: int = 0
    host: str = "127.0.0.1"


@settings
class WatchSettings:
    """All settings of `adln watch`.

    Attributes:
        cameras: at least one, live or recorded.
        gallery: folder of the gallery; made if it does not exist.
        outbox: file in which sightings wait until everyone has them.
        quality: how deep crops are embedded: "fast" by the shallowest depth of the network only,
            "best" by the deepest only, "balanced" by the deepest where the shallowest is not sure.
        pictures: whether gallery, sightings and report keep pictures of people; a camera can say
            otherwise for what it sees.
        crops_per_track: crops that are embedded of a track, at most.
        templates_per_person: crops that the gallery keeps of a person at each depth.
        detector: who finds people.
        network: who recognises them.
        thresholds: what scores mean without a calibration.
        travel: how far cameras are apart; nothing is assumed of cameras that are not named.
        tracker: who is followed.
        selection: which crops are good.
        identity: who is enrolled.
        load: when less is done.
        costs: stated costs.
        jsonl: sightings as a file.
        mqtt: sightings to a broker.
        webhook: sightings by HTTP.
        metrics: numbers for Prometheus.
        home_assistant: sensors for Home Assistant.
        alerts: when somebody is notified at once.
        ignore: names of people who are known and never reported, or their numbers such as "id:6":
            no sighting or alert of them is handed on, and Home Assistant is not told of them.
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
        for what in ("name", "number"):
            for value, count in Counter(getattr(one, what) for one in self.cameras).items():
                if count > 1:
                    raise SettingsError(
                        f"{count} cameras have the {what} {value!r}; each needs its own."
                    )
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
                    f"alert {alert.name!r} needs the broker's name in mqtt.host, or another way."
                )
            strangers = sorted(set(alert.cameras) - names)
            if strangers:
                raise SettingsError(
                    f"alert {alert.name!r} names the camera {strangers[0]!r}; there are "
                    f"{sorted(names)}."
                )
        for name, count in Counter(alert.name for alert in self.alerts).items():
            if count > 1:
                raise SettingsError(f"{count} alerts have the name {name!r}; each needs its own.")
        if self.home_assistant.enabled and not self.mqtt.host:
            raise SettingsError("home_assistant.enabled needs the broker's name in mqtt.host.")

    @property
    def pictured(self) -> frozenset[str]:
        """Names of the cameras of which pictures are kept, sent and shown."""
        return frozenset(
            camera.name
            for camera in self.cameras
            if (self.pictures if camera.pictures is None else camera.pictures)
        )


def read_watch_settings(path: Path, overrides: tuple[str, ...] = ()) -> WatchSettings:
    """Read the settings of a watch.

    Raises:
        SettingsError: missing or malformed file, unknown key, a value that cannot be used, or no
            camera.
    """
    found = read_settings(WatchSettings, path, overrides)
    if not found.cameras:
        raise SettingsError(
            f"{path}: no camera. Write at least one:\n"
            '[[cameras]]\nname = "door"\nnumber = 1\nsource = "rtsp://..."'
        )
    return found
