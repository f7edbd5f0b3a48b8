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
    """The counters and gauges of one pipeline.

    Attributes:
        registry: Contains all metrics; more may be registered with it.
        frames: Frames read from a camera. Label camera.
        frames_dropped: Frames skipped to keep pace. Label camera.
        camera_up: 1 while a camera delivers frames, otherwise 0. Label camera.
        reconnects: Reconnections of a camera. Label camera.
        people: People in view. Label camera.
        queue: Waiting frames. Label camera.
        crops_embedded: Crops embedded by the network. Labels camera, depth.
        depth: Depth of the network in use, 1 to 4.
        crops_per_track: Most crops embedded of a track.
        stage_ms: Duration of a stage of the work, in ms. Label stage.
        sightings: Sightings reported. Labels camera, verdict.
        identities: People in the gallery.
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
        self.queue = gauge("queue_frames", "Frames waiting.", "camera")
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
        """Add the counts of delivery, read whenever the metrics are read.

        Args:
            counts: `adln.pipeline.delivery.Delivery.counts`.
        """
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
    """Serves metrics over HTTP at ``/metrics``.

    Args:
        metrics: The metrics to serve.
        port: 0 takes a free one.
        host: The address to listen on; by default only this machine has access.

    Attributes:
        port: The port in use.

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
        submitted = CounterMetricFamily("adln_sightings_submitted", "Sightings submitted.")
        submitted.add_metric([], counts.submitted)
        stored = CounterMetricFamily("adln_sightings_stored", "Sightings stored in the outbox.")
        stored.add_metric([], counts.stored)
        lost = CounterMetricFamily(
            "adln_sightings_lost_unstored", "Sightings dropped because the disk failed."
        )
        lost.add_metric([], counts.lost_unstored)
        waiting = GaugeMetricFamily("adln_sightings_waiting", "Sightings not yet in the outbox.")
        waiting.add_metric([], counts.waiting)
        label = ["sink"]
        pending = GaugeMetricFamily("adln_sink_pending", "Stored, not acknowledged.", labels=label)
        failing = GaugeMetricFamily(
            "adln_sink_failures_in_a_row", "0 while a sink works.", labels=label
        )
        delivered = CounterMetricFamily("adln_sink_delivered", "Acknowledged.", labels=label)
        dropped = CounterMetricFamily(
            "adln_sink_dropped", "Dropped unsent from a full outbox.", labels=label
        )
        set_aside = CounterMetricFamily("adln_sink_set_aside", "Refused for good.", labels=label)
        for name, sink in counts.sinks.items():
            pending.add_metric([name], sink.pending)
            failing.add_metric([name], counts.failures.get(name, 0))
            delivered.add_metric([name], sink.delivered)
            dropped.add_metric([name], sink.dropped)
            set_aside.add_metric([name], sink.set_aside)
        yield from (submitted, stored, lost, waiting)
        yield from (pending, failing, delivered, dropped, set_aside)
