"""Cost of a query as sightings pile up, with caps and retention on.

    python -m benchmarks.gallery_lifecycle

2,000 people are seen again and again, for 100 days. The gallery keeps a few good templates of
each, and sightings of nobody for some days. After 50,000 and after 1,000,000 sightings the same
queries are timed; between the two, retention runs every simulated day. Minutes lie between the two
times, in which other work on the machine may come or go, so each query takes its turn with a matrix
product of numpy that never changes, and it is their ratio that is compared.
"""

import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from benchmarks.made_up_sightings import DAY_S, NUM_CAMERAS, World, make_world
from numpy.typing import NDArray

from adln.gallery.records import ModelKey, Sighting
from adln.gallery.retention import Retention, apply_retention
from adln.gallery.sqlite_gallery import SqliteGallery

BATCH = 500
# This share of sightings is nobody's.
UNNAMED_SHARE = 0.2
FLOOR_ROWS = 25_000
ROUNDS = 5


@click.command()
@click.option("--persons", default=2_000, show_default=True)
@click.option("--early", default=50_000, show_default=True)
@click.option("--late", default=1_000_000, show_default=True)
@click.option("--dim", default=512, show_default=True)
@click.option("--templates", default=10, show_default=True)
@click.option("--queries", default=200, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="where to make the gallery")
def main(
    persons: int,
    early: int,
    late: int,
    dim: int,
    templates: int,
    queries: int,
    folder: Path | None,
) -> None:
    """Add sightings for ever and time queries twice."""
    world = make_world(num_persons=persons, dim=dim)
    rng = np.random.default_rng(1)
    rules = Retention(keep_s=90 * DAY_S, max_templates=templates, max_unnamed=5_000)
    asked = world.crops(
        rng.integers(0, persons, queries), rng.integers(0, NUM_CAMERAS, queries), seed=9
    )
    model = ModelKey("made-up", 4, dim)
    with (
        tempfile.TemporaryDirectory(dir=folder) as scratch,
        SqliteGallery(scratch, create=True) as gallery,
    ):
        gallery.set_retention(rules)
        people = [gallery.enrol() for _ in range(persons)]
        costs: dict[int, float] = {}
        step_s = 100 * DAY_S / late
        tidied_s, began = 0.0, time.perf_counter()
        for start in range(0, late, BATCH):
            stop = min(start + BATCH, late)
            gallery.add(batch(world, people, model, start, stop, step_s))
            now_s = stop * step_s
            if now_s - tidied_s > DAY_S:
                apply_retention(gallery, rules, now_s=now_s)
                gallery.compact_if_worthwhile()
                tidied_s = now_s
            if stop in (early, late) or (start < early < stop):
                # Both times just tidied, so that the hour of the day makes no difference.
                apply_retention(gallery, rules, now_s=now_s)
                seen = early if stop <= early + BATCH and early not in costs else late
                query_ms, product_ms = time_queries(gallery, asked, model)
                costs[seen] = query_ms / product_ms
                size = sum(path.stat().st_size for path in Path(scratch).iterdir()) / 2**20
                click.echo(
                    f"after {stop:>9,} sightings: {gallery.count():,} kept, {size:,.0f} MiB, "
                    f"query {query_ms:.2f} ms = {costs[seen]:.2f} products of {FLOOR_ROWS:,} rows, "
                    f"{stop / (time.perf_counter() - began):,.0f} sightings/s so far"
                )
        click.echo(f"late query / early query: {costs[late] / costs[early]:.2f}")


def batch(
    world: World, people: list[int], model: ModelKey, start: int, stop: int, step_s: float
) -> list[Sighting]:
    """The next sightings."""
    rng = np.random.default_rng(start)
    count = stop - start
    who = rng.integers(0, len(people), count)
    cameras = rng.integers(0, NUM_CAMERAS, count)
    embeddings = world.crops(who, cameras, seed=start)
    unnamed = rng.random(count) < UNNAMED_SHARE
    qualities = rng.random(count)
    return [
        Sighting(
            embedding=embeddings[at],
            model=model,
            camera_id=int(cameras[at]),
            time_s=(start + at) * step_s,
            person_id=None if unnamed[at] else people[who[at]],
            quality=float(qualities[at]),
        )
        for at in range(count)
    ]


def time_queries(
    gallery: SqliteGallery, asked: NDArray[np.float32], model: ModelKey
) -> tuple[float, float]:
    """Medians in ms of a query and of the product, in turns, after one round to warm up."""
    floor = np.resize(asked, (FLOOR_ROWS, asked.shape[1]))
    query_s: list[float] = []
    product_s: list[float] = []
    for round_number in range(1 + ROUNDS):
        for query in asked:
            began = time.perf_counter()
            gallery.search(query, model=model, k=10)
            between = time.perf_counter()
            floor @ query
            if round_number > 0:
                query_s.append(between - began)
                product_s.append(time.perf_counter() - between)
    return 1000 * statistics.median(query_s), 1000 * statistics.median(product_s)


if __name__ == "__main__":
    main()
