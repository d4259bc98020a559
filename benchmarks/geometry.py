"""What of a picture is seen, how large, and what makes its score: accuracy on the real sets.

    python geometry.py                                 # everything, an hour and more on one core
    python geometry.py --set cookie --backbone filterbank
    python geometry.py --draws 2 --images 40

Each draw takes so many training images at random out of one and a half times as many (of cookies
24 of 31) and makes a bank of 1,000 of their patches by k-center, of 2,000 where a picture has more
than 2,000. It is tested on up to 100 defective and 80 good test images, the same for all draws and
settings. ``missed`` is the share of defects not above the score that 5% of the good test images
exceed: how well scores separate, not how well a threshold was set. Each cell is kept in
``results/geometry.json`` when it is made, and a run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from common import RESULTS, keep, products, show, squeezenet

from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.image_score import image_scores
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.share import share_of
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.site.measuring import score_images
from fedpatchcore.site.setup import use_threads

SETS = ("cookie", "impeller", "magnetic_tile")
SEEN = (("crop", 224), ("full", 224), ("whole", 224), ("whole", 320), ("whole", 448))
SCORES = ("max", "1%", "3%")
FPR = 0.05
BAD, GOOD = 100, 80
ROWS, PATCHES = 1000, 2000  # of a bank; patches a picture from which it has twice as many


def config_of(backbone: str, geometry: str, size: int) -> RunConfig:
    if backbone == "filterbank":
        return RunConfig(backbone=backbone, geometry=geometry, image_size=size)
    return squeezenet(geometry=geometry, image_size=size)


def cell(
    name: str, backbone: str, geometry: str, size: int, draws: Iterable[int], images: int
) -> list[dict[str, Any]]:
    """Figures of these draws by each score."""
    product = products(name)[name]
    tool = Extractor(build_backbone(config_of(backbone, geometry, size)), batch_size=8)
    rng = np.random.default_rng(0)
    bad = [t for t in product.test if t.anomalous]
    good = [t for t in product.test if not t.anomalous]
    tests = [bad[i] for i in rng.permutation(len(bad))[:BAD]]
    tests += [good[i] for i in rng.permutation(len(good))[:GOOD]]
    begun = time.process_time()
    pool = rng.permutation(len(product.train))[: 3 * images // 2]
    count = min(images, int(0.8 * len(pool)))
    maps = tool.all([product.train[i] for i in pool])[0]
    seconds = (time.process_time() - begun) / len(pool)
    scorers = {}
    for draw in draws:
        some = np.random.default_rng(draw).permutation(len(pool))[:count]
        taught = np.concatenate([maps[i].reshape(-1, tool.backbone.dimension) for i in some])
        rows = ROWS if len(taught) / count < PATCHES else 2 * ROWS
        chosen = greedy_k_center(taught, rows, seed=draw)
        scorers[str(draw)] = Scorer(taught[chosen.indices])
    found = score_images(tool, tests, scorers, Tally())
    out = []
    for draw, scored in found.items():
        labels = np.array([t.anomalous for t in scored.images])
        for score in SCORES:
            top = share_of(score)
            values = np.array([image_scores(p.reshape(1, -1), top)[0] for p in scored.patches])
            limit = np.quantile(values[~labels], 1 - FPR)
            out.append(
                {
                    "draw": int(draw),
                    "score": score,
                    "auroc": image_auroc(values, labels),
                    "missed": float((values[labels] <= limit).mean()),
                    "cpu_seconds_an_image": seconds,
                }
            )
    return out


def mean(rows: Iterable[Mapping[str, Any]], key: str) -> str:
    values = np.array([row[key] for row in rows])
    return f"{values.mean():.3f} ± {values.std(ddof=1) if len(values) > 1 else 0:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--set", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--backbone", nargs="+", default=("squeezenet", "filterbank"))
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--images", type=int, default=80)
    told = parser.parse_args()
    use_threads(1)
    file = RESULTS / "geometry.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    for geometry, size in SEEN:
        for name in told.set:
            for backbone in told.backbone:
                key = f"{name} {backbone} {geometry} {size} {told.images}"
                there = {row["draw"] for row in known.get(key, ())}
                if lacking := [draw for draw in range(told.draws) if draw not in there]:
                    found = cell(name, backbone, geometry, size, lacking, told.images)
                    known[key] = known.get(key, []) + found
                    keep("geometry", known)
                    print(key, flush=True)
    for figure in ("auroc", "missed"):
        for backbone in told.backbone:
            rows = []
            for geometry, size in SEEN:
                for score in SCORES:
                    row = {"seen": f"{geometry} {size}", "score": score}
                    for name in told.set:
                        key = f"{name} {backbone} {geometry} {size} {told.images}"
                        row[name] = mean([r for r in known[key] if r["score"] == score], figure)
                    rows.append(row)
            show(f"{backbone}, {figure}", rows)


if __name__ == "__main__":
    main()
