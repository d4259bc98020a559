"""What bfloat16 does to verdicts, and to the time of the network.

    python benchmarks/precision.py [--train 40] [--test 30] [--only accuracy|time]

*Verdicts*: on each public set a detector of float32 and one of bfloat16, each with its own bank of
1,000 rows and its own threshold, from the same training images, judge the same test images, half of
them defective. *mixed* is the bank of float32 asked with features of bfloat16, which the
fingerprint forbids. Where the processor has no bfloat16 it is emulated: the same roundings, slow.

*Time*: processor seconds an image of one thread, the network alone, both by turns in one process;
wide_resnet50_2 with random weights, which cost the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from common import keep, measured_before, products, show, squeezenet
from extraction import wide

from fedpatchcore.config import RunConfig
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.devices.halves import native_half
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.site.setup import use_threads

NAMES = ("magnetic_tile", "impeller", "cookie")
LITE = {"backbone": "efficientnet_lite0", "weights": ""}


def chosen(product: Product, train: int, test: int) -> tuple[list[Path], list[TestImage]]:
    """A draw of training images, and of as many good as defective test images."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(product.train))[:train]
    kinds = [[t for t in product.test if t.anomalous == bad] for bad in (False, True)]
    picked = [kind[at] for kind in kinds for at in rng.permutation(len(kind))[: test // 2]]
    return [product.train[at] for at in sorted(order)], picked


def compared(config: RunConfig, name: str, train: int, test: int) -> dict[str, object]:
    """One network on one set."""
    paths, tests = chosen(products(name)[name], train, test)
    labels = np.array([t.anomalous for t in tests])
    told, features = {}, {}
    for precision in ("float32", "bfloat16"):
        one = PatchCore(config.model_copy(update={"precision": precision}))
        one.fit({name: paths})
        found = [one.predict(t.path) for t in tests]
        told[precision] = (
            np.array([f.score for f in found]),
            found[0].threshold,
            one.bank.sections[name].features,
        )
        features[precision] = one.backbone.extract_prepared(
            [one.backbone.read(t.path) for t in tests[:8]]
        )
    (exact, limit, rows), (half, half_limit, _) = told.values()
    apart = np.linalg.norm(features["float32"] - features["bfloat16"], axis=-1)
    scorer = Scorer(rows)
    mixed = [scorer(features[p]).images for p in features]
    other = (exact > limit) != (half > half_limit)
    near = np.abs(exact[other] / limit - 1)
    return {
        "network": config.backbone,
        "set": name,
        "patches apart, mean": float(apart.mean()),
        "patches apart, most": float(apart.max()),
        "scores apart, most, of the threshold": float(np.abs(exact - half).max() / limit),
        "threshold moves": f"{half_limit / limit - 1:+.2%}",
        "AUROC": f"{image_auroc(exact, labels):.3f}, {image_auroc(half, labels):.3f}",
        "other verdicts": f"{other.sum()} of {len(tests)}",
        "their scores from the threshold, most": f"{near.max():.2%}" if other.any() else "–",
        "mixed: scores apart, of the threshold": float(np.abs(mixed[0] - mixed[1]).max() / limit),
    }


def timed(config: RunConfig, turns: int) -> dict[str, object]:
    """Processor milliseconds an image in both precisions, by turns."""
    ways = {
        p: build_backbone(config.model_copy(update={"precision": p}))
        for p in ("float32", "bfloat16")
    }
    side = config.image_size
    image = [np.random.default_rng(0).random((side, side, 3), np.float32)]
    taken: dict[str, list[float]] = {p: [] for p in ways}
    for turn in range(turns + 1):
        for precision, backbone in ways.items():
            begun = time.process_time()
            backbone.extract_prepared(image)
            if turn:
                taken[precision].append(1e3 * (time.process_time() - begun))
    least = {p: min(ms) for p, ms in taken.items()}
    return {
        "network": config.backbone,
        "native": native_half("bfloat16"),
        "float32 ms": least["float32"],
        "bfloat16 ms": least["bfloat16"],
        "bfloat16/float32": least["bfloat16"] / least["float32"],
    }


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--train", type=int, default=30)
    parser.add_argument("--test", type=int, default=40)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", choices=("accuracy", "time", "both"), default="both")
    parser.add_argument("--networks", default="squeezenet1_1,efficientnet_lite0", help="judged")
    told = parser.parse_args()
    use_threads(1)
    base = {"coreset_size": 1000, "global_bank_size": 1000, "cache_gb": 0.0, "heatmaps": 0}
    small, lite = squeezenet(**base), squeezenet(**base, **LITE)
    rows: dict[str, list[dict[str, object]]] = {"time": [], "accuracy": []}
    if told.only != "accuracy":
        with tempfile.TemporaryDirectory() as folder:
            for config in (small, lite, wide(Path(folder))):
                rows["time"].append(timed(config, told.turns))
                print(rows["time"][-1], flush=True)
    if told.only != "time":
        for config in (one for one in (small, lite) if one.backbone in told.networks):
            for name in NAMES:
                rows["accuracy"].append(compared(config, name, told.train, told.test))
                print(rows["accuracy"][-1], flush=True)
    keep("precision", measured_before("precision") | {k: v for k, v in rows.items() if v})
    for title, found in rows.items():
        if found:
            show(f"bfloat16, {title}", found)


if __name__ == "__main__":
    main()
