"""What the server tells of a run, all of it from the run's events."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedpatchcore.metrics.fairness import fairness
from fedpatchcore.observe import logs, metrics
from fedpatchcore.observe.metrics import Metric, Metrics, Recorder, site_label

__all__ = ["SERVER_METRICS", "RunMetrics", "listeners"]

PER_SITE = ("site",)
PER_PRODUCT = ("site", "product")
OVER_SITES = ("product", "figure")

SERVER_METRICS = (
    Metric("counter", "server_runs", "Runs that ended, by outcome.", ("outcome",)),
    Metric("gauge", "server_run_active", "1 during a run; stays 1 if its process is killed."),
    Metric("counter", "server_rounds_completed", "Rounds whose checkpoint is on disk."),
    Metric("gauge", "server_round", "The current round, or the last one."),
    Metric("gauge", "server_rounds_planned", "The run's last round."),
    Metric("gauge", "server_last_round_timestamp_seconds", "When a round was last completed."),
    Metric("gauge", "server_sites_online", "SuperNodes online when last looked at."),
    Metric("gauge", "server_sites_wanted", "Sites a run waits for before its first round."),
    Metric("gauge", "server_sites_asked", "Sites that take part in the current round."),
    Metric("counter", "server_received_bytes", "Coreset features received.", PER_SITE),
    Metric("counter", "server_sent_bytes", "Bank features sent.", PER_SITE),
    Metric("counter", "server_wire_received_bytes", "The same, as encoded on the wire.", PER_SITE),
    Metric("counter", "server_wire_sent_bytes", "The same, as encoded on the wire.", PER_SITE),
    Metric("gauge", "server_site_images", "Training images in the site's last reply.", PER_SITE),
    Metric("gauge", "server_site_patches", "Patches the site last selected from.", PER_SITE),
    Metric("gauge", "server_site_rows", "Coreset rows in the site's last reply.", PER_SITE),
    Metric("gauge", "server_site_extract_seconds", "The site's last extraction.", PER_SITE),
    Metric("gauge", "server_site_select_seconds", "The site's last selection.", PER_SITE),
    Metric(
        "gauge",
        "server_site_round_trip_seconds",
        "From the last message sent to the site's reply in hand.",
        ("site", "kind"),
    ),
    Metric("counter", "server_rejected_replies", "Replies that were refused.", PER_SITE),
    Metric(
        "counter",
        "server_interruptions",
        "Times a site went away in its work.",
        PER_SITE,
    ),
    Metric("counter", "server_lost_sites", "Times a site was gone or did not reply.", PER_SITE),
    Metric("gauge", "server_defects_found", "Defects found at the threshold.", PER_PRODUCT),
    Metric("gauge", "server_defects_tested", "Of so many defective test images.", PER_PRODUCT),
    Metric("gauge", "server_good_stopped", "Good parts stopped at the threshold.", PER_PRODUCT),
    Metric("gauge", "server_good_tested", "Of so many good test images.", PER_PRODUCT),
    Metric(
        "gauge",
        "server_image_auroc",
        "Image AUROC of the global bank on the site's test images.",
        PER_PRODUCT,
    ),
    Metric("gauge", "server_fairness_gap", "Best site minus worst, last round.", OVER_SITES),
    Metric("gauge", "server_fairness_deviation", "Standard deviation over sites.", OVER_SITES),
    Metric("gauge", "server_fairness_jain", "Jain's index of what sites get.", OVER_SITES),
    Metric("gauge", "server_bank_rows", "Rows of the global bank."),
    Metric("gauge", "server_bank_bytes", "Bytes of the global bank."),
    Metric("gauge", "server_merge_seconds", "The last merge of coresets."),
    Metric("gauge", "server_checkpoint_seconds", "The last checkpoint."),
    Metric("gauge", "server_privacy_epsilon", "Privacy budget spent, as the site says.", PER_SITE),
)


class RunMetrics:
    """Listens to a run's events. Gauges are of the run that started last; counters go on."""

    def __init__(self, folder: Path) -> None:
        self._recorder = Recorder(folder, "server", SERVER_METRICS)
        self._sites: list[str] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        def write(of: Metrics) -> None:
            if known := getattr(self, f"_{what}", None):
                known(of, event)
            if event.get("epsilon") is not None and "site" in event:
                of["server_privacy_epsilon"].labels(site_label(event["site"])).set(event["epsilon"])

        what = event["event"]
        if what == "round":
            self._sites = [site_label(site) for site in event["sites"]]
        self._recorder.record(write, fresh_gauges=what == "started")

    def _started(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_run_active"].set(1)
        of["server_rounds_completed"].inc(0)
        for outcome in ("finished", "failed"):
            of["server_runs"].labels(outcome)  # from 0 on, so that the first one is an increase

    def _waiting(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_sites_online"].set(event["online"])
        of["server_sites_wanted"].set(event["wanted"])

    def _round(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_round"].set(event["number"])
        of["server_rounds_planned"].set(event["of"])
        of["server_sites_asked"].set(len(self._sites))
        self._waiting(of, event)
        self._sent(of, event["bytes"])
        for site in self._sites:
            of["server_rejected_replies"].labels(site)
            of["server_lost_sites"].labels(site)
            of["server_interruptions"].labels(site)

    def _sent(self, of: Metrics, size: int) -> None:
        for site in self._sites:
            of["server_sent_bytes"].labels(site).inc(size)

    def _trained(self, of: Metrics, event: Mapping[str, Any]) -> None:
        site = site_label(event["site"])
        of["server_received_bytes"].labels(site).inc(event["bytes"])
        of["server_wire_received_bytes"].labels(site).inc(event.get("wire_bytes", event["bytes"]))
        of["server_wire_sent_bytes"].labels(site).inc(event.get("down_bytes", 0))
        for key in ("images", "patches", "rows", "extract_seconds", "select_seconds"):
            of[f"server_site_{key}"].labels(site).set(event[key])
        of["server_site_round_trip_seconds"].labels(site, "train").set(event["round_trip_seconds"])

    def _merged(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_bank_rows"].set(event["rows"])
        of["server_bank_bytes"].set(event["bytes"])
        of["server_merge_seconds"].set(event["seconds"])
        self._sent(of, event["bytes"])  # the bank goes out to be evaluated

    def _evaluated(self, of: Metrics, event: Mapping[str, Any]) -> None:
        site = site_label(event["site"])
        of["server_site_round_trip_seconds"].labels(site, "evaluate").set(
            event["round_trip_seconds"]
        )
        of["server_wire_sent_bytes"].labels(site).inc(event.get("down_bytes", 0))
        self._judged(of, site, event)

    def _summed(self, of: Metrics, event: Mapping[str, Any]) -> None:
        if event.get("about") == "figures":  # of all sites together: no site's label
            self._judged(of, "", event)

    def _judged(self, of: Metrics, site: str, event: Mapping[str, Any]) -> None:
        for told, tested in (("defects_found", "defects_tested"), ("good_stopped", "good_tested")):
            for product, (count, images) in event[told].items():
                if images:
                    of[f"server_{told}"].labels(site, product).set(count)
                    of[f"server_{tested}"].labels(site, product).set(images)
        for product, auroc in event["image_auroc"].items():
            if auroc is not None:  # undefined without test images
                of["server_image_auroc"].labels(site, product).set(auroc)

    def _rejected(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_rejected_replies"].labels(site_label(event["site"])).inc()

    def _lost(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_lost_sites"].labels(site_label(event["site"])).inc()

    def _gone(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_interruptions"].labels(site_label(event["site"])).inc()

    def _checkpoint(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_checkpoint_seconds"].set(event["seconds"])
        of["server_rounds_completed"].inc()
        of["server_last_round_timestamp_seconds"].set(time.time())

    def _finished(self, of: Metrics, event: Mapping[str, Any]) -> None:
        self._failed(of, event)
        if (bank := fairness(event.get("rows") or ()).get("federated")) is None:
            return
        for product, figures in ({"": bank.all} | dict(bank.products)).items():
            for name, one in figures.items():
                for what in ("gap", "deviation", "jain"):
                    if len(one.served) > 1 and math.isfinite(value := getattr(one, what)):
                        of[f"server_fairness_{what}"].labels(product, name).set(value)

    def _failed(self, of: Metrics, event: Mapping[str, Any]) -> None:
        of["server_run_active"].set(0)
        of["server_runs"].labels(event["event"]).inc()


def listeners() -> list[Callable[[Mapping[str, Any]], None]]:
    """What listens to a run's events, as the environment asks for."""
    folder = metrics.metrics_folder()
    return [logs.follow, *([RunMetrics(folder)] if folder else [])]
