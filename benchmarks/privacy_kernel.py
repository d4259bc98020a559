"""Private banks by kernel and backbone: kernel sums, moments and votes for public exemplars.

The sites, the judging half, δ and the controls are those of ``privacy.py``; here both backbones
are judged, each beside its own open bank. ``--product`` and ``--backbone`` run one of them;
figures of the others are kept. Noise of more images than there are (``n``) is the noise of 600
scaled by 600/n: the statistic stays that of the 600 images, none is counted twice.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

import numpy as np
from common import RESULTS, extractor, keep, patches, products, show, squeezenet, tile_groups
from privacy_banks import DELTA, NEGLIGIBLE, SEEDS, SITES, Judge, moments, shares, sites_of

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.detection.view import waved
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.features.tally import Tally
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.kernels import KernelSums, with_waves
from fedpatchcore.privacy.moments import MomentSums
from fedpatchcore.server.first_codebook import sample_images

EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0, np.inf)
SCALED = (1_000, 2_000, 5_000, 20_000)  # images whose noise is asked for
WAVES, EXEMPLARS, LOCAL, KEEP = 2048, 2000, 1000, 3.0
BACKBONES = {  # settings, dimensions of the kernel's slice, bandwidth
    "filterbank": ({"backbone": "filterbank", "weights": "", "layer_norm": "none"}, 32, 1.5),
    "squeezenet1_1": ({}, 768, 0.5),
}


def noise_of(epsilon: float) -> float:
    return gaussian_sigma(epsilon, DELTA) if np.isfinite(epsilon) else NEGLIGIBLE


def amplitudes(book: Codebook, sums: Sequence[np.ndarray], sigma: float) -> np.ndarray:
    """What the sites' noisy sums make, float32 ``[2M]``."""
    mechanism = KernelSums(book, sigma)
    total = sum(mechanism.release(mechanism.on_lattice(s)) for s in sums)
    return mechanism.normality(total, sigma=sigma * SITES**0.5).amplitudes


def kernel_distances(judge: Judge, book: Codebook, found: np.ndarray) -> np.ndarray:
    """Distances of all test patches ``[N]`` to each of the amplitudes ``[n, 2M]``, ``[n, N]``."""
    waves = (book.basis @ book.cells.T).astype(np.float32)
    origin, step = book.centre @ waves, 4096
    near = [
        waved(judge.queries[at : at + step] @ waves - origin) @ found.T
        for at in range(0, len(judge.queries), step)
    ]
    return np.sqrt(np.maximum(2 * book.radius * (book.radius - np.concatenate(near)), 0)).T


def vote_sums(
    exemplars: np.ndarray, tool: Extractor, train: Sequence, site: np.ndarray
) -> list[np.ndarray]:
    """Each site's votes ``[E]``: an image's vote is the root of its share of patches, norm 1."""
    index, sums = NearestNeighbours(exemplars), [np.zeros(len(exemplars)) for _ in range(SITES)]
    for at, features in tool.stream(train, Tally()):
        nearest = index.search(features.reshape(-1, features.shape[-1]))[1][:, 0]
        sums[site[at]] += np.sqrt(np.bincount(nearest, minlength=len(exemplars)) / len(nearest))
    return sums


def elected(exemplars: np.ndarray, sums: Sequence[np.ndarray], epsilon: float) -> np.ndarray:
    """The exemplars whose noisy votes rise above the noise; the first of all if none does."""
    sigma = noise_of(epsilon) * SITES**0.5
    votes = np.sum(sums, 0) + np.random.default_rng().normal(0, sigma, len(exemplars))
    above = votes > KEEP * (sigma if np.isfinite(epsilon) else 1.0)
    return exemplars[above] if above.any() else exemplars[[votes.argmax()]]


