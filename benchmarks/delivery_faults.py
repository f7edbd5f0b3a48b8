r"""Breaks delivery on purpose and counts what is lost and what comes twice.

Four faults, each for real: an MQTT broker that stops, a webhook that is down, a process killed with
kill -9 in mid-write, and a full disk. At least once is promised: "lost" must be 0 in every row, and
receivers drop what comes "twice" by its event_id.

    python -m benchmarks.delivery_faults --broker-seconds 30 --webhook-seconds 30 --kills 20 \
        --small-disk /mnt/small --json faults.json

The broker is Mosquitto, which must be installed; it keeps its queue over a restart, and so does the
listener its session. `--small-disk` is a folder on a small file system that may be filled, for
example after `mount -t tmpfs -o size=4M none /mnt/small`. Without it "full" is a limit on the size
of files, set by the kernel.
"""

import http.server
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from adln.cameras.clocks import Backoff
from adln.pipeline.broker import Broker
from adln.pipeline.delivery import Delivery, Sink
from adln.pipeline.jsonl_sink import JsonlSink
from adln.pipeline.mqtt_sink import MqttSink
from adln.pipeline.outbox import Outbox
from adln.pipeline.sightings import SightingEvent, make_event_id
from adln.pipeline.webhook_sink import WebhookSink

BACKOFF = partial(Backoff, first_s=0.2, longest_s=5.0)
DRAIN_S = 120.0


@dataclass
class Outcome:
    """What became of the sightings of one fault.

    Attributes:
        fault: What was broken.
        promised: Sightings that were said to be safely stored.
        received: Different ones that arrived.
        lost: Promised and never received.
        twice: Receipts beyond the first of each.
        slowest_submit_ms: Longest time that handing one in took.
        note: What else is worth knowing.
    """

    fault: str
    promised: int
    received: int
    lost: int
    twice: int
    slowest_submit_ms: float
    note: str = ""


