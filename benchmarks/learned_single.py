"""Learned memories, generators and students on one machine, beside PatchCore, over draws.

    python learned_single.py                           # everything, an hour on one core
    python learned_single.py --sets cookie --draws 1
    python learned_single.py --ways memory             # without the students
    python learned_single.py --tests 80                # at most so many images a class
    OMP_NUM_THREADS=1 nice python learned_single.py    # beside other work

Each draw takes 100 training images at random (cookie: 24 of 31), SqueezeNet, whole frame, 224
pixels, from the cache of features. Prints image AUROC by set and way, means over draws, then the
mean over sets and its paired difference to PatchCore's 250 rows; seconds of the processor and bytes
that would travel. Rows marked ``/3`` score by the mean distance to the 3 nearest rows. Kept in
``results/learned_single.json`` with every draw.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from common import extractor, keep, products, show, squeezenet

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.student import student_scores
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.learned.generator import WEIGHT, GeneratorObjective
from fedpatchcore.learned.memory import global_memory, reduce_memory
from fedpatchcore.learned.student import StudentObjective
from fedpatchcore.metrics.curves import image_auroc

SETS = ("magnetic_tile", "impeller", "cookie")
BASE = "patchcore 250"
STEPS, RATE, BATCH = 50, 1.0, 512  # of a generator
STUDENT_STEPS, STUDENT_RATE, STUDENT_BATCH = 200, 4e-3, 4  # of a student, by Adam
MANY = 400  # weighted averages that a memory of 100 rows is made of
AT_ONCE = 1 << 14  # patches

Way = tuple[np.ndarray, np.ndarray | None]  # rows, metric


class Given:
    """Features of one set: test images, and a pool that draws take training images from."""

    def __init__(self, name: str, tool, most: int) -> None:
        product, rng = products(name)[name], np.random.default_rng(5)
        tests = []
        for anomalous in (False, True):
            same = [t for t in product.test if t.anomalous == anomalous]
            tests += [same[at] for at in sorted(rng.permutation(len(same))[:most])]
        self._tool, self._train = tool, list(product.train)
        self.labels = np.array([t.anomalous for t in tests])
        self.tests = self._features([t.path for t in tests]).astype(np.float16)

    def _features(self, paths: list[Path]) -> np.ndarray:
        return self._tool.all(paths)[0].dense()

    def draw(self, seed: int) -> np.ndarray:
        """Training features ``[n, h, w, D]``."""
        n = min(100, int(0.8 * len(self._train)))
        order = np.random.default_rng(100 + seed).permutation(len(self._train))[:n]
        return self._features([self._train[at] for at in sorted(order)])

    def auroc(self, rows: np.ndarray, metric: np.ndarray | None) -> dict[str, float]:
        """Image AUROC by the nearest row and by the three nearest."""
        flat = torch.from_numpy(self.tests.reshape(-1, self.tests.shape[-1]))
        bank = torch.from_numpy(np.ascontiguousarray(rows, np.float32))
        lens = None if metric is None else torch.from_numpy(metric)
        bank = bank if lens is None else bank @ lens
        found = []
        for part in flat.split(AT_ONCE):
            seen = part.float() if lens is None else part.float() @ lens
            found.append(torch.cdist(seen, bank).topk(3, largest=False).values)
        near = torch.cat(found).reshape(len(self.tests), -1, 3).numpy()
        told = {"": near[:, :, 0], "/3": near.mean(2)}
        return {name: image_auroc(d.max(1), self.labels) for name, d in told.items()}


def descended(
    objective, seed: int, make: Callable, *, steps: int, batch: int
) -> Mapping[str, np.ndarray]:
    """Parameters after so many steps of an optimiser on random batches."""
    held = {n: torch.from_numpy(p).requires_grad_() for n, p in objective.start(seed).items()}
    optimiser, dice = make(held.values()), torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimiser.zero_grad()
        at = torch.randint(objective.examples, (batch,), generator=dice)
        objective.loss(held, at).backward()
        optimiser.step()
    return {name: one.detach().numpy() for name, one in held.items()}


def generator(patches: np.ndarray, memory: np.ndarray, seed: int) -> np.ndarray:
    """A metric learned by plain gradient descent."""
    objective = GeneratorObjective(patches, memory)
    made = descended(objective, seed, lambda p: torch.optim.SGD(p, RATE), steps=STEPS, batch=BATCH)
    return objective.metric({WEIGHT: made[WEIGHT]})


def memories(patches: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Rows by way: picks, averages around picks, and K-means over many such averages."""
    picks = patches[greedy_k_center(patches, 1000, seed=seed).indices]
    found = {f"patchcore {n}": picks[:n] for n in (1000, 250, 100)}
    many = reduce_memory(patches, MANY, seed=seed)
    return found | {"memory 100": global_memory([many], 100, seed=seed).rows}


