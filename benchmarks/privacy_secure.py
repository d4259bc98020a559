"""Private banks by moments when the noise is shared: secure sums, powers, rounds, and many sites.

    python privacy_secure.py --product impeller           # moments of 5 and of 20 sites
    python privacy_secure.py --product impeller --open    # open, local and hybrid beside them

SqueezeNet, whole frame, one codebook of the synthetic sample, three draws of the noise; half of the
test images judge, as in ``privacy.py``. A site's sums follow from each image's mean and covariance
in the public slice, so images are looked at once. The noise of all sites together, of what one
site alone would add: with full noise √n; with secure sums √(n / (t − c)), t four fifths of n, c 1.
Of 20 sites each has a twentieth of the images. ``--open`` takes some minutes more: coresets of five
sites and of all, which the paired intervals and the hybrid need. Figures go to
``results/privacy_secure.csv``, a row a product, way and ε; those of other products are kept.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import RESULTS, extractor, patches, products, show, squeezenet, tile_groups
from privacy_banks import DELTA, NEGLIGIBLE, SEEDS, SITES, Judge, sites_of

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.moments import MomentSums
from fedpatchcore.privacy.shared_noise import sum_sigma
from fedpatchcore.securesums.terms import openers_among
from fedpatchcore.server.first_codebook import sample_images

EPSILONS = (1.0, 4.0, 8.0)
WIDEST = 128  # dimensions
LOCAL, COLLUDING = 1000, 1
RESULT = RESULTS / "privacy_secure.csv"


@dataclass(frozen=True)
class Way:
    """Dimensions of the slice, power of the first round, rounds."""

    dimensions: int
    power: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.dimensions}, power {self.power:g}, rounds {self.rounds}"


WAYS = (Way(32, 1, 1), Way(64, 0.5, 1), Way(128, 0.5, 1), Way(64, 1, 2), Way(128, 1, 2))
WAYS += (Way(128, 0.5, 2),)


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


def seen(book: Codebook, tool: Extractor, train: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Means ``[n, d]`` and covariances ``[n, d, d]`` of images in the slice."""
    means, spreads = [], []
    for _, features in tool.stream(train, Tally()):
        points = book.project(features.reshape(-1, features.shape[-1]))
        means.append(points.mean(0))
        away = points - means[-1]
        spreads.append(away.T @ away / len(points))
    return np.stack(means), np.stack(spreads)


def summed(mechanism: MomentSums, means: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """What all images add, as real numbers."""
    d = mechanism.codebook.cells.shape[1]
    pairs = zip(means[:, :d], spreads[:, :d, :d], strict=True)
    return sum(mechanism.share_of(mean, spread) for mean, spread in pairs)


def bank(
    first: MomentSums, told: np.ndarray, looked: tuple, way: Way, sigma: float, times: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Row ``[1, D]``, metric ``[D, d]`` and directions above the noise, after all rounds.

    Args:
        told: what all images add in the first round.
    """
    book, rng = first.codebook, np.random.default_rng()
    for number in range(way.rounds):
        mechanism = MomentSums(book, sigma * way.rounds**0.5, way.power)
        exact = summed(mechanism, *looked) if number else told
        noise = times * mechanism.sigma
        noised = exact + rng.normal(0, noise, exact.shape)
        total = mechanism.on_lattice(noised)
        if number + 1 < way.rounds:
            book = mechanism.refined(total, sigma=noise, seed=0)
    found = mechanism.read(total, sigma=noise)
    return found.rows, found.metric, found.known


def curve(
    name: str, judge: Judge, book: Codebook, looked: tuple, without: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """A row for each way, kind of noise, number of sites and ε."""
    rows = []
    asked = [(k, SITES, e) for k in ("full", "secure") for e in EPSILONS]
    asked += [(k, 20, 1.0) for k in ("full", "secure")] + [("none", 1, np.inf)]
    for way in WAYS:
        first = MomentSums(sliced(book, way.dimensions), 1.0, way.power)
        told = summed(first, *looked)
        for kind, sites, epsilon in asked:
            sigma = gaussian_sigma(epsilon, DELTA) if np.isfinite(epsilon) else NEGLIGIBLE
            times = noise_times(kind, sites) if kind != "none" else 1.0
            several = range(SEEDS if kind != "none" else 1)
            draws = [bank(first, told, looked, way, sigma, times) for _ in several]
            distances = [judge.spread(*one[:2]) for one in draws]
            aurocs = [judge.auroc(one) for one in distances]
            row = {
                "product": name,
                "dimensions": way.dimensions,
                "power": way.power,
                "rounds": way.rounds,
                "noise": kind,
                "sites": sites,
                "ε": epsilon,
                "AUROC": float(np.mean(aurocs)),
                "sd": float(np.std(aurocs)),
                "directions": float(np.mean([one[2] for one in draws])),
                "hybrid": "",
                "worst hybrid − local": "",
                "− open bank": "",
            }
            if without:
                alone = [judge.auroc(one) for one in without["local"]]
                both = [judge.auroc(np.minimum(one, distances[0])) for one in without["local"]]
                row["hybrid"] = float(np.mean(both))
                row["worst hybrid − local"] = float(np.min(np.array(both) - alone))
                row["− open bank"] = judge.difference(distances[0], without["open"])
            rows.append(row)
        show(f"{name}: {way}", rows[-len(asked) :])
    return rows


def measured(name: str, opened: bool) -> list[dict[str, Any]]:
    """All rows of a product."""
    tool = extractor(squeezenet(cache_gb=30.0 if opened else 0.001))  # else looked at once
    product = products(name)[name]
    tile = name == "magnetic_tile"
    groups = tile_groups(product.test) if tile else [str(t.path) for t in product.test]
    known = set(sorted(set(groups))[::2])
    half = [at for at, group in enumerate(groups) if group in known]
    public = patches(tool, sample_images())
    book = public_codebook(public, 64, WIDEST, seed=0, source="sample")
    del public
    looked = seen(book, tool, product.train)
    judge = Judge(tool, [product.test[at] for at in half], [groups[at] for at in half])
    without: dict[str, Any] = {}
    if opened:
        site, own = sites_of(name, product.train), []
        for at in range(SITES):
            x = patches(tool, [p for p, s in zip(product.train, site, strict=True) if s == at])
            own.append(x[greedy_k_center(x, LOCAL).indices])
        union = np.concatenate(own)
        without["local"] = [judge.distances(rows) for rows in own]
        without["open"] = judge.distances(union[greedy_k_center(union, 2 * LOCAL).indices])
        fixed = {"open bank": judge.auroc(without["open"])}
        fixed["local only, mean"] = float(np.mean([judge.auroc(d) for d in without["local"]]))
        show(f"{name}: without ε", [fixed])
    return curve(name, judge, book, looked, without)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--product", choices=("impeller", "magnetic_tile"), nargs="+")
    options.add_argument("--open", action="store_true")
    asked = options.parse_args()
    for name in asked.product or ("impeller", "magnetic_tile"):
        rows = measured(name, asked.open)
        kept = []
        if RESULT.exists():
            with RESULT.open(newline="") as file:
                kept = [row for row in csv.DictReader(file) if row["product"] != name]
        with RESULT.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows([*kept, *rows])


if __name__ == "__main__":
    main()