def judged(name: str, label: str, seeds: int) -> dict:
    """All figures of one product under one backbone."""
    settings, dimensions, bandwidth = BACKBONES[label]
    tool, product = extractor(squeezenet(**settings)), products(name)[name]
    tile = name == "magnetic_tile"
    groups = tile_groups(product.test) if tile else [str(t.path) for t in product.test]
    known = set(sorted(set(groups))[::2])
    half = [at for at, group in enumerate(groups) if group in known]
    judge = Judge(tool, [product.test[at] for at in half], [groups[at] for at in half])
    site = sites_of(name, product.train)
    own, sums = [], 0.0
    for at in range(SITES):
        x = patches(tool, [p for p, s in zip(product.train, site, strict=True) if s == at])
        own.append(x[greedy_k_center(x, LOCAL).indices])
        sums = sums + x.sum(0, dtype=np.float64)
    local = [judge.distances(rows) for rows in own]
    union = np.concatenate(own)
    opened = judge.distances(union[greedy_k_center(union, 2 * LOCAL).indices])
    mean = sums / (len(product.train) * len(judge.queries) / judge.count)
    vector = judge.distances(mean[None].astype(np.float32))
    alone = [judge.auroc(d) for d in local]
    fixed = {
        "open bank": judge.auroc(opened),
        "local only, mean": float(np.mean(alone)),
        "one mean vector": judge.auroc(vector),
    }
    show(f"{name}, {label}: without ε", [fixed])
    public = patches(tool, sample_images())
    found: dict[float, dict[str, list[float]]] = {e: {} for e in EPSILONS}
    told: dict[float, dict[str, str]] = {e: {} for e in EPSILONS}
    scaled: dict[int, list[float]] = {n: [] for n in SCALED}
    for seed in range(seeds):
        slice_ = public_codebook(public, 128, 32, seed=seed, source="sample")
        wide = public_codebook(public, 64, dimensions, seed=seed, source="sample")
        book = with_waves(wide, WAVES, bandwidth, seed=seed)
        exemplars = public[greedy_k_center(public, EXEMPLARS, seed=seed).indices]
        kernels = shares(KernelSums(book, 1.0), tool, product.train, site)
        spreads = shares(MomentSums(slice_, 1.0), tool, product.train, site)
        votes = vote_sums(exemplars, tool, product.train, site)
        nothing = [np.zeros_like(s) for s in kernels]
        sigmas = [noise_of(e) for e in EPSILONS]
        sigmas += [noise_of(8.0) * len(product.train) / n for n in SCALED]
        made = [amplitudes(book, kernels, s) for s in sigmas]
        made += [amplitudes(book, nothing, noise_of(e)) for e in EPSILONS]
        distances = kernel_distances(judge, book, np.stack(made))
        for n, d in zip(SCALED, distances[len(EPSILONS) :], strict=False):
            scaled[n].append(judge.auroc(d))
        for at, epsilon in enumerate(EPSILONS):
            private = distances[at]
            spread = judge.spread(*moments(slice_, spreads, epsilon)[:2])
            rows = elected(exemplars, votes, epsilon)
            hybrid = [judge.auroc(np.minimum(d, private)) for d in local]
            for key, value in {
                "kernel (DP only)": judge.auroc(private),
                "kernel, no data": judge.auroc(distances[len(sigmas) + at]),
                "moments": judge.auroc(spread),
                "votes": judge.auroc(judge.distances(rows)),
                "exemplars elected": float(len(rows)),
                "hybrid": float(np.mean(hybrid)),
                "worst hybrid − local": float(np.min(np.array(hybrid) - alone)),
            }.items():
                found[epsilon].setdefault(key, []).append(value)
            if not seed:
                told[epsilon] = {
                    "kernel − open bank": judge.difference(private, opened),
                    "kernel − mean vector": judge.difference(private, vector),
                    "kernel − moments": judge.difference(private, spread),
                }
        print(name, label, "seed", seed, flush=True)
    curve = []
    for epsilon, values in found.items():
        row = {"ε": epsilon}
        for key, v in values.items():
            row[key] = float(np.mean(v))
            if key in ("kernel (DP only)", "moments", "votes"):
                row[f"{key} sd"] = float(np.std(v))
        curve.append({**row, **told[epsilon]})
        show(f"{name}, {label}, ε = {epsilon:g}", curve[-1:])
    more = {str(n): float(np.mean(v)) for n, v in scaled.items()}
    show(f"{name}, {label}: kernel under the noise of n images, ε = 8", [more])
    return {
        "fixed": fixed,
        "curve": curve,
        "scaled, ε = 8": more,
        "images": len(product.train),
        "seeds": seeds,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--product", choices=("magnetic_tile", "impeller"))
    options.add_argument("--backbone", choices=tuple(BACKBONES))
    options.add_argument("--seeds", type=int, default=SEEDS)
    asked = options.parse_args()
    kept = RESULTS / "privacy_kernel.json"
    figures = json.loads(kept.read_text()) if kept.exists() else {}
    for label in [asked.backbone] if asked.backbone else BACKBONES:
        for name in [asked.product] if asked.product else ("impeller", "magnetic_tile"):
            figures[f"{name}, {label}"] = judged(name, label, asked.seeds)
            keep("privacy_kernel", figures)


if __name__ == "__main__":
    main()
