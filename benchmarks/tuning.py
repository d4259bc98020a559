"""Settings chosen by planted defects: what they are worth on real ones.

    python tuning.py                                # three sets, three draws each
    python tuning.py --set impeller --draws 2
    python tuning.py --told                         # the tables again, from the draws that are kept
    python tuning.py --raw FOLDER                   # also every score of every trial

A draw takes up to 40 training images (of magnetic tiles: whole tiles) and ranks candidates as
``fedpatchcore tune`` does in its last step: three defects an image, out-of-fold. Then each
candidate learns all images of the draw, and its image AUROC on the product's own labelled test
images is the real one. ``regret`` is what the chosen candidate lacks to the best of all that were
measured (draws 1 and 2 also single layers, which ``tune`` never tries unasked), ``gain`` what it
has over the settings told (SqueezeNet, whole, 224 pixels: the default), ``over crop`` what it has
over the same with ``geometry=crop``, the default of old. ``if surely better``: the settings told,
unless the planted gain over them is above 0 at 95%. Of square pictures ``full`` is ``whole`` and is
not tried. Every line of ``results/tuning.csv`` is one candidate of one draw; a run that was stopped
goes on. A draw takes a quarter of an hour and more on one core.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from common import RESULTS, products, show, squeezenet
from verdicts import Draws

from fedpatchcore.config import RunConfig
from fedpatchcore.detection.fitting import bank_rows, bank_scorer
from fedpatchcore.detection.folds import scored
from fedpatchcore.errors import FedPatchCoreError
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.cost import sizes_of
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.places import cache_home
from fedpatchcore.site.setup import use_threads
from fedpatchcore.tuning.candidates import AS_TOLD, Candidate, coarse, finer, present_backbones
from fedpatchcore.tuning.plan import planned
from fedpatchcore.tuning.ranking import Ranked, ranked
from fedpatchcore.tuning.search import HIDDEN
from fedpatchcore.tuning.trial import Trial, try_out

SETS = ("cookie", "impeller", "magnetic_tile")
IMAGES = 40
TESTED = 60  # good and defective test images at most
FILE = RESULTS / "tuning.csv"
CROP = "geometry=crop"
CACHE_GB = 10.0
NUMBERS = ("planted", "low", "high", "gain low", "gain high", "real", "seconds")
HEAD = ("set", "seed", "candidate", *NUMBERS)


class Kept:
    """The lines of the table; what is added stands on disk at once."""

    def __init__(self) -> None:
        self.rows: list[dict] = []
        if FILE.is_file():
            with FILE.open(newline="") as file:
                for row in csv.DictReader(file):
                    told = {key: float(row[key]) for key in NUMBERS}
                    self.rows.append({**row, "seed": int(row["seed"]), **told})

    def add(self, row: Mapping[str, object]) -> None:
        new = not FILE.is_file()
        with FILE.open("a", newline="") as file:
            writer = csv.DictWriter(file, HEAD, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})
        self.rows.append(dict(row))

    def of(self, name: str, seed: int) -> dict[str, dict]:
        mine = (row for row in self.rows if (row["set"], row["seed"]) == (name, seed))
        return {row["candidate"]: row for row in mine}


class Drawn:
    """Images of one draw, and what is known of candidates on them."""

    def __init__(self, name: str, seed: int, given: Draws, kept: Kept, raw: Path | None) -> None:
        self.name, self.seed, self.kept, self.raw = name, seed, kept, raw
        self.cache = SiteCache(cache_home() / "benchmarks", CACHE_GB)
        teach, good, groups = given.take(IMAGES, seed)
        rng = np.random.default_rng(0)
        good, bad = (
            [some[i] for i in sorted(rng.permutation(len(some))[:TESTED].tolist())]
            for some in (good, given.bad)
        )
        self.teach, self.good, self.bad = teach, good, bad
        self.plan = planned(name, teach, most=IMAGES, seed=seed, groups=groups)

    def measure(self, candidates: Iterable[Candidate], base: RunConfig) -> dict[str, Ranked]:
        """Try those that are not known yet; the default first, whose trial all gains need."""
        known, trials = self.kept.of(self.name, self.seed), {}
        lacking = [one for one in candidates if one.name not in known]
        if not lacking:
            return {}
        told = None
        for one in lacking:
            try:
                config = one.settings(base)
                backbone = build_backbone(config)
                trial = try_out(config, [self.plan], backbone=backbone, cache=self.cache)
                if told is None:
                    told = trial if one.name == AS_TOLD else self._told(base)
                found = {r.name: r for r in ranked({AS_TOLD: told, one.name: trial}, AS_TOLD)}
                real = self.real(config, backbone)
            except FedPatchCoreError as error:
                print(f"{self.name} {self.seed} {one.name}: left out: {error}", flush=True)
                continue
            trials[one.name] = mine = found[one.name]
            self.keep_raw(one.name, trial)
            row = {"set": self.name, "seed": self.seed, "candidate": one.name}
            figures = (mine.auroc, mine.low, mine.high, mine.gain_low, mine.gain_high, real)
            row |= dict(zip(NUMBERS, (*figures, mine.seconds), strict=True))
            self.kept.add(row)
            print(
                f"{self.name} {self.seed} {one.name}: planted {mine.auroc:.3f}, real {real:.3f}",
                flush=True,
            )
        return trials

    def _told(self, base: RunConfig) -> Trial:
        return try_out(base, [self.plan], cache=self.cache)

    def real(self, config: RunConfig, backbone: Backbone) -> float:
        """Image AUROC on the labelled test images by a bank of all images of the draw."""
        tool = Extractor(backbone, batch_size=8, cache=self.cache)
        features, _, _ = tool.all(self.teach)
        scorer = bank_scorer(bank_rows(features.rows, backbone, config)[0], backbone, config)
        scores = []
        for paths in (self.good, self.bad):
            found = [
                scored(scorer, tool.all(paths[at : at + 16])[0]).images
                for at in range(0, len(paths), 16)
            ]
            scores.append(np.concatenate(found))
        return image_auroc(np.concatenate(scores), np.repeat([False, True], list(map(len, scores))))

    def keep_raw(self, name: str, trial: Trial) -> None:
        if self.raw:
            cells = [(t.kind, t.size, t.contrast) for t in self.plan.tasks]
            self.raw.mkdir(parents=True, exist_ok=True)
            safe = name.replace("/", "_").replace(" ", "+")
            told = {"trial": trial.told(), "cells": cells}
            (self.raw / f"{self.name}-{self.seed}-{safe}.json").write_text(json.dumps(told))


def of_name(name: str) -> Candidate:
    """A candidate from its name in the table, its values as the settings' kinds want them."""
    fields, changes = RunConfig().table(), {}
    for word in name.split() if name != AS_TOLD else ():
        key, _, text = word.partition("=")
        changes[key] = type(fields[key])(text)
    return Candidate(changes)


