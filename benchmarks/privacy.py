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
from common import RESULTS, extractor, keep, patches, products, show, squeezenet, tile_groups
from privacy_banks import (
    SEEDS,
    SITES,
    Judge,
    cells,
    coverage,
    moments,
    per_vector,
    shares,
    sites_of,
)

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.privacy.cells import CellSums
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.moments import MomentSums
from fedpatchcore.server.first_codebook import sample_images

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0, np.inf)
CELLS, DIMENSIONS = 128, 32
LOCAL, SHIPPED = 1000, 100  # rows of a site's own bank, and of its per-vector coreset


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
