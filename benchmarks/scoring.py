"""Milliseconds an image from patch features to scores and anomaly map, against anomalib.

    python benchmarks/scoring.py [--threads 1] [--images 12] [--largest 100000] [--only peers]

Both sides get the same features and the same bank and score one image after the other in turn:
anomalib's `PatchcoreModel` in a process of its own (see ``peers.py``; its default re-weighting by
9 neighbours), this library's `Scorer` with the same re-weighting. "search" is the nearest row of
every patch alone. FAISS' flat index, the exact search of before, and FAISS' approximate indices
are timed on the same images. Banks up to 10,000 rows are k-center coresets of impeller patches
(SqueezeNet, 768 dimensions), larger ones random patches.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from common import Clock, extractor, keep, patches, products, show, squeezenet
from peers import anomalib_python

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.detection.smoothing import anomaly_map
from fedpatchcore.site.setup import use_threads

SIDE = 27  # patches a side
TEACH = 160  # images the banks come from


def banks(largest: int) -> Iterable[tuple[str, np.ndarray]]:
    """Names and rows."""
    tool = extractor(squeezenet())
    rows = patches(tool, products("impeller")["impeller"].train[:TEACH])
    subset = rows[np.random.default_rng(0).permutation(len(rows))]
    order = greedy_k_center(subset[:40_000], min(10_000, largest), seed=0).indices
    for size in (1_000, 10_000, 100_000):
        if size <= largest:
            yield f"{size:,}", subset[order[:size]] if size <= 10_000 else subset[:size]


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and processor seconds, and what came out."""
    wall, cpu = time.perf_counter(), time.process_time()
    out = work()
    return time.perf_counter() - wall, time.process_time() - cpu, out


class Peer:
    """anomalib in its own process."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("peer_scoring.py")
        self._process = subprocess.Popen(
            [str(anomalib_python()), "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **order: Any) -> dict[str, Any]:
        """One answer for one order."""
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def against_anomalib(
    peer: Peer, name: str, bank: np.ndarray, images: np.ndarray, folder: Path, threads: int
) -> dict[str, Any]:
    """One row: medians over the images, after one image to warm up."""
    files = {"bank": str(folder / "bank.npy"), "queries": str(folder / "queries.npy")}
    np.save(files["bank"], bank)
    np.save(files["queries"], images)
    peer.ask(**files, side=SIDE, threads=threads)
    scorer, index = Scorer(bank, reweight=9), NearestNeighbours(bank)
    flat = faiss.IndexFlatL2(bank.shape[1])
    flat.add(bank)
    times: dict[str, list[float]] = {}
    apart = 0.0

    def score(features: np.ndarray) -> Any:
        found = scorer(features[None])
        anomaly_map(found.patches, (224, 224))
        return found

    for at, rows in enumerate(images):
        theirs = peer.ask(image=at)
        searched, searched_cpu, _ = timed(lambda rows=rows: index.search(rows))
        whole, whole_cpu, found = timed(lambda rows=rows: score(rows.reshape(SIDE, SIDE, -1)))
        flat_wall, flat_cpu, _ = timed(lambda rows=rows: flat.search(rows, 1))
        apart = max(apart, abs(found.images[0] / theirs["score"] - 1))
        if at:
            for key, value in (
                ("search", searched), ("search cpu", searched_cpu),
                ("all", whole), ("all cpu", whole_cpu),
                ("flat", flat_wall), ("flat cpu", flat_cpu),
            ):  # fmt: skip
                times.setdefault(key, []).append(value)
                if "flat" not in key:
                    times.setdefault(f"theirs {key}", []).append(theirs[key])
    took = {k: 1e3 * statistics.median(v) for k, v in times.items()}
    return {
        "bank rows": name,
        "threads": threads,
        "search ms": took["search"],
        "anomalib search ms": took["theirs search"],
        "FAISS flat ms": took["flat"],
        "search: times faster": took["theirs search"] / took["search"],
        "search: times faster, cpu": took["theirs search cpu"] / took["search cpu"],
        "than FAISS flat": took["flat"] / took["search"],
        "all ms": took["all"],
        "anomalib all ms": took["theirs all"],
        "all: times faster": took["theirs all"] / took["all"],
        "all: times faster, cpu": took["theirs all cpu"] / took["all cpu"],
        "largest difference of image scores": f"{apart:.1e}",
    }


def approximate(name: str, bank: np.ndarray, images: np.ndarray) -> list[dict[str, Any]]:
    """FAISS' approximate indices: time, and how often they are right."""
    exact = NearestNeighbours(bank)
    truth = [exact.search(rows)[0][:, 0] for rows in images]
    base = statistics.median(timed(lambda rows=rows: exact.search(rows))[0] for rows in images)
    cells = 64 if len(bank) <= 20_000 else 256
    plans = [
        (f"IVF{cells},Flat", [("nprobe", n) for n in (4, 16, cells // 2)]),
    ]
    if len(bank) <= 20_000:  # the graph of more takes minutes to build
        plans.append(("HNSW32", [("efSearch", n) for n in (8, 16, 32)]))
    rows = [{"bank rows": name, "index": "exact (this library)", "ms": 1e3 * base}]
    rows[0].update({"patches right": 1.0, "scores right": 1.0, "build s": 0.0})
    for kind, settings in plans:
        index = faiss.index_factory(bank.shape[1], kind)
        with Clock() as built:
            index.train(bank)
            index.add(bank)
        for key, value in settings:
            if key:
                faiss.ParameterSpace().set_index_parameter(index, key, value)
            took, right, scores = [], [], []
            for queries, exactly in zip(images, truth, strict=True):
                wall, _, (squared, _) = timed(lambda q=queries, i=index: i.search(q, 1))
                found = np.sqrt(np.maximum(squared[:, 0], 0))
                took.append(wall)
                right.append(np.mean(np.abs(found - exactly) <= 1e-4 * exactly))
                scores.append(abs(found.max() - exactly.max()) <= 1e-4 * exactly.max())
            rows.append(
                {
                    "bank rows": name,
                    "index": f"{kind} {key}={value}" if key else kind,
                    "ms": 1e3 * statistics.median(took),
                    "patches right": float(np.mean(right)),
                    "scores right": float(np.mean(scores)),
                    "build s": built.seconds,
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Run both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--name", default="", help="results/scoring<name>.json")
    parser.add_argument("--only", choices=("peers", "indices", "both"), default="both")
    arguments = parser.parse_args()
    use_threads(arguments.threads)
    test = products("impeller")["impeller"].test
    chosen = [t.path for t in test[:: max(1, len(test) // arguments.images)]][: arguments.images]
    found, _, _ = extractor(squeezenet()).all(chosen)
    found = found.dense()
    images = found.reshape(len(found), SIDE * SIDE, -1)
    versus, others = [], []
    peer = Peer()
    with tempfile.TemporaryDirectory() as folder:
        for name, bank in banks(arguments.largest):
            if arguments.only != "indices":
                args = (peer, name, bank, images, Path(folder), arguments.threads)
                versus.append(against_anomalib(*args))
                print(versus[-1], file=sys.stderr, flush=True)
            if len(bank) >= 10_000 and arguments.only != "peers":
                others += approximate(name, bank, images)
            keep(f"scoring{arguments.name}", {"against anomalib": versus, "indices": others})
    peer.close()
    if versus:
        show(f"Scoring against anomalib, {arguments.threads} threads", versus)
    if others:
        show("Approximate indices", others)


if __name__ == "__main__":
    main()
