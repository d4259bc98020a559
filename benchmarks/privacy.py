"""What does privacy cost? The ε–AUROC curve with its controls, and what the codebook covers.

Magnetic tiles over five sites that differ in light, impellers over five sites at random; three
seeds (codebook and noise). Each site adds its own noise; nobody is trusted with sums. Every
figure stands beside two controls: the same noise with no data, and a bank of one mean vector.
``--product`` runs one of the two, ``--only`` moments or per-vector keeps the stored figures of all
others. Half of the test images judge: every second tile (all its
exposures), every second impeller.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np
from common import (
    RESULTS,
    exposure,
    extractor,
    keep,
    patches,
    products,
    show,
    squeezenet,
    tile_groups,
)

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.scoring import clipped
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.features.extraction import Extractor, Tally
from fedpatchcore.metrics.curves import image_auroc, paired_bootstrap
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.mechanism import CellSums, ImageSums, PerVectorGaussian
from fedpatchcore.privacy.moments import MomentSums
from fedpatchcore.server.public import sample_images

EPSILONS, DELTA, SEEDS, SITES = (0.5, 1.0, 2.0, 4.0, 8.0, np.inf), 1e-5, 3, 5
CELLS, DIMENSIONS = 128, 32
LOCAL, SHIPPED = 1000, 100  # rows of a site's own bank, and of its per-vector coreset
NEGLIGIBLE = 1e-3  # noise that stands for ε = ∞


class Judge:
    """Image AUROCs of distances of all test patches."""

    def __init__(self, tool: Extractor, tests: Sequence, groups: Sequence[str]) -> None:
        features, _, _ = tool.all([t.path for t in tests])
        self.queries = features.reshape(-1, features.shape[-1])
        self.count, self.groups = len(tests), list(groups)
        self.labels = np.array([t.anomalous for t in tests])

    def distances(self, rows: np.ndarray, clip: float = 0.0) -> np.ndarray:
        queries = clipped(self.queries, clip) if clip else self.queries
        return NearestNeighbours(rows).search(queries)[0][:, 0]

    def spread(self, row: np.ndarray, metric: np.ndarray) -> np.ndarray:
        return np.linalg.norm((self.queries - row) @ metric, axis=1)

    def scores(self, distances: np.ndarray) -> np.ndarray:
        return distances.reshape(self.count, -1).max(1)

    def auroc(self, distances: np.ndarray) -> float:
        return image_auroc(self.scores(distances), self.labels)

    def difference(self, one: np.ndarray, other: np.ndarray) -> str:
        told = paired_bootstrap(self.labels, self.scores(one), self.scores(other), self.groups)
        return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*told)


def sites_of(name: str, train: Sequence) -> np.ndarray:
    """Site of each training image: light of a tile, chance for an impeller."""
    if name == "magnetic_tile":
        return np.array([{0: 0, 1: 0, 2: 1, 3: 2, 4: 3}.get(exposure(p), 4) for p in train])
    return np.random.default_rng(0).permutation(len(train)) % SITES


def shares(
    mechanism: ImageSums, tool: Extractor, train: Sequence, site: np.ndarray
) -> list[np.ndarray]:
    """Each site's sum before the lattice and the noise."""
    sums = [np.zeros(mechanism.shape) for _ in range(SITES)]
    for at, features in tool.stream(train, Tally()):
        sums[site[at]] += mechanism.share(features.reshape(-1, features.shape[-1]))
    return sums


def cells(book: Codebook, sums: Sequence[np.ndarray], epsilon: float) -> np.ndarray:
    """Rows of the bank that the sites' noisy sums make."""
    finite = np.isfinite(epsilon)
    sigma = gaussian_sigma(epsilon, DELTA) if finite else NEGLIGIBLE
    mechanism = CellSums(book, sigma)
    total = sum(mechanism.release(mechanism.on_lattice(s)) for s in sums)
    noise = sigma * SITES**0.5 if finite else 1.0  # ε = ∞: the cells a low noise would keep
    return book.lift(mechanism.centroids(total, sigma=noise).coordinates)


