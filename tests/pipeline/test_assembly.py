"""The outputs of a watch, as its settings name them."""

import socket
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adln.gallery.sqlite_gallery import SqliteGallery
from adln.pipeline.assembly import open_outputs
from adln.pipeline.delivery import Delivery
from adln.pipeline.home_assistant import HomeAssistant
from adln.pipeline.metrics import MetricsServer
from adln.pipeline.sightings import SightingEvent
from adln.pipeline.watch_settings import WatchSettings
from adln.settings import from_mapping

MQTT = {"host": "127.0.0.1", "port": 1, "sightings": False}


def settings_of(**values: Any) -> WatchSettings:
    return from_mapping(WatchSettings, values, source="test")


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    """What the outputs need of an assembly."""
    with SqliteGallery(tmp_path / "gallery", create=True) as gallery:
        yield SimpleNamespace(gallery=gallery, live=True)


def test_metrics_tell_of_the_receivers_and_everything_closes_in_its_order(
    parts: Any,
    tmp_path: Path,
    make_event: Callable[..., SightingEvent],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    closed: list[type] = []
    for kind in (Delivery, HomeAssistant, MetricsServer):

        def close(self: Any, *, _close: Callable[[Any], None] = kind.close) -> None:
            closed.append(type(self))
            _close(self)

        monkeypatch.setattr(kind, "close", close)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    settings = settings_of(mqtt=MQTT, home_assistant={"enabled": True}, metrics={"port": port})
    with ExitStack() as stack:
        outputs = open_outputs(settings, tmp_path, parts, stack)
        assert outputs.home is not None
        assert outputs.delivery is not None
        outputs.submit(make_event(1, person_id=None, verdict="unknown"))
        assert outputs.delivery.drain(20)
        text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    assert 'adln_sink_delivered_total{sink="jsonl"} 1.0' in text
    assert closed == [MetricsServer, HomeAssistant, Delivery]
    assert len((tmp_path / "sightings.jsonl").read_text().splitlines()) == 1


def test_without_receivers_there_is_no_outbox_and_sightings_go_nowhere(
    parts: Any, tmp_path: Path, make_event: Callable[..., SightingEvent]
) -> None:
    with ExitStack() as stack:
        outputs = open_outputs(settings_of(jsonl={"path": ""}), tmp_path, parts, stack)
        outputs.submit(make_event(1))
        assert (outputs.delivery, outputs.home, outputs.metrics) == (None, None, None)
    assert [path.name for path in tmp_path.iterdir()] == ["gallery"]


def test_nothing_is_sent_of_people_who_are_ignored(
    parts: Any, tmp_path: Path, make_event: Callable[..., SightingEvent]
) -> None:
    with ExitStack() as stack:
        outputs = open_outputs(settings_of(ignore=["id:7"]), tmp_path, parts, stack)
        assert outputs.delivery is not None
        outputs.submit(make_event(1, person_id=7))
        assert outputs.delivery.counts().submitted == 0
        outputs.submit(make_event(2, person_id=8))
        assert outputs.delivery.counts().submitted == 1
