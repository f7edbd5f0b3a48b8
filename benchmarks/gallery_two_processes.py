"""Two processes on one gallery: one adds and erases, one searches.

    python -m benchmarks.gallery_two_processes --seconds 60

The writer counts an erasure in shared memory as soon as it is acknowledged. The reader notes the
count before each search; an answer that holds a sighting erased by then is stale. The reader also
looks for sightings that never go: each must be found, with a cosine of 1.
"""

import multiprocessing
import tempfile
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery

DIM = 512
MODEL = ModelKey("made-up", 4, DIM)
STEADY = 2_000
BATCH = 20
# Batches live for so many others before they are erased.
LIFE = 10


@click.command()
@click.option("--seconds", default=60.0, show_default=True)
@click.option("--low-memory", is_flag=True, help="of the reader")
def main(seconds: float, low_memory: bool) -> None:
    """Run both and say what was seen."""
    context = multiprocessing.get_context("spawn")
    # Sightings are numbered in order and erased in order: one number says which are gone.
    erased_up_to = context.Value("q", 0)
    written = context.Value("q", 0)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "gallery"
        with SqliteGallery(folder, create=True) as gallery:
            gallery.add(looks(rows(0, STEADY)))
        answers: Any = context.Queue()
        until = time.time() + seconds + 3
        arguments = (folder, until, erased_up_to, written, answers)
        writer = context.Process(target=write, args=arguments)
        reader = context.Process(target=read, args=(*arguments, low_memory))
        writer.start()
        reader.start()
        results = dict(answers.get(timeout=seconds + 120) for _ in range(2))
        writer.join()
        reader.join()
    for name in ("writer", "reader"):
        click.echo(f"{name}: {results[name]}")


def rows(seed: int, count: int) -> NDArray[np.float32]:
    """Embeddings, the same whoever asks."""
    made = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    unit: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit


def looks(embeddings: NDArray[np.float32]) -> list[Sighting]:
    """As sightings."""
    return [
        Sighting(embedding=row, model=MODEL, camera_id=at % 8, time_s=1e9)
        for at, row in enumerate(embeddings)
    ]


def write(folder: Path, until: float, erased_up_to: Any, written: Any, answers: Any) -> None:
    """Add batches and erase old ones."""
    added = erased = 0
    alive: deque[list[int]] = deque()
    try:
        with SqliteGallery(folder) as gallery:
            while time.time() < until:
                ids = gallery.add(looks(rows(1 + added, BATCH)))
                alive.append([one for one in ids if one is not None])
                added += 1
                written.value = added
                if len(alive) > LIFE:
                    gone = alive.popleft()
                    gallery.delete(gone)
                    erased_up_to.value = gone[-1]
                    erased += 1
                if added % 100 == 0:
                    gallery.compact()
        answers.put(("writer", f"{added:,} batches added, {erased:,} erased, no error"))
    except Exception:
        answers.put(("writer", f"ERROR after {added} batches:\n{traceback.format_exc()}"))


def read(
    folder: Path, until: float, erased_up_to: Any, written: Any, answers: Any, low_memory: bool
) -> None:
    """Search for what is steady and for what is being erased."""
    searches = stale = missed = 0
    steady = rows(0, STEADY)
    rng = np.random.default_rng(5)
    try:
        with SqliteGallery(folder, low_memory=low_memory) as gallery:
            while time.time() < until:
                target = int(rng.integers(STEADY))
                (result,) = gallery.search(steady[target], model=MODEL, k=1)
                exact = abs(float(result.similarity[0]) - 1) < 1e-5
                missed += int(result.sighting_ids[0] != target + 1 or not exact)
                # Most of all those that are about to go, or just went.
                newest = written.value
                number = int(rng.integers(max(0, newest - LIFE - 3), newest + 1))
                gone_before = erased_up_to.value
                (result,) = gallery.search(rows(1 + number, BATCH)[0], model=MODEL, k=20)
                found = result.sighting_ids[result.sighting_ids > STEADY]
                stale += int((found <= gone_before).sum())
                searches += 2
        answers.put(
            ("reader", f"{searches:,} searches, {stale} stale answers, {missed} missed, no error")
        )
    except Exception:
        answers.put(("reader", f"ERROR after {searches} searches:\n{traceback.format_exc()}"))


if __name__ == "__main__":
    main()
