"""Engines beside torch: one image from file to verdict, and what becomes of scores and verdicts.

    python benchmarks/engines.py [--threads 2] [--turns 15] [--only time|scores] [--networks NAMES]
    python benchmarks/engines.py --only time --networks wide_resnet50_2 --peer  # anomalib's beside

*Time*: wide_resnet50_2 (random weights, which cost the same) and two small ones, banks of 10,000,
one image at a time: decode, features, search, anomaly map on the original picture, regions,
verdict. All engines stand in one process and take turns image by image, so that what else the
machine does falls on all alike; medians, and processor time beside them. Precisions that the
processor does not have are left out with a line. ``--peer``: anomalib's PatchCore on the same
network with a bank of as many rows, exported to OpenVINO and asked by its own means
(``peer_station.py``), takes turns with ours from its own process; its environment is made on first
use, in minutes. It ends with a map of 224 by 224, ours with one of the picture's size and regions.

*Scores*: a bank made by torch judges test images of every public set by each engine: the largest
distance of a patch from torch's in lengths of it, the largest difference of an image score in parts
of the threshold, and how many verdicts differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import keep, measured_before, products, show, squeezenet
from extraction import wide
from peers import anomalib_python
from precision import LITE, NAMES, chosen

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.devices.halves import native_half
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.features.engines.registry import ENGINES, TORCH
from fedpatchcore.site.setup import use_threads

WAYS = [(TORCH, "float32"), *((name, "float32") for name in ENGINES)]
HALVES = [(TORCH, "bfloat16"), ("openvino", "bfloat16")]
BANK = 10_000
NAN = float("nan")


def ways() -> list[tuple[str, str]]:
    """Engines and precisions that this machine has."""
    if native_half("bfloat16"):
        return WAYS + HALVES
    print("this processor has no bfloat16: those rows are left out", flush=True)
    return WAYS


class Peer:
    """anomalib's OpenVINO, in its own environment and process; it lives until the end."""

    def __init__(self, paths: Sequence[Path], folder: Path) -> None:
        python = anomalib_python("openvino", "onnx", "onnxscript")
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", str(Path(__file__).with_name("peer_station.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask(images=[str(path) for path in paths], bank=BANK, folder=str(folder))

    def ask(self, **order: Any) -> dict[str, Any]:
        """One answer for one order."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def steps(self, path: Path) -> dict[str, float]:
        """Milliseconds of one verdict, processor and clock."""
        told = self.ask(image=str(path))
        return {
            "ms": told["ms"],
            "CPU ms": told["CPU ms"],
            "features ms": NAN,
            "features CPU ms": NAN,
        }


def steps(one: PatchCore | Peer, path: Path) -> dict[str, float]:
    """Milliseconds of the parts of one verdict, processor and clock."""
    if isinstance(one, Peer):
        return one.steps(path)
    wall, cpu = time.perf_counter(), time.process_time()
    one.predict(path)
    told = {"ms": time.perf_counter() - wall, "CPU ms": time.process_time() - cpu}
    pixels = one.backbone.read(path)
    wall, cpu = time.perf_counter(), time.process_time()
    one.backbone.extract_prepared([pixels])
    told["features ms"] = time.perf_counter() - wall
    told["features CPU ms"] = time.process_time() - cpu
    return {key: 1e3 * value for key, value in told.items()}


def alternating(
    made: dict[tuple[str, str], PatchCore | Peer], paths: Sequence[Path], turns: int
) -> dict[tuple[str, str], dict[str, float]]:
    """Medians of `steps`, engines by turns; each has seen one image before."""
    taken: dict[tuple[str, str], list[dict[str, float]]] = {way: [] for way in made}
    for turn in range(turns + 1):
        for way, one in made.items():
            told = steps(one, paths[turn % len(paths)])
            if turn:
                taken[way].append(told)
    return {
        way: {key: statistics.median(t[key] for t in rows) for key in rows[0]}
        for way, rows in taken.items()
    }


def time_rows(config: RunConfig, turns: int, peer: Path | None = None) -> list[dict[str, Any]]:
    """One row an engine, and how its latency compares with torch's."""
    paths = list(products("impeller")["impeller"].train[:24])
    made: dict[tuple[str, str], PatchCore | Peer] = {}
    for engine, precision in ways():
        told = {"engine": engine, "precision": precision}
        try:
            made[engine, precision] = with_bank(config.model_copy(update=told), paths)
        except FedPatchCoreError as error:
            print(f"{engine}, {precision}: left out ({error})", flush=True)
    if peer:
        made["anomalib, openvino", "its default"] = Peer(paths, peer)
    found = alternating(made, paths, turns)
    plain = found[TORCH, "float32"]
    return [
        {
            "network": config.backbone,
            "engine": engine,
            "precision": precision,
            **row,
            "of torch": row["ms"] / plain["ms"],
            "features, of torch": row["features ms"] / plain["features ms"],
            "features, of torch, CPU": row["features CPU ms"] / plain["features CPU ms"],
        }
        for (engine, precision), row in found.items()
    ]


