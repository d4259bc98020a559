"""What the benchmarks share: where the data is, how features are kept, how results are shown.

Data and weights are not part of the product: point FEDPATCHCORE_SHARED at the folder with
``data/`` and ``weights/`` (default: ``../shared`` beside the project). Features are cached below
$FEDPATCHCORE_HOME (default ~/.cache/fedpatchcore), so a second run is quick.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.places import cache_home
from fedpatchcore.site.measuring import Scored, score_images

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("FEDPATCHCORE_SHARED", ROOT.parent / "shared"))
RESULTS = Path(__file__).resolve().parent / "results"


def squeezenet(**overrides: Any) -> RunConfig:
    """SqueezeNet 1.1 with the ImageNet weights, whole frame, as in the reference figures."""
    base = {
        "backbone": "squeezenet1_1",
        "weights": str(SHARED / "weights" / "squeezenet1_1-imagenet.safetensors"),
        "geometry": "full",
        "data": str(SHARED / "data"),
        "cache_gb": 30.0,
    }
    return RunConfig(**{**base, **overrides})


def products(*names: str) -> dict[str, Product]:
    """Products of the real data."""
    if not (SHARED / "data").is_dir():
        sys.exit(f"no data at {SHARED / 'data'}: set FEDPATCHCORE_SHARED")
    return discover(SHARED / "data", "mvtec", names)


def extractor(config: RunConfig, backbone: Backbone | None = None) -> Extractor:
    """An extractor with a cache on disk."""
    cache = SiteCache(cache_home() / "benchmarks", config.cache_gb)
    return Extractor(backbone or build_backbone(config), batch_size=8, cache=cache)


def patches(tool: Extractor, paths: Sequence[Path]) -> np.ndarray:
    """Patch features ``[N, D]`` of images."""
    return tool.all(paths)[0].rows


def scores(
    tool: Extractor, tests: Sequence[TestImage], banks: Mapping[str, np.ndarray]
) -> dict[str, Scored]:
    """Every bank's scores of the test images, in one pass over the features."""
    return score_images(tool, tests, {k: Scorer(v) for k, v in banks.items()}, Tally())


def tile_groups(tests: Iterable[TestImage]) -> list[str]:
    """Tile of each magnetic-tile image: several exposures of one tile belong together."""
    table = {}
    with (SHARED / "data" / "magnetic_tile.csv").open() as file:
        for row in csv.DictReader(file):
            table[Path(row["file"]).name] = row["tile_group"]
    return [table[t.path.name] for t in tests]


def exposure(path: Path) -> int:
    """Exposure number in a magnetic-tile file name, ``exp3_num_…`` → 3."""
    return int(path.name[3])


def show(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a Markdown table."""
    keys = list(rows[0])
    print(f"\n### {title}\n\n| {' | '.join(keys)} |\n|{'---|' * len(keys)}")
    for row in rows:
        cells = (f"{v:.3f}" if isinstance(v, float) else str(v) for v in row.values())
        print(f"| {' | '.join(cells)} |")
    sys.stdout.flush()


def keep(name: str, content: Any) -> None:
    """Save figures as ``results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(content, indent=1, default=float)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def measured_before(name: str) -> dict[str, Any]:
    """What `keep` saved under this name; empty if nothing."""
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else {}


class Clock:
    """Wall time of a block in seconds."""

    def __enter__(self) -> Clock:
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
