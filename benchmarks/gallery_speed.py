"""Speed of a gallery's search against the exact float32 matrix product of numpy in the same run.

    python -m benchmarks.gallery_speed --count 100000 --count 1000000

The baseline holds all embeddings in memory, multiplies them with the query and selects the best.
Each of the two is measured in turns, so that other work on the machine hits both alike. Recall is
against the exact answer. Start-up and memory are those of a fresh process that opens the gallery
and searches once. One thread unless OMP_NUM_THREADS says otherwise.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from benchmarks.made_up_sightings import (
    CROPS_PER_PERSON,
    DAY_S,
    NUM_CAMERAS,
    fill,
    ids_and_times,
    make_world,
)
from numpy.typing import NDArray

from adln.gallery.records import EVERYTHING, Filter, ModelKey
from adln.gallery.sqlite_gallery import SqliteGallery

K = 50
BATCH = 100


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, action="append")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where to make the galleries")
    parser.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--low-memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start is not None:
        start(options.start, low_memory=options.low_memory)
        return
    for count in options.count or [100_000, 1_000_000]:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measure(Path(folder), count, options.dim, options.queries, options.rounds)


def measure(folder: Path, count: int, dim: int, num_queries: int, rounds: int) -> None:
    """One size of gallery."""
    model = ModelKey("made-up", 4, dim)
    world = make_world(num_persons=-(-count // CROPS_PER_PERSON), dim=dim)
    persons, cameras, times = ids_and_times(count)
    embeddings = world.crops(persons, cameras, seed=2)
    rng = np.random.default_rng(3)
    queries = world.crops(
        rng.integers(0, len(world.centres), num_queries),
        rng.integers(0, NUM_CAMERAS, num_queries),
        seed=4,
    )
    began = time.perf_counter()
    with SqliteGallery(folder, create=True) as gallery:
        for _ in fill(gallery, embeddings, model):
            pass
    filled_s = time.perf_counter() - began
    size = sum(path.stat().st_size for path in folder.iterdir()) / 2**20
    click.echo(f"{count:,} x {dim}: filled in {filled_s:.0f} s, {size:,.0f} MiB on disk")
    filters = {
        "all": EVERYTHING,
        "camera not 3": Filter(not_cameras=frozenset({3})),
        "not 3, 10 days": Filter(not_cameras=frozenset({3}), from_s=45 * DAY_S, until_s=55 * DAY_S),
    }
    masks = {
        "all": np.ones(count, np.bool_),
        "camera not 3": cameras != 3,
        "not 3, 10 days": (cameras != 3) & (times >= 45 * DAY_S) & (times < 55 * DAY_S),
    }
    for low_memory in (False, True):
        with SqliteGallery(folder, low_memory=low_memory) as gallery:
            mode = f"{gallery.engine}, {'low memory' if low_memory else 'mapped'}"
            for name, where in filters.items():
                line(
                    f"  {mode:20} {name:15}",
                    lambda q, where=where: [  # type: ignore[misc]
                        result.sighting_ids - 1
                        for result in gallery.search(q, model=model, k=K, where=where)
                    ],
                    lambda q, name=name: exact(embeddings, q, masks[name]),  # type: ignore[misc]
                    [queries[at : at + 1] for at in range(num_queries)],
                    rounds,
                )
            line(
                f"  {mode:20} batch of {BATCH}   ",
                lambda q: [
                    result.sighting_ids - 1 for result in gallery.search(q, model=model, k=K)
                ],
                lambda q: exact(embeddings, q, masks["all"]),
                [np.resize(queries, (BATCH, dim))],
                rounds,
            )
    for low_memory in (False, True):
        command = [sys.executable, "-m", "benchmarks.gallery_speed", "--start", str(folder)]
        command += ["--low-memory"] if low_memory else []
        reply = subprocess.run(command, capture_output=True, text=True, check=True)
        facts = json.loads(reply.stdout)
        click.echo(
            f"  {'low memory' if low_memory else 'mapped':10} ready in {facts['ready_s']:.2f} s, "
            f"first answer after {facts['first_s']:.2f} s; after 100 searches "
            f"{facts['anonymous_mib']:,.0f} MiB of its own + {facts['mapped_mib']:,.0f} MiB mapped",
        )


def line(
    label: str,
    ours: Callable[[NDArray[np.float32]], list[NDArray[np.int64]]],
    baseline: Callable[[NDArray[np.float32]], tuple[list[NDArray[np.int64]], float]],
    queries: list[NDArray[np.float32]],
    rounds: int,
) -> None:
    """Measure both in turns and print medians, ratio and recall."""
    our_times, baseline_times, product_times, shared, wanted = [], [], [], 0, 0
    for _ in range(rounds):
        for query in queries:
            began = time.perf_counter()
            found = ours(query)
            middle = time.perf_counter()
            truth, product_s = baseline(query)
            baseline_times.append(time.perf_counter() - middle)
            product_times.append(product_s)
            our_times.append(middle - began)
            for mine, theirs in zip(found, truth, strict=True):
                shared += len(np.intersect1d(mine, theirs))
                wanted += len(theirs)
    our_ms = 1000 * statistics.median(our_times)
    baseline_ms = 1000 * statistics.median(baseline_times)
    product_ms = 1000 * statistics.median(product_times)
    p95_ms = 1000 * float(np.percentile(our_times, 95))
    click.echo(
        f"{label} {our_ms:8.2f} ms (p95 {p95_ms:.2f}), numpy {baseline_ms:8.2f} ms: "
        f"{baseline_ms / our_ms:.2f}x ({product_ms / our_ms:.2f}x its product alone), "
        f"recall@{K} {shared / wanted:.4f}",
    )


def exact(
    embeddings: NDArray[np.float32], queries: NDArray[np.float32], mask: NDArray[np.bool_]
) -> tuple[list[NDArray[np.int64]], float]:
    """Positions of the best, by comparing everything, and the seconds of the product alone."""
    began = time.perf_counter()
    if len(queries) == 1:
        products = (embeddings @ queries[0])[np.newaxis]
    else:
        products = queries @ embeddings.T
    product_s = time.perf_counter() - began
    found = []
    for similarity in products:
        if not mask.all():
            similarity[~mask] = -2
        best = np.argpartition(similarity, -K)[-K:]
        found.append(best[np.argsort(-similarity[best])])
    return found, product_s


def start(folder: Path, *, low_memory: bool) -> None:
    """In a fresh process: open, search, tell times and memory as JSON."""
    began = time.perf_counter()
    gallery = SqliteGallery(folder, low_memory=low_memory)
    (model,) = gallery.models
    ready = time.perf_counter()
    rng = np.random.default_rng(5)
    queries = rng.standard_normal((100, model.dim), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    gallery.search(queries[0], model=model, k=K)
    first = time.perf_counter()
    for query in queries:
        gallery.search(query, model=model, k=K)
    anonymous, mapped = memory_mib()
    facts = {
        "ready_s": ready - began,
        "first_s": first - began,
        "anonymous_mib": anonymous,
        "mapped_mib": mapped,
    }
    click.echo(json.dumps(facts))


def memory_mib() -> tuple[float, float]:
    """Resident memory of this process: its own, and that of mapped files."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 0.0
    sizes = {
        row.split(":")[0]: int(row.split()[1]) / 1024
        for row in status.read_text().splitlines()
        if row.startswith("Rss")
    }
    return sizes["RssAnon"], sizes["RssFile"]


if __name__ == "__main__":
    # Before numpy's BLAS is asked for anything: one thread unless told otherwise.
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = "1"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gallery_speed", *sys.argv[1:]])
    main()
