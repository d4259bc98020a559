"""The end of a run: baselines that need all images in one place, ``metrics.json``, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.bank.section import SHARED
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.coreset.greedy import selector
from fedpatchcore.data.products import Product
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.features.extraction import Extractor, Tally
from fedpatchcore.metrics.comparison import last_evaluated
from fedpatchcore.metrics.verdicts import verdicts_told
from fedpatchcore.privacy.statement import privacy_report
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.site.measuring import measure, score_images, truth_masks
from fedpatchcore.site.setup import open_site
from fedpatchcore.site.site import Site
from fedpatchcore.site.virtual import virtual_sites
from fedpatchcore.texts import one_line
from fedpatchcore.version import VERSION

__all__ = ["pooled_baseline", "write_results"]

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
    metrics["verdicts"] = verdicts_told(
        last_evaluated(metrics) or {}, withheld=federation.story.withheld
    )
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
        rows = {name: len(s) for name, s in bank.sections.items() if s.metric is None}
        return pooled_baseline(sites, rows)
    except FedPatchCoreError as error:
        note = f"pooled baseline left out: {error}"
        say(note)
        if federation.history:
            federation.history[-1]["notes"].append(note)
        return None


def pooled_baseline(
    sites: list[Site], rows: Mapping[str, int] | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """What one bank from all images in one place would reach: ``{site: {product: metrics}}``.

    It learns from exactly the images the sites' coresets came from (nothing held out
    enters), has the global bank's size, and is tested on each site's own test images.
    Only possible where one process sees every site's images, that is in simulation.

    Args:
        rows: of the federated bank, by section. Where it has fewer, the metrics also tell
            ``equal_image_auroc``: that of the first so many rows of the pooled bank, whose own
            number is ``rows``.
    """
    config, extractor = sites[0].config, sites[0].extractor
    taught: dict[str, list[Path]] = {}
    for site in sites:
        for section in site.sections():
            taught.setdefault(section, []).extend(site.training_images(section).used)
    scoring = {"neighbours": config.neighbours, "reweight": config.reweight}
    judges: dict[str, dict[str, Scorer]] = {}
    sizes: dict[str, int] = {}
    for section, paths in taught.items():
        bank = _bank_of(paths, extractor, config)
        judges[section], sizes[section] = {"pooled": Scorer(bank, **scoring)}, len(bank)
        if (few := (rows or {}).get(section, len(bank))) < len(bank):
            judges[section]["equal"] = Scorer(bank[:few], **scoring)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for site in sites:
        for name, product in site.products.items():
            section = SHARED if SHARED in judges else name
            if product.test and section in judges:
                found = _tested(site, product, judges[section])
                results.setdefault(site.name, {})[name] = {"rows": sizes[section], **found}
    return results


def _bank_of(paths: list[Path], extractor: Extractor, config: RunConfig) -> np.ndarray:
    features, _, _ = extractor.all(paths)
    patches = features.reshape(-1, features.shape[-1])
    device = str(extractor.backbone.device)
    choose = selector(config.coreset)
    chosen = choose(patches, config.global_bank_size, seed=config.seed, device=device)
    return patches[chosen.indices]


def _tested(site: Site, product: Product, scorers: Mapping[str, Scorer]) -> dict[str, float]:
    scored = score_images(site.extractor, product.test, scorers, Tally())
    side = site.backbone.geometry.size
    found = measure(scored["pooled"], truth_masks(site.extractor, scored["pooled"].images), side)
    if "equal" in scored:
        found["equal_image_auroc"] = measure(scored["equal"], None, side)["image_auroc"]
    return found
