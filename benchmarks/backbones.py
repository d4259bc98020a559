"""Image AUROC of each backbone on the public sets, over several draws of training images.

    python benchmarks/backbones.py [--only "LABEL;LABEL"] [--draws 5] [--geometry full]

Each draw: 80 training images (cookies: 24 of 31), an exact greedy bank of 1,500 rows, all test
images; the same draws for every backbone. Milliseconds are processor time an image of the network
and the embedding on one thread, batches of 8, so that other work beside it matters little. What is
not there (weights, packages) is left out with a line. Lines are added to results/backbones.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from common import RESULTS, keep, patches, products, scores, show, squeezenet

from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.site.setup import use_threads

NAMES = ("magnetic_tile", "impeller", "cookie")
IMAGES, FEW, ROWS = 80, 24, 1500
LABELS: dict[str, dict[str, object]] = {
    "filterbank": {"backbone": "filterbank", "weights": ""},
    "squeezenet1_1": {},
    "efficientnet_lite0": {"backbone": "efficientnet_lite0", "weights": ""},
    "efficientnet_lite0, stages 2 3 4": {
        "backbone": "efficientnet_lite0",
        "weights": "",
        "layers": "stage2,stage3,stage4",
    },
    "efficientnet_lite0, stages 2 3 5": {
        "backbone": "efficientnet_lite0",
        "weights": "",
        "layers": "stage2,stage3,stage5",
    },
    "efficientnet_lite0, stage 4": {
        "backbone": "efficientnet_lite0",
        "weights": "",
        "layers": "stage3,stage4",
    },
    "efficientnet_lite0, no norm": {
        "backbone": "efficientnet_lite0",
        "weights": "",
        "layer_norm": "none",
    },
    "efficientnet_lite1": {"backbone": "efficientnet_lite1", "weights": ""},
    "efficientnet_lite2": {"backbone": "efficientnet_lite2", "weights": ""},
}


def measured(config: RunConfig, draws: int) -> dict[str, object]:
    """One backbone: mean over the draws and their deviation, for each set."""
    backbone = build_backbone(config)
    tool = Extractor(backbone, batch_size=8)
    row: dict[str, object] = {"D": backbone.dimension, "CPU ms": milliseconds(backbone)}
    means = []
    for name, product in products(*NAMES).items():
        banks = {}
        for draw in range(draws):
            order = np.random.default_rng(draw).permutation(len(product.train))
            few = IMAGES if len(product.train) > 2 * IMAGES else FEW
            x = patches(tool, [product.train[at] for at in sorted(order[:few])])
            banks[str(draw)] = x[greedy_k_center(x, ROWS).indices]
        found = scores(tool, product.test, banks)
        labels = np.array([t.anomalous for t in found["0"].images])
        areas = [image_auroc(one.scores, labels) for one in found.values()]
        means.append(float(np.mean(areas)))
        row[name] = f"{means[-1]:.3f} ± {np.std(areas, ddof=1):.3f}"
        print(name, [f"{one:.3f}" for one in areas], flush=True)
    return row | {"mean": float(np.mean(means))}


def milliseconds(backbone: Backbone, turns: int = 3) -> float:
    """Processor time an image, the quickest of some turns."""
    side = backbone.geometry.size
    batch = [np.random.default_rng(at).random((side, side, 3), np.float32) for at in range(8)]
    backbone.extract_prepared(batch)
    taken = []
    for _ in range(turns):
        begun = time.process_time()
        backbone.extract_prepared(batch)
        taken.append(time.process_time() - begun)
    return 1e3 * min(taken) / len(batch)


def main() -> None:
    """Measure what is asked for and show all that was ever measured."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="labels, between semicolons")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--geometry", default="full")
    told = parser.parse_args()
    use_threads(1)
    kept = Path(RESULTS / "backbones.json")
    rows = {r["backbone"]: r for r in json.loads(kept.read_text())} if kept.is_file() else {}
    for label in told.only.split(";") if told.only else LABELS:
        try:
            row = measured(squeezenet(geometry=told.geometry, **LABELS[label]), told.draws)
        except FedPatchCoreError as error:
            print(f"{label}: left out ({error})", flush=True)
            continue
        rows[label] = {"backbone": label, **row}
        keep("backbones", list(rows.values()))
        show(label, [rows[label]])
    show("image AUROC by backbone", list(rows.values()))


if __name__ == "__main__":
    main()
