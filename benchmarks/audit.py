"""What an attacker learns from a bank: raw, per-vector and of noisy sums, on real magnetic tiles.

SqueezeNet, whole frame. The training images of half of the tile groups (all exposures of a tile
together) make the banks; those of the other half were never used. Of the latter, the reference
bank of an image is made of the half of the groups it is not in: a raw coreset, for moments and
kernel sums the same sums with next to no noise. The codebook is of the synthetic sample. Before
that the three mechanisms with canaries: 20,000 releases with and 20,000 without; ``--only banks``
keeps their stored figures.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from common import RESULTS, SHARED, Clock, extractor, keep, patches, products, show, squeezenet

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.search import NearestNeighbours
from fedpatchcore.detection.view import View
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.audit.canaries import audit_mechanism
from fedpatchcore.privacy.audit.findings import plain
from fedpatchcore.privacy.audit.membership import attack_scores, image_statistics, membership
from fedpatchcore.privacy.audit.reconstruction import reconstruction
from fedpatchcore.privacy.audit.refutation import epsilon_lower_bound
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.kernels import with_waves
from fedpatchcore.privacy.per_vector import PerVectorGaussian
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.site.virtual import sample_folder

DELTA = 1e-5
ROWS = 2000
RUNS = 20_000
CONFIDENCE = 0.99
NEGLIGIBLE = 1e-3  # noise of a bank to compare with


@dataclass(frozen=True)
class Made:
    """A bank: its rows ``[M, D]`` and how it sees patches."""

    rows: np.ndarray
    view: View


def training_groups(paths: list[Path]) -> np.ndarray:
    """Tile of each magnetic-tile training image."""
    with (SHARED / "data" / "magnetic_tile.csv").open() as file:
        table = {Path(row["file"]).name: row["tile_group"] for row in csv.DictReader(file)}
    return np.array([table[path.name] for path in paths])


def flat(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return features[mask].reshape(-1, features.shape[-1])


def coreset(features: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows = flat(features, mask)
    return rows[greedy_k_center(rows, ROWS).indices]


def statistics(features: np.ndarray, view: View) -> np.ndarray:
    """`image_statistics` of every image, ``[n, 2]``."""
    bank = NearestNeighbours(view.rows)
    return np.stack([image_statistics(bank, view(one)) for one in features])


def summed(kind: str, features: np.ndarray, mask: np.ndarray, book: Codebook, sigma: float) -> Made:
    """Bank of noisy sums over the images ``mask``."""
    sums = MECHANISMS[kind].load()(book, sigma)
    released = sums.release(sums.total(features[mask]))
    if kind == "cells":
        rows = book.lift(sums.centroids(released).coordinates)
        return Made(rows, View(rows))
    if kind == "moments":
        found = sums.spread(released)
        row = book.lift(found.mean[None])
        return Made(row, View(row, book.basis @ found.metric))
    waves = np.ascontiguousarray(book.basis @ book.cells.T)
    row = book.centre[None]
    return Made(row, View(row, waves, sums.normality(released).amplitudes))


def banks(
    features: np.ndarray, members: np.ndarray, books: Mapping[str, Codebook]
) -> Iterator[tuple[str, str, Made]]:
    """Name, kind of reference, and bank."""
    raw = coreset(features, members)
    yield "raw", "raw", Made(raw, View(raw))
    noised = PerVectorGaussian(1.0, gaussian_sigma(1, DELTA)).release(raw)
    yield "per-vector, ε=1", "raw", Made(noised, View(noised))
    for kind, book in books.items():
        for epsilon in (1, 8):
            made = summed(kind, features, members, book, gaussian_sigma(epsilon, DELTA))
            yield f"{kind}, ε={epsilon}", "raw" if kind == "cells" else kind, made


def references(
    features: np.ndarray, folds: Sequence[np.ndarray], books: Mapping[str, Codebook]
) -> dict[str, list[np.ndarray]]:
    """Statistics of every image in each kind of bank made of each fold."""
    found: dict[str, list[np.ndarray]] = {"raw": [], "moments": [], "kernel": []}
    for fold in folds:
        found["raw"].append(statistics(features, View(coreset(features, fold))))
        for kind in ("moments", "kernel"):
            view = summed(kind, features, fold, books[kind], NEGLIGIBLE).view
            found[kind].append(statistics(features, view))
    return found


def attack_banks(
    features: np.ndarray, groups: np.ndarray, books: Mapping[str, Codebook]
) -> list[dict]:
    names = np.random.default_rng(0).permutation(np.unique(groups))
    members = np.isin(groups, names[: len(names) // 2])
    folds = [np.isin(groups, names[len(names) // 2 + at :: 2]) for at in (0, 1)]
    known = references(features, folds, books)
    # members have been in neither fold: either reference will do
    other_fold = np.where(folds[0], 1, np.where(folds[1], 0, np.arange(len(groups)) % 2))
    fresh = flat(features, ~members)[:: 27 * 10 + 1]
    rows = []
    for name, kind, bank in banks(features, members, books):
        with Clock() as clock:
            copied = reconstruction(bank.rows, features[members], fresh)
            reference = np.where(other_fold[:, None] == 0, *known[kind])
            scores = attack_scores(statistics(features, bank.view), reference)
        print(f"{name}: {len(bank.rows)} rows, {clock.seconds:.0f} s", flush=True)
        for attack, score in scores.items():
            shuffled = np.random.default_rng(0).permutation
            inside, outside = shuffled(score[members]), shuffled(score[~members])
            found = membership(inside, outside)
            bound = epsilon_lower_bound(
                inside, outside, delta=DELTA, confidence=1 - (1 - CONFIDENCE) / len(scores)
            )
            strict, loose = found.rates
            rows.append(
                {
                    "bank": name,
                    "rows": len(bank.rows),
                    "attack": attack,
                    "members / others": f"{found.members} / {found.others}",
                    "AUROC": f"{found.auroc:.3f} [{found.low:.3f}, {found.high:.3f}]",
                    "TPR at 0.1%": strict.reason or strict.true_positive,
                    "TPR at 1%": f"{loose.true_positive:.3f} [{loose.low:.3f}, {loose.high:.3f}]",
                    "ε at least": bound.epsilon,
                    "copies": copied.copies,
                    "distance ratio": copied.ratio,
                }
            )
    return rows


def attack_mechanisms(
    features: np.ndarray, public: np.ndarray, stranger: np.ndarray
) -> tuple[list[dict], list[dict]]:
    """A small codebook for all three, the default one for cells; worst and natural canaries."""
    images = list(features[:: len(features) // 100])
    small = public_codebook(public, 16, 8, seed=0, source="sample")
    large = public_codebook(public, 128, 32, seed=0, source="sample")
    cases = [(kind, small, "16 × 8", "worst") for kind in ("cells", "per-vector", "raw")]
    cases += [(kind, small, "16 × 8", "an impeller") for kind in ("cells", "per-vector")]
    cases += [("cells", large, "128 × 32", "worst")]
    rows, full = [], []
    for kind, book, size, canary in cases:
        for epsilon in (1.0, 8.0):
            with Clock() as clock:
                found = audit_mechanism(
                    kind,
                    images,
                    book,
                    epsilon=epsilon,
                    delta=DELTA,
                    runs=RUNS,
                    confidence=CONFIDENCE,
                    canary=None if canary == "worst" else stranger,
                )
            rows.append(
                {
                    "mechanism": kind,
                    "codebook": size,
                    "canary": canary,
                    "nominal ε": epsilon,
                    "rows it owns": found.rows,
                    "moves the release": found.moved,
                    "ε by accounting": found.for_an_image,
                    "ε of this canary": found.for_the_canary,
                    "ε ≥, any mechanism": found.bound.epsilon,
                    "ε ≥, Gaussian noise": found.gaussian.epsilon if found.gaussian else "–",
                    "ceiling": found.bound.ceiling,
                    "seconds": clock.seconds,
                }
            )
            full.append({"codebook": size, "canary": canary, **asdict(found)})
            print(rows[-1], flush=True)
    return rows, full


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", choices=("banks",))
    asked = options.parse_args()
    tool = extractor(squeezenet())
    found = products("magnetic_tile", "impeller")
    tiles = list(found["magnetic_tile"].train)
    features, kept, _ = tool.all(tiles)
    features = features.dense()
    features = features.reshape(len(kept), -1, features.shape[-1])
    public = patches(tool, sorted(sample_folder(5).glob("*/*/train/good/*.png")))
    if asked.only:
        content = json.loads((RESULTS / "audit.json").read_text())
    else:
        stranger = patches(tool, found["impeller"].train[:1])
        mechanisms, full = attack_mechanisms(features, public, stranger)
        show(f"canaries, {RUNS:,} runs with and without, {CONFIDENCE:.0%} confidence", mechanisms)
        content = {"canaries": mechanisms, "canaries in full": full}
    narrow, whole = (public_codebook(public, 128, d, seed=0, source="sample") for d in (32, 768))
    waves = with_waves(whole, 2048, 0.5, seed=0)
    books = {"cells": narrow, "moments": narrow, "kernel": waves}
    groups = training_groups([tiles[at] for at in kept])
    content["banks"] = attack_banks(features, groups, books)
    show("membership and reconstruction", content["banks"])
    keep("audit", plain(content))


if __name__ == "__main__":
    main()
