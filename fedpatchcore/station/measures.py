"""What a station tells Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Measures"]

PREFIX = "fedpatchcore_station_"
STEPS = (0.02, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 30.0)


class Measures:
    """Counters since the process began, of one station."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        told = {"registry": self.registry}
        self.images = Counter(
            PREFIX + "images", "images by what became of them", ["verdict"], **told
        )
        self.seconds = Histogram(
            PREFIX + "judging_seconds", "from the file to the verdict", buckets=STEPS, **told
        )
        self.waited = Histogram(
            PREFIX + "waited_seconds", "from taken in to the verdict", buckets=STEPS, **told
        )
        self.waiting = Gauge(PREFIX + "waiting", "images that wait", **told)
        self.free = Gauge(PREFIX + "free_bytes", "left on the station's disk", **told)
        self.well = Gauge(PREFIX + "well", "1 unless something keeps images waiting", **told)
        self.alarms = Gauge(PREFIX + "drift_alarms", "drift alarms that nobody ended", **told)
        self.sums = Gauge(
            PREFIX + "drift_sum", "of a figure, 1 is an alarm", ["product", "figure"], **told
        )
        self.undelivered = Gauge(PREFIX + "undelivered", "messages that nobody took", **told)

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)
