"""What decoding large JPEG files at the size that is needed saves, and what it changes.

    python benchmarks/jpeg.py [--images 6] [--side 3000] [--every 8] [--only speed]

Impellers (300 × 300) are enlarged (bicubic) and saved as JPEG, quality 95. *Speed*: files of
``side`` + a third × ``side`` pixels, 12 megapixels by default: images a second and processor
milliseconds an image from file to what the network sees, and to patch features, with
``jpeg-draft`` off and on by turns. *Detection*: files of 1,800 × 1,800 pixels (decoded at
1/4: 450), every ``--every``-th training and every second test image; how far features move, and
the image AUROC of banks made and asked off and on. Grain of a sensor (normal, 4 of 255) is added
after enlarging, so that there is fine detail for the decoders to differ in.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import extractor, keep, products, show, squeezenet
from PIL import Image

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.data.images import load_image
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.metrics.curves import image_auroc, paired_bootstrap
from fedpatchcore.site.setup import use_threads

GRAIN, QUALITY, ROWS = 4.0, 95, 1_000


def enlarged(path: Path, size: tuple[int, int], to: Path, seed: int) -> Path:
    """The picture at another size, with grain, as a JPEG."""
    pixels = np.asarray(load_image(path).resize(size, Image.Resampling.BICUBIC), np.float32)
    grain = np.random.default_rng(seed).standard_normal(size[::-1], dtype=np.float32)
    noisy = (pixels + GRAIN * grain[..., None]).clip(0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(to, quality=QUALITY)
    return to


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def speed(folder: Path, images: int, side: int, repeats: int) -> list[dict[str, object]]:
    """Off and on by turns over the same files."""
    size = (side + side // 3, side)
    train = products("impeller")["impeller"].train[:images]
    paths = [enlarged(p, size, folder / f"s{at}.jpg", at) for at, p in enumerate(train)]
    tools = {}
    for draft in (False, True):
        tools[draft] = Extractor(build_backbone(squeezenet(cache_gb=0, jpeg_draft=draft)))
    rows = []
    for what in ("to pixels", "to features"):
        times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for repeat in range(repeats + 1):
            for draft, tool in tools.items():
                if what == "to pixels":
                    taken = timed(lambda tool=tool: [tool.backbone.read(p) for p in paths])
                else:
                    taken = timed(lambda tool=tool: tool.all(paths))
                if repeat:
                    times[draft].append(taken)
        wall, cpu = (
            {d: statistics.median(t[at] for t in v) / len(paths) for d, v in times.items()}
            for at in (0, 1)
        )
        rows.append(
            {
                "from file": what,
                "pixels": f"{size[0]} × {size[1]}",
                "MB a file": statistics.mean(p.stat().st_size for p in paths) / 1e6,
                "images/s off": 1 / wall[False],
                "images/s on": 1 / wall[True],
                "times": wall[False] / wall[True],
                "CPU ms off": 1e3 * cpu[False],
                "CPU ms on": 1e3 * cpu[True],
                "times, CPU": cpu[False] / cpu[True],
            }
        )
    return rows


def scored(tool: Extractor, paths: Sequence[Path], banks: dict[str, Scorer]) -> dict:
    """Image scores of every bank, and features of the first images."""
    found: dict[str, list[float]] = {name: [] for name in banks}
    first = []
    for index, features in tool.stream(paths, Tally()):
        for name, bank in banks.items():
            found[name].append(float(bank(features[None]).images[0]))
        if index < 40:
            first.append(features)
    return {"scores": {k: np.array(v) for k, v in found.items()}, "features": np.stack(first)}


def detection(folder: Path, every: int, side: int) -> list[dict[str, object]]:
    """Both ways over all test images."""
    product = products("impeller")["impeller"]
    test = product.test[::2]
    files = {}
    for kind, paths in (
        ("train", product.train[::every]),
        ("test", [t.path for t in test]),
    ):
        files[kind] = [
            enlarged(p, (side, side), folder / f"{kind}{at}.jpg", at) for at, p in enumerate(paths)
        ]
    labels = np.array([t.anomalous for t in test])
    tools = {d: extractor(squeezenet(jpeg_draft=d)) for d in (False, True)}
    banks = {}
    for draft, tool in tools.items():
        features, _, _ = tool.all(files["train"])
        features = features.dense()
        patches = features.reshape(-1, features.shape[-1])
        for seed in (0, 1, 2):
            chosen = greedy_k_center(patches, ROWS, seed=seed)
            banks[draft, seed] = patches[chosen.indices]
        radius = chosen.radius
    found = {}
    for draft, tool in tools.items():
        named = {f"{b} {s}": Scorer(rows) for (b, s), rows in banks.items() if draft or not b}
        found[draft] = scored(tool, files["test"], named)
    base = found[False]["scores"]
    rows = []
    for made, asked in ((False, False), (True, True), (False, True)):
        for seed in (0, 1, 2):
            mine, plain = found[asked]["scores"][f"{made} {seed}"], base[f"False {seed}"]
            points = tuple(100 * d for d in paired_bootstrap(labels, mine, plain, None))
            rows.append(
                {
                    "bank made": "on" if made else "off",
                    "images read": "on" if asked else "off",
                    "seed": seed,
                    "image AUROC": f"{image_auroc(mine, labels):.4f}",
                    "points": "{:+.2f} [{:+.2f}, {:+.2f}]".format(*points),
                    "mean score change": float(np.abs(mine - plain).mean()),
                }
            )
    one, other = found[False]["features"], found[True]["features"]
    moved = np.linalg.norm(one - other, axis=-1)
    told = {
        "train": len(files["train"]), "test": len(labels), "rows": ROWS, "covering radius": radius,
        "feature moved, mean": moved.mean(), "largest": moved.max(),
        "feature norm": np.linalg.norm(one, axis=-1).mean(),
    }  # fmt: skip
    show("features", [{k: float(v) for k, v in told.items()}])
    return rows


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--side", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--every", type=int, default=8)
    parser.add_argument("--only", choices=("speed", "detection", "both"), default="both")
    given = parser.parse_args()
    use_threads(1)
    kept: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        if given.only != "detection":
            kept["speed"] = speed(Path(folder), given.images, given.side, given.repeats)
            show("12 megapixels", kept["speed"])
        if given.only != "speed":
            kept["detection"] = detection(Path(folder), given.every, 1800)
            show("1,800 × 1,800 pixels, all test images", kept["detection"])
    keep(f"jpeg_{given.only}" if given.only != "both" else "jpeg", kept)


if __name__ == "__main__":
    main()