def with_bank(config: RunConfig, paths: Sequence[Path]) -> PatchCore:
    """A detector whose bank holds `BANK` rows, picked at random from patches of these images."""
    one = PatchCore(config)
    return one.fit({"part": list(paths)})


def score_rows(config: RunConfig, train: int, test: int) -> list[dict[str, Any]]:
    """Every engine judges by the bank that torch made."""
    rows = []
    for name in NAMES:
        paths, tests = chosen(products(name)[name], train, test)
        first = PatchCore(config).fit({name: paths})
        pixels = [first.backbone.read(t.path) for t in tests]
        features = first.backbone.extract_prepared(pixels[:16])
        expected = [first.predict(t.path) for t in tests]
        for engine in ENGINES:
            backbone = build_backbone(config.model_copy(update={"engine": engine}))
            other = PatchCore(config, backbone=backbone).use(first.bank)
            found = [other.predict(t.path) for t in tests]
            lengths = np.linalg.norm(features, axis=-1)
            gap = np.linalg.norm(backbone.extract_prepared(pixels[:16]) - features, axis=-1)
            both = list(zip(expected, found, strict=True))
            apart = [abs(a.score - b.score) / a.threshold for a, b in both]
            rows.append(
                {
                    "network": config.backbone,
                    "set": name,
                    "engine": engine,
                    "patches apart": f"{(gap / lengths).max():.1e}",
                    "scores apart, of the threshold": f"{max(apart):.1e}",
                    "other verdicts": sum(a.defective != b.defective for a, b in both),
                    "images": len(tests),
                }
            )
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--train", type=int, default=40)
    parser.add_argument("--test", type=int, default=80)
    parser.add_argument("--only", choices=("time", "scores", "both"), default="both")
    parser.add_argument("--networks", default="wide_resnet50_2,squeezenet1_1,efficientnet_lite0")
    parser.add_argument("--peer", action="store_true", help="anomalib beside, of wide_resnet50_2")
    told = parser.parse_args()
    use_threads(told.threads)
    base = {"cache_gb": 0.0, "heatmaps": 0, "calibration": "holdout", "group_by": "none"}
    small = squeezenet(**base)
    rows: dict[str, list[dict[str, Any]]] = {"time": [], "scores": []}
    if told.only != "scores":
        rows_a_site = {"coreset_size": BANK, "global_bank_size": BANK, "coreset": "random"}
        with tempfile.TemporaryDirectory() as folder:
            there = (wide(Path(folder)), small, squeezenet(**base, **LITE))
            for config in (one for one in there if one.backbone in told.networks):
                config = config.model_copy(update={**base, **rows_a_site})
                peer = Path(folder) if told.peer and config.backbone == "wide_resnet50_2" else None
                rows["time"] += time_rows(config, told.turns, peer)
                print(rows["time"][-len(WAYS) :], flush=True)
    if told.only != "time":
        some = {"coreset_size": 1500, "global_bank_size": 1500}
        for config in (small, squeezenet(**base, **LITE)):
            rows["scores"] += score_rows(config.model_copy(update=some), told.train, told.test)
    keep("engines", measured_before("engines") | {k: v for k, v in rows.items() if v})
    for title, found in rows.items():
        if found:
            show(title, found)


if __name__ == "__main__":
    main()
