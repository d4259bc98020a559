"""Noise that sites share: what each adds to a sum that only opens as a whole, and what it costs.

Each site adds independent discrete Gaussians of parameter s (`fedpatchcore.privacy.discrete`), on
a lattice of `STEPS_A_SIGMA` steps. Of k such shares and integer data of L2 sensitivity Δ:

1. *The sum of shares is as good as one discrete Gaussian* of parameter S = s√k. Folding in share
   j + 1, the sum over the lattice of exp(−(x − c)²/2v²) with v² = s²·j/(j + 1) is, by Poisson
   summation, v√2π times a factor within 1 ± e(v), e(v) = 2 Σ_i exp(−2π²v²i²), whatever c is.
   (Kairouz, Liu & Steinke, "The distributed discrete Gaussian mechanism", ICML 2021, theorem 1.)
2. *One discrete Gaussian is as good as the continuous one with a little less noise.* Take
   y = u + N(0, S² − m²) and then z from the discrete Gaussian of parameter m around y: z has the
   chances exp(−(z − u)²/2S²), normalised within 1 ± e(m), by the same summation (Peikert, "An
   efficient and parallel Gaussian sampler for lattices", CRYPTO 2010, theorem 3.1). So z, the
   discrete Gaussian around u, is a post-processing of the Gaussian mechanism of multiplier
   √(S² − m²)/Δ, in any number of dimensions.

Each chance is right up to a factor e^±τ with τ = length·(4e(m) + 4Σ e(v)); (ε, δ) of that Gaussian
mechanism becomes (ε + 2τ, e^τ δ). With m = 4 steps and s of 8 and more τ is below 10^-120 for any
vector that fits in memory: far below what `gaussian_epsilon` rounds up by. So shares are charged as
Gaussian noise, exactly, and compose with all else as such; m costs a millionth of the noise.

What is left of the noise, for whom:

* *The server, and everyone outside*, with c sites that told it their shares: of at least t sites
  whose vectors are in a sum that opens, t − c shares. s is such that these are the whole noise.
* *If everybody else colludes*: this site's own share, 1/√(t − c) of it.
"""

from __future__ import annotations

import math

from fedpatchcore.errors import PrivacyError
from fedpatchcore.privacy.sums import STEPS_A_SIGMA

__all__ = ["SMOOTH", "alone_multiplier", "closeness", "left_multiplier", "share_steps", "sum_sigma"]

SMOOTH = 4.0  # m, lattice steps
LEAST_SHARE = 8.0  # lattice steps
UP = 1e-12  # relative; of rounding, to the safe side


def share_steps(openers: int, colluding: int) -> float:
    """s in lattice steps: so that ``openers`` − ``colluding`` shares are the whole noise.

    Raises:
        PrivacyError: no honest site would be left, or so many that shares leave the lattice.
    """
    left = openers - colluding
    if left < 1 or colluding < 0:
        raise PrivacyError(
            f"{colluding} colluding sites of {openers} that open leave no noise: raise "
            "min-openers or lower colluding-sites"
        )
    share = math.sqrt((STEPS_A_SIGMA**2 + SMOOTH**2) / left) * (1 + UP)
    if share < LEAST_SHARE:
        raise PrivacyError(f"noise shared by {left:,} sites is finer than its lattice")
    return share


def left_multiplier(sigma: float, share: float, sites: int) -> float:
    """Noise multiplier of ``sites`` shares together, where the whole noise has ``sigma``."""
    return sigma * math.sqrt(sites * share**2 - SMOOTH**2) / STEPS_A_SIGMA


def alone_multiplier(sigma: float, openers: int, colluding: int) -> float:
    """Noise multiplier of a single share: what protects a site if all others collude."""
    return left_multiplier(sigma, share_steps(openers, colluding), 1)


def sum_sigma(sigma: float, sites: int, openers: int, colluding: int) -> float:
    """Standard deviation of the noise in an opened sum of so many sites; the sensitivity is 1."""
    return sigma * share_steps(openers, colluding) * math.sqrt(sites) / STEPS_A_SIGMA


def closeness(share: float, sites: int, length: int, *, smooth: float = SMOOTH) -> float:
    """τ of the module's text, an upper bound; see there."""

    def off(width: float) -> float:
        first = math.exp(-2 * math.pi**2 * width**2)
        return 2 * first / (1 - first)

    worst = [off(smooth), *(off(share * math.sqrt(j / (j + 1))) for j in range(1, sites))]
    if max(worst) > 0.5:
        return math.inf
    return length * sum(4 * one for one in worst)
