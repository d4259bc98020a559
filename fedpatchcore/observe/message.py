"""What a site tells of a message it handles: log fields, metrics, spans of its phases."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.observe import logs
from fedpatchcore.observe.metrics import Metric, Metrics, Recorder, metrics_folder, site_label
from fedpatchcore.observe.traces import SiteTrace
from fedpatchcore.timing.phases import Facts, Watcher, watched
from fedpatchcore.wire.messages import TrainReply

__all__ = ["SITE_METRICS", "Handling", "handling"]

SITE_METRICS = (
    Metric(
        "counter",
        "site_messages",
        "Messages handled; outcome is ok, refused (with a reason) or error.",
        ("site", "kind", "outcome"),
    ),
    Metric(
        "counter",
        "site_images",
        "Training images of train messages, by state: extracted, cached or bad.",
        ("site", "state"),
    ),
    Metric("counter", "site_patches", "Patches that selections saw.", ("site",)),
    Metric("counter", "site_rows", "Coreset rows shipped.", ("site",)),
    Metric("counter", "site_shipped_bytes", "Bytes of coreset features shipped.", ("site",)),
    Metric(
        "histogram",
        "site_phase_seconds",
        "Seconds a phase took: extract, select, score, evaluate or plant.",
        ("site", "phase"),
    ),
    Metric(
        "gauge",
        "site_last_success_timestamp_seconds",
        "When a message of this kind was last answered without failure.",
        ("site", "kind"),
    ),
)


@dataclass
class Handling:
    """One message at one site; ``site`` may be corrected once it is known better.

    ``withheld``: what is counted of images stays at the site, spans of its phases without it.
    """

    kind: str
    site: str
    outcome: str = "error"
    withheld: bool = False
    reply: object = None
    phases: list[tuple[str, float]] = field(default_factory=list)

    def named(self, site: str) -> None:
        """The site's own name, which a virtual site learns late."""
        self.site = site
        logs.note(site=site)

    def answered(self, reply: object) -> None:
        """The work is done."""
        self.reply, self.outcome = reply, "ok"

    def failed(self, error: BaseException) -> None:
        """The work was refused, or something broke."""
        self.outcome = "refused" if isinstance(error, FedPatchCoreError) else "error"

    @contextmanager
    def timed(self, name: str, facts: Facts) -> Iterator[None]:
        """A `fedpatchcore.timing.phases.Watcher` that keeps how long each phase took."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.phases.append((name, time.perf_counter() - started))

    def write(self, of: Metrics) -> None:
        """Add what happened to a site's metrics."""
        site = site_label(self.site)
        of["site_messages"].labels(site, self.kind, self.outcome).inc()
        for name, seconds in self.phases:
            of["site_phase_seconds"].labels(site, name).observe(seconds)
        if self.outcome == "ok":
            of["site_last_success_timestamp_seconds"].labels(site, self.kind).set(time.time())
        if isinstance(self.reply, TrainReply):
            for stats in self.reply.stats:
                for state in ("extracted", "cached", "bad"):
                    of["site_images"].labels(site, state).inc(getattr(stats, state))
                of["site_patches"].labels(site).inc(stats.patches)
                of["site_rows"].labels(site).inc(stats.rows)
            of["site_shipped_bytes"].labels(site).inc(self.reply.nbytes)


@contextmanager
def handling(
    kind: str,
    *watchers: Watcher,
    site: str,
    run: str,
    number: int,
    traceparent: str,
    stays: bool = False,
) -> Iterator[Handling]:
    """Watch the handling of one message; everything is written and sent when the block ends.

    Args:
        watchers: told of each phase too.
        number: the round, 0 where the message belongs to none.
        traceparent: the span of the server that this message belongs to, or "".
        stays: this process handles further messages, and need not see the last span sent.
    """
    one = Handling(kind, site)
    folder = metrics_folder()
    fields = {"site": site, "run": run, "round": number or None, "phase": kind}
    with (
        logs.bound(**fields),
        SiteTrace.open(one, number, traceparent, stays=stays) as trace,
        watched(logs.in_phase, one.timed, trace.phase, *watchers),
    ):
        try:
            yield one
        finally:
            if folder:
                _record(folder, one)


def _record(folder: Path, one: Handling) -> None:
    Recorder(folder, f"site-{site_label(one.site)}", SITE_METRICS).record(one.write)
