"""The end of a run: baselines that need all images in one place, ``metrics.json``, the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from fedpatchcore import __version__
from fedpatchcore.bank import SHARED
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.coreset import greedy_k_center, random_coreset
from fedpatchcore.data.products import Product
from fedpatchcore.evaluation import measure, score_images, truth_masks
from fedpatchcore.extraction import Extractor, Tally
from fedpatchcore.federation import Federation
from fedpatchcore.report import build_report
from fedpatchcore.runfolder import RunFolder
from fedpatchcore.scoring import Scorer
from fedpatchcore.setup import open_site, virtual_sites
from fedpatchcore.site import Site

__all__ = ["pooled_baseline", "write_results"]

Say = Callable[[str], None]


def write_results(
    run: RunFolder, federation: Federation, *, seconds: float, say: Say = lambda line: None
) -> Path:
    """Write ``metrics.json`` and ``report.html``; returns the report's path."""
    config = federation.config
    pooled = None
    if config.compare_pooled:
        say("pooled baseline: one bank from all sites' images, for comparison only")
        pooled = pooled_baseline(virtual_site_list(config))
    run.write_json(
        "metrics.json",
        {
            "run": run.path.name,
            "version": __version__,
            "seconds": seconds,
            "rounds": federation.history,
            "pooled": pooled,
        },
    )
    return build_report(run.path)


def virtual_site_list(config: RunConfig, *, say: Say = lambda line: None) -> list[Site]:
    """Every site of a simulation, opened in this process."""
    count = len(virtual_sites(config))
    return [
        open_site(config, NodeConfig(partition_id=at, num_partitions=count), say=say)
        for at in range(count)
    ]


def pooled_baseline(sites: list[Site]) -> dict[str, dict[str, dict[str, float]]]:
    """What one bank from all images in one place would reach: ``{site: {product: metrics}}``.

    It learns from exactly the images the sites' coresets came from (nothing held out
    enters), has the global bank's size, and is tested on each site's own test images.
    Only possible where one process sees every site's images, that is in simulation.
    """
    config, extractor = sites[0].config, sites[0].extractor
    taught: dict[str, list[Path]] = {}
    for site in sites:
        for section in site.sections():
            taught.setdefault(section, []).extend(site.training_images(section).used)
    scorers = {
        section: Scorer(
            _bank_of(paths, extractor, config),
            neighbours=config.neighbours,
            reweight=config.reweight,
        )
        for section, paths in taught.items()
    }
    results: dict[str, dict[str, Mapping[str, float]]] = {}
    for site in sites:
        for name, product in site.products.items():
            scorer = scorers.get(SHARED) or scorers.get(name)
            if product.test and scorer:
                results.setdefault(site.name, {})[name] = _tested(site, product, scorer)
    return results


def _bank_of(paths: list[Path], extractor: Extractor, config: RunConfig) -> np.ndarray:
    features, _, _ = extractor.all(paths)
    patches = features.reshape(-1, features.shape[-1])
    choose = random_coreset if config.coreset == "random" else greedy_k_center
    device = str(extractor.backbone.device)
    chosen = choose(patches, config.global_bank_size, seed=config.seed, device=device)
    return patches[chosen.indices]


def _tested(site: Site, product: Product, scorer: Scorer) -> Mapping[str, float]:
    scored = score_images(site.extractor, product.test, {"pooled": scorer}, Tally())["pooled"]
    masks = truth_masks(site.extractor, scored.images)
    return measure(scored, masks, site.backbone.geometry.size)
