"""What an attacker learns from a bank: raw, per-vector and cells, on real magnetic tiles.

SqueezeNet, whole frame. The training images of half of the tile groups (all exposures of a tile
together) make the banks; those of the other half were never used. Of the latter, the reference
bank of an image is made of the half of the groups it is not in. The codebook is of the synthetic
sample. Then the three mechanisms with canaries: 20,000 releases with and 20,000 without.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
from common import SHARED, Clock, extractor, keep, patches, products, show, squeezenet

from fedpatchcore.coreset import greedy_k_center
from fedpatchcore.privacy.accounting import gaussian_sigma
from fedpatchcore.privacy.audit import (
    attack_scores,
    epsilon_lower_bound,
    image_statistics,
    membership,
    reconstruction,
)
from fedpatchcore.privacy.canaries import audit_mechanism
from fedpatchcore.privacy.codebook import Codebook, public_codebook
from fedpatchcore.privacy.findings import plain
from fedpatchcore.privacy.mechanism import CellSums, PerVectorGaussian
from fedpatchcore.search import NearestNeighbours
from fedpatchcore.setup import sample_folder

DELTA = 1e-5
ROWS = 2000
RUNS = 20_000
CONFIDENCE = 0.99


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


def statistics(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`image_statistics` of every image, ``[n, 2]``."""
    bank = NearestNeighbours(rows)
    return np.stack([image_statistics(bank, one) for one in features])


def banks(
    features: np.ndarray, members: np.ndarray, codebook: Codebook
) -> Iterator[tuple[str, np.ndarray]]:
    raw = coreset(features, members)
    yield "raw", raw
    yield "per-vector, ε=1", PerVectorGaussian(1.0, gaussian_sigma(1, DELTA)).release(raw)
    for epsilon in (1, 8):
        sums = CellSums(codebook, gaussian_sigma(epsilon, DELTA))
        released = sums.release(sums.total(features[members]))
        yield f"cells, ε={epsilon}", codebook.lift(sums.centroids(released).coordinates)


def attack_banks(features: np.ndarray, groups: np.ndarray, codebook: Codebook) -> list[dict]:
    names = np.random.default_rng(0).permutation(np.unique(groups))
    members = np.isin(groups, names[: len(names) // 2])
    folds = [np.isin(groups, names[len(names) // 2 + at :: 2]) for at in (0, 1)]
    references = [statistics(features, coreset(features, fold)) for fold in folds]
    # members have been in neither fold: either reference will do
    other_fold = np.where(folds[0], 1, np.where(folds[1], 0, np.arange(len(groups)) % 2))
    reference = np.where(other_fold[:, None] == 0, *references)
    fresh = flat(features, ~members)[:: 27 * 10 + 1]
    rows = []
    for name, bank in banks(features, members, codebook):
        with Clock() as clock:
            copied = reconstruction(bank, features[members], fresh)
            scores = attack_scores(statistics(features, bank), reference)
        print(f"{name}: {len(bank)} rows, {clock.seconds:.0f} s", flush=True)
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
                    "rows": len(bank),
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
    tool = extractor(squeezenet())
    found = products("magnetic_tile", "impeller")
    tiles = list(found["magnetic_tile"].train)
    features, kept, _ = tool.all(tiles)
    features = features.reshape(len(kept), -1, features.shape[-1])
    public = patches(tool, sorted(sample_folder(5).glob("*/*/train/good/*.png")))
    stranger = patches(tool, found["impeller"].train[:1])
    mechanisms, full = attack_mechanisms(features, public, stranger)
    codebook = public_codebook(public, 128, 32, seed=0, source="sample")
    groups = training_groups([tiles[at] for at in kept])
    attacks = attack_banks(features, groups, codebook)
    show(f"canaries, {RUNS:,} runs with and without, {CONFIDENCE:.0%} confidence", mechanisms)
    show("membership and reconstruction", attacks)
    content = {"canaries": mechanisms, "canaries in full": full, "banks": attacks}
    keep("audit", plain(content))


if __name__ == "__main__":
    main()