def square(paths: Sequence[Path]) -> bool:
    return all(width == height for width, height in sizes_of(paths, len(paths)))


def run(asked: argparse.Namespace) -> None:
    use_threads(1)
    kept, base = Kept(), squeezenet(geometry="whole", group_by="none", cache_gb=0.0)
    backbones, _ = present_backbones(base)
    for seed in range(asked.draws):
        every = {}
        for name in asked.set:
            every[name] = Drawn(name, seed, Draws(name, products(name)[name]), kept, asked.raw)
            first = coarse(base, backbones, square=square(every[name].teach))
            every[name].measure(first, base)
        names = {one.name for one in coarse(base, backbones)}
        for name, drawn in every.items():  # as tune does: memory, neighbours and scores last
            rows = sorted(kept.of(name, seed).values(), key=lambda row: -row["planted"])
            for row in [row for row in rows if row["candidate"] in names][:2]:
                best = of_name(row["candidate"])
                drawn.measure(finer(base, best), base)


def tell(kept: Kept) -> None:
    """The tables of benchmarks/README.md."""
    draws = sorted({(row["set"], row["seed"]) for row in kept.rows})
    by_set: dict[str, list[dict[str, float]]] = {}
    for name, seed in draws:
        rows = kept.of(name, seed)
        if {AS_TOLD, CROP} <= set(rows):
            by_set.setdefault(name, []).append(chosen(rows))
    table = [_mean(name, some) for name, some in by_set.items()]
    table.append(_mean("mean of sets", table))
    show("The choice by planted defects, on real ones", table)
    everywhere = [set(kept.of(*draw)) for draw in draws]
    shared = sorted(set.intersection(*everywhere)) if everywhere else []
    rows = []
    for one in shared:
        row: dict[str, object] = {"candidate": one}
        for name in by_set:
            mine = [kept.of(*draw)[one] for draw in draws if draw[0] == name]
            row[f"{name} planted"] = float(np.mean([m["planted"] for m in mine]))
            row[f"{name} real"] = float(np.mean([m["real"] for m in mine]))
        rows.append(row)
    show("Planted and real image AUROC, means over draws", rows)


def chosen(rows: Mapping[str, Mapping]) -> dict[str, float]:
    """What the choice of one draw is worth."""
    told, best = rows[AS_TOLD], max(rows.values(), key=lambda row: row["real"])
    unasked = [row for name, row in rows.items() if not of_name(name).changes.get("layers")]
    pick = max(unasked, key=lambda row: row["planted"])
    highest = pick["real"]
    if pick["planted"] < HIDDEN:  # as tune does
        pick = told
    names = list(rows)
    sure = pick if pick["gain low"] > 0 else told
    return {
        "default": told["real"],
        "crop": rows[CROP]["real"],
        "chosen": pick["real"],
        "highest planted": highest,
        "best": best["real"],
        "gain": pick["real"] - told["real"],
        "over crop": pick["real"] - rows[CROP]["real"],
        "regret": best["real"] - pick["real"],
        "if surely better": sure["real"],
        "its regret": best["real"] - sure["real"],
        "rank correlation": _spearman(
            [rows[n]["planted"] for n in names], [rows[n]["real"] for n in names]
        ),
    }


def _spearman(one: Sequence[float], other: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic) if len(set(other)) > 1 else float("nan")


def _mean(name: str, rows: Sequence[Mapping]) -> dict[str, object]:
    keys = [key for key, value in rows[0].items() if isinstance(value, float)]
    return {"set": name, **{key: float(np.nanmean([row[key] for row in rows])) for key in keys}}


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--set", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--raw", type=Path)
    parser.add_argument("--told", action="store_true")
    asked = parser.parse_args()
    if not asked.told:
        run(asked)
    tell(Kept())


if __name__ == "__main__":
    main()
