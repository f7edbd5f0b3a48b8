"""Home Assistant, played by a listener that holds every message against its documented schema."""

import inspect
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from adln.cameras.frames import Frame
from adln.errors import SettingsError
from adln.gallery.records import Person
from adln.pipeline.assembly import open_delivery, open_home_assistant
from adln.pipeline.broker import Broker
from adln.pipeline.home_assistant import HomeAssistant, who_is_there
from adln.pipeline.people import ReportedPeople
from adln.pipeline.presence import Stay
from adln.pipeline.watch_parts import NamedBox, SeenFrame
from adln.pipeline.watch_settings import HomeAssistantSettings, read_watch_settings
from adln.settings import from_mapping

# -- what Home Assistant documents ---------------------------------------------------------------
# https://www.home-assistant.io/integrations/mqtt/, .../sensor.mqtt/, .../device_tracker.mqtt/

Topic = Annotated[str, StringConstraints(pattern=r"^[^+#]+$")]
DISCOVERY_TOPIC = re.compile(r"homeassistant/(sensor|device_tracker)/([\w-]+/)?[\w-]+/config", re.A)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Device(_Strict):
    identifiers: list[str] | str = []
    connections: list[tuple[str, str]] = []
    configuration_url: str = ""
    hw_version: str = ""
    manufacturer: str = ""
    model: str = ""
    model_id: str = ""
    name: str = ""
    serial_number: str = ""
    suggested_area: str = ""
    sw_version: str = ""
    via_device: str = ""

    @model_validator(mode="after")
    def _has_an_identity(self) -> "Device":
        assert self.identifiers or self.connections
        return self


class Origin(_Strict):
    name: str
    sw_version: str = ""
    support_url: str = ""


class Entity(_Strict):
    # The device registry works only with a unique id.
    unique_id: str
    device: Device
    origin: Origin
    name: str | None = None
    availability_topic: Topic | None = None
    payload_available: str = "online"
    payload_not_available: str = "offline"
    availability_template: str = ""
    enabled_by_default: bool = True
    encoding: str = "utf-8"
    entity_category: Literal["config", "diagnostic"] | None = None
    entity_picture: str = ""
    icon: Annotated[str, StringConstraints(pattern=r"^mdi:[a-z0-9-]+$")] | None = None
    json_attributes_topic: Topic | None = None
    json_attributes_template: str = ""
    default_entity_id: str = ""
    qos: Literal[0, 1, 2] = 0
    value_template: str = ""


class Sensor(Entity):
    state_topic: Topic
    device_class: str | None = None
    expire_after: Annotated[int, Field(ge=0)] = 0
    force_update: bool = False
    options: list[str] = []
    state_class: str = ""
    suggested_display_precision: int = 0
    unit_of_measurement: str = ""


class DeviceTracker(Entity):
    # Either is needed; the former ends with version 2027.1, the latter's in_zones is its heir.
    state_topic: Topic
    json_attributes_topic: Topic
    payload_home: str = "home"
    payload_not_home: str = "not_home"
    payload_reset: str = "None"
    source_type: Literal["gps", "router", "bluetooth", "bluetooth_le"] = "gps"


SCHEMAS: dict[str, type[Entity]] = {"sensor": Sensor, "device_tracker": DeviceTracker}


class Home:
    """Plays Home Assistant: keeps entities by the rules of discovery, and their states."""

    def __init__(self, port: int) -> None:
        self.entities: dict[str, Entity] = {}
        self.values: dict[str, str] = {}
        self.retained: dict[str, str] = {}
        self.faults: list[str] = []
        self.heard = 0
        self._ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="home")
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        topic, payload = message.topic, message.payload.decode("utf-8")
        self.heard += 1
        if message.retain:
            self.retained[topic] = payload
        if not topic.startswith("homeassistant/") or topic == "homeassistant/status":
            self.values[topic] = payload
            return
        if not payload:
            self.entities.pop(topic, None)
            return
        try:
            found = DISCOVERY_TOPIC.fullmatch(topic)
            assert found is not None
            self.entities[topic] = SCHEMAS[found[1]].model_validate_json(payload)
        except (AssertionError, ValueError) as error:
            self.faults.append(f"{topic}: {error}")

    def is_born(self) -> None:
        self._client.publish("homeassistant/status", "online").wait_for_publish(5)

    def publish(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1, retain=True).wait_for_publish(5)

    def state(self, name: str) -> str | None:
        """Of the entity that people see under this name."""
        for entity in self.entities.values():
            if entity.name == name:
                assert isinstance(entity, Sensor | DeviceTracker)
                if self.values.get(entity.availability_topic or "") != "online":
                    return "unavailable"
                return self.values.get(entity.state_topic)
        return None

    def attributes(self, name: str) -> dict[str, Any]:
        (entity,) = (one for one in self.entities.values() if one.name == name)
        found: dict[str, Any] = json.loads(self.values[entity.json_attributes_topic or ""])
        return found

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(800):
        if is_so():
            return
        time.sleep(0.025)
    raise AssertionError("it did not come to pass in 20 s")


