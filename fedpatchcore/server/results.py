"""The end of a run: baselines that need all images in one place, ``metrics.json``, the report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fedpatchcore.config import NodeConfig
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.metrics.compared import compared_told
from fedpatchcore.metrics.comparison import comparison_rows, last_evaluated
from fedpatchcore.metrics.fairness import fairness_told, makers
from fedpatchcore.metrics.planted_found import planted_told
from fedpatchcore.metrics.verdicts import verdicts_told
from fedpatchcore.planted.cells import CELLS
from fedpatchcore.privacy.statement import privacy_report
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.pooled import pooled_baseline
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.virtual import virtual_sites
from fedpatchcore.texts import one_line
from fedpatchcore.version import VERSION

__all__ = ["write_results"]

Say = Callable[[str], None]


def write_results(
    run: RunFolder, federation: Federation, *, seconds: float, say: Say = lambda line: None
) -> tuple[dict[str, Any], Path | None]:
    """Write ``metrics.json`` and ``report.html``; returns the metrics and the report's path.

    The bank is complete by now: a page that cannot be made is told, is None, and costs nothing
    else.
    """
    pooled = _pooled(federation, say) if federation.config.compare_pooled else None
    metrics = {
        "run": run.path.name,
        "version": VERSION,
        "seconds": seconds,
        "rounds": federation.history,
        "pooled": pooled,
    }
    last = last_evaluated(metrics) or {}
    metrics["verdicts"] = verdicts_told(last, withheld=federation.story.withheld)
    metrics["compared"] = compared_told(last, pooled or {})
    metrics["fairness"] = fairness_told(comparison_rows(metrics), makers(metrics))
    if federation.config.planted_trials:
        metrics["planted"] = planted_told(last, CELLS)
    run.write_json("metrics.json", metrics)
    if federation.config.dp != "off":
        named = bool(federation.config.data) or (run.path / "sites").is_dir()
        told = privacy_report(federation.config, federation.ledgers, simulated=named)
        run.write_json("privacy.json", told)
    return metrics, _report(run.path, say)


def _report(folder: Path, say: Say) -> Path | None:
    from fedpatchcore.report.page import build_report

    try:
        return build_report(folder)
    except Exception as error:
        say(f"no report: {one_line(error)}; 'fedpatchcore report {folder}' tries again")
        return None


def _pooled(federation: Federation, say: Say) -> dict[str, Any] | None:
    """The pooled baseline, or None with a note: a comparison must not cost the results."""
    say("pooled baseline: one bank from all sites' images, for comparison only")
    config = federation.config
    try:
        named = bool(config.data) and config.partition in ("folders", "manifest")
        known = 0 if named else max(config.expected_sites, len(federation.represented))
        count = len(virtual_sites(config, known))
        sites = [
            open_site(config, NodeConfig(partition_id=at, num_partitions=count))
            for at in range(count)
        ]
        bank = federation.bank
        rows = {name: len(s) for name, s in bank.sections.items() if not s.by_metric}
        return pooled_baseline(
            sites,
            rows,
            withheld=federation.story.withheld,
            say=lambda line: say(f"pooled baseline: {line}"),
        )
    except FedPatchCoreError as error:
        note = f"pooled baseline left out: {error}"
        say(note)
        if federation.history:
            federation.history[-1]["notes"].append(note)
        return None
