"""Sightings to send, and real brokers to send them to."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from pwdlib import PasswordHash

from adln.pipeline.outbox import StoredEvent
from adln.pipeline.sightings import SightingEvent, make_event_id


@pytest.fixture
def make_event() -> Callable[..., SightingEvent]:
    def make(number: int, **changes: Any) -> SightingEvent:
        values: dict[str, Any] = {
            "event_id": make_event_id("run", number),
            "camera_id": 1,
            "camera_name": "entrance",
            "track_id": number,
            "first_time_s": 1_700_000_000.0 + number,
            "last_time_s": 1_700_000_002.5 + number,
            "person_id": 7,
            "verdict": "matched",
            "probability": 0.93,
            "depth": 2,
            "model": "ab" * 32,
            "box_xyxy": (10.0, 20.0, 60.0, 150.0),
            "quality": 0.8,
        }
        return SightingEvent(**{**values, **changes})

    return make


@pytest.fixture
def make_stored(make_event: Callable[..., SightingEvent]) -> Callable[[int], StoredEvent]:
    def make(number: int) -> StoredEvent:
        event = make_event(number)
        return StoredEvent(
            position=number,
            event_id=event.event_id,
            camera_name=event.camera_name,
            body=event.to_json(),
        )

    return make


@contextmanager
def _no_file_may_grow(limit_bytes: int = 0) -> Iterator[None]:
    """No file of this process may grow: what a full disk does, without filling one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def full_disk() -> Callable[..., AbstractContextManager[None]]:
    """Files can grow to so many bytes (0) and no more."""
    return _no_file_may_grow


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Broker:
    """A broker process that can be stopped, frozen and started again on the same port."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        *,
        certificate: Path | None = None,
        key: Path | None = None,
        password_file: Path | None = None,
    ) -> None:
        self.port = free_port()
        self._log = folder / "broker.log"
        if kind == "mosquitto":
            lines = [f"listener {self.port} 127.0.0.1", f"allow_anonymous {not password_file}"]
            lines[1] = lines[1].lower()
            if certificate and key:
                lines += [f"certfile {certificate}", f"keyfile {key}"]
            if password_file:
                lines.append(f"password_file {password_file}")
            if os.geteuid() == 0:
                lines.append("user root")
            path = folder / "mosquitto.conf"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            self._command = [str(mosquitto()), "-c", str(path)]
        else:
            listener: dict[str, Any] = {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}
            if certificate and key:
                listener |= {"ssl": True, "certfile": str(certificate), "keyfile": str(key)}
            plugins: dict[str, Any] = {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            }
            if password_file:
                plugins = {
                    "amqtt.plugins.authentication.FileAuthPlugin": {
                        "password_file": str(password_file)
                    }
                }
            # JSON is YAML, which is what it reads.
            path = folder / "amqtt.yaml"
            path.write_text(
                json.dumps({"listeners": {"default": listener}, "plugins": plugins}),
                encoding="utf-8",
            )
            self._command = [str(Path(sys.executable).with_name("amqtt")), "-c", str(path)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"no broker: {self._log.read_text(encoding='utf-8')}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class Subscriber:
    """Somebody who listens to all cameras and comes back when the broker does."""

    def __init__(self, port: int, **options: Any) -> None:
        self.topics: list[str] = []
        self.bodies: list[str] = []
        self.ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="listener", **options)
        self._client.on_connect = lambda client, *_: client.subscribe("adln/sightings/#", qos=1)
        self._client.on_subscribe = lambda *_: self.ready.set()
        self._client.on_disconnect = lambda *_: self.ready.clear()
        self._client.on_message = self._keep
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self.ready.wait(10)

    def _keep(self, _client: Any, _data: Any, message: Any) -> None:
        self.topics.append(message.topic)
        self.bodies.append(message.payload.decode("utf-8"))

    def event_ids(self) -> list[str]:
        return [SightingEvent.from_json(body).event_id for body in self.bodies]

    def wait_until(self, body: str) -> None:
        """Wait until this one has come, and with it all before it."""
        for _ in range(400):
            if body in self.bodies:
                return
            time.sleep(0.025)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def mosquitto() -> str | None:
    # Debian puts it where only root looks.
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")


# Continuous integration has the pure-Python broker; where Mosquitto is installed, it serves too.
BROKERS = ["amqtt", *(["mosquitto"] if mosquitto() else [])]


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    running = Broker(request.param, tmp_path)
    running.start()
    yield running
    running.kill()


@pytest.fixture(params=BROKERS)
def guarded_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Broker, Path]]:
    """A broker with TLS that knows one user, and its authority's certificate."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "broker.pem", tmp_path / "broker.key"
    issued.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    passwords = tmp_path / "passwords"
    if request.param == "mosquitto":
        tool = str(shutil.which("mosquitto_passwd"))
        subprocess.run([tool, "-b", "-c", str(passwords), "ann", "secret"], check=True)
    else:
        hashed = PasswordHash.recommended().hash("secret")
        passwords.write_text(f"ann:{hashed}\n", encoding="utf-8")
    running = Broker(
        request.param, tmp_path, certificate=certificate, key=key, password_file=passwords
    )
    running.start()
    yield running, tmp_path / "ca.pem"
    running.kill()


@pytest.fixture
def subscribe() -> Iterator[Callable[[Broker], Subscriber]]:
    made: list[Subscriber] = []

    def listen(broker: Broker) -> Subscriber:
        made.append(Subscriber(broker.port))
        return made[-1]

    yield listen
    for subscriber in made:
        subscriber.close()
