import socket
import time
import urllib.request

import pytest

from adln.errors import DeliveryError, SettingsError
from adln.pipeline import metrics as metrics_module
from adln.pipeline.delivery import DeliveryCounts
from adln.pipeline.metrics import MetricsServer, PipelineMetrics
from adln.pipeline.outbox import SinkCounts


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def counts() -> DeliveryCounts:
    return DeliveryCounts(
        submitted=9,
        stored=8,
        waiting=1,
        lost_unstored=0,
        sinks={"mqtt": SinkCounts(pending=3, delivered=5, dropped=2, set_aside=1)},
        failures={"mqtt": 4},
    )


def test_metrics_come_as_prometheus_text() -> None:
    metrics = PipelineMetrics()
    metrics.frames.labels(camera="hall").inc(3)
    metrics.people.labels(camera="hall").set(2)
    metrics.depth.set(2)
    metrics.stage_ms.labels(stage="embed").observe(7.0)
    lines = metrics.text().splitlines()
    assert 'adln_frames_total{camera="hall"} 3.0' in lines
    assert 'adln_people{camera="hall"} 2.0' in lines
    assert "adln_depth 2.0" in lines
    assert 'adln_stage_milliseconds_bucket{le="10.0",stage="embed"} 1.0' in lines


def test_two_pipelines_do_not_count_into_each_other() -> None:
    first, second = PipelineMetrics(), PipelineMetrics()
    first.frames.labels(camera="hall").inc()
    assert "adln_frames_total{" not in second.text()


def test_delivery_is_asked_when_metrics_are_read() -> None:
    metrics = PipelineMetrics()
    metrics.watch_delivery(counts)
    lines = metrics.text().splitlines()
    for line in (
        "adln_sightings_submitted_total 9.0",
        "adln_sightings_waiting 1.0",
        'adln_sink_pending{sink="mqtt"} 3.0',
        'adln_sink_delivered_total{sink="mqtt"} 5.0',
        'adln_sink_dropped_total{sink="mqtt"} 2.0',
        'adln_sink_set_aside_total{sink="mqtt"} 1.0',
        'adln_sink_failures_in_a_row{sink="mqtt"} 4.0',
    ):
        assert line in lines


def test_a_broken_outbox_does_not_silence_the_other_metrics() -> None:
    def broken() -> DeliveryCounts:
        raise DeliveryError("no disk")

    metrics = PipelineMetrics()
    metrics.watch_delivery(broken)
    assert "adln_depth" in metrics.text()


def test_metrics_are_served_to_this_machine_only() -> None:
    metrics = PipelineMetrics()
    metrics.depth.set(3)
    server = MetricsServer(metrics, 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        assert b"adln_depth 3.0" in answer.read()
    with socket.socket() as probe:
        # All of 127.0.0.0/8 is this machine, but only one address of it is listened on.
        assert probe.connect_ex(("127.0.0.2", server.port)) != 0
    server.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", server.port)) != 0


def test_a_port_in_use_is_an_error_that_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match="another port"):
            MetricsServer(PipelineMetrics(), port)


@pytest.mark.parametrize("parts", [[], [b"GET /metrics HTTP/1.1\r\n", b"a: b\r\n"]])
def test_a_client_that_does_not_send_its_request_in_time_holds_no_thread(
    monkeypatch: pytest.MonkeyPatch, parts: list[bytes]
) -> None:
    monkeypatch.setattr(metrics_module._Handler, "timeout", 0.3)
    server = MetricsServer(PipelineMetrics(), 0)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.05) as client:
            began_s, ended = time.monotonic(), False
            while not ended and time.monotonic() - began_s < 20:
                # Headers without end, each of them in time.
                try:
                    for part in parts:
                        client.sendall(part)
                    ended = client.recv(65536) == b""
                except TimeoutError:
                    continue
                except ConnectionError:
                    ended = True
            assert ended
    finally:
        server.close()
