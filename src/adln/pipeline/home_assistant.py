"""Home Assistant: who is in front of each camera, published by MQTT discovery.

The wanted retained messages are computed as a whole and compared with those sent; the difference is
sent. After a lost connection, and when Home Assistant starts (its birth
message), everything is sent again. Retained messages of this instance that are no longer wanted,
such as those of a person forgotten meanwhile, are removed from the broker.

Source: the discovery format of Home Assistant's MQTT integration,
https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from adln import __version__
from adln.pipeline.broker import Broker, leave, require_topic
from adln.pipeline.people import ReportedPeople
from adln.pipeline.presence import Presence, Stay
from adln.pipeline.watch_parts import SeenFrame
from adln.pipeline.watch_settings import HomeAssistantSettings

NOBODY = "nobody"
LONGEST_STATE = 255
"""Longest state that Home Assistant accepts, in characters."""
_TICK_S = 0.5
_KEEPALIVE_S = 20
_ONLINE, _OFFLINE = "online", "offline"

Facts = Mapping[str, Any]
_log = logging.getLogger(__name__)


class HomeAssistant:
    """Keeps Home Assistant's sensors up to date, on its own thread.

    `cameras` gives the number of each by its name. With the id "", the broker chooses one. `clock`
    measures how long ago somebody was seen, in s; times that are shown are those of the frames.

    Raises:
        DeliveryError: A topic cannot be used.
    """

    def __init__(
        self,
        broker: Broker,
        settings: HomeAssistantSettings,
        *,
        cameras: Mapping[str, int],
        people: ReportedPeople,
        client_id: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._prefix = require_topic(settings.prefix)
        self._base = f"{require_topic(settings.topic)}/{settings.instance}"
        # Where this instance's configurations are.
        self._homes = [
            f"{self._prefix}/{kind}/{settings.instance}" for kind in ("sensor", "device_tracker")
        ]
        self._cameras = dict(cameras)
        self._people = people
        self._clock = clock
        self._presence = Presence(
            absent_after_s=settings.absent_after_s, is_ignored=people.is_ignored
        )
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._stop = threading.Event()
        self._gone = threading.Event()
        self._is_connected = False
        self._sent: dict[str, str] = {}
        self._found: set[str] = set()
        self._client = broker.new_lasting_client(
            client_id,
            whose="Home Assistant's",
            on_connect=self._on_connect,
            on_disconnect=self._on_disconnect,
        )
        self._client.will_set(f"{self._base}/available", _OFFLINE, qos=1, retain=True)
        self._client.reconnect_delay_set(1, 30)
        self._client.on_message = self._on_message
        # A broker that is down at the start is retried, like one that goes down later.
        self._client.connect_async(broker.host, broker.port, keepalive=_KEEPALIVE_S)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._run, name="adln-home", daemon=True)
        self._thread.start()

    def saw(self, seen: SeenFrame) -> None:
        """Process a frame; returns at once."""
        with self._lock:
            self._presence.saw(
                seen.frame.camera_id, seen.frame.time_s, seen.people, now_s=self._clock()
            )

    def close(self, timeout_s: float = 2.0) -> None:
        """Publish that the watch is offline, and disconnect; waits this long for the broker."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._news.set()
        self._thread.join(timeout_s)
        if self._is_connected:
            self._say_farewell(timeout_s)
            self._client.disconnect()
            self._gone.wait(timeout_s)
        leave(self._client)

    def _say_farewell(self, timeout_s: float) -> None:
        """Clear the retained states: the last people seen must not stay on the broker."""
        farewell = {f"{self._base}/available": _OFFLINE}
        for topic in self._sent:
            if topic.endswith("/state"):
                farewell[topic] = NOBODY if "/camera/" in topic else ""
            elif topic.endswith("/attributes"):
                farewell[topic] = "{}"
        until_s = time.monotonic() + timeout_s
        # Wait for acknowledgements: messages in flight may be lost when a connection ends.
        sent = [
            self._client.publish(topic, payload, qos=1, retain=True)
            for topic, payload in farewell.items()
        ]
        for one in sent:
            with suppress(RuntimeError, ValueError):
                one.wait_for_publish(max(0.0, until_s - time.monotonic()))

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._update()
            except Exception:
                # This thread must survive any error of one round.
                _log.exception("Home Assistant could not be updated")
            self._news.wait(_TICK_S)
            self._news.clear()

    def _update(self) -> None:
        if not self._is_connected:
            return
        names = self._people.names()
        now_s = self._clock()
        with self._lock:
            if names is not None:
                self._presence.keep_only(names)
            wanted = self._wanted(names or {}, now_s)
            # Until the gallery's people are known, no message counts as surplus.
            surplus = set() if names is None else (self._found | self._sent.keys()) - wanted.keys()
            self._found -= surplus
        # A configuration is removed before its states, and sent before them.
        for topic in sorted(surplus, key=lambda topic: not topic.endswith("/config")):
            self._send(topic, "")
            self._sent.pop(topic, None)
        for topic, payload in wanted.items():
            if self._sent.get(topic) != payload:
                self._send(topic, payload)

    def _wanted(self, names: Mapping[int, str | None], now_s: float) -> dict[str, str]:
        """Topic -> payload of the messages that the broker should retain, in the order of sending.

        First come the configurations, then the states.
        """
        settings = self._settings
        shown = names if settings.names else {}
        configs: dict[str, str] = {}
        states = {f"{self._base}/available": _ONLINE}

        def add(home: str, at: str, name: str, own: Facts, state: str, attributes: Facts) -> None:
            topic, entity = f"{self._base}/{at}", at.replace("/", "_")
            config = {
                "name": name,
                "unique_id": f"adln_{settings.instance}_{entity}",
                "state_topic": f"{topic}/state",
                "json_attributes_topic": f"{topic}/attributes",
                "availability_topic": f"{self._base}/available",
                "payload_available": _ONLINE,
                "payload_not_available": _OFFLINE,
                "qos": 1,
                "device": {
                    "identifiers": [f"adln_{settings.instance}"],
                    "name": settings.device_name or settings.instance,
                    "manufacturer": "adln",
                    "model": "adln watch",
                    "sw_version": __version__,
                },
                "origin": {"name": "adln", "sw_version": __version__},
                **own,
            }
            configs[f"{home}/{entity}/config"] = json.dumps(config, ensure_ascii=False)
            states[f"{topic}/attributes"] = json.dumps(attributes, ensure_ascii=False)
            states[f"{topic}/state"] = state

        sensor, tracker = self._homes
        for camera, number in self._cameras.items():
            stays = self._presence.at(camera, now_s)
            own = {"icon": "mdi:account-eye"}
            state = who_is_there(stays, shown)
            add(sensor, f"camera/{number}", camera, own, state, _attributes(stays, shown))
        for number, name in names.items() if settings.persons else ():
            if name is None or self._people.is_ignored(number):
                continue
            own = {
                "payload_home": "home",
                "payload_not_home": "not_home",
                # Home Assistant's persons take the name of a place from "gps" trackers only.
                "source_type": "gps" if settings.place == "camera" else "router",
            }
            stay = self._presence.last_of(number)
            place = self._place(stay, now_s)
            attributes = _last_seen(number, stay, place)
            add(tracker, f"person/{number}", _called(number, shown), own, place, attributes)
        return configs | states

    def _place(self, stay: Stay | None, now_s: float) -> str:
        settings = self._settings
        if stay is None or now_s - stay.heard_s >= settings.away_after_s:
            return "not_home"
        if settings.place == "camera" and now_s - stay.heard_s < settings.absent_after_s:
            return stay.camera
        return "home"

    def _send(self, topic: str, payload: str) -> None:
        # After a lost connection everything is sent again, so no acknowledgement is needed.
        sent = self._client.publish(topic, payload, qos=0, retain=True)
        if sent.rc == 0:
            self._sent[topic] = payload

    # paho calls these on its own thread.

    def _on_connect(self, client: Any) -> None:
        ours = [f"{self._base}/#", *(f"{home}/+/config" for home in self._homes)]
        client.subscribe([(topic, 1) for topic in (f"{self._prefix}/status", *ours)])
        self._start_again()

    def _start_again(self) -> None:
        """Send everything again, whatever was sent before."""
        with self._lock:
            self._sent = {}
            self._is_connected = True
        self._news.set()

    def _on_disconnect(self) -> None:
        with self._lock:
            if self._is_connected and not self._stop.is_set():
                _log.warning("the connection to Home Assistant's broker was lost")
            self._is_connected = False
        self._gone.set()

    def _is_ours(self, topic: str) -> bool:
        """Whether a topic belongs to this instance; some brokers deliver other topics, too."""
        return topic.startswith(tuple(f"{place}/" for place in (self._base, *self._homes)))

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        if message.topic == f"{self._prefix}/status":
            if message.payload == _ONLINE.encode():
                self._start_again()
        elif message.retain and message.payload and self._is_ours(message.topic):
            with self._lock:
                self._found.add(message.topic)
            self._news.set()


