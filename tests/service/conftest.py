"""Fixtures of a service over a gallery of made-up people."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_service import Served


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


@pytest.fixture
def served(make_served: Callable[..., Served]) -> Served:
    """A service with people in it, open to this machine."""
    made = make_served()
    made.fill()
    return made
