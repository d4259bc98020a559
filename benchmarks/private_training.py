"""What privacy of training costs: a student of three sites, open and by DP-SGD.

    python private_training.py                        # two sets, three draws
    python private_training.py --draws 1 --sets impeller
    python private_training.py --tell                 # the table of what is kept, nothing new

SqueezeNet, whole frame, 224 pixels, a student of 32 channels. 99 training images of a set, drawn
anew for each draw, dealt evenly to three sites; 40 test images a class. ``open`` trains in small
steps, as a student is trained; the private ways take eight steps over all images of a site
(``dp-sample-rate`` 1). ``clipped`` has the clip of the private ways and next to no noise, which
tells what noise costs apart from the clip; ``untrained`` is the start.

Columns: image AUROC and misses at 5% false alarms, means over sites. Draws are kept in
``results/private_training.csv``, and a run goes on from those that are there.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import extractor, products, show, squeezenet
from draws import KeptDraws

from fedpatchcore.config import RunConfig
from fedpatchcore.data.partition import partition
from fedpatchcore.data.products import Product
from fedpatchcore.inprocess import federate
from fedpatchcore.privacy.policy import Policy
from fedpatchcore.server.federation import Federation
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of

SETS = ("impeller", "magnetic_tile")
TRAIN, TEST, SITES, AT = 99, 40, 3, 5  # AT: of 101 false-positive rates, 5%
LEARNS = {
    "method": "student",
    "student_width": 32,
    "num_rounds": 2,
    "local_epochs": 4,
    "local_batch": TRAIN // SITES,
    "dp": "sgd",
    "dp_clip": 0.1,
    "learning_rate": 3.0,
    "min_sites": SITES,
}
SMALL_STEPS = {"dp": "off", "local_batch": 2, "local_epochs": 2, "learning_rate": 0.3}


def private(epsilon: float) -> dict[str, object]:
    return {**LEARNS, "dp_epsilon": epsilon, "dp_budget_epsilon": epsilon}


WAYS: dict[str, dict[str, object]] = {
    "open": {**LEARNS, **SMALL_STEPS},
    "clipped": private(1e6),
    "eps8": private(8.0),
    "eps4": private(4.0),
    "untrained": {**private(1e6), "learning_rate": 1e-9, "num_rounds": 1, "local_epochs": 1},
}


def drawn(which: str, seed: int) -> dict[str, Product]:
    """Training and test images of one set."""
    rng = np.random.default_rng(seed)
    (whole,) = products(which).values()
    train = [whole.train[at] for at in sorted(rng.permutation(len(whole.train))[:TRAIN])]
    test = []
    for anomalous in (False, True):
        same = [one for one in whole.test if one.anomalous == anomalous]
        test += [same[at] for at in sorted(rng.permutation(len(same))[:TEST])]
    return {which: replace(whole, train=tuple(train), test=tuple(test))}


def once(config: RunConfig, how: dict[str, object], which: str, seed: int) -> dict[str, float]:
    """One way on one draw; the ledgers are of this run alone."""
    told = {"seed": seed, "compare_local": False, "group_by": "none", "heatmaps": 0, **how}
    settings = RunConfig(**{**config.model_dump(), **told})
    tool = extractor(settings)
    books = Path(tempfile.mkdtemp(prefix="ledgers-"))
    parts = partition(drawn(which, seed), "iid", sites=SITES, seed=seed)
    sites = [
        Site(name, own, settings, tool.backbone, cache=tool.cache, policy=Policy(books / name))
        for name, own in sorted(parts.items())
    ]
    federation, rounds = Federation(settings, rules=rule_of), settings.num_rounds
    if rounds > 1:
        federate(sites, rounds=rounds - 1, evaluate=False, federation=federation)
    federate(sites, rounds=1, federation=federation)
    shutil.rmtree(books)
    last = federation.history[-1]["evaluate"].values()
    results = [one["products"][which] for one in last]
    return {
        "auroc": float(np.mean([one["image_auroc"] for one in results])),
        "misses": float(np.mean([1 - one["roc"][AT] for one in results])),
    }


def tell(kept: KeptDraws, sets: list[str], ways: list[str]) -> None:
    """A table a set, with the spread over draws."""
    for which in sets:
        rows = []
        for way in ways:
            if mine := kept.of(which, TRAIN, way):
                line: dict[str, object] = {"way": way, "draws": len(mine)}
                for figure in ("auroc", "misses"):
                    values = [one[figure] for one in mine]
                    line[figure] = f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})"
                rows.append(line)
        if rows:
            show(which, rows)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--ways", nargs="*", choices=tuple(WAYS), default=list(WAYS))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--tell", action="store_true", help="tables of what is kept, nothing new")
    parser.add_argument("--anew", action="store_true", help="forget the draws that are kept")
    asked = parser.parse_args()
    kept = KeptDraws("private_training", anew=asked.anew)
    if not asked.tell:
        config = squeezenet()
        for seed in range(asked.draws):
            for which in asked.sets:
                for way in asked.ways:
                    if seed not in kept.lacking(which, TRAIN, [way], asked.draws):
                        continue
                    told = once(config, WAYS[way], which, seed)
                    named = {"set": which, "n": TRAIN, "way": way, "seed": seed, "case": "all"}
                    kept.add([{**named, **told}])
                    print(f"{which} {way} {seed}: {told['auroc']:.3f}", flush=True)
    tell(kept, asked.sets, asked.ways)


if __name__ == "__main__":
    main()
