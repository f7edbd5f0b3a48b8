"""One hostile client beside an honest one: what the honest one feels of it.

    python -m benchmarks.hostile_clients --seconds 15

The service runs as a process of its own, as `adln serve` starts it, with tokens and the shipped
network; the hostile client is a process of its own, too. The honest client asks ten times a second,
in turns by embedding and by picture, and each question has to be answered. It is measured alone,
then beside each attack, then beside all of them at a time. The bar: p95 under three times its value
when all is quiet, no question unanswered, and the service's memory under 400 MB.
"""

import argparse
import asyncio
import contextlib
import functools
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import click
import httpx
import numpy as np
from benchmarks.made_up_sightings import CROPS_PER_PERSON, fill, ids_and_times, make_world
from benchmarks.service_load import Service
from PIL import Image

from adln.gallery.sqlite_gallery import SqliteGallery
from adln.service.answers import ModelName, encode_embedding
from adln.service.network import open_network
from adln.service.settings import ServeSettings
from adln.service.state import ServiceState

_EVERY_S = 0.1
_TIMES_QUIET = 3.0
_MOST_MB = 400.0
_UNKNOWN_KEYS = 340_000
_SILENT = 600
_IDLE_UPLOADS = 10
ATTACKS = ("hostile JSON", "silent connections", "idle uploads", "named enrolment", "wrong tokens")


@dataclass(frozen=True)
class Target:
    """Where a client goes, and with what token."""

    host: str
    port: int
    token: str

    def head(self, path: str, kind: str, length: int, token: str | None = None) -> bytes:
        """The head of a POST."""
        return (
            f"POST /api/v1{path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n"
            f"Authorization: Bearer {token or self.token}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {length}\r\n\r\n"
        ).encode()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="sightings in the gallery")
    parser.add_argument("--forgotten", type=int, default=1000, help="names that were forgotten")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each attack")
    parser.add_argument("--attack", nargs=4, metavar=("HOST", "PORT", "TOKEN", "NAME"))
    options = parser.parse_args()
    if options.attack:
        host, port, token, name = options.attack
        asyncio.run(attack(Target(host, int(port), token), name))
        return
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder) / "gallery"
        search = make_gallery(gallery, options.count, options.forgotten)
        state = ServiceState(gallery / "service")
        honest, hostile = (state.create_token(one, "operator") for one in ("honest", "hostile"))
        state.close()
        with Service(gallery, ("--set", "require_token=true")) as service:
            is_good = measure(service, search, honest, hostile, options.seconds)
    if not is_good:
        raise SystemExit(1)


def make_gallery(folder: Path, count: int, forgotten: int) -> bytes:
    """A gallery of made-up sightings that forgot people; and a search in it, as JSON."""
    network, _ = open_network(ServeSettings())
    assert network is not None
    model = network.model
    with SqliteGallery(folder, create=True) as gallery:
        # All first: whether a name is barred is asked for each of them.
        people = [gallery.enrol(f"somebody number {at}") for at in range(forgotten)]
        with click.progressbar(people, label="forgetting", file=sys.stderr) as shown:
            for person in shown:
                gallery.forget(person)
        world = make_world(num_persons=-(-count // CROPS_PER_PERSON), dim=model.dim)
        persons, cameras, _ = ids_and_times(count)
        embeddings = world.crops(persons, cameras, seed=2)
        for _ in fill(gallery, embeddings, model):
            pass
    name = ModelName.of(model).model_dump()
    return json.dumps({"embedding": encode_embedding(embeddings[5]), "model": name}).encode()


def measure(service: Service, search: bytes, honest: str, hostile: str, seconds: float) -> bool:
    """Print what the honest client feels; whether it is within the bar."""
    quiet_ms, _ = ask(service.address, honest, search, seconds)
    show("quiet", quiet_ms, 0, service.pid, None)
    is_good = True
    for name in (*ATTACKS, "all together"):
        host, _, port = service.address.removeprefix("http://").partition(":")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.hostile_clients"),
                *("--attack", host, port, hostile, name),
            ]
        )
        try:
            # Not the start of its Python.
            time.sleep(3.0)
            times_ms, failed = ask(service.address, honest, search, seconds)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        is_good &= show(name, times_ms, failed, service.pid, quiet_ms)
        time.sleep(2.0)
    return is_good


