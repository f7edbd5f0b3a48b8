"""Load on the service: many clients search a large gallery, beside the same search without HTTP.

    python -m benchmarks.service_load --count 100000 --clients 50 --seconds 60

The service runs as a process of its own, as `adln serve` starts it; the clients share another one.
Clients ask again as soon as they are answered. The search without HTTP uses as many threads as
there are clients (one after the other at the gallery's lock, like the service) and the same
queries, before and after, so that other work on the machine hits both alike.

With --restarts, boxes push sightings meanwhile and the service is killed (SIGKILL) and started
again that often; in the end every sighting whose storing was acknowledged is looked up.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import httpx
import numpy as np
from benchmarks.made_up_sightings import (
    CROPS_PER_PERSON,
    NUM_CAMERAS,
    fill,
    ids_and_times,
    make_world,
)
from numpy.typing import NDArray

from adln.gallery.records import ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.service.answers import encode_embedding

K = 20
DIGEST = "made-up"
_PUSH = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--restarts", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to make the gallery")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        model = ModelKey(DIGEST, 4, options.dim)
        queries = make_gallery(Path(folder) / "gallery", options.count, model)
        plain_s = options.seconds / 4
        line("without HTTP", *search_plainly(folder, queries, model, options.clients, plain_s))
        with Service(Path(folder) / "gallery") as service:
            times, errors, took_s = asyncio.run(
                search_over_http(service.address, queries, model, options.clients, options.seconds)
            )
            line("over HTTP", times, errors, took_s)
            line(
                "over HTTP, one client",
                *asyncio.run(search_over_http(service.address, queries, model, 1, plain_s)),
            )
        line("without HTTP", *search_plainly(folder, queries, model, options.clients, plain_s))
        line("without HTTP, one", *search_plainly(folder, queries, model, 1, plain_s))
        if options.restarts:
            restart_under_load(Path(folder) / "gallery", queries, model, options.restarts)


def make_gallery(folder: Path, count: int, model: ModelKey) -> NDArray[np.float32]:
    """Fill a gallery whose sightings are given to people, and draw queries (Q, D)."""
    world = make_world(num_persons=-(-count // CROPS_PER_PERSON), dim=model.dim)
    persons, cameras, _ = ids_and_times(count)
    embeddings = world.crops(persons, cameras, seed=2)
    with SqliteGallery(folder, create=True) as gallery:
        for _ in fill(gallery, embeddings, model):
            pass
        # As many people as a service would know: names are looked up for every answer.
        for person in range(min(1000, len(world.centres))):
            ids = (np.flatnonzero(persons == person) + 1).tolist()
            gallery.split(ids, f"person number {person}")
    rng = np.random.default_rng(3)
    return world.crops(
        rng.integers(0, len(world.centres), 200), rng.integers(0, NUM_CAMERAS, 200), seed=4
    )


class Service:
    """`adln serve` in a process of its own, on a free port."""

    def __init__(
        self,
        gallery: Path,
        options: Sequence[str] = ("--network", "", "--set", "requests_per_minute=0"),
    ) -> None:
        self._gallery = gallery
        self._options = options
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "adln", "serve", "--gallery", str(self._gallery)),
                *("--port", str(self._port), *self._options),
            ],
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.address}/api/v1/health").status_code == 200:
                    return
            time.sleep(0.05)
        raise SystemExit("the service did not start")

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    def stop(self, how: signal.Signals) -> None:
        """Send a signal and wait for the end."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGTERM)


