"""Private banks by moments when the noise is shared: secure sums, powers, rounds, and many sites.

    python privacy_secure.py --product impeller           # moments of 5 and of 20 sites
    python privacy_secure.py --product impeller --open    # open, local and hybrid beside them

SqueezeNet, whole frame, one codebook of the synthetic sample, three draws of the noise. Every
second group of test images is for choosing a way (dimensions, power, rounds), the others, which no
choice has seen, for telling what it is worth. A site's sums follow from each image's mean and
covariance in the public slice, so images are looked at once. The noise of all sites together, of
what one site alone would add: with full noise √n; with secure sums √(n / (t − c)), t four fifths
of n, c 1. Of 20 sites each has a twentieth of the images, 30 of the impellers. ``--open`` takes
some minutes more: coresets of five sites and of all, which differences and the hybrid need.

Figures go to ``results/privacy_secure.csv``, a row a product, way and ε, and to
``results/privacy_secure_chosen.csv``, a row a product, noise and ε; other products' are kept.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import RESULTS, extractor, patches, products, show, squeezenet, tile_groups
from privacy_banks import DELTA, NEGLIGIBLE, SEEDS, SITES, Halves
from privacy_hybrid import LOCAL, Without, beside, locals_of

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.moments import MomentSums
from fedpatchcore.privacy.regions import RegionSums
from fedpatchcore.privacy.shared_noise import sum_sigma
from fedpatchcore.securesums.terms import openers_among
from fedpatchcore.server.first_codebook import sample_images

EPSILONS = (1.0, 4.0, 8.0)
WIDEST = 128  # dimensions
COLLUDING = 1


@dataclass(frozen=True)
class Way:
    """Dimensions of the slice, power of the first round, rounds, regions of the second."""

    dimensions: int
    power: float
    rounds: int
    regions: int = 1

    def __str__(self) -> str:
        cut = f", regions {self.regions}" if self.regions > 1 else ""
        return f"{self.dimensions}, power {self.power:g}, rounds {self.rounds}{cut}"


WAYS = (Way(32, 1, 1), Way(64, 0.5, 1), Way(128, 0.5, 1), Way(64, 1, 2), Way(128, 1, 2))
WAYS += (Way(128, 0.5, 2), Way(64, 1, 2, 4), Way(128, 1, 2, 4))


def noise_times(kind: str, sites: int) -> float:
    """Noise of the sum of all sites over that of a single release."""
    if kind == "full":
        return sites**0.5
    return sum_sigma(1.0, sites, openers_among(sites, 0, COLLUDING), COLLUDING)


def sliced(book: Codebook, dimensions: int) -> Codebook:
    """The first directions of a slice, without cells."""
    plain = np.eye(dimensions, dtype=np.float32)
    basis = np.ascontiguousarray(book.basis[:, :dimensions])
    return Codebook(book.centre, basis, plain, book.spread[:dimensions], book.radius, book.source)


@dataclass(frozen=True)
class Looked:
    """Images in the slice: patches float32 ``[P, d]``, mean ``[d]``, covariance ``[d, d]``."""

    points: list[np.ndarray]
    means: list[np.ndarray]
    spreads: list[np.ndarray]

    @classmethod
    def at(cls, book: Codebook, tool: Extractor, train: Sequence) -> Looked:
        found = cls([], [], [])
        for _, features in tool.stream(train, Tally()):
            points = book.project(features.reshape(-1, features.shape[-1]))
            away = points - points.mean(0)
            found.points.append(points.astype(np.float32))
            found.means.append(points.mean(0))
            found.spreads.append(away.T @ away / len(points))
        return found

    def summed(self, mechanism: MomentSums | RegionSums) -> np.ndarray:
        """What all images add, as real numbers."""
        d = mechanism.codebook.cells.shape[1]
        if isinstance(mechanism, MomentSums):
            pairs = zip(self.means, self.spreads, strict=True)
            return sum(mechanism.share_of(mean[:d], spread[:d, :d]) for mean, spread in pairs)
        return sum(mechanism.share_of(points[:, :d].astype(float)) for points in self.points)


def bank(
    first: MomentSums, told: np.ndarray, looked: Looked, way: Way, sigma: float, times: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows ``[K, D]``, metrics ``[K, D, d]`` and directions above the noise, after all rounds.

    Args:
        told: what all images add in the first round.
    """
    book, rng = first.codebook, np.random.default_rng()
    for number in range(way.rounds):
        once = sigma * way.rounds**0.5
        mechanism = MomentSums(book, once, way.power, way.regions)
        if RegionSums.fits(book):
            mechanism = RegionSums(book, once)
        exact = looked.summed(mechanism) if number else told
        noise = times * mechanism.sigma
        noised = exact + rng.normal(0, noise, exact.shape)
        total = mechanism.on_lattice(noised)
        if number + 1 < way.rounds:
            book = mechanism.refined(total, sigma=noise, seed=0)
    found = mechanism.read(total, sigma=noise)
    return (
        found.rows,
        found.metric[None] if found.row_metrics is None else found.row_metrics,
        found.known,
    )


Draws = dict[tuple, np.ndarray]  # image scores of the first draw, by way, noise, sites and ε


