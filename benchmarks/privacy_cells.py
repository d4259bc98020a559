"""Private banks by cells in two rounds: a first one that finds where a product's patches lie.

    python privacy_cells.py --product impeller

SqueezeNet, whole frame, codebooks of the synthetic sample, three draws of codebook and noise; half
of the test images judge, as in ``privacy.py``. The way "one" is a single round. "even" are two of
half the budget each, cells cut anew where the first saw patches (``dp-first-share=0``). A number is
``dp-first-share``: what the first round spends on the mean of all features, to which the codebook
is moved. Noise of five sites together: full, each its own, √5 times that of one; with secure sums
of four openers, one of whom may collude, 1.29 times. Without noise, a single draw. Figures go to
``results/privacy_cells.csv``, a row a product, noise, ε and way; those of other products are kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from common import extractor, patches, products, show, squeezenet, tile_groups
from privacy_banks import DELTA, NEGLIGIBLE, SEEDS, SITES, Judge
from privacy_secure import noise_times, written

from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.cells import CellSums
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.survey import moved, survey_of
from fedpatchcore.server.first_codebook import sample_images

CELLS, DIMENSIONS = 128, 32
EPSILONS = (1.0, 4.0, 8.0)
SHARES = (0.1, 0.25, 0.5)
RESULT = "privacy_cells.csv"


class Looked:
    """All training images in a codebook's slice, and what each round adds of them.

    Moving a codebook outside its slice moves no coordinate in it: the sums stay what they were.
    """

    def __init__(self, tool: Extractor, train: Sequence, book: Codebook) -> None:
        self.book, self.survey = book, survey_of(book)
        whole, self.points = CellSums(self.survey, 1.0), []
        self.mean = np.zeros(whole.shape)
        for _, features in tool.stream(train, Tally()):
            rows = features.reshape(-1, features.shape[-1])
            self.mean += whole.share(rows)
            self.points.append(book.project(rows).astype(np.float32))
        self.sums = self.over(book)

    def over(self, book: Codebook) -> np.ndarray:
        """What all images add over a codebook of the same slice."""
        mechanism = CellSums(book, 1.0)
        return sum(mechanism._share(one.astype(np.float64)) for one in self.points)


def noised(
    book: Codebook, exact: np.ndarray, sigma: float, times: float
) -> tuple[CellSums, np.ndarray, float]:
    """A round's mechanism, its opened total, and the noise in it."""
    mechanism, noise = CellSums(book, sigma), times * sigma
    drawn = exact + np.random.default_rng().normal(0, noise, exact.shape)
    return mechanism, mechanism.on_lattice(drawn), noise


def bank(looked: Looked, way: str, sigma: float, times: float) -> np.ndarray:
    """Rows of a bank, float32 ``[M, D]``."""
    book, sums, left = looked.book, looked.sums, 1.0
    if way == "even":
        mechanism, total, noise = noised(book, sums, sigma * 2**0.5, times)
        book, left = mechanism.refined(total, sigma=noise, seed=0), 0.5
        sums = looked.over(book)
    elif way != "one":
        survey = noised(looked.survey, looked.mean, sigma / float(way) ** 0.5, times)
        book, left = moved(book, *survey[:2], sigma=survey[2]), 1 - float(way)
    mechanism, total, noise = noised(book, sums, sigma / left**0.5, times)
    return mechanism.read(total, sigma=noise).rows


def measured(name: str) -> list[dict[str, Any]]:
    """All rows of a product."""
    tool = extractor(squeezenet())
    product = products(name)[name]
    tile = name == "magnetic_tile"
    groups = tile_groups(product.test) if tile else [str(t.path) for t in product.test]
    known = set(sorted(set(groups))[::2])
    half = [at for at, group in enumerate(groups) if group in known]
    public = patches(tool, sample_images())
    books = [
        public_codebook(public, CELLS, DIMENSIONS, seed=seed, source="sample")
        for seed in range(SEEDS)
    ]
    del public
    each = [Looked(tool, product.train, book) for book in books]
    judge = Judge(tool, [product.test[at] for at in half], [groups[at] for at in half])
    rows = []
    asked = [(k, e) for k in ("full", "secure") for e in EPSILONS] + [("none", np.inf)]
    for kind, epsilon in asked:
        sigma = gaussian_sigma(epsilon, DELTA) if np.isfinite(epsilon) else NEGLIGIBLE
        times = noise_times(kind, SITES) if kind != "none" else 1.0
        for way in ("one", "even", *map(str, SHARES)):
            several = each if kind != "none" else each[:1]
            banks = [bank(looked, way, sigma, times) for looked in several]
            aurocs = [judge.auroc(judge.distances(found)) for found in banks]
            rows.append(
                {
                    "product": name,
                    "noise": kind,
                    "ε": epsilon,
                    "way": way,
                    "AUROC": float(np.mean(aurocs)),
                    "sd": float(np.std(aurocs)),
                    "rows": float(np.mean([len(found) for found in banks])),
                }
            )
        show(f"{name}: {kind} noise, ε = {epsilon:g}", rows[-2 - len(SHARES) :])
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--product", choices=("impeller", "magnetic_tile"), nargs="+")
    for name in options.parse_args().product or ("impeller", "magnetic_tile"):
        written(RESULT, name, measured(name))


if __name__ == "__main__":
    main()
