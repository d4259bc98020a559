"""Canaries: the real mechanisms run thousands of times, with and without one worst-case image.

The attacker is as strong as the definition of differential privacy allows: every other image is
known, the canary is known, and so is the order of the rows; all that is asked is whether the
canary was in. For Gaussian noise the best test is then a projection of the release on what the
canary moves (Neyman & Pearson, 1933). The noise is that of the product, from the system's
generator.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.errors import ConfigError
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma, group_epsilon
from fedpatchcore.privacy.audit.refutation import EpsilonBound, epsilon_lower_bound
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.per_vector import PerVectorGaussian
from fedpatchcore.privacy.registry import MECHANISMS
from fedpatchcore.privacy.settings import KINDS, PrivacySettings
from fedpatchcore.privacy.sums import FAR_OUT

__all__ = [
    "MechanismAudit",
    "audit_mechanism",
    "scattered_canary",
]

WAVES = 64  # of "kernel": more make runs slower and change nothing about one image's share
NUMBERS_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class MechanismAudit:
    """What canary runs say about a mechanism.

    Attributes:
        claimed: ε that somebody would read off the settings; infinite for ``raw``.
        for_an_image: ε of one whole image, any image, by the accounting.
        for_the_canary: ε of telling this canary's presence, computed and not measured: what
            ``bound`` approaches with more runs.
        moved: how far the canary moves the release, in units of the sensitivity that the noise
            was calibrated for; above 1 the calibration is wrong.
        rows: rows of the release that the canary owns; 0 for sums.
        bound: holds for any mechanism.
        gaussian: holds for Gaussian noise, and is tighter; None for ``raw``, which has none.
    """

    kind: str
    claimed: float
    delta: float
    for_an_image: float
    for_the_canary: float
    moved: float
    rows: int
    bound: EpsilonBound
    gaussian: EpsilonBound | None

    @property
    def shown(self) -> float:
        """Largest ε shown."""
        return max(self.bound.epsilon, self.gaussian.epsilon if self.gaussian else 0.0)

    @property
    def contradicted(self) -> bool:
        """Does the audit show more than what was claimed?"""
        return self.shown > self.claimed


def audit_mechanism(
    kind: str,
    images: Sequence[np.ndarray],
    codebook: Codebook,
    *,
    epsilon: float = 1.0,
    delta: float = 1e-5,
    runs: int = 20_000,
    rows: int = 64,
    confidence: float = 0.95,
    canary: np.ndarray | None = None,
    seed: int = 0,
) -> MechanismAudit:
    """Lower bounds on ε from ``runs`` releases with a canary and ``runs`` without.

    ``cells``, ``moments`` and ``kernel`` release `CellSums`, `MomentSums` and `KernelSums` over the
    codebook (the last over waves as wide as its radius). ``per-vector`` and ``raw`` release a
    greedy coreset of the patches' coordinates in the codebook's slice (few dimensions make runs
    quick and change nothing in which rows an image owns), the former with `PerVectorGaussian` at
    clip = the codebook's radius.

    Each of the two bounds holds at half of what is left of ``confidence``, so both hold at it.

    Args:
        images: patches float32 ``[P, D]`` of each image that is always there.
        rows: of the coreset.
        canary: patches of the image in question; default the worst known for the kind.
        seed: of the selection, never of noise.

    Raises:
        ConfigError: unknown kind, no images, or too few runs.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown mechanism '{kind}': one of {', '.join(KINDS)}")
    if not len(images) or runs < 2:
        raise ConfigError(f"an audit needs images and two runs or more, got {len(images)}, {runs}")
    count = len(images[0])
    mechanism = MECHANISMS.get(kind)
    sums = mechanism.load() if mechanism and mechanism.sums else None
    if canary is None:
        canary = mechanism.worst_image(codebook, count) if sums else scattered_canary(codebook)
    owned, claimed, for_an_image = 0, epsilon, epsilon
    if sums:
        waves = {"dp_waves": WAVES, "dp_bandwidth": codebook.radius}
        config = PrivacySettings(dp=kind, **{k: v for k, v in waves.items() if k in mechanism.own})
        book = sums.prepared(codebook, config, seed=seed)
        made = sums.of(book, gaussian_sigma(epsilon, delta), config)
        out = made.total(images)
        inside = out + made.total([canary])
        release, unit, sigma = made.release, made.step, made.sigma
        direction = (inside - out) * unit
    else:
        clip = codebook.radius
        known = codebook.project(np.concatenate(images))
        everything = np.concatenate([known, codebook.project(canary)])
        picked = greedy_k_center(everything, rows, seed=seed).indices
        out = known[greedy_k_center(known, rows, seed=seed).indices]
        owned = int((picked >= len(known)).sum())
        same = min(len(out), len(picked))  # a difference in number is not even needed
        out, inside = out[:same], everything[picked][:same]
        direction = (_clipped(inside, clip) - _clipped(out, clip)) / clip
        noise = PerVectorGaussian(clip, gaussian_sigma(epsilon, delta, sensitivity=clip))
        release, unit, sigma = noise.release, 1 / clip, noise.sigma / clip
        for_an_image = group_epsilon(sigma, delta, same)
    moved = float(np.linalg.norm(direction))
    if kind == "raw":
        scores = [np.full(runs, float((x * unit * direction).sum())) for x in (inside, out)]
        claimed = for_an_image = math.inf
        for_the_canary = math.inf if moved else 0.0
    else:
        scores = [_scores(release, x, direction * unit, runs) for x in (inside, out)]
        for_the_canary = gaussian_epsilon(sigma, delta, sensitivity=moved) if moved else 0.0
    level = (1 + confidence) / 2
    bound = epsilon_lower_bound(*scores, delta=delta, confidence=level)
    gaussian = None
    if kind != "raw":
        gaussian = epsilon_lower_bound(*scores, delta=delta, confidence=level, gaussian=True)
    exact = (for_an_image, for_the_canary)
    return MechanismAudit(kind, claimed, delta, *exact, moved, owned, bound, gaussian)


def _clipped(rows: np.ndarray, clip: float) -> np.ndarray:
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return rows * np.minimum(1.0, clip / np.maximum(lengths, 1e-12))


def _scores(
    release: Callable[[np.ndarray], np.ndarray],
    truth: np.ndarray,
    direction: np.ndarray,
    runs: int,
) -> np.ndarray:
    """Each run's release ``[a, b]`` projected on the direction; many runs stacked in one call."""
    batch = max(1, min(runs, NUMBERS_AT_ONCE // truth.size))
    scores = []
    for start in range(0, runs, batch):
        many = min(batch, runs - start)
        seen = release(np.tile(truth, (many, 1))).reshape(many, -1)
        scores.append(seen @ direction.ravel())
    return np.concatenate(scores)


def scattered_canary(codebook: Codebook, patches: int = 512) -> np.ndarray:
    """An image ``[patches, D]`` whose patches lie far from all others and from one another.

    Farthest-first selection takes it for what the coreset must cover, and fills up with it.
    """
    points = np.random.default_rng(0).standard_normal((patches, codebook.cells.shape[1]))
    points *= FAR_OUT * codebook.radius / np.linalg.norm(points, axis=1, keepdims=True)
    return codebook.lift(points.astype(np.float32))