def curve(
    name: str, judge: Halves, book: Codebook, looked: Looked, without: Without | None
) -> tuple[list[dict[str, Any]], Draws]:
    """A row for each way, kind of noise, number of sites and ε."""
    rows, kept = [], {}
    asked = [(k, SITES, e) for k in ("full", "secure") for e in EPSILONS]
    asked += [(k, 20, 1.0) for k in ("full", "secure")] + [("none", 1, np.inf)]
    for way in WAYS:
        first = MomentSums(sliced(book, way.dimensions), 1.0, way.power)
        told = looked.summed(first)
        for kind, sites, epsilon in asked:
            sigma = gaussian_sigma(epsilon, DELTA) if np.isfinite(epsilon) else NEGLIGIBLE
            times = noise_times(kind, sites) if kind != "none" else 1.0
            several = range(SEEDS if kind != "none" else 1)
            draws = [bank(first, told, looked, way, sigma, times) for _ in several]
            distances = [judge.spread(*one[:2]) for one in draws]
            scores = [judge.scores(one) for one in distances]
            row = {
                "product": name,
                "dimensions": way.dimensions,
                "power": way.power,
                "rounds": way.rounds,
                "regions": way.regions,
                "noise": kind,
                "sites": sites,
                "ε": epsilon,
                "to choose by": float(np.mean([judge.half(one, True) for one in scores])),
                "AUROC": float(np.mean([judge.half(one, False) for one in scores])),
                "sd": float(np.std([judge.half(one, False) for one in scores])),
                "directions": float(np.mean([one[2] for one in draws])),
                "hybrid": "",
                "hybrid − local, worst": "",
                "− open bank": "",
            }
            if without:
                row |= beside(judge, without, distances[0], draws[0], scores[0])
            rows.append(row)
            kept[str(way), kind, sites, epsilon] = scores[0]
        show(f"{name}: {way}", rows[-len(asked) :])
    return rows, kept


def chosen(rows: Sequence[Mapping[str, Any]], judge: Halves, kept: Draws) -> list[dict[str, Any]]:
    """The way that the first half chooses for each noise and ε, by what the other half tells."""
    told = []
    plain = str(WAYS[0])
    for kind, sites, epsilon in dict.fromkeys((r["noise"], r["sites"], r["ε"]) for r in rows):
        mine = [r for r in rows if (r["noise"], r["sites"], r["ε"]) == (kind, sites, epsilon)]
        best = max(mine, key=lambda row: row["to choose by"])
        way = Way(best["dimensions"], best["power"], best["rounds"], best["regions"])
        scores = kept[str(way), kind, sites, epsilon]
        told.append(
            {
                "product": best["product"],
                "noise": kind,
                "sites": sites,
                "ε": epsilon,
                "chosen": str(way),
                "AUROC": best["AUROC"],
                "sd": best["sd"],
                f"of {plain}": mine[0]["AUROC"],
                "− the same, plain": judge.apart(scores, kept[plain, kind, sites, epsilon]),
                "− full noise at ε = 4, plain": judge.apart(
                    scores, kept[plain, "full", SITES, 4.0]
                ),
                "− open bank": best["− open bank"],
            }
        )
    return told


def measured(name: str, opened: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All rows of a product, and those of the ways chosen."""
    tool = extractor(squeezenet(cache_gb=30.0 if opened else 0.001))  # else looked at once
    product = products(name)[name]
    tile = name == "magnetic_tile"
    groups = tile_groups(product.test) if tile else [str(t.path) for t in product.test]
    public = patches(tool, sample_images())
    book = public_codebook(public, 64, WIDEST, seed=0, source="sample")
    del public
    looked = Looked.at(book, tool, product.train)
    judge = Halves(tool, product.test, groups)
    without = None
    if opened:
        own, coresets = locals_of(name, tool, product.train, judge)
        union = np.concatenate(coresets)
        distances = judge.distances(union[greedy_k_center(union, 2 * LOCAL).indices])
        without = Without(judge.scores(distances), own)
        alone = [judge.half(judge.scores(one.distances), False) for one in own]
        fixed = {"open bank": judge.half(without.open, False), "local, mean": np.mean(alone)}
        show(f"{name}: without ε", [{k: float(v) for k, v in fixed.items()}])
    rows, kept = curve(name, judge, book, looked, without)
    picked = chosen(rows, judge, kept)
    show(f"{name}: ways chosen by the first half, told by the other", picked)
    return rows, picked


def written(name: str, product: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A product's rows put into a CSV of results, in the place of its earlier ones."""
    file, kept = RESULTS / name, []
    if file.exists():
        with file.open(newline="") as stream:
            kept = [row for row in csv.DictReader(stream) if row["product"] != product]
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows([*kept, *rows])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--product", choices=("impeller", "magnetic_tile"), nargs="+")
    options.add_argument("--open", action="store_true")
    asked = options.parse_args()
    for name in asked.product or ("impeller", "magnetic_tile"):
        rows, picked = measured(name, asked.open)
        written("privacy_secure.csv", name, rows)
        written("privacy_secure_chosen.csv", name, picked)


if __name__ == "__main__":
    main()