async def search_over_http(
    address: str, queries: NDArray[np.float32], model: ModelKey, clients: int, seconds: float
) -> tuple[list[float], int, float]:
    """Seconds of each search, how many went wrong, and how long it all took."""
    named = {"digest": model.digest, "depth": model.depth, "dim": model.dim}
    bodies = [{"embedding": encode_embedding(q), "model": named, "k": K} for q in queries]
    host, _, port = address.removeprefix("http://").partition(":")
    requests = [request_bytes(json.dumps(body).encode(), f"{host}:{port}") for body in bodies]
    complete = f'"rank":{K},'.encode()
    times: list[float] = []
    errors = 0
    began = time.perf_counter()

    # Written by hand, because the usual clients take longer than the service.
    async def ask(number: int) -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() - began < seconds:
            number += clients
            started = time.perf_counter()
            writer.write(requests[number % len(requests)])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            times.append(time.perf_counter() - started)
            errors += not (head.startswith(b"http/1.1 200 ") and complete in body)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(ask(number) for number in range(clients)))
    return times, errors, time.perf_counter() - began


def request_bytes(body: bytes, host: str) -> bytes:
    """A search as it goes over the wire."""
    head = (
        f"POST /api/v1/search HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def search_plainly(
    folder: str, queries: NDArray[np.float32], model: ModelKey, clients: int, seconds: float
) -> tuple[list[float], int, float]:
    """The same by calls of the gallery, answers looked up as the service does."""
    times: list[float] = []
    began = time.perf_counter()
    with SqliteGallery(Path(folder) / "gallery") as gallery:

        def ask(number: int) -> None:
            while time.perf_counter() - began < seconds:
                number += clients
                started = time.perf_counter()
                (found,) = gallery.search(queries[number % len(queries)], model=model, k=K)
                gallery.get(found.sighting_ids.tolist())
                times.append(time.perf_counter() - started)

        in_threads(ask, clients)
    return times, 0, time.perf_counter() - began


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Do work(0) to work(count - 1) at the same time."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def restart_under_load(
    folder: Path, queries: NDArray[np.float32], model: ModelKey, restarts: int
) -> None:
    """Push, kill, start again; then look every acknowledged sighting up."""
    named = {"digest": model.digest, "depth": model.depth, "dim": model.dim}
    acknowledged: list[int] = []
    stop = threading.Event()
    service = Service(folder)
    service.start()

    def push(number: int) -> None:
        sightings = [
            {"embedding": encode_embedding(q), "camera_id": number, "time_s": 1e9 + number}
            for q in queries[:_PUSH]
        ]
        with httpx.Client(base_url=service.address, timeout=10) as client:
            while not stop.is_set():
                try:
                    answer = client.post(
                        "/api/v1/sightings", json={"model": named, "sightings": sightings}
                    )
                except httpx.HTTPError:
                    time.sleep(0.1)
                    continue
                if answer.status_code == 201:
                    acknowledged.extend(answer.json()["sighting_ids"])

    pushing = [threading.Thread(target=push, args=(number,)) for number in range(4)]
    for thread in pushing:
        thread.start()
    for at in range(restarts):
        time.sleep(2)
        # Killed, and asked to stop, in turns.
        service.stop(signal.SIGKILL if at % 2 == 0 else signal.SIGTERM)
        service.start()
    time.sleep(1)
    stop.set()
    for thread in pushing:
        thread.join()
    service.stop(signal.SIGTERM)
    with SqliteGallery(folder) as gallery:
        kept = {record.sighting_id for record in gallery.get(acknowledged)}
    lost = len(set(acknowledged) - kept)
    click.echo(
        f"{restarts} restarts while boxes pushed: {len(acknowledged):,} sightings acknowledged, "
        f"{lost} of them lost",
    )
    if lost:
        raise SystemExit(1)


def line(label: str, times: list[float], errors: int, took_s: float) -> None:
    """Print what was measured."""
    p50, p95, p99 = (1000 * float(np.percentile(times, at)) for at in (50, 95, 99))
    click.echo(
        f"{label:24} {len(times):8,} searches, {errors} errors, "
        f"{len(times) / took_s:8.1f} a second, "
        f"p50 {p50:7.1f} ms, p95 {p95:7.1f} ms, p99 {p99:7.1f} ms",
    )


if __name__ == "__main__":
    # Before numpy's BLAS is asked for anything: one thread unless told otherwise.
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.service_load", *sys.argv[1:]])
    main()