def once(given: Given, seed: int, ways: str, split: int) -> list[dict]:
    """Every way on one draw."""
    maps, told = given.draw(seed), []
    patches = maps.reshape(-1, maps.shape[-1])

    def note(way: str, values: Mapping[str, float], seconds: float, size: int) -> None:
        for kind, value in values.items():
            told.append({"way": way + kind, "auroc": value, "seconds": seconds, "bytes": size})

    if ways in ("all", "memory"):
        for name, rows in memories(patches, seed).items():
            note(name, given.auroc(rows, None), 0.0, rows.nbytes)
            if len(rows) > 100:
                continue
            begun = time.process_time()
            metric = generator(patches, rows, seed)
            seconds = time.process_time() - begun
            note(f"{name} + generator", given.auroc(rows, metric), seconds, rows.nbytes)
    if ways in ("all", "student"):
        objective, begun = StudentObjective(maps, split), time.process_time()
        how = {"steps": STUDENT_STEPS, "batch": STUDENT_BATCH}
        made = descended(objective, seed, lambda p: torch.optim.Adam(p, STUDENT_RATE), **how)
        seconds = time.process_time() - begun
        scores = student_scores(made, given.tests).reshape(len(given.tests), -1)
        size = sum(one.nbytes for one in made.values())
        note("student", {"": image_auroc(scores.max(1), given.labels)}, seconds, size)
        note("student, mean patch", {"": image_auroc(scores.mean(1), given.labels)}, seconds, size)
    return told


def summed(found: list[dict]) -> list[dict]:
    """Means over draws by way and set, and over sets."""
    sets = list(dict.fromkeys(row["set"] for row in found))
    table = []
    for way in dict.fromkeys(row["way"] for row in found):
        mine = [row for row in found if row["way"] == way]
        line = {"way": way}
        for name in sets:
            line[name] = float(np.mean([r["auroc"] for r in mine if r["set"] == name]))
        line["mean"] = float(np.mean([line[name] for name in sets]))
        base = {(r["set"], r["draw"]): r["auroc"] for r in found if r["way"] == BASE}
        if base:
            apart = [r["auroc"] - base[r["set"], r["draw"]] for r in mine]
            line["to " + BASE] = float(np.mean(apart))
            line["worst"] = float(np.min(apart))
        line["kB"] = round(mine[0]["bytes"] / 1000)
        line["seconds"] = round(float(np.mean([r["seconds"] for r in mine])), 1)
        table.append(line)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--tests", type=int, default=10_000)
    parser.add_argument("--ways", default="all", choices=("all", "memory", "student"))
    asked = parser.parse_args()
    config = squeezenet()
    backbone = build_backbone(config)
    tool, found = extractor(config, backbone), []
    kept = "learned_single" + ("" if asked.ways == "all" else f"_{asked.ways}")
    given = {name: Given(name, tool, asked.tests) for name in asked.sets}
    for draw in range(asked.draws):
        for name, one in given.items():
            rows = once(one, draw, asked.ways, backbone.widths[0])
            found += [{"set": name, "draw": draw, **row} for row in rows]
            show(f"{name}, draw {draw}", rows)
            keep(kept, found)
        show(f"means of {draw + 1} draws", summed(found))


if __name__ == "__main__":
    main()