@dataclass
class Stream:
    """Hands sightings in at a steady rate and notes how long that took."""

    delivery: Delivery
    name: str
    sent: list[str] = field(default_factory=list)
    slowest_s: float = 0.0

    def run(self, seconds: float, rate: float) -> None:
        """Hand in sightings for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            event = made_up(self.name, len(self.sent))
            begin = time.perf_counter()
            self.delivery.submit(event)
            self.slowest_s = max(self.slowest_s, time.perf_counter() - begin)
            self.sent.append(event.event_id)
            time.sleep(1 / rate)


def made_up(run: str, number: int) -> SightingEvent:
    """A sighting that nobody had."""
    return SightingEvent(
        event_id=make_event_id(run, number),
        camera_id=number % 3,
        camera_name=f"camera_{number % 3}",
        track_id=number,
        first_time_s=1_700_000_000.0 + number,
        last_time_s=1_700_000_001.0 + number,
        person_id=number % 40,
        verdict="matched",
        probability=0.9,
        depth=2,
        model="ab" * 32,
        box_xyxy=(10.0, 20.0, 60.0, 150.0),
        quality=0.8,
    )


def judge(
    fault: str, promised: list[str], received: list[str], *, slowest_s: float = 0.0
) -> Outcome:
    """Compare what was promised with what arrived."""
    counts = Counter(received)
    return Outcome(
        fault=fault,
        promised=len(promised),
        received=len(counts),
        lost=len(set(promised) - counts.keys()),
        twice=sum(counts.values()) - len(counts),
        slowest_submit_ms=round(1000 * slowest_s, 2),
    )


def broker_stops(folder: Path, seconds: float, rate: float) -> Outcome:
    """Mosquitto is stopped for a while, as by an update of the machine that it runs on."""
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    program = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin")
    if program is None:
        raise click.ClickException("Mosquitto is not installed: apt-get install mosquitto")
    port = _free_port()
    lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0"]
    lines += ["persistence true", f"persistence_location {folder}/", "user root"]
    settings = folder / "mosquitto.conf"
    settings.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start() -> subprocess.Popen[bytes]:
        with (folder / "mosquitto.log").open("ab") as log:
            running = subprocess.Popen([program, "-c", str(settings)], stdout=log, stderr=log)
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return running
            if running.poll() is not None:
                raise click.ClickException((folder / "mosquitto.log").read_text(encoding="utf-8"))
            time.sleep(0.05)

    received: list[str] = []
    broker = start()
    listener = Client(CallbackAPIVersion.VERSION2, client_id="listener", clean_session=False)
    ready = threading.Event()

    def subscribe(client: Any, *_: Any) -> None:
        client.subscribe("adln/sightings/#", qos=1)

    def keep(_client: Any, _data: Any, message: Any) -> None:
        received.append(SightingEvent.from_json(message.payload).event_id)

    listener.on_connect = subscribe
    listener.on_subscribe = lambda *_: ready.set()
    listener.on_message = keep
    listener.reconnect_delay_set(1, 1)
    listener.connect("127.0.0.1", port)
    listener.loop_start()
    ready.wait(10)

    sink = MqttSink(Broker("127.0.0.1", port, timeout_s=5.0), client_id="device")
    with _delivering(folder, "mqtt", sink) as delivery:
        stream = Stream(delivery, "broker")
        stream.run(seconds / 4, rate)
        broker.terminate()
        broker.wait()
        stream.run(seconds, rate)
        waiting = delivery.counts().sinks["mqtt"].pending
        broker = start()
        stream.run(seconds / 4, rate)
        delivery.drain(DRAIN_S)
    _wait_until(lambda: set(stream.sent) <= set(received), 20.0)
    listener.disconnect()
    listener.loop_stop()
    broker.terminate()
    broker.wait()
    outcome = judge("broker stopped", stream.sent, received, slowest_s=stream.slowest_s)
    outcome.note = f"{seconds:g} s; {waiting} waited in the outbox"
    return outcome


def webhook_down(folder: Path, seconds: float, rate: float) -> Outcome:
    """A web server answers 503, then is gone, then takes sightings but never says so."""
    received: list[str] = []
    status = [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if status[0] != 503:
                received.append(SightingEvent.from_json(body).event_id)
            if status[0] == 0:  # received, but the answer is lost on the way
                self.close_connection = True
                return
            self.send_response(status[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    port = _free_port()

    def serve() -> http.server.ThreadingHTTPServer:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    server = serve()
    sink = WebhookSink(f"http://127.0.0.1:{port}/", secret=b"shared", timeout_s=2.0)
    with _delivering(folder, "webhook", sink) as delivery:
        stream = Stream(delivery, "webhook")
        stream.run(seconds / 4, rate)
        status[0] = 503
        stream.run(seconds / 3, rate)
        status[0] = 0
        stream.run(seconds / 3, rate)
        server.shutdown()
        server.server_close()
        stream.run(seconds / 3, rate)
        waiting = delivery.counts().sinks["webhook"].pending
        status[0] = 200
        server = serve()
        delivery.drain(DRAIN_S)
    server.shutdown()
    server.server_close()
    outcome = judge("webhook down", stream.sent, received, slowest_s=stream.slowest_s)
    outcome.note = f"{seconds:g} s: 503, lost answers, nobody there; {waiting} waited in the outbox"
    return outcome


def kill_9(folder: Path, kills: int) -> Outcome:
    """A process stores and delivers to a JSONL file, and is killed again and again."""
    promised: list[str] = []
    for number in range(kills + 1):
        is_last = number == kills
        command = [sys.executable, "-m", "benchmarks.delivery_faults", "--child", str(folder)]
        command += ["--first", str(1_000_000 * number), *(["--drain"] if is_last else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            if child.stdout is None:
                raise RuntimeError("a pipe was asked for")
            said = [] if is_last else [child.stdout.readline() for _ in range(5 + 37 * number % 90)]
            if not is_last:
                child.send_signal(signal.SIGKILL)
            said += child.stdout.readlines()
        # A line without its end was not said in full.
        promised += [line.strip() for line in said if line.endswith("\n")]
    lines = (folder / "sightings.jsonl").read_text(encoding="utf-8").splitlines()
    received = [SightingEvent.from_json(line).event_id for line in lines]
    outcome = judge("kill -9 in mid-write", promised, received)
    outcome.note = f"{kills} kills; every line of the file is whole"
    return outcome


def child(folder: Path, first: int, *, drain: bool) -> None:
    """Store sightings for ever and say which are stored, or only deliver what is left."""
    outbox = Outbox(folder / "outbox.db", ["file"])
    delivery = Delivery(outbox, {"file": JsonlSink(folder / "sightings.jsonl")}, backoff=BACKOFF)
    if drain:
        delivery.drain(DRAIN_S)
        delivery.close()
        return
    number = first
    while True:
        events = [made_up("kill", number + n) for n in range(3)]
        for event in events:
            delivery.submit(event)
        if delivery.flush(10):
            sys.stdout.write("".join(f"{event.event_id}\n" for event in events))
            sys.stdout.flush()
        number += 3


def full_disk(folder: Path, seconds: float, rate: float, small_disk: Path | None) -> Outcome:
    """The disk of outbox and file is full for a while."""
    place = folder if small_disk is None else small_disk
    path = place / "sightings.jsonl"
    outbox = Outbox(place / "outbox.db", ["file"])
    delivery = Delivery(outbox, {"file": JsonlSink(path)}, backoff=BACKOFF)
    stream = Stream(delivery, "disk")
    stream.run(seconds / 4, rate)
    with _filled(place) if small_disk is not None else _no_file_grows():
        stream.run(seconds, rate)
        counts = delivery.counts()
    stream.run(seconds / 4, rate)
    delivery.drain(DRAIN_S)
    lost = delivery.counts().lost_unstored
    delivery.close()
    lines = path.read_text(encoding="utf-8").splitlines()
    received = [SightingEvent.from_json(line).event_id for line in lines]
    outcome = judge("full disk", stream.sent, received, slowest_s=stream.slowest_s)
    outcome.note = (
        f"{seconds:g} s on {'a small file system' if small_disk else 'files that cannot grow'}; "
        f"{counts.waiting} waited in memory, {lost} given up"
    )
    return outcome


@contextmanager
def _delivering(folder: Path, name: str, sink: Sink) -> Iterator[Delivery]:
    delivery = Delivery(Outbox(folder / "outbox.db", [name]), {name: sink}, backoff=BACKOFF)
    try:
        yield delivery
    finally:
        delivery.close()


@contextmanager
def _no_file_grows() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def _filled(place: Path) -> Iterator[None]:
    filler = place / "filler"
    try:
        with filler.open("wb", buffering=0) as file:
            for block in (65536, 1):
                try:
                    while True:
                        file.write(b"x" * block)
                except OSError:
                    continue
        yield
    finally:
        filler.unlink(missing_ok=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def _wait_until(is_done: Callable[[], bool], timeout_s: float) -> None:
    until = time.monotonic() + timeout_s
    while not is_done() and time.monotonic() < until:
        time.sleep(0.05)


@click.command(help=__doc__, context_settings={"max_content_width": 100})
@click.option("--broker-seconds", type=float, default=30.0, help="How long the broker is away.")
@click.option("--webhook-seconds", type=float, default=30.0, help="How long the webhook is down.")
@click.option("--disk-seconds", type=float, default=20.0, help="How long the disk is full.")
@click.option("--kills", type=int, default=20, help="How often the process is killed.")
@click.option("--rate", type=float, default=20.0, help="Sightings a second.")
@click.option(
    "--small-disk",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder on a small file system that may be filled.",
)
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write results there.")
@click.option("--child", "child_folder", type=click.Path(path_type=Path), hidden=True)
@click.option("--first", type=int, default=0, hidden=True)
@click.option("--drain", is_flag=True, hidden=True)
def main(
    broker_seconds: float,
    webhook_seconds: float,
    disk_seconds: float,
    kills: int,
    rate: float,
    small_disk: Path | None,
    json_path: Path | None,
    child_folder: Path | None,
    first: int,
    drain: bool,
) -> None:
    """Run all faults and print the table."""
    if child_folder is not None:
        child(child_folder, first, drain=drain)
        return
    outcomes: list[Outcome] = []
    click.echo(
        f"{'fault':<22}{'promised':>9}{'received':>9}{'lost':>6}{'twice':>7}{'submit ms':>11}  note"
    )
    faults: tuple[Callable[[Path], Outcome], ...] = (
        lambda folder: broker_stops(folder, broker_seconds, rate),
        lambda folder: webhook_down(folder, webhook_seconds, rate),
        lambda folder: kill_9(folder, kills),
        lambda folder: full_disk(folder, disk_seconds, rate, small_disk),
    )
    for fault in faults:
        with tempfile.TemporaryDirectory() as name:
            one = fault(Path(name))
        outcomes.append(one)
        click.echo(
            f"{one.fault:<22}{one.promised:>9,}{one.received:>9,}{one.lost:>6,}{one.twice:>7,}"
            f"{one.slowest_submit_ms:>11.2f}  {one.note}"
        )
    if json_path is not None:
        rows = [asdict(outcome) for outcome in outcomes]
        json_path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if any(outcome.lost for outcome in outcomes):
        raise click.ClickException("sightings were lost")


if __name__ == "__main__":
    main()
