"""What tests of the page share: where the browser is, sizes, and what is wrong with a view."""

import importlib.resources
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in _NAMES if (path := shutil.which(name))), None)
SIZES = {"desktop": (1280, 860), "phone": (390, 740)}


def serious(page: "Page") -> list[str]:
    """What axe finds serious, as text."""
    import axe_playwright_python

    # What is still fading in has too little contrast for a moment.
    page.evaluate("Promise.all(document.getAnimations().map((one) => one.finished)).then(() => 0)")
    source = importlib.resources.files(axe_playwright_python).joinpath("axe.min.js").read_text()
    # The page's own policy lets no other script in; the debugger may.
    page.evaluate(source + "; null")
    found = page.evaluate(
        "axe.run({ resultTypes: ['violations'] }).then((result) => result.violations"
        ".map((one) => one.impact + ' ' + one.id + ' '"
        " + one.nodes.map((node) => node.html.slice(0, 120)).join(' | ')))"
    )
    return [text for text in found if text.startswith(("serious", "critical"))]


def wait_for_count(page: "Page", selector: str, count: int) -> None:
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_have_count(count, timeout=15_000)


def too_wide(page: "Page") -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))
