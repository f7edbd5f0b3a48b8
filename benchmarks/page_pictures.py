"""Pictures of each view of the page, over a drawn house: 1280 and 390 px wide, light and dark.

    python -m benchmarks.page_pictures pictures --readme docs/images/page.png

Needs `adln[serve,dev]` and a Chromium. Nobody in the pictures is real.
"""

import argparse
import contextlib
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import uvicorn
from benchmarks.drawn_house import CAMERAS, House, HouseCameras, draw_house
from playwright.sync_api import Page, sync_playwright

from adln.cameras.finding import FoundPerson
from adln.gallery.sqlite_gallery import SqliteGallery
from adln.scenes.walking_scene import read_truth
from adln.service.app import make_app
from adln.service.live import Events
from adln.service.network import open_network
from adln.service.parts import Parts
from adln.service.running import server_config
from adln.service.settings import ServeSettings
from adln.service.state import ServiceState

SIZES = {"desktop": (1280, 860), "phone": (390, 740)}
SCHEMES = ("dark", "light")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FRAME = 120
_SETTLED_MS = 700
_LONGEST_MS = 60_000
View = Callable[[Page], None]


def main() -> None:
    """Draw, serve, take pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the pictures")
    parser.add_argument("--only", nargs="*", default=(), help="views that begin with one of these")
    parser.add_argument("--readme", type=Path, help="write the picture of an answer here, too")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work, serve_house(Path(work)) as (address, house):
        take(address, views_of(address, house), options.folder, only=tuple(options.only))
    if options.readme:
        shutil.copyfile(options.folder / "answer_desktop_light.png", options.readme)


@contextlib.contextmanager
def serve_house(folder: Path) -> Iterator[tuple[str, House]]:
    """A service over a drawn house; gives its address."""
    network, scale = open_network(ServeSettings())
    assert network is not None
    house = draw_house(folder, network, now_s=time.time())
    for person in (3, 14):
        _picture(house, person).write_bytes(house.looks[person][3].picture)
    truth = read_truth(house.scene)
    rows = np.flatnonzero((truth.camera_ids == 1) & (truth.frame_indices == _FRAME))
    boxes = truth.boxes_xyxy[rows[truth.visible_fractions[rows] > 0.3]].tolist()
    frame = _frame(house).read_bytes()

    def find_people(picture: bytes) -> list[FoundPerson]:
        # The drawing knows where everybody is.
        if picture != frame:
            return [FoundPerson((0.0, 0.0, 20.0, 60.0), 0.9)]
        return [FoundPerson((a, b, c, d), 0.9) for a, b, c, d in boxes]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ServeSettings(
        gallery=str(house.gallery),
        requests_per_minute=0,
        camera_names=dict(CAMERAS),
        keep_pictures=True,
        port=port,
    )
    events = Events()
    with SqliteGallery(house.gallery) as gallery:
        state = ServiceState(settings.state_folder)
        parts = Parts(
            settings=settings,
            gallery=gallery,
            network=network,
            scale=scale,
            state=state,
            source=HouseCameras(house),
            events=events,
            find_people=find_people,
        )
        app = make_app(parts)
        server = uvicorn.Server(server_config(app, settings))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        try:
            yield f"http://127.0.0.1:{port}", house
        finally:
            events.close()
            server.should_exit = True
            thread.join()
            state.close()


def views_of(address: str, house: House) -> dict[str, View]:
    """Name of a view -> how to get there."""

    def at(place: str, wanted: str = "h1") -> View:
        def go(page: Page) -> None:
            page.goto(f"{address}/#/{place}")
            page.locator(wanted).first.wait_for()

        return go

    def search(picture: Path) -> View:
        def go(page: Page) -> None:
            at("search")(page)
            page.set_input_files(".drop input", picture)
            page.locator(".answer, .whole").first.wait_for()

        return go

    def review(kind: str) -> View:
        def go(page: Page) -> None:
            at("review", ".review")(page)
            while not page.locator(".review .verdict", has_text=kind).count():
                page.keyboard.press("j")

        return go

    def pressed(place: str, button: str) -> View:
        def go(page: Page) -> None:
            at(place)(page)
            page.get_by_role("button", name=button).first.click()

        return go

    return {
        "start": at("start", ".to-review"),
        "search": at("search"),
        "answer": search(_picture(house, 3)),
        "answer_unknown": search(_picture(house, 14)),
        "answer_frame": search(_frame(house)),
        "people": at("people"),
        "person": at("people/4"),
        "merge": pressed("people/4", "Merge with"),
        "forget": pressed("people/4", "Forget"),
        "review_merge": review("same person"),
        "review_strange": review("someone else"),
        "review_unnamed": review("no name"),
        "review_group": review("Not enrolled"),
        "follow": at("follow", ".visit-card"),
        "moment": at("moment/900", ".moment"),
        "live": at("live", ".stage img:not([hidden])"),
        "live_large": pressed("live", "Enlarge"),
        "status": at("status"),
        "setup": at("setup"),
        "gone": at("people/999"),
    }


def take(address: str, views: dict[str, View], folder: Path, *, only: Sequence[str] = ()) -> None:
    """Go to each view and take its picture.

    Args:
        address: of the service.
        views: name -> how to get there.
        folder: for the pictures.
        only: if any, views whose names begin with one of these.
    """
    browser_path = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for size, (width, height) in SIZES.items():
            for scheme in SCHEMES:
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme=scheme,  # type: ignore[arg-type]  # one of the two
                    has_touch=size == "phone",
                    is_mobile=size == "phone",
                )
                context.set_default_timeout(_LONGEST_MS)
                page = context.new_page()
                for name, go in views.items():
                    if only and not name.startswith(tuple(only)):
                        continue
                    page.goto(address + "/page/icon.svg")
                    go(page)
                    page.wait_for_timeout(_SETTLED_MS)
                    page.screenshot(
                        path=folder / f"{name}_{size}_{scheme}.png", full_page=name != "answer"
                    )
                context.close()
        browser.close()


def _picture(house: House, person: int) -> Path:
    return house.folder / f"person{person}.jpg"


def _frame(house: House) -> Path:
    return house.scene / "camera_1" / f"{_FRAME:06d}.jpg"


if __name__ == "__main__":
    main()
