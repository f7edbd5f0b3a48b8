"""The pipeline's metrics for Prometheus.

The registry belongs to the instance, not to the process, so that two pipelines in one process (or
one test) have separate counts. By default the endpoint listens on this machine only, because camera
names and counts of people are private.
"""

from collections.abc import Callable, Iterator
from io import BufferedReader, RawIOBase
from socket import socket
from threading import Thread
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from adln.errors import DeliveryError, SettingsError
from adln.pipeline.delivery import DeliveryCounts

HEAD_S = 10.0
"""Within this time a request must arrive: each connection takes a thread until it ends."""
_MILLISECONDS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)


class PipelineMetrics:
    """The counters and gauges of one pipeline, each with a text that explains it.

    Attributes:
        registry: Contains all metrics; more may be registered with it.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"adln_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"adln_{name}", text, labels, registry=registry)

        self.frames = counter("frames", "Frames read from a camera.", "camera")
        self.frames_dropped = counter("frames_dropped", "Frames skipped to keep pace.", "camera")
        self.camera_up = gauge("camera_up", "1 while a camera delivers frames.", "camera")
        self.reconnects = counter("reconnects", "Reconnections of a camera.", "camera")
        self.people = gauge("people", "People in view.", "camera")
        self.crops_embedded = counter(
            "crops_embedded", "Crops embedded by the network.", "camera", "depth"
        )
        self.depth = gauge("depth", "Depth of the network in use.")
        self.crops_per_track = gauge("crops_per_track", "Most crops embedded of a track.")
        self.stage_ms = Histogram(
            "adln_stage_milliseconds",
            "Duration of a stage of the work.",
            ("stage",),
            registry=registry,
            buckets=_MILLISECONDS,
        )
        self.sightings = counter("sightings", "Sightings said.", "camera", "verdict")
        self.identities = gauge("identities", "People in the gallery.")

    def watch_delivery(self, counts: Callable[[], DeliveryCounts]) -> None:
        """Add the counts of a `Delivery`, read whenever the metrics are read."""
        self.registry.register(_DeliveryCollector(counts))

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry).decode("utf-8")


class _Received(RawIOBase):
    """What a connection receives before a time; then it ends."""

    def __init__(self, connection: socket, until_s: float) -> None:
        self._connection, self._until_s = connection, until_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left_s = self._until_s - monotonic()
        if left_s <= 0:
            return 0
        self._connection.settimeout(left_s)
        try:
            return self._connection.recv_into(buffer)
        except TimeoutError:
            return 0


class _Handler(WSGIRequestHandler):
    """Answers a request that arrives in time, without a log."""

    timeout = HEAD_S

    def setup(self) -> None:
        super().setup()
        self.rfile = BufferedReader(_Received(self.connection, monotonic() + self.timeout))

    def log_message(self, format: str, *args: Any) -> None:
        pass


class MetricsServer:
    """Serves metrics over HTTP at ``/metrics``; by default only this machine has access.

    Attributes:
        port: The port in use: a free one if 0 was given.

    Raises:
        SettingsError: The address cannot be used.
    """

    def __init__(self, metrics: PipelineMetrics, port: int, *, host: str = "127.0.0.1") -> None:
        self._server: WSGIServer
        self._thread: Thread
        try:
            self._server, self._thread = start_http_server(
                port, addr=host, registry=metrics.registry
            )
        except OSError as error:
            raise SettingsError(
                f"Metrics cannot be served at {host}:{port}: {error}. Choose another port."
            ) from error
        self._server.RequestHandlerClass = _Handler
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


class _DeliveryCollector(Collector):
    def __init__(self, counts: Callable[[], DeliveryCounts]) -> None:
        self._counts = counts

    def describe(self) -> Iterator[Metric]:
        """Nothing: reading the counts at registration would touch the disk too early."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        try:
            counts = self._counts()
        except DeliveryError:
            return  # a scrape must not fail because the outbox's disk does
        for family, name, text, value in (
            (CounterMetricFamily, "submitted", "Sightings submitted.", counts.submitted),
            (CounterMetricFamily, "stored", "Sightings stored in the outbox.", counts.stored),
            (
                CounterMetricFamily,
                "lost_unstored",
                "Sightings dropped because the disk failed.",
                counts.lost_unstored,
            ),
            (GaugeMetricFamily, "waiting", "Sightings not yet in the outbox.", counts.waiting),
        ):
            yield family(f"adln_sightings_{name}", text, value=value)
        sinks = {
            name: {**vars(sink), "failures_in_a_row": counts.failures.get(name, 0)}
            for name, sink in counts.sinks.items()
        }
        for family, name, text in (
            (GaugeMetricFamily, "pending", "Stored, not acknowledged."),
            (GaugeMetricFamily, "failures_in_a_row", "0 while a sink works."),
            (CounterMetricFamily, "delivered", "Acknowledged."),
            (CounterMetricFamily, "dropped", "Dropped unsent from a full outbox."),
            (CounterMetricFamily, "set_aside", "Refused for good."),
        ):
            metric = family(f"adln_sink_{name}", text, labels=["sink"])
            for sink, values in sinks.items():
                metric.add_metric([sink], values[name])
            yield metric