def ask(
    address: str, token: str, search: bytes, seconds: float
) -> tuple[dict[str, list[float]], int]:
    """Milliseconds of each answer by what was asked, and how many were none."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (256, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG")
    questions = {
        "embedding": ("/search", "application/json", search),
        "picture": ("/search/picture", "image/jpeg", stream.getvalue()),
    }
    times_ms: dict[str, list[float]] = {kind: [] for kind in questions}
    failed = 0
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{address}/api/v1", headers=headers, timeout=30) as client:
        began = due = time.perf_counter()
        while due - began < seconds:
            for kind, (path, content_type, body) in questions.items():
                time.sleep(max(0.0, due - time.perf_counter()))
                started = time.perf_counter()
                due = max(due + _EVERY_S, started)
                try:
                    answer = client.post(path, content=body, headers={"Content-Type": content_type})
                    failed += answer.status_code != 200
                except httpx.HTTPError:
                    failed += 1
                times_ms[kind].append(1000 * (time.perf_counter() - started))
    return times_ms, failed


def show(
    name: str,
    times_ms: dict[str, list[float]],
    failed: int,
    pid: int,
    quiet_ms: dict[str, list[float]] | None,
) -> bool:
    """Print one line; whether it is within the bar."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    peak_mb = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) * 1024 / 1e6
    is_good = failed == 0 and peak_mb < _MOST_MB
    cells = []
    for kind, times in times_ms.items():
        p50, p95 = (float(np.percentile(times, at)) for at in (50, 95))
        ratio = ""
        if quiet_ms is not None:
            times_quiet = p95 / float(np.percentile(quiet_ms[kind], 95))
            is_good &= times_quiet < _TIMES_QUIET
            ratio = f" ({times_quiet:.1f} x)"
        cells.append(f"by {kind} p50 {p50:6.1f} p95 {p95:7.1f} ms{ratio}")
    click.echo(
        f"{name:20} {'; '.join(cells)}; {failed} unanswered; peak {peak_mb:.0f} MB"
        f"{'' if is_good else '  <-- outside the bar'}"
    )
    return is_good


# -- the hostile client -------------------------------------------------------------------------


async def attack(target: Target, name: str) -> None:
    """Do it until killed."""
    clients: dict[str, tuple[Callable[[Target], Coroutine[None, None, None]], int]] = {
        "hostile JSON": (send_unknown_keys, 2),
        "silent connections": (stay_silent, _SILENT),
        "idle uploads": (upload_nothing, _IDLE_UPLOADS),
        "named enrolment": (enrol, 2),
        "wrong tokens": (guess, 4),
    }
    names = ATTACKS if name == "all together" else (name,)
    await asyncio.gather(
        *(again_and_again(clients[one][0], target) for one in names for _ in range(clients[one][1]))
    )


async def again_and_again(
    attempt: Callable[[Target], Coroutine[None, None, None]], target: Target
) -> None:
    """Whatever the service does about it."""
    while True:
        with contextlib.suppress(OSError, EOFError):
            await attempt(target)
        await asyncio.sleep(0.01)


@functools.cache
def unknown_keys() -> bytes:
    """Made once, so that the hostile client's own work is not what the honest one feels."""
    return b"{" + b",".join(b'"%07d":1' % at for at in range(_UNKNOWN_KEYS)) + b"}"


async def send_unknown_keys(target: Target) -> None:
    """4 MiB of JSON in which nothing is known."""
    body = unknown_keys()
    async with connected(target) as (reader, writer):
        writer.write(target.head("/sightings", "application/json", len(body)))
        writer.write(body)
        await writer.drain()
        await reader.read()


async def stay_silent(target: Target) -> None:
    """A connection without a word."""
    async with connected(target) as (reader, _):
        await reader.read()


async def upload_nothing(target: Target) -> None:
    """A picture that does not come."""
    async with connected(target) as (reader, writer):
        writer.write(target.head("/search/picture", "image/jpeg", 100_000))
        await reader.read()


async def enrol(target: Target) -> None:
    """Somebody with a name, which is held against all that were forgotten."""
    body = json.dumps({"name": f"hostile {time.perf_counter_ns()}"}).encode()
    async with connected(target) as (reader, writer):
        for _ in range(20):
            writer.write(target.head("/persons", "application/json", len(body)) + body)
            if not await reader.read(65536):
                return


async def guess(target: Target) -> None:
    """Tokens that nobody has."""
    async with connected(target) as (reader, writer):
        token = f"adln_00000000_{'A' * 43}"
        writer.write(target.head("/search", "application/json", 2, token) + b"{}")
        await reader.read()


@contextlib.asynccontextmanager
async def connected(
    target: Target,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, which is ended without waiting."""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


if __name__ == "__main__":
    # Before numpy's BLAS is asked for anything: one thread unless told otherwise.
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        command = [sys.executable, "-m", "benchmarks.hostile_clients", *sys.argv[1:]]
        os.execv(sys.executable, command)
    main()
