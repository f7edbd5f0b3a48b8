"""Metrics of the service for Prometheus.

The registry belongs to the instance, as in `adln.pipeline.metrics`.
"""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from adln.service.live import EventSource

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServiceMetrics:
    """The counters of one service.

    Args:
        listeners: returns the number of pages that follow live events.
        source: the cameras.

    Attributes:
        registry: contains all of them; more can be registered with it.
        requests: answers by route, method and status.
        seconds: time of a request, by route.
        stored: sightings stored, by origin ("picture" or "push").
        refused_tokens: requests with a wrong token.
    """

    def __init__(self, listeners: Callable[[], int], source: EventSource) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "adln_http_requests",
            "Responses.",
            ("route", "method", "status"),
            registry=registry,
        )
        self.seconds = Histogram(
            "adln_http_seconds",
            "Duration of a request.",
            ("route",),
            registry=registry,
            buckets=_SECONDS,
        )
        self.stored = Counter("adln_stored", "Sightings stored.", ("source",), registry=registry)
        self.refused_tokens = Counter("adln_refused_tokens", "Wrong tokens.", registry=registry)
        Gauge("adln_listeners", "Open event streams.", registry=registry).set_function(listeners)
        running = Gauge("adln_cameras_running", "Cameras that deliver frames.", registry=registry)
        running.set_function(lambda: sum(one.state == "running" for one in source.cameras()))
        restarts = Gauge(
            "adln_cameras_restarts", "Restarts of the camera process.", registry=registry
        )
        restarts.set_function(lambda: 0 if (view := source.pipeline()) is None else view.restarts)

    def text(self) -> str:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry).decode("utf-8")
