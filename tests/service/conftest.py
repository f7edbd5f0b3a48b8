"""Fixtures of a service over a gallery of made-up people."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from fake_service import Served

from adln.scenes.walking_scene import ScenePlan
from adln.service.demo import demo_in, draw_demo
from adln.service.network import open_network
from adln.service.settings import ServeSettings


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
