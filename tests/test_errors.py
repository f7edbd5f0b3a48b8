"""What messages say to do can be done."""

import re
from pathlib import Path

import pytest

from adln.errors import how_to_install

ROOT = Path(__file__).parents[1]


def test_a_missing_package_is_installed_from_the_source() -> None:
    assert 'pip install ".[camera]"' in how_to_install("camera")


@pytest.mark.parametrize("folder", ["src", "docs", "deploy"])
def test_nothing_says_to_install_from_an_index_that_has_no_adln(folder: str) -> None:
    wrong = re.compile(r"pip install [\"']?adln\b")
    found = [
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and path.suffix in {".py", ".md", ".service", ".html", ".js", ""}
        and wrong.search(path.read_text("utf-8", errors="replace"))
    ]
    assert found == []
