"""A file that a reader can hold in the head."""

import re
from pathlib import Path

import pytest
from tests.conftest import LONGEST

import adln

(ROOT,) = map(Path, adln.__path__)
# The table of a drawn person's parts is long and has no logic that could be split.
LONG = {"scenes/drawn_figure.py"}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=str)
def test_no_file_has_more_than_600_lines(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() not in LONG:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 600


def test_suffixes_are_compared_in_one_place() -> None:
    compared = re.compile(r"\.suffix(es)?(\[.*?\])?(\.lower\(\))? (==|!=|in|not in) ")
    assert {
        path.name
        for path in ROOT.rglob("*.py")
        if compared.search(path.read_text(encoding="utf-8"))
    } == set()


def test_tests_that_are_begun_first_are_there() -> None:
    assert [name for name in LONGEST if not (Path(__file__).parent / name).is_file()] == []
