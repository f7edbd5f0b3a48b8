"""Fixtures of a service over a gallery of made-up people."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from browsing import CHROMIUM, SIZES
from fake_service import Served

from adln.scenes.walking_scene import ScenePlan
from adln.service.demo import demo_in, draw_demo
from adln.service.network import open_network
from adln.service.settings import ServeSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page


@pytest.fixture
def make_served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Makes services, each with a folder of its own."""
    made: list[Served] = []

    def make(**changes: Any) -> Served:
        made.append(Served(tmp_path / str(len(made)), **changes))
        return made[-1]

    yield make
    for served in made:
        served.close()


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short demonstration, drawn and enrolled by the network that is shipped."""
    demo = demo_in(tmp_path_factory.mktemp("demo"))
    network, _ = open_network(ServeSettings())
    assert network is not None
    draw_demo(demo, network, plan=ScenePlan(num_persons=4, duration_s=5.0, frames_per_s=4.0))
    return demo.folder


@pytest.fixture
def served(make_served: Callable[..., Served]) -> Served:
    """A service with people in it, open to this machine."""
    made = make_served()
    made.fill()
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Callable[..., "Page"]]:
    """Opens pages; in the end none of them may have complained or asked for anything elsewhere."""
    complaints: list[str] = []
    elsewhere: list[str] = []
    contexts = []

    def listen_to(message: "ConsoleMessage") -> None:
        # What is refused is told on the page; the browser reports the answer by itself.
        if message.type in ("error", "warning") and "Failed to load" not in message.text:
            complaints.append(message.text)

    def open_one(address: str, size: str = "desktop", **options: str) -> "Page":
        width, height = SIZES[size]
        origin = address.partition("/#")[0]
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", listen_to)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((origin, "blob:" + origin))
                else elsewhere.append(request.url)
            ),
        )
        page.goto(address)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []
    assert elsewhere == []
