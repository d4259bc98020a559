"""Every method on the same federation: what it finds, what it sends, what it takes.

    python learned.py                                  # everything, hours on one core
    python learned.py --deals iid --draws 1 --ways patchcore-250 feddymem-100
    OMP_NUM_THREADS=1 nice python learned.py           # beside other work
    python learned.py --tell                           # the tables of what is kept, nothing new
    python learned.py --anew                           # forget the draws of earlier runs

Three public sets as three products, at most 60 training images of each and 40 test images a class,
drawn anew for each draw; SqueezeNet, whole frame, 224 pixels. Dealt to five sites evenly (iid), by
Dir(0.1) (dirichlet), or a product a site (category: three sites); lots: magnetic tiles alone, each
of the six acquisition lots a site, 120 training and 80 + 80 test images. Thresholds from held-out
images for all, 15% of the training images, so that ways differ by their method alone. ``local``
ways learn at each site from its own images; ``pooled`` ways from all images in one place, by a
bank of as many rows as the sites' together. ``long``: five passes over a site's images between
two rounds instead of one, sites weighted by their images.

By way: image and pixel AUROC, AUPRO and misses at 5% false alarms, means over sites and products;
kilobytes that a site sends over all rounds, seconds of a site's processor over all rounds. Paired
differences to ``patchcore-250``, and of other optimisers to FedAvg, come with their 90% intervals
over draws and deals (t). Each draw is kept in ``results/learned.csv`` when it is made, and a run
goes on from those that are there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from common import exposure, extractor, products, show, squeezenet
from draws import KeptDraws

from fedpatchcore.config import RunConfig
from fedpatchcore.data.partition import partition
from fedpatchcore.data.products import Product
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.inprocess import federate
from fedpatchcore.places import cache_home
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of

SETS = ("magnetic_tile", "impeller", "cookie")
TRAIN, TEST, ROUNDS = 60, 40, 5
DEALS = {"iid": 5, "dirichlet": 5, "category": 3, "lots": 6}
LOTS, MORE = "magnetic_tile", 2  # so many times the images
ALPHA = 0.1
BASE = "patchcore-250"
AT = 5  # of 101 false-positive rates of a curve: 5%
LEARNS = {"num_rounds": ROUNDS, "local_batch": 2}
GENERATOR = {**LEARNS, "method": "generator", "coreset_size": 100, "learning_rate": 1.0}
DYMEM = {**LEARNS, "method": "feddymem", "coreset_size": 100, "learning_rate": 1.0}
STUDENT = {**LEARNS, "method": "student", "local_epochs": 2, "learning_rate": 0.3}
LONG = {**GENERATOR, "local_epochs": 5, "weighted_by_samples": True}  # sites drift apart
WAYS: dict[str, dict[str, object]] = {
    "patchcore-1000": {"coreset_size": 1000},
    "patchcore-250": {"coreset_size": 250},
    "patchcore-100": {"coreset_size": 100},
    "feddymem-100": DYMEM,
    "feddymem-100-own": {**DYMEM, "generators": "own"},
    "generator-fedavg": GENERATOR,
    "generator-scaffold": {**GENERATOR, "optimiser": "scaffold"},
    "generator-fednova": {**GENERATOR, "optimiser": "fednova"},
    "generator-fedavg-int8": {**GENERATOR, "update_wire": "int8"},
    "generator-long-fedavg": LONG,
    "generator-long-scaffold": {**LONG, "optimiser": "scaffold"},
    "generator-long-fednova": {**LONG, "optimiser": "fednova"},
    "local-250": {"coreset_size": 250},
    "pooled-250": {"coreset_size": 250},
    "student-fedavg": STUDENT,
    "student-scaffold": {**STUDENT, "optimiser": "scaffold"},
    "student-fednova": {**STUDENT, "optimiser": "fednova"},
    "local-student": STUDENT,
    "pooled-student": STUDENT,
    "student-fedadam": {**STUDENT, "optimiser": "fedadam", "server_learning_rate": 0.003},
}


def drawn(seed: int, names: Sequence[str] = SETS, times: int = 1) -> dict[str, Product]:
    """Training and test images of each product."""
    rng, found = np.random.default_rng(seed), {}
    for name, whole in products(*names).items():
        some = sorted(rng.permutation(len(whole.train))[: times * TRAIN])
        test = []
        for anomalous in (False, True):
            same = [t for t in whole.test if t.anomalous == anomalous]
            test += [same[at] for at in sorted(rng.permutation(len(same))[: times * TEST])]
        found[name] = replace(whole, train=tuple(whole.train[at] for at in some), test=tuple(test))
    return found


def dealt(deal: str, seed: int) -> Mapping[str, Mapping[str, Product]]:
    """Site → product name → product."""
    if deal != "lots":
        return partition(drawn(seed), deal, sites=DEALS[deal], seed=seed, alpha=ALPHA)
    (whole,) = drawn(seed, (LOTS,), MORE).values()
    return {
        f"lot-{lot}": {
            LOTS: replace(
                whole,
                train=tuple(path for path in whole.train if exposure(path) == lot),
                test=tuple(test for test in whole.test if exposure(test.path) == lot),
            )
        }
        for lot in range(1, DEALS[deal] + 1)
    }


def together(parts: Mapping[str, Mapping[str, Product]]) -> dict[str, Product]:
    """All sites' products as one site's."""
    found: dict[str, Product] = {}
    for own in parts.values():
        for name, product in own.items():
            known = found.get(name, replace(product, train=(), test=()))
            found[name] = replace(
                known, train=known.train + product.train, test=known.test + product.test
            )
    return found


def once(
    config: RunConfig, how: Mapping[str, object], way: str, deal: str, seed: int, tool: Extractor
) -> dict:
    """One way on one draw."""
    parts = dealt(deal, seed)
    told = {"seed": seed, "compare_local": False, "global_bank_size": 5000, "group_by": "none"}
    told |= {"calibration": "holdout", "min_sites": 1, **how}
    if way.startswith("pooled"):
        told["coreset_size"] = DEALS[deal] * int(told.get("coreset_size", 1))
    settings = RunConfig(**{**config.model_dump(), **told})

    def opened(name: str, own: Mapping[str, Product]) -> Site:
        return Site(name, own, settings, tool.backbone, cache=tool.cache)

    sites = [opened(name, own) for name, own in sorted(parts.items())]
    groups = [sites]
    if way.startswith("local"):
        groups = [[site] for site in sites]
    elif way.startswith("pooled"):
        groups = [[opened("pool", together(parts))]]
    begun, made, results = time.process_time(), [], []
    for group in groups:
        federation = Federation(settings, rules=rule_of)
        federate(group, rounds=settings.num_rounds, evaluate=False, federation=federation)
        made.append(federation)
        for site in sites if way.startswith("pooled") else group:
            results += evaluate_site(site, federation.bank)[0].results
    seconds = time.process_time() - begun
    sent = sum(one["bytes"] for f in made for r in f.history for one in r["train"].values())
    if not way.startswith(("local", "pooled")):
        sent /= len(sites)
    return {
        "auroc": mean([r.image_auroc for r in results]),
        "pixel": mean([r.pixel_auroc for r in results]),
        "aupro": mean([r.aupro for r in results]),
        "misses": mean([1 - r.roc[AT] for r in results if len(r.roc) > AT]),
        "kB": 0.0 if way.startswith("local") else sent / 1e3,
        "seconds": seconds / len(sites),
    } | {
        f"auroc {name}": mean([r.image_auroc for r in results if r.product == name])
        for name in SETS
    }


def mean(values: Sequence[float]) -> float:
    known = [one for one in values if one == one]
    return float(np.mean(known)) if known else float("nan")


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Mean of paired differences, and half the length of its 90% interval (Student's t)."""
    from scipy.stats import t

    n = len(differences)
    if n < 2:
        return float(np.mean(differences)), float("nan")
    half = t.ppf(0.95, n - 1) * np.std(differences, ddof=1) / n**0.5
    return float(np.mean(differences)), float(half)


