"""Coreset selection: seconds, covering radius, memory, beside its peers and its floor.

    python coreset.py [--rows 50000] [--ratios 0.01 0.1] [--repeats 3] [--threads 1]

Real features (magnetic tiles, SqueezeNet, D = 768 raw, 768 unit norm, 1,152 raw). Every method
runs in a process of its own that loads the same file of features, so that its memory can be told;
all are started by this one process, one after another, repeats interleaved. Times are CPU seconds
of a single thread (other work on the machine disturbs these least) and wall seconds. Methods:

- ours: `greedy_k_center`;
- plain: the textbook loop, one float32 matrix-vector product and one argmax a pick;
- approximate: the sampler of the paper's authors as their paper describes it, distances in a
  random projection to 128 dimensions, start from the mean distance to ten random rows;
- anomalib: its `KCenterGreedy`, from the registry, unmodified;
- touch: the floor. Any exact method must read every row once and compute its distance to the
  first centre: one matrix-vector product over all features.

A method whose cost per pick is constant (all but ours) may be stopped after ``--picks`` picks
(anomalib after a tenth of them); the time of all is then extrapolated, said so, and no radius is
given. The radius is measured apart from the method, but that of ours beyond `PAIRS` pairs: there it
is the method's own word.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve()
PAIRS = 1e9  # of rows and picks: half a minute of searching


def child(method: str, file: str, size: int, seed: int) -> dict[str, object]:
    """One selection in this process; runs in anomalib's environment too, so imports are late."""
    import torch

    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    select = _method(method)
    x = np.load(file)
    small = x[:: max(1, len(x) // 2000)]
    select(small, min(20, len(small)), seed)  # libraries load, threads start
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest size so far
    before = _status("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    picked = select(x, size, seed)
    told = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    told["radius"] = getattr(picked, "radius", None)
    picked = getattr(picked, "indices", picked)
    told["peak_mb"] = (_status("VmHWM") - before) / 1024
    told["picked"] = np.asarray(picked).tolist()
    return told


def _status(key: str) -> int:
    """Kilobytes from /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key + ":"))


def _method(name: str):
    import torch

    if name == "ours":
        from fedpatchcore.coreset.greedy import greedy_k_center

        return lambda x, size, seed: greedy_k_center(x, size, seed=seed)
    if name == "plain":
        return plain
    if name == "approximate":
        return approximate
    if name == "touch":
        return lambda x, size, seed: [
            int(torch.mv(torch.from_numpy(x), torch.ones(x.shape[1])).argmax())
        ]
    if name == "anomalib":
        from anomalib.models.components.sampling import KCenterGreedy

        def select(x: np.ndarray, size: int, seed: int) -> list[int]:
            torch.manual_seed(seed)
            picked = KCenterGreedy(torch.from_numpy(x), (size + 0.5) / len(x)).select_coreset_idxs()
            return [int(at) for at in picked]

        return select
    raise SystemExit(f"no method '{name}'")


def plain(x: np.ndarray, size: int, seed: int) -> list[int]:
    """The textbook loop, the quickest way it can be written."""
    import torch

    rows = torch.from_numpy(x)
    rows = rows - rows.mean(0)
    norms = (rows * rows).sum(1)
    far = torch.full_like(norms, torch.inf)
    at = int(np.random.default_rng(seed).integers(len(x)))
    picked, spare = [at], torch.empty_like(norms)
    while len(picked) < size:
        torch.mv(rows, rows[at], out=spare)
        spare.mul_(-2).add_(norms).add_(norms[at])
        torch.minimum(far, spare, out=far)
        far[at] = -1
        at = int(far.argmax())
        picked.append(at)
    return picked


def approximate(x: np.ndarray, size: int, seed: int) -> list[int]:
    """Projected greedy (PatchCore, Roth et al., CVPR 2022, section 3.2 and appendix)."""
    import torch

    torch.manual_seed(seed)
    project = torch.nn.Linear(x.shape[1], 128, bias=False)
    with torch.no_grad():
        z = project(torch.from_numpy(x))
        start = np.random.default_rng(seed).choice(len(z), 10, replace=False)
        far = torch.cdist(z, z[torch.from_numpy(start)]).mean(1)
        picked = []
        for _ in range(size):
            at = int(far.argmax())
            picked.append(at)
            far = torch.minimum(far, (z - z[at]).norm(dim=1))
    return picked


def run(method: str, file: Path, size: int, threads: int, python: str) -> dict[str, object]:
    """A child process's word."""
    environ = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    environ["PYTHONPATH"] = str(HERE.parents[1])
    with tempfile.NamedTemporaryFile(suffix=".json") as told:
        command = [python, str(HERE), "--child", method, str(file), str(size), told.name]
        subprocess.run(command, check=True, env=environ, stderr=subprocess.DEVNULL)
        return json.loads(Path(told.name).read_text())


def covering_radius(x: np.ndarray, picked: list[int]) -> float:
    """Largest distance of any row to its nearest picked one, by FAISS and then by differences."""
    from fedpatchcore.detection.search import NearestNeighbours

    distance, _ = NearestNeighbours(x[picked]).search(x)
    worst = np.argsort(distance[:, 0])[-50:]
    rows = x[picked].astype(np.float64)
    return max(float(np.linalg.norm(rows - x[at].astype(np.float64), axis=1).min()) for at in worst)


def features(kind: str, rows: int) -> np.ndarray:
    """``[N, D]`` real patch features of magnetic tiles in random order."""
    from common import extractor, patches, products, squeezenet

    layers = "features.7,features.9,features.12" if kind == "raw 3 layers" else ""
    config = squeezenet(layer_norm="unit" if kind == "unit" else "none", layers=layers)
    tool = extractor(config)
    tool.cache = None
    images = sorted(products("magnetic_tile")["magnetic_tile"].train)
    x = patches(tool, images[:: max(1, int(len(images) / (rows / 729 + 1)))])
    return x[np.random.default_rng(0).permutation(len(x))[:rows]]


def compare(
    x: np.ndarray, kind: str, size: int, told: argparse.Namespace, python: str
) -> list[dict[str, object]]:
    """Every method on these features at this size."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.npy"
        np.save(file, x)
        results: dict[str, list] = {}
        for repeat in range(told.repeats):
            for name in told.methods:
                slow = name in ("plain", "anomalib", "approximate")
                if repeat and slow and (size > 1000 or name == "anomalib"):
                    continue  # a minute each; once is enough
                most = max(1, told.picks // 10) if name == "anomalib" else told.picks
                count = size if name in ("ours", "touch") else min(size, most)
                one = run(
                    name,
                    file,
                    count,
                    told.threads,
                    python if name == "anomalib" else sys.executable,
                )
                results.setdefault(name, []).append((one, size / count))
        for name, found in results.items():
            scale = found[0][1]
            radius = None
            if scale == 1 and name != "touch" and len(x) * size <= PAIRS:
                radius = covering_radius(x, found[0][0]["picked"])
            rows.append(
                {
                    "features": f"{kind} {len(x):,} × {x.shape[1]:,}",
                    "k": size,
                    "method": name,
                    "CPU s": median(one["cpu"] for one, _ in found) * scale,
                    "wall s": median(one["wall"] for one, _ in found) * scale,
                    "extrapolated": scale != 1,
                    "radius": radius or found[0][0]["radius"],
                    "radius measured": radius is not None,
                    "peak MB beside the features": max(one["peak_mb"] for one, _ in found),
                }
            )
            print(rows[-1], flush=True)
    ours = next(r["CPU s"] for r in rows if r["method"] == "ours")
    for row in rows:
        row["times ours"] = row["CPU s"] / ours
    return rows


def main() -> None:
    from common import keep, show

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--ratios", type=float, nargs="+", default=[0.01, 0.1])
    parser.add_argument("--kinds", nargs="+", default=["raw", "unit", "raw 3 layers"])
    parser.add_argument(
        "--methods", nargs="+", default=["touch", "ours", "plain", "approximate", "anomalib"]
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picks", type=int, default=5000, help="stop slower methods after so many")
    parser.add_argument("--name", default="coreset", help="of the file of results")
    told = parser.parse_args()
    python = ""
    if "anomalib" in told.methods:
        from peers import anomalib_python

        python = str(anomalib_python())
    rows: list[dict[str, object]] = []
    for kind in told.kinds:
        x = features(kind, told.rows)
        for ratio in told.ratios:
            rows += compare(x, kind, round(ratio * len(x)), told, python)
            keep(told.name, {"threads": told.threads, "rows": rows})
    show("Coreset selection", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        method, file, size, out = sys.argv[2:]
        Path(out).write_text(json.dumps(child(method, file, int(size), 0)))
    else:
        main()