def moments(
    book: Codebook, sums: Sequence[np.ndarray], epsilon: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Row ``[1, D]`` and metric ``[D, d]`` of the bank that the sites' noisy sums make.

    Also how many directions rise above the noise.
    """
    sigma = gaussian_sigma(epsilon, DELTA) if np.isfinite(epsilon) else NEGLIGIBLE
    mechanism = MomentSums(book, sigma)
    total = sum(mechanism.release(mechanism.on_lattice(s)) for s in sums)
    found = mechanism.spread(total, sigma=sigma * SITES**0.5)
    return book.lift(found.mean[None]), book.basis @ found.metric, found.known


def per_vector(coresets: Sequence[np.ndarray], epsilon: float) -> np.ndarray:
    """Every site's clipped and noised rows side by side; zeros give the control."""
    if not np.isfinite(epsilon):
        return np.concatenate([clipped(rows, 1.0) for rows in coresets])
    mechanism = PerVectorGaussian(1.0, gaussian_sigma(epsilon, DELTA))
    return np.concatenate([mechanism.release(rows) for rows in coresets])


def coverage(book: Codebook, features: np.ndarray) -> dict[str, float]:
    """How real normal patches lie about the public cells."""
    points = book.project(features)
    nearest = np.linalg.norm(points - book.cells[book.assign(points)], axis=1)
    outside = np.linalg.norm(features - book.lift(points), axis=1)
    used = np.bincount(book.assign(points), minlength=len(book)) / len(points)
    return {
        "within ρ": float((nearest <= book.radius).mean()),
        "within ρ/2": float((nearest <= book.radius / 2).mean()),
        "median distance": float(np.median(nearest)),
        "ρ": book.radius,
        "outside the slice": float(np.median(outside)),
        "cells holding 99%": int((np.cumsum(np.sort(used)[::-1]) < 0.99).sum() + 1),
    }


def per_vector_curve(
    judge: Judge, own: Sequence[np.ndarray]
) -> list[tuple[dict[str, float], np.ndarray]]:
    """Figures at each ε, means over draws of noise, and the distances of the first draw."""
    small, found = [rows[:SHIPPED] for rows in own], []
    nothing = [np.zeros_like(rows) for rows in small]
    for epsilon in EPSILONS:
        finite = bool(np.isfinite(epsilon))
        drawn = [
            judge.distances(per_vector(small, epsilon), 1.0) for _ in range(SEEDS if finite else 1)
        ]
        noise = [
            judge.auroc(judge.distances(per_vector(nothing, epsilon), 1.0))
            for _ in range(SEEDS if finite else 0)
        ]
        aurocs = [judge.auroc(distances) for distances in drawn]
        row = {
            "per-vector": float(np.mean(aurocs)),
            "per-vector sd": float(np.std(aurocs)),
            "per-vector, no data": float(np.mean(noise)) if noise else np.nan,
        }
        found.append((row, drawn[0]))
        print(f"per-vector, ε = {epsilon:g}", row, flush=True)
    return found


def curve(name: str, tool: Extractor, kept: dict | None, only: str) -> dict:
    """All figures of one product; with ``kept``, its figures and those of ``only`` anew."""
    product = products(name)[name]
    groups = (
        tile_groups(product.test)
        if name == "magnetic_tile"
        else [str(t.path) for t in product.test]
    )
    known = sorted(set(groups))[::2]
    half = [at for at, group in enumerate(groups) if group in known]
    judge = Judge(tool, [product.test[at] for at in half], [groups[at] for at in half])
    site = sites_of(name, product.train)
    own_patches = [
        patches(tool, [p for p, s in zip(product.train, site, strict=True) if s == at])
        for at in range(SITES)
    ]
    own = [p[greedy_k_center(p, LOCAL).indices] for p in own_patches]
    if only == "per-vector":
        rows = zip(kept["curve"], per_vector_curve(judge, own), strict=True)
        return {**kept, "curve": [{**row, **new} for row, (new, _) in rows]}
    local = [judge.distances(rows) for rows in own]
    union = np.concatenate(own)
    open_bank = judge.distances(union[greedy_k_center(union, 2 * LOCAL).indices])
    mean = np.average(
        [p.mean(0) for p in own_patches], axis=0, weights=[len(p) for p in own_patches]
    )
    mean_vector = judge.distances(mean[None].astype(np.float32))
    normal = np.concatenate([p[::20] for p in own_patches])
    del own_patches
    public = patches(tool, sample_images())
    books = [
        public_codebook(public, CELLS, DIMENSIONS, seed=s, source="sample") for s in range(SEEDS)
    ]
    del public
    sums = [shares(CellSums(book, 1.0), tool, product.train, site) for book in books]
    spreads = [shares(MomentSums(book, 1.0), tool, product.train, site) for book in books]
    told = {"mean": mean_vector, "open": open_bank, "local": local}
    new = moments_curve(name, judge, books, sums, spreads, told)
    if kept:
        return {**kept, "moments": new}
    rows, alone = [], [judge.auroc(d) for d in local]
    for epsilon, (noised, pv) in zip(EPSILONS, per_vector_curve(judge, own), strict=True):
        found: dict[str, list[float]] = {}
        for seed, book in enumerate(books):
            bank = cells(book, sums[seed], epsilon)
            distances = judge.distances(bank)
            nothing = cells(book, [np.zeros_like(s) for s in sums[seed]], epsilon)
            hybrid = [judge.auroc(np.minimum(d, distances)) for d in local]
            for key, value in {
                "cells (DP only)": judge.auroc(distances),
                "cells, no data": judge.auroc(judge.distances(nothing))
                if np.isfinite(epsilon)
                else np.nan,
                "hybrid": float(np.mean(hybrid)),
                "worst hybrid − local": float(np.min(np.array(hybrid) - alone)),
                "rows": float(len(bank)),
            }.items():
                found.setdefault(key, []).append(value)
            if seed == 0:
                told = {
                    "cells − mean vector": judge.difference(distances, mean_vector),
                    "cells − open bank": judge.difference(distances, open_bank),
                    "cells − per-vector": judge.difference(distances, pv),
                }
        spread = float(np.std(found["cells (DP only)"]))
        figures = {
            key: float(np.nanmean(v)) if np.isfinite(v).any() else np.nan
            for key, v in found.items()
        }
        rows.append({"ε": epsilon, **noised, **figures, "cells sd over seeds": spread, **told})
        show(f"{name}, ε = {epsilon:g}", rows[-1:])
    fixed = {
        "local only, mean": float(np.mean(alone)),
        "open bank (federated_coreset)": judge.auroc(open_bank),
        "one mean vector": judge.auroc(mean_vector),
    }
    covered = {f"seed {s}": coverage(book, normal) for s, book in enumerate(books)}
    show(f"{name}: without ε", [fixed])
    show(f"{name}: public codebook", [{"codebook": k, **v} for k, v in covered.items()])
    told = {"curve": rows, "fixed": fixed, "coverage": covered, "images": len(product.train)}
    return {**told, "moments": new}


def moments_curve(
    name: str,
    judge: Judge,
    books: Sequence[Codebook],
    cell_sums: Sequence[Sequence[np.ndarray]],
    sums: Sequence[Sequence[np.ndarray]],
    without: dict,
) -> list[dict]:
    """The moments' figures at every ε, beside the distances of the banks without privacy."""
    rows, alone = [], [judge.auroc(d) for d in without["local"]]
    for epsilon in EPSILONS:
        found: dict[str, list[float]] = {}
        for seed, book in enumerate(books):
            row, metric, known = moments(book, sums[seed], epsilon)
            distances = judge.spread(row, metric)
            nothing = moments(book, [np.zeros_like(s) for s in sums[seed]], epsilon)
            hybrid = [judge.auroc(np.minimum(d, distances)) for d in without["local"]]
            for key, value in {
                "moments (DP only)": judge.auroc(distances),
                "moments, no data": judge.auroc(judge.spread(*nothing[:2])),
                "hybrid": float(np.mean(hybrid)),
                "worst hybrid − local": float(np.min(np.array(hybrid) - alone)),
                "directions": float(known),
            }.items():
                found.setdefault(key, []).append(value)
            if seed == 0:
                other = judge.distances(cells(book, cell_sums[seed], epsilon))
                told = {
                    "moments − mean vector": judge.difference(distances, without["mean"]),
                    "moments − open bank": judge.difference(distances, without["open"]),
                    "moments − cells": judge.difference(distances, other),
                }
        spread = float(np.std(found["moments (DP only)"]))
        means = {key: float(np.mean(v)) for key, v in found.items()}
        rows.append({"ε": epsilon, **means, "sd over seeds": spread, **told})
        show(f"{name}, moments, ε = {epsilon:g}", rows[-1:])
    return rows


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--product", choices=("magnetic_tile", "impeller"))
    options.add_argument("--only", choices=("moments", "per-vector"))
    asked = options.parse_args()
    chosen = asked.product
    tool = extractor(squeezenet())
    for name in [chosen] if chosen else ["magnetic_tile", "impeller"]:
        kept = RESULTS / f"privacy_{name}.json"
        keep(
            f"privacy_{name}",
            curve(name, tool, json.loads(kept.read_text()) if asked.only else None, asked.only),
        )


if __name__ == "__main__":
    main()
