r"""How long an operator waits for the first useful view of the page, over a large gallery.

    python -m benchmarks.page_speed --sightings 100000 --people 2000

The service runs as a process of its own, as `adln serve` starts it. Each view is opened several
times in a new browser window without a cache; the time runs from the address to the first
content that says something of people. Nobody in the gallery is real. Needs `adln[serve,dev]` and
a Chromium.
"""

import argparse
import io
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from benchmarks.made_up_sightings import DAY_S, make_world
from benchmarks.page_pictures import BROWSERS
from benchmarks.service_load import Service
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from adln.embedders.embedder import OnnxEmbedder
from adln.embedders.shipped import find_network
from adln.gallery.records import ModelKey, Sighting
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.scenes.drawn_figure import draw_figure
from adln.scenes.drawn_people import describe_person

_CAMERAS = 8
_DAYS = 10
_DRAWN = 100
_BATCH = 5_000
VIEWS = {
    "start": ("start", ".news li, .empty"),
    "people": ("people", "ul.people li"),
    "one person": ("people/7", ".timeline"),
    "review": ("review", ".review .verdict"),
    "follow": ("follow", ".visit-card"),
    "search": ("search", ".drop"),
    "status": ("status", ".facts"),
}
"""View -> its place, and what says something."""


def fill(folder: Path, *, sightings: int, people: int) -> None:
    """A gallery of ten days: half of the people have a name, a tenth of the sightings nobody."""
    embedder = OnnxEmbedder(find_network("res2"))
    depth = embedder.depths[-1]
    model = ModelKey(embedder.model.sha256, depth, embedder.dim, embedder.manifest.space_of(depth))
    rng = np.random.default_rng(0)
    world = make_world(num_persons=people, dim=embedder.dim)
    persons = rng.integers(0, people, sightings)
    cameras = rng.integers(0, _CAMERAS, sightings)
    times = np.sort(time.time() - rng.uniform(0, _DAYS * DAY_S, sightings))
    nobody = rng.random(sightings) < 0.1
    pictures = [_picture(number) for number in range(_DRAWN)]
    with SqliteGallery(folder, create=True) as gallery:
        ids = [
            gallery.enrol(f"Somebody {number}" if number % 2 else None) for number in range(people)
        ]
        for start in range(0, sightings, _BATCH):
            at = np.arange(start, min(start + _BATCH, sightings))
            embeddings = world.crops(persons[at], cameras[at], seed=start)
            gallery.add(
                [
                    Sighting(
                        embedding=embedding,
                        model=model,
                        camera_id=int(cameras[one]) + 1,
                        time_s=float(times[one]),
                        person_id=None if nobody[one] else ids[persons[one]],
                        track_id=int(one),
                        thumbnail=pictures[persons[one] % _DRAWN],
                    )
                    for one, embedding in zip(at.tolist(), embeddings, strict=True)
                ]
            )


def _picture(number: int) -> bytes:
    figure = draw_figure(describe_person(7, number), height_px=118, heading_deg=30.0, phase=1.0)
    crop = figure.lay_over(np.full((128, 64, 3), 150, np.uint8), ground_xy=(32, 124))
    stream = io.BytesIO()
    Image.fromarray(crop).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def wait_for(browser: Browser, address: str, view: str) -> float:
    """Seconds until a view says something, in a new window."""
    place, wanted = VIEWS[view]
    with browser.new_context(viewport={"width": 1280, "height": 860}) as context:
        page = context.new_page()
        began_s = time.perf_counter()
        page.goto(f"{address}/#/{place}", wait_until="commit")
        page.locator(wanted).first.wait_for(timeout=15_000)
        return time.perf_counter() - began_s


def main() -> None:
    """Fill, serve, wait."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sightings", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=2_000)
    parser.add_argument("--times", type=int, default=5)
    options = parser.parse_args()
    browser_path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with tempfile.TemporaryDirectory() as work, sync_playwright() as playwright:
        folder = Path(work) / "gallery"
        fill(folder, sightings=options.sightings, people=options.people)
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        with Service(folder, ("--set", "requests_per_minute=0")) as service:
            for view in VIEWS:
                waits = [wait_for(browser, service.address, view) for _ in range(options.times)]
                click.echo(
                    f"{view:<12} first {waits[0]:5.2f} s, median of the others "
                    f"{statistics.median(waits[1:]):5.2f} s, longest {max(waits):5.2f} s"
                )
        browser.close()


if __name__ == "__main__":
    main()