def who_is_there(stays: Sequence[Stay], names: Mapping[int, str | None]) -> str:
    """The state of a camera: names joined, unknown people counted."""
    parts = [_called(one.person_id, names) for one in stays if one.person_id is not None]
    unknown = len(stays) - len(parts)
    if unknown:
        parts.append(f"{unknown} unknown")
    text = ", ".join(parts) or NOBODY
    shown = len(parts)
    while len(text) > LONGEST_STATE:
        shown -= 1
        text = ", ".join([*parts[:shown], f"and {len(stays) - shown} more"])
    return text


def _attributes(stays: Sequence[Stay], names: Mapping[int, str | None]) -> dict[str, Any]:
    people = []
    for one in stays:
        if one.person_id is None:
            continue
        person: dict[str, Any] = {"id": one.person_id, "since": _moment(one.since_s)}
        if one.confidence is not None:
            person["confidence"] = round(one.confidence, 2)
        if names.get(one.person_id):
            person["name"] = names[one.person_id]
        people.append(person)
    return {"count": len(stays), "unknown": len(stays) - len(people), "people": people}


def _last_seen(number: int, stay: Stay | None, place: str) -> dict[str, Any]:
    # Equals the state; for versions of Home Assistant that read zones instead.
    zones = [] if place == "not_home" else ["zone.home"]
    if place not in ("home", "not_home"):
        zones.insert(0, place)
    found: dict[str, Any] = {"id": number, "in_zones": zones}
    if stay is not None:
        found |= {"camera": stay.camera, "since": _moment(stay.since_s)}
    return found


def _called(person_id: int, names: Mapping[int, str | None]) -> str:
    return names.get(person_id) or f"person {person_id}"


def _moment(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
