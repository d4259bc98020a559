"""Pictures of 12 to 50 megapixels tile by tile: small marks found, seams, peak memory, seconds.

    python large_pictures.py                          # every size, the filter bank: half an hour
    python large_pictures.py --size 4190x3040 --train 30
    python large_pictures.py --backbone squeezenet        # hours on two cores

Synthetic parts: brushed metal with drilled holes at fixed places, another brush and light for each.
``--train`` of them are learnt within the memory budget (2 GB where none is set), then ``--test``
good ones and as many with a mark of each length are judged by the threshold that out-of-fold scores
set: a dark scratch of 10, 20 or 40 pixels, every second one across a seam, where two tiles meet. A
mark is found if a region of a stopped picture lies on it. ``AUROC`` is of the marked pictures
against the good ones. ``at seams``: mean patch score of good pictures along the seams, over the
mean elsewhere; 1 where tiles leave none. Each line is a process of its own, so that its peak memory
is its own. Lines are kept in ``results/large_pictures.json`` and a run goes on from there.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import keep, measured_before, show, squeezenet
from PIL import Image
from scipy.ndimage import uniform_filter1d

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.detection.judging import Prediction
from fedpatchcore.features.tiling import Tiling
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.site.setup import use_threads

SIZES = ("4190x3040", "8000x2000", "8192x6144")
MARKS = (10, 20, 40)  # pixels
TILE = 512
HOLES = 400  # pixels from one to the next
NEAR = 16  # pixels from a mark within which a region lies on it


def part(width: int, height: int, seed: int) -> np.ndarray:
    """uint8 ``[H, W]`` without a mark."""
    rng = np.random.default_rng(seed)
    brushed = rng.standard_normal((height, width), np.float32)
    uniform_filter1d(brushed, 31, axis=1, output=brushed)
    brushed *= 60
    brushed += 128 + rng.uniform(-5, 5)
    rows, columns = np.ogrid[-30:30, -30:30]
    for y in range(200, height - 100, HOLES):
        for x in range(200, width - 100, HOLES):
            brushed[y - 30 : y + 30, x - 30 : x + 30][rows**2 + columns**2 < 900] = 40
    return np.clip(brushed, 0, 255, out=brushed).astype(np.uint8)


def marked(grey: np.ndarray, mark: int, seed: int, seams: list[int]) -> tuple[int, int]:
    """Draw a scratch of so many pixels, between the holes; → its middle.

    Args:
        seams: columns of pixels, one of which it crosses; none: anywhere.
    """
    rng = np.random.default_rng([seed, mark])
    height, width = grey.shape
    free = [at for at in seams if abs((at - 200) % HOLES - HOLES // 2) < 120]
    x = int(rng.choice(free)) if free else 400 + HOLES * int(rng.integers((width - 600) // HOLES))
    y = 400 + HOLES * int(rng.integers((height - 600) // HOLES)) + int(rng.integers(-100, 100))
    across = slice(x - mark // 2, x - mark // 2 + mark)
    faded = grey[y : y + max(3, mark // 4), across]
    faded -= np.minimum(faded, 70)
    return x, y


def seams_of(tiling: Tiling, field: tuple[int, int]) -> list[list[int]]:
    """Where tiles meet, in patches: columns, and rows."""
    cuts = tiling.cuts(field)
    return [sorted({cut.left for cut in cuts} - {0}), sorted({cut.top for cut in cuts} - {0})]


def at_seams(mean: np.ndarray, seams: list[list[int]]) -> float:
    """Mean score of the patches on both sides of a seam over that of all others."""
    near = np.zeros(mean.shape, bool)
    for at in seams[0]:
        near[:, at - 1 : at + 1] = True
    for at in seams[1]:
        near[at - 1 : at + 1] = True
    return float(mean[near].mean() / mean[~near].mean())


def on_it(verdict: Prediction, x: int, y: int) -> bool:
    """Whether a region of a stopped picture lies on the mark."""
    return bool(verdict.defective) and any(
        r.left - NEAR <= x < r.right + NEAR and r.top - NEAR <= y < r.bottom + NEAR
        for r in verdict.regions
    )


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measured(backbone: str, size: str, train: int, test: int) -> dict[str, Any]:
    """One line, in this process."""
    use_threads(1)
    width, height = map(int, size.split("x"))
    told = {"geometry": "tiles", "image_size": TILE, "coreset_size": 1000, "folds": 5}
    config = squeezenet(**told)
    if backbone == "filterbank":
        config = RunConfig(backbone=backbone, tile_overlap=64, **told)
    detector = PatchCore(config)
    tiling = detector.backbone.tiling
    seams = seams_of(tiling, detector.backbone.geometry.field(width, height))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{at:03d}.bmp" for at in range(train)]
        for at, path in enumerate(paths):
            Image.fromarray(part(width, height, at)).save(path)
        begun, cpu = time.perf_counter(), time.process_time()
        detector.fit({"part": paths})
        print(f"{backbone} {size}: learnt", file=sys.stderr, flush=True)
    learned = time.perf_counter() - begun, time.process_time() - cpu
    row: dict[str, Any] = {
        "backbone": backbone,
        "size": size,
        "megapixels": width * height / 1e6,
        "train": train,
        "fit seconds": learned[0],
        "fit CPU seconds": learned[1],
        "budget GB": config.budget_bytes(tiled=True) / 1e9,
        "peak GB, fit": peak_gb(),
    }
    spent, mean, stopped, good = 0.0, 0.0, 0, []
    for at in range(test):
        picture = part(width, height, 1000 + at)
        begun = time.process_time()
        verdict = detector.predict(picture)
        spent += time.process_time() - begun
        good.append(verdict.score)
        mean = mean + verdict.patches / test
        stopped += bool(verdict.defective)
    columns = [tiling.step * at for at in seams[0]]
    for mark in MARKS:
        scores, found, across = [], [0, 0], [0, 0]
        for at in range(test):
            picture = part(width, height, 2000 + at)
            where = marked(picture, mark, at, columns if at % 2 else [])
            begun = time.process_time()
            verdict = detector.predict(picture)
            spent += time.process_time() - begun
            scores.append(verdict.score)
            found[at % 2] += on_it(verdict, *where)
            across[at % 2] += 1
        labels = np.repeat([False, True], test)
        row[f"{mark} px found"] = f"{sum(found)} of {test}"
        row[f"{mark} px at a seam"] = f"{found[1]} of {across[1]}"
        print(f"{backbone} {size}, {mark} px: {sum(found)}", file=sys.stderr, flush=True)
        row[f"{mark} px AUROC"] = image_auroc(np.array(good + scores), labels)
    return row | {
        "good stopped": f"{stopped} of {test}",
        "at seams": at_seams(mean, seams),
        "CPU seconds an image": spent / ((1 + len(MARKS)) * test),
        "peak GB, all": peak_gb(),
    }


def main() -> None:
    """Measure what is lacking, each line in a process of its own, and show all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", nargs="+", default=SIZES)
    parser.add_argument("--backbone", nargs="+", default=("filterbank",))
    parser.add_argument("--train", type=int, default=30)
    parser.add_argument("--test", type=int, default=6)
    parser.add_argument("--one", action="store_true", help="in this process, as JSON")
    told = parser.parse_args()
    if told.one:
        print(json.dumps(measured(told.backbone[0], told.size[0], told.train, told.test)))
        return
    known = measured_before("large_pictures")
    for backbone in told.backbone:
        for size in told.size:
            key = f"{backbone} {size} {told.train} {told.test}"
            if key in known:
                continue
            words = ["--one", "--backbone", backbone, "--size", size]
            words += ["--train", str(told.train), "--test", str(told.test)]
            done = subprocess.run(
                [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True
            )
            known[key] = json.loads(done.stdout.splitlines()[-1])
            keep("large_pictures", known)
            print(key, flush=True)
    show("Large pictures, tile by tile", list(known.values()))


if __name__ == "__main__":
    main()
