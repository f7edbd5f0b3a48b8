"""The files of the page."""

import gzip
from importlib import resources


def test_all_scripts_together_are_small() -> None:
    page = resources.files("adln.service").joinpath("page")
    scripts = [one.read_bytes() for one in page.iterdir() if one.name.endswith(".js")]
    assert scripts
    assert sum(len(gzip.compress(one)) for one in scripts) < 60_000
