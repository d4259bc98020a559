"""The control room's own metrics: what was asked of it, and what stands in its data base.

Values that the data base knows are asked for at each scrape, so that they are true after a
restart; only requests and pulls are counted here, since the process began.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from fedpatchcore.control.glance import glance
from fedpatchcore.control.room import Room
from fedpatchcore.control.tables import BankVersion, Release, Run
from fedpatchcore.observe.metrics import PREFIX, Metric
from fedpatchcore.web.tables import Audit

if TYPE_CHECKING:  # the library is only loaded where metrics are asked for
    from prometheus_client.core import Metric as Family

__all__ = ["CONTROL_METRICS", "exposition"]

CONTROL_METRICS = (
    Metric("gauge", "control_sites", "sites that ever answered a roll call"),
    Metric("gauge", "control_sites_here", "sites heard of just now, or at work"),
    Metric("gauge", "control_runs", "runs by state", ("state",)),
    Metric("gauge", "control_matters", "what needs a person", ("grave",)),
    Metric("gauge", "control_banks", "bank versions in the registry"),
    Metric("gauge", "control_products", "products with such a bank", ("bank",)),
    Metric(
        "gauge", "control_production_since_timestamp_seconds", "last release", ("product", "bank")
    ),
    Metric("gauge", "control_trail_records", "records of the trail"),
    Metric("gauge", "control_live_pages", "pages that follow live"),
    Metric("gauge", "control_looked_timestamp_seconds", "when runs were last looked at"),
    Metric("counter", "control_pulls", "banks that sites asked for", ("outcome",)),
    Metric("counter", "control_requests", "requests answered", ("status",)),
    Metric("histogram", "control_request_seconds", "from a request to the head of its answer"),
)


def exposition(room: Room, live: int) -> bytes:
    """All of them in Prometheus' text format; ``live``: pages that follow just now."""
    from prometheus_client import CollectorRegistry, generate_latest

    class Collector:
        def collect(self) -> Iterator[Family]:
            return _families(room, live)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector())
    return generate_latest(registry)


def _families(room: Room, live: int) -> Iterator[Family]:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    values = _values(room)
    counted = room.counts.told()
    values["control_live_pages"] = {(): live}
    values["control_pulls"] = {(k,): v for k, v in counted.pulls.items()}
    values["control_requests"] = {(k,): v for k, v in counted.requests.items()}
    make = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
    for one in CONTROL_METRICS:
        if one.kind == "histogram":
            family = HistogramMetricFamily(PREFIX + one.name, one.meaning)
            family.add_metric([], counted.buckets, counted.seconds)
        else:
            family = make[one.kind](PREFIX + one.name, one.meaning, labels=one.labels)
            for labels, value in values[one.name].items():
                family.add_metric(labels, value)
        yield family


def _values(room: Room) -> dict[str, dict[tuple[str, ...], float]]:
    told = glance(room)
    with room.database.read() as session:
        states = session.execute(select(Run.state, func.count()).group_by(Run.state)).all()
        banks = session.scalar(select(func.count()).select_from(BankVersion))
        records = session.scalar(select(func.max(Audit.number)))
        open_one = select(Release.product, Release.version_id, Release.since)
        released = session.execute(open_one.where(Release.until.is_(None))).all()
    grave = sum(one.grave for one in told.matters)
    return {
        "control_sites": {(): told.count},
        "control_sites_here": {(): told.here},
        "control_runs": {(state,): count for state, count in states},
        "control_matters": {("yes",): grave, ("no",): told.to_do - grave},
        "control_banks": {(): banks or 0},
        "control_products": {
            (kind,): sum(row[kind] is not None for row in told.banks)
            for kind in ("production", "candidate")
        },
        "control_production_since_timestamp_seconds": {
            (row.product, str(row.version_id)): row.since / 1000 for row in released
        },
        "control_trail_records": {(): records or 0},
        "control_looked_timestamp_seconds": {(): room.mirror.looked_at / 1000},
    }