def tell(kept: KeptDraws, deals: Sequence[str], ways: Sequence[str]) -> None:
    """A table a deal, and one over all."""
    figures = ("auroc", "pixel", "aupro", "misses", "kB", "seconds")
    for deal in deals:
        rows = []
        for way in ways:
            mine = kept.of(deal, TRAIN, way)
            if mine:
                rows.append(
                    {"way": way, "draws": len(mine)} | {f: mean_of(mine, f) for f in figures}
                )
        if rows:
            show(f"{deal}, {DEALS[deal]} sites", rows)
    paired(kept, deals, ways, BASE)
    for family in ("generator", "generator-long", "student"):
        fedavg = f"{family}-fedavg"
        paired(kept, deals, [w for w in ways if w.startswith(family) and w != fedavg], fedavg)


def paired(kept: KeptDraws, deals: Sequence[str], ways: Sequence[str], to: str) -> None:
    """Differences to one way on the same draws."""
    rows = []
    base = {(r["set"], r["seed"]): r for d in deals for r in kept.of(d, TRAIN, to)}
    for way in ways:
        mine = [r for d in deals for r in kept.of(d, TRAIN, way) if (r["set"], r["seed"]) in base]
        if not mine or way == to:
            continue
        line: dict[str, object] = {"way": way, "draws": len(mine)}
        for figure in ("auroc", "misses", *(f"auroc {name}" for name in SETS)):
            pairs = [r[figure] - base[r["set"], r["seed"]][figure] for r in mine]
            found, half = interval([one for one in pairs if one == one])
            line[figure] = f"{found:+.3f} ±{half:.3f}"
        rows.append(line)
    if rows:
        show(f"paired difference to {to}, over deals and draws", rows)


def mean_of(rows: Sequence[Mapping], figure: str) -> float:
    return round(mean([row[figure] for row in rows]), 3)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--deals", nargs="*", choices=tuple(DEALS), default=tuple(DEALS))
    parser.add_argument("--ways", nargs="*", choices=tuple(WAYS), default=tuple(WAYS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--tell", action="store_true", help="tables of what is kept, nothing new")
    parser.add_argument("--anew", action="store_true", help="forget the draws that are kept")
    asked = parser.parse_args()
    kept = KeptDraws("learned", anew=asked.anew)
    if not asked.tell:
        config = squeezenet()
        backbone = build_backbone(config)
        tool = extractor(config, backbone)
        tool.cache = SiteCache(cache_home() / "benchmarks", config.cache_gb)
        for seed in range(asked.draws):
            for deal in asked.deals:
                for way in asked.ways:
                    if seed not in kept.lacking(deal, TRAIN, [way], asked.draws):
                        continue
                    told = once(config, WAYS[way], way, deal, seed, tool)
                    named = {"set": deal, "n": TRAIN, "way": way, "seed": seed, "case": "all"}
                    kept.add([{**named, **told}])
                    print(
                        f"{deal} {way} {seed}: {told['auroc']:.3f}, {told['seconds']:.0f} s a site"
                    )
    tell(kept, asked.deals, asked.ways)


if __name__ == "__main__":
    main()
