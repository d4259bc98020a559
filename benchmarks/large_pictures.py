"""Pictures of 12 to 50 megapixels tile by tile: small marks found, peak memory, seconds.

    python large_pictures.py                          # every size, the filter bank: half an hour
    python large_pictures.py --size 4190x3040 --train 30
    python large_pictures.py --backbone squeezenet        # hours on two cores

Synthetic parts: brushed metal with drilled holes at fixed places, another brush and light for each.
``--train`` of them are learnt within the memory budget (2 GB where none is set), then ``--test``
good ones and as many with one mark each, a dark scratch of 10, 20 or 40 pixels, are judged by the
threshold that out-of-fold scores set. Each line is a process of its own, so that its peak memory is
its own. Lines are kept in ``results/large_pictures.json`` and a run goes on from there.
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
from fedpatchcore.site.setup import use_threads

SIZES = ("4190x3040", "8000x2000", "8192x6144")
MARKS = (10, 20, 40)  # pixels
TILE = 512


def part(width: int, height: int, seed: int, mark: int = 0) -> tuple[np.ndarray, tuple[int, int]]:
    """uint8 ``[H, W, 3]`` and where its mark is."""
    rng = np.random.default_rng(seed)
    brushed = uniform_filter1d(rng.standard_normal((height, width), np.float32), 31, axis=1)
    grey = 128 + 60 * brushed + rng.uniform(-5, 5)
    for y in range(200, height - 100, 400):
        for x in range(200, width - 100, 400):
            rows, columns = np.ogrid[-30:30, -30:30]
            grey[y - 30 : y + 30, x - 30 : x + 30][rows**2 + columns**2 < 900] = 40
    at = 0, 0
    if mark:
        x, y = 280 + 400 * int(rng.integers(0, (width - 400) // 400)), 100 + 7 * (seed % 40)
        at = x, y + 400 * int(rng.integers(0, (height - 400) // 400))
        grey[at[1] : at[1] + max(3, mark // 4), at[0] : at[0] + mark] -= 70
    grey = grey.clip(0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), at


def measured(backbone: str, size: str, train: int, test: int) -> dict[str, Any]:
    """One line, in this process."""
    use_threads(1)
    width, height = map(int, size.split("x"))
    told = {"geometry": "tiles", "image_size": TILE, "coreset_size": 1000, "folds": 5}
    config = squeezenet(**told)
    if backbone == "filterbank":
        config = RunConfig(backbone=backbone, tile_overlap=64, **told)
    detector = PatchCore(config)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{at:03d}.bmp" for at in range(train)]
        for at, path in enumerate(paths):
            Image.fromarray(part(width, height, at)[0][..., 0]).save(path)
        begun, cpu = time.perf_counter(), time.process_time()
        detector.fit({"part": paths})
    learned = time.perf_counter() - begun, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    stopped, found, judged = 0, dict.fromkeys(MARKS, 0), time.perf_counter()
    for at in range(test):
        stopped += detector.predict(part(width, height, 1000 + at)[0]).defective
        mark = MARKS[at % len(MARKS)]
        picture, (x, y) = part(width, height, 2000 + at, mark)
        verdict = detector.predict(picture)
        found[mark] += bool(verdict.defective) and any(
            r.left - 16 <= x + mark // 2 < r.right + 16 and r.top - 16 <= y < r.bottom + 16
            for r in verdict.regions
        )
    return {
        "backbone": backbone,
        "size": size,
        "megapixels": width * height / 1e6,
        "train": train,
        **{f"{m} px found": f"{found[m]} of {len(range(i, test, 3))}" for i, m in enumerate(MARKS)},
        "good stopped": f"{stopped} of {test}",
        "fit seconds": learned[0],
        "fit CPU seconds": learned[1],
        "seconds an image": (time.perf_counter() - judged) / max(1, 2 * test),
        "budget GB": config.budget_bytes(tiled=True) / 1e9,
        "peak GB": peak / 1e9,
    }


def main() -> None:
    """Measure what is lacking, each line in a process of its own, and show all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
                [sys.executable, __file__, *words], capture_output=True, text=True, check=True
            )
            known[key] = json.loads(done.stdout.splitlines()[-1])
            keep("large_pictures", known)
            print(key, flush=True)
    show("Large pictures, tile by tile", list(known.values()))


if __name__ == "__main__":
    main()
