"""Metrics of the service for Prometheus.

The registry belongs to the instance, as in `adln.pipeline.metrics`.
"""

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from adln.service.live import EventSource

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServiceMetrics:
    """The counters of one service; `listeners` returns the number of open event streams."""

    def __init__(self, listeners: Callable[[], int], source: EventSource) -> None:
        self._registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self._registry}
        labels = ("route", "method", "status")
        self.requests = Counter("adln_http_requests", "Responses.", labels, **own)
        self.seconds = Histogram(
            "adln_http_seconds", "Duration of a request.", ("route",), buckets=_SECONDS, **own
        )
        # By origin: "picture" or "push".
        self.stored = Counter("adln_stored", "Sightings stored.", ("source",), **own)
        self.refused_tokens = Counter("adln_refused_tokens", "Wrong tokens.", **own)
        Gauge("adln_listeners", "Open event streams.", **own).set_function(listeners)
        running = Gauge("adln_cameras_running", "Cameras that deliver frames.", **own)
        running.set_function(lambda: sum(one.state == "running" for one in source.cameras()))
        restarts = Gauge("adln_cameras_restarts", "Restarts of the camera process.", **own)
        restarts.set_function(lambda: 0 if (view := source.pipeline()) is None else view.restarts)

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry).decode("utf-8")