@pytest.fixture
def home(broker: Any) -> Iterator[Home]:
    listener = Home(broker.port)
    yield listener
    listener.close()
    assert not listener.faults


START_S = 1_700_000_000.0


class Clock:
    """A steady clock, whose times are no dates."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Setup:
    """A watch without cameras, that says what a test wants it to have seen."""

    def __init__(self, port: int, **settings: Any) -> None:
        self.clock = Clock()
        self.persons: dict[int, str | None] = {7: "Anna", 8: None}
        self._settings = from_mapping(
            HomeAssistantSettings, {"enabled": True, **settings}, source="test"
        )
        self._port = port
        self.start()

    def start(self) -> None:
        people = ReportedPeople(self._persons, ignored=["Ida"], every_s=0.0)
        self.told = HomeAssistant(
            Broker("127.0.0.1", self._port),
            self._settings,
            cameras={"door": 1, "back yard": 2},
            people=people,
            clock=self.clock,
        )

    def _persons(self) -> list[Person]:
        return [
            Person(
                person_id=number,
                name=name,
                num_sightings=1,
                first_seen_s=0.0,
                last_seen_s=0.0,
                cameras=(1,),
            )
            for number, name in self.persons.items()
        ]

    def saw(self, camera: str, *people: tuple[int, int | None]) -> None:
        boxes = tuple(
            NamedBox(
                track_id=track,
                box_xyxy=(0.0, 0.0, 10.0, 20.0),
                person_id=person,
                verdict="unknown" if person is None else "matched",
                probability=0.934,
            )
            for track, person in people
        )
        image = np.zeros((4, 4, 3), np.uint8)
        time_s = START_S + self.clock.now_s
        frame = Frame(camera_id=camera, index=0, time_s=time_s, image=image)
        self.told.saw(SeenFrame(frame=frame, people=boxes))


@pytest.fixture
def make_setup(broker: Any) -> Iterator[Callable[..., Setup]]:
    made: list[Setup] = []

    def make(**settings: Any) -> Setup:
        made.append(Setup(broker.port, **settings))
        return made[-1]

    yield make
    for one in made:
        one.told.close()


def test_each_camera_has_a_sensor_that_says_who_is_there(
    home: Home, make_setup: Callable[..., Setup]
) -> None:
    watch = make_setup()
    wait_until(lambda: home.state("door") == home.state("back yard") == "nobody")
    watch.saw("door", (1, 7), (2, None), (3, 8))
    wait_until(lambda: home.state("door") == "person 7, person 8, 1 unknown")
    assert home.state("back yard") == "nobody"
    attributes = home.attributes("door")
    assert attributes["count"] == 3
    assert attributes["unknown"] == 1
    assert attributes["people"][0] == {
        "id": 7,
        "since": "2023-11-14T22:13:20+00:00",
        "confidence": 0.93,
    }
    devices = {json.dumps(one.device.model_dump()) for one in home.entities.values()}
    assert len(devices) == 1
    watch.clock.now_s += 30.0
    wait_until(lambda: home.state("door") == "nobody")


def test_no_name_leaves_unless_names_are_asked_for(
    broker: Any, home: Home, make_setup: Callable[..., Setup]
) -> None:
    watch = make_setup(persons=True)
    watch.saw("door", (1, 7))
    wait_until(lambda: home.state("door") == "person 7")
    wait_until(lambda: home.state("person 7") == "home")
    assert "Anna" not in str(home.values) + str(home.entities)
    watch.told.close()
    named = make_setup(names=True)
    named.saw("door", (1, 7))
    wait_until(lambda: home.state("door") == "Anna")
    assert home.attributes("door")["people"][0]["name"] == "Anna"


def test_a_person_has_a_tracker_only_if_asked_for_and_named(
    home: Home, make_setup: Callable[..., Setup]
) -> None:
    watch = make_setup(persons=True, names=True)
    watch.persons[9] = "Ida"  # who is ignored
    wait_until(lambda: home.state("Anna") == "not_home")
    assert home.attributes("Anna")["in_zones"] == []
    watch.saw("door", (1, 7), (2, 8), (3, 9))
    wait_until(lambda: home.state("Anna") == "home")
    assert home.attributes("Anna")["in_zones"] == ["zone.home"]
    assert {one.name for one in home.entities.values()} == {"door", "back yard", "Anna"}
    assert home.state("door") == "Anna, person 8"
    watch.clock.now_s += 899.0
    time.sleep(0.7)
    assert home.state("Anna") == "home"
    watch.clock.now_s += 1.0
    wait_until(lambda: home.state("Anna") == "not_home")


def test_a_tracker_can_tell_the_camera(home: Home, make_setup: Callable[..., Setup]) -> None:
    watch = make_setup(persons=True, names=True, place="camera")
    watch.saw("back yard", (1, 7))
    wait_until(lambda: home.state("Anna") == "back yard")
    assert home.attributes("Anna")["in_zones"] == ["back yard", "zone.home"]
    watch.clock.now_s += 30.0
    wait_until(lambda: home.state("Anna") == "home")


def test_who_is_forgotten_is_removed_also_if_it_happened_between_two_starts(
    broker: Any, home: Home, make_setup: Callable[..., Setup]
) -> None:
    watch = make_setup(persons=True, names=True)
    watch.persons[9] = "Ben"
    wait_until(lambda: home.state("Anna") is not None and home.state("Ben") is not None)
    del watch.persons[9]
    wait_until(lambda: home.state("Ben") is None)
    assert home.state("Anna") == "not_home"
    watch.told.close()
    del watch.persons[7]
    watch.start()
    wait_until(lambda: home.state("Anna") is None)
    wait_until(lambda: home.state("door") == "nobody")
    later = Home(broker.port)
    wait_until(lambda: bool(later.entities))
    time.sleep(0.2)
    later.close()
    kept = {topic for topic, payload in later.retained.items() if payload}
    assert not [topic for topic in kept if "person" in topic]


def test_a_camera_that_is_gone_is_removed_and_those_of_other_watches_are_not(
    home: Home, make_setup: Callable[..., Setup]
) -> None:
    config = {
        "state_topic": "x",
        "unique_id": "x",
        "device": {"identifiers": ["x"]},
        "origin": {"name": "x"},
    }
    for name, instance in (("old", "adln"), ("foreign", "shed")):
        home.publish(
            f"homeassistant/sensor/{instance}/camera_9/config",
            json.dumps({**config, "name": name}),
        )
    wait_until(lambda: len(home.entities) == 2)
    make_setup()
    wait_until(lambda: home.state("door") == "nobody")
    wait_until(lambda: "homeassistant/sensor/adln/camera_9/config" not in home.entities)
    assert "homeassistant/sensor/shed/camera_9/config" in home.entities


def test_when_home_assistant_has_started_everything_is_told_again(
    home: Home, make_setup: Callable[..., Setup]
) -> None:
    watch = make_setup()
    watch.saw("door", (1, 7))
    wait_until(lambda: home.state("door") == "person 7")
    home.values.clear()
    home.entities.clear()
    home.is_born()
    wait_until(lambda: home.state("door") == "person 7")


def test_a_broker_that_was_killed_has_everything_again(
    broker: Any, home: Home, make_setup: Callable[..., Setup]
) -> None:
    """Neither of these brokers keeps anything beyond its own end."""
    watch = make_setup()
    watch.saw("door", (1, 7))
    wait_until(lambda: home.state("door") == "person 7")
    broker.kill()
    home.values.clear()
    home.entities.clear()
    watch.saw("door", (1, 8))
    broker.start()
    wait_until(lambda: home.state("door") == "person 8")


def test_a_broker_that_starts_later_is_found(broker: Any, make_setup: Callable[..., Setup]) -> None:
    broker.kill()
    make_setup()
    time.sleep(0.3)
    broker.start()
    listener = Home(broker.port)
    wait_until(lambda: listener.state("door") == "nobody")
    listener.close()


def test_a_broker_that_cannot_be_reached_is_told_once_and_again_after_it_was_there(
    broker: Any, make_setup: Callable[..., Setup], caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> int:
        return caplog.text.count(f"Home Assistant's broker 127.0.0.1:{broker.port} cannot be")

    broker.kill()
    make_setup()
    wait_until(lambda: told() == 1)
    time.sleep(1.5)
    assert told() == 1
    broker.start()
    listener = Home(broker.port)
    wait_until(lambda: listener.state("door") == "nobody")
    listener.close()
    broker.kill()
    wait_until(lambda: told() == 2)


def test_the_sensors_are_unavailable_after_the_end_and_say_nobody(
    broker: Any, home: Home, make_setup: Callable[..., Setup]
) -> None:
    watch = make_setup(persons=True, names=True)
    watch.saw("door", (1, 7))
    wait_until(lambda: home.state("door") == "Anna" and home.state("Anna") == "home")
    watch.told.close()
    wait_until(lambda: home.state("door") == home.state("Anna") == "unavailable")
    later = Home(broker.port)
    wait_until(lambda: "adln/home/adln/camera/1/state" in later.retained)
    time.sleep(0.2)
    later.close()
    states = {topic: value for topic, value in later.retained.items() if "/config" not in topic}
    assert "Anna" not in str(states)
    assert later.retained["adln/home/adln/camera/1/state"] == "nobody"


def test_the_broker_says_so_when_the_watch_is_killed(
    home: Home, make_setup: Callable[..., Setup]
) -> None:
    watch = make_setup()
    wait_until(lambda: home.state("door") == "nobody")
    # As a cut cable does: no farewell, and nobody comes back.
    client = watch.told._client
    client.on_connect = None
    client.reconnect = lambda: (_ for _ in ()).throw(OSError("cut"))
    client.socket().close()
    wait_until(lambda: home.state("door") == "unavailable")


def test_how_long_somebody_is_unseen_is_measured_by_a_clock_that_nobody_sets() -> None:
    assert inspect.signature(HomeAssistant).parameters["clock"].default is time.monotonic


def test_the_state_of_a_crowd_fits() -> None:
    stays = [
        Stay(
            camera="door",
            person_id=number,
            since_s=0.0,
            last_s=0.0,
            confidence=None,
            heard_s=0.0,
        )
        for number in range(60)
    ]
    text = who_is_there(stays, {number: f"Somebody {number}" for number in range(60)})
    assert len(text) <= 255
    named = text.count("Somebody")
    assert text.endswith(f", and {60 - named} more")


CAMERA = '[[cameras]]\nname = "door"\nnumber = 1\nsource = "door"\n'


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("[home_assistant]\nenabled = true", "mqtt.host"),
        ('[home_assistant]\ninstance = "my box"', "letters"),
        ("[home_assistant]\nabsent_after_s = 0.0", "absent_after_s"),
        ("[home_assistant]\naway_after_s = 5.0", "away_after_s"),
        ('[home_assistant]\nplace = "moon"', "home"),
    ],
)
def test_settings_are_checked(tmp_path: Path, lines: str, fault: str) -> None:
    path = tmp_path / "watch.toml"
    path.write_text(CAMERA + lines, encoding="utf-8")
    with pytest.raises(SettingsError, match=fault):
        read_watch_settings(path)


def test_a_settings_file_opens_the_way(broker: Any, home: Home, tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\nclient_id = "box"\n'
    path.write_text(f"{CAMERA}{mqtt}[home_assistant]\nenabled = true\n", encoding="utf-8")
    people = ReportedPeople(list)
    told = open_home_assistant(read_watch_settings(path), tmp_path, people)
    assert told is not None
    wait_until(lambda: home.state("door") == "nobody")
    told.close()
    path.write_text(CAMERA + mqtt, encoding="utf-8")
    assert open_home_assistant(read_watch_settings(path), tmp_path, people) is None


def test_the_broker_may_be_for_home_assistant_only(broker: Any, tmp_path: Path) -> None:
    path = tmp_path / "watch.toml"
    mqtt = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
    for line, sinks in (("", {"jsonl", "mqtt"}), ("sightings = false\n", {"jsonl"})):
        path.write_text(CAMERA + mqtt + line, encoding="utf-8")
        delivery = open_delivery(read_watch_settings(path), tmp_path)
        assert set(delivery.counts().sinks) == sinks
        delivery.close()
