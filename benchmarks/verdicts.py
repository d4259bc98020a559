"""What thresholds are worth: false alarms and misses at the product's own, over many draws.

    python verdicts.py                     # everything, some 20 minutes
    python verdicts.py --only machine      # one machine: hold-out, 5 folds, 10, one an image
    python verdicts.py --only federation   # five sites of 24 images
    python verdicts.py --draws 5
    python verdicts.py --only machine --set magnetic_tile --images 60 72
    python verdicts.py --anew              # forget the draws of earlier runs

Each draw is kept in ``results/`` when it is made, and a run goes on from those that are there.
A way that names its folds has just these; "as it comes" leaves up to twelve groups out one by one.
Each draw takes n training images at random (of magnetic tiles: whole tiles, with all exposures)
and calibrates with a target of 5%. ``inside`` is the share of draws whose observed share of false
alarms lies in the interval that is stated for the true one; the observed one rests on some dozen
to some hundred good test images and scatters by itself. Test images of tiles are drawn anew as
well, since 31 tiles by themselves are luck; other sets keep their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from common import SHARED, Clock, extractor, products, show, squeezenet, tile_groups
from draws import KeptDraws, summed

from fedpatchcore.config import RunConfig
from fedpatchcore.data.products import Product, TestImage
from fedpatchcore.detection import folds
from fedpatchcore.detection.fitting import SITE, fit_bank
from fedpatchcore.detection.folds import scored
from fedpatchcore.detection.scoring import Scorer
from fedpatchcore.features.backbone import Backbone, build_backbone
from fedpatchcore.features.maps import FeatureMaps, Gathering
from fedpatchcore.inprocess import federate
from fedpatchcore.metrics.curves import image_auroc
from fedpatchcore.site.site import Site

TARGET = 0.05
MACHINE = (("cookie", 20), ("cookie", 31), ("impeller", 40), ("impeller", 150))
MACHINE += (("magnetic_tile", 60), ("magnetic_tile", 150))
DEFECTS = 120  # at most, of those that are there
WAYS = {"hold-out": {"calibration": "holdout"}, "5 folds": {"folds": 5}, "10 folds": {"folds": 10}}
AS_IT_COMES = {"as it comes": {}}
ONE_BY_ONE = {"one an image": {"folds": 10_000}}
FEW_GROUPS = folds.FEW
FEW = 40  # images up to which one an image is measured


class Remembered:
    """A backbone that extracts an image once: the draws take the same ones again and again."""

    def __init__(self, backbone: Backbone, config: RunConfig) -> None:
        self._tool = extractor(config, backbone)
        self._known: dict[Path, np.ndarray] = {}
        self.backbone = backbone
        self.fingerprint, self.device = backbone.fingerprint, backbone.device
        self.geometry = backbone.geometry

    def learn(self, paths: Sequence[Path]) -> None:
        new = [path for path in paths if path not in self._known]
        if new:
            features, _, _ = self._tool.all(new)
            self._known.update(zip(new, (one.astype(np.float16) for one in features), strict=True))

    def read(self, path: Path) -> np.ndarray:
        return np.array([str(path)])  # in place of its pixels

    def maps(self, paths: Sequence[Path]) -> FeatureMaps:
        self.learn(paths)
        return Gathering(len(paths)).add_all([(self._known[p].astype(np.float32) for p in paths)])

    def flow(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[np.ndarray]:
        return map(self.extract_prepared, batches)

    def extract_prepared(self, named: Sequence[np.ndarray]) -> np.ndarray:
        paths = [Path(one[0]) for one in named]
        self.learn(paths)
        return np.stack([self._known[path] for path in paths]).astype(np.float32)


def configs(asked: argparse.Namespace) -> dict[str, RunConfig]:
    geometry = asked.geometry
    every = {
        "squeezenet": squeezenet(geometry=geometry, group_by="none"),
        "filterbank": RunConfig(backbone="filterbank", geometry=geometry, group_by="none"),
    }
    return {name: one for name, one in every.items() if asked.backbone in (None, name)}


class Draws:
    """Training and test images of one product, drawn at random."""

    def __init__(self, name: str, product: Product) -> None:
        self.name, self.train = name, list(product.train)
        self.good = [t.path for t in product.test if not t.anomalous]
        bad = [t.path for t in product.test if t.anomalous]
        chosen = np.random.default_rng(0).permutation(len(bad))[:DEFECTS]
        self.bad = [bad[at] for at in sorted(chosen.tolist())]
        self.groups: dict[Path, str] = {}
        if name == "magnetic_tile":
            every = [*self.train, *self.good]
            tiles = tile_groups([TestImage(path, "good") for path in every])
            self.groups = dict(zip(every, tiles, strict=True))

    def take(self, n: int, seed: int) -> tuple[list[Path], list[Path], dict[Path, str]]:
        """Training images, good test images, and which training images belong together."""
        rng = np.random.default_rng(seed)
        if not self.groups:
            at = rng.permutation(len(self.train))[:n]
            return [self.train[i] for i in at], self.good, {}
        tiles = sorted(set(self.groups.values()))
        order = [tiles[i] for i in rng.permutation(len(tiles))]
        test = set(order[:31])
        teach = [p for t in order[31:] for p, g in self.groups.items() if g == t][:n]
        good = [path for path, tile in self.groups.items() if tile in test]
        return teach, good, {path: self.groups[path] for path in teach}


def machine(draws: int, asked: argparse.Namespace) -> None:
    """Fit on one machine."""
    for which, config in configs(asked).items():
        tables: dict[str, KeptDraws] = {}
        for name, n in MACHINE if not asked.images else [(asked.set, n) for n in asked.images]:
            if asked.set not in (None, name):
                continue
            known = Remembered(build_backbone(config), config)
            given = Draws(name, products(name)[name])
            ways = WAYS | (ONE_BY_ONE if n <= FEW else {}) | (AS_IT_COMES if given.groups else {})
            if name not in tables:  # forgotten once, not before each number of images
                tables[name] = KeptDraws(part("machine", asked, which, name), anew=asked.anew)
            kept = tables[name]
            for seed in kept.lacking(name, n, list(ways), draws):
                teach, good, groups = given.take(n, seed)
                rows = []
                for way, how in ways.items():
                    told = once(known, config, how, teach, good, given, groups, seed)
                    rows.append({**named(name, n, way, seed, SITE), **told})
                kept.add(rows)
            tell(f"{which}, {name}, {n} images, {asked.geometry}", kept, name, n, ways)


def named(which: str, n: int, way: str, seed: int, case: str) -> dict[str, object]:
    return {"set": which, "n": n, "way": way, "seed": seed, "case": case}


def tell(title: str, kept: KeptDraws, which: str, n: int, ways: Mapping) -> None:
    show(title, [{"way": way, **summed(kept.of(which, n, way))} for way in ways])


def just(how: Mapping[str, object]) -> None:
    """As many folds as are named, if any are, however few groups there are."""
    folds.FEW = 0 if "folds" in how else FEW_GROUPS


def once(known, config, how, teach, good, given, groups, seed) -> dict[str, float]:
    """One draw, calibrated one way."""
    settings = config.model_copy(update={**how, "seed": seed})
    just(how)
    with Clock() as clock:
        made = fit_bank(known, {"part": teach}, settings, groups=groups)
    limit = made.bank.thresholds["part"][SITE]
    worth = made.bank.calibration["part"][SITE]
    score = Scorer(made.bank.sections["part"].features)
    alarms = scored(score, known.maps(good)).images
    hits = scored(score, known.maps(given.bad)).images
    return judged(alarms, hits, limit, worth) | {"seconds": clock.seconds}


def judged(alarms, hits, limit: float, worth) -> dict[str, float]:
    rate = float((alarms > limit).mean())
    level = np.sort(alarms)[max(0, int(np.ceil(0.95 * len(alarms))) - 1)]
    return {
        "alarms": rate,
        "recall": float((hits > limit).mean()),
        "recall at 5%": float((hits > level).mean()),
        "inside": float(worth["low"] - 1e-9 <= rate <= worth["high"] + 1e-9),
        "promised": float(worth["promised"]),
        "up to": float(worth["high"]),
        "auroc": image_auroc(
            np.concatenate([alarms, hits]), np.repeat([False, True], [len(alarms), len(hits)])
        ),
    }


def federation(draws: int, asked: argparse.Namespace) -> None:
    """Five sites of 24 images, 300 rows each, a bank of 1,000; tiles: 4 whole tiles a site."""
    for which, config in configs(asked).items():
        for name in ("impeller", "magnetic_tile"):
            if asked.set not in (None, name):
                continue
            config = config.model_copy(
                update={"coreset_size": 300, "global_bank_size": 1000, "compare_local": False}
            )
            backbone = build_backbone(config)
            tool = extractor(config, backbone)
            given = Draws(name, products(name)[name])
            kept = KeptDraws(part("federation", asked, which, name), anew=asked.anew)
            for seed in kept.lacking(name, 24, list(WAYS), draws):
                teach, good, groups = given.take(120, seed)
                features, _, _ = tool.all([*good, *given.bad])
                rows = []
                for way, how in WAYS.items():
                    just(how)
                    settings = config.model_copy(update={**how, "seed": seed})
                    sites = [
                        site(
                            f"s{at}",
                            teach[24 * at : 24 * at + 24],
                            settings,
                            backbone,
                            tool,
                            groups,
                        )
                        for at in range(5)
                    ]
                    with Clock() as clock:
                        bank = federate(sites).bank
                    scores = scored(Scorer.of(bank, "part"), features).images
                    for one in sites:
                        told = judged(
                            scores[: len(good)],
                            scores[len(good) :],
                            bank.thresholds["part"][one.name],
                            bank.calibration["part"][one.name],
                        )
                        seconds = clock.seconds / len(sites)
                        case = named(name, 24, way, seed, one.name)
                        rows.append({**case, **told, "seconds": seconds})
                kept.add(rows)
            tell(f"five sites, {which}, {name}, {asked.geometry}", kept, name, 24, WAYS)


def site(name, paths, config, backbone, tool, groups) -> Site:
    product = Product("part", tuple(paths), (), SHARED)
    return Site(name, {"part": product}, config, backbone, cache=tool.cache, groups=groups)


def part(what: str, asked: argparse.Namespace, which: str, name: str) -> str:
    """Name of the table that keeps the draws."""
    return "_".join(("verdicts", what, asked.geometry, which, name))


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", choices=("machine", "federation"))
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--backbone", choices=("squeezenet", "filterbank"))
    parser.add_argument("--set", choices=("cookie", "impeller", "magnetic_tile"))
    parser.add_argument("--images", type=int, nargs="*", default=(), help="of --set")
    parser.add_argument("--anew", action="store_true", help="forget the draws that are kept")
    parser.add_argument("--geometry", choices=("whole", "crop", "full"), default="whole")
    asked = parser.parse_args()
    if asked.images and not asked.set:
        parser.error("--images needs --set")
    if asked.only != "federation":
        machine(asked.draws, asked)
    if asked.only != "machine":
        federation(asked.draws, asked)


if __name__ == "__main__":
    main()
