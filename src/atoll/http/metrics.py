"""What Prometheus is told. Each application has its own registry."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0)


class _Stats(Collector):
    """Numbers that something else keeps, read when they are asked for."""

    def __init__(self, prefix: str, read: Callable[[], Mapping[str, object]]) -> None:
        self._prefix = prefix
        self._read = read

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One gauge for each number."""
        for name, value in self._read().items():
            if isinstance(value, int | float):
                yield GaugeMetricFamily(
                    f"{self._prefix}_{name}", f"{name} of the {self._prefix}", value=float(value)
                )


class Metrics:
    """The counters of the front end, and the stats of what is behind it."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "atoll_http_requests",
            "Requests by method, route and status (0: broken off before an answer).",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "atoll_http_request_seconds",
            "From the first byte to the last, by route.",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._exits = Counter(
            "atoll_executions",
            "One-shots by how they ended.",
            ("reason",),
            registry=self._registry,
        )
        self.streams = Gauge(
            "atoll_streams", "Event streams and terminals that are open.", registry=self._registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request that has ended."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def execution(self, reason: str) -> None:
        """Count one one-shot that has ended."""
        self._exits.labels(reason).inc()

    def watch(self, prefix: str, read: Callable[[], Mapping[str, object]]) -> None:
        """Show somebody else's numbers, too."""
        self._registry.register(_Stats(prefix, read))

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self._registry)
