"""The generator: a linear map in which normal patches lie close to their memory.

FedDyMem (Chen et al., arXiv 2502.21012) trains a *memory generator* under a *metric loss* on frozen
features. What neither its abstract nor its listings state is chosen here: the generator is one
linear map z → zW, and the loss is that of coupled hyperspheres (Lee, Lee & Song, CFA, IEEE Access
10, 2022, section III-B). Since the map is linear, rows of the memory stay in backbone space and W
is the `metric` of a bank's section: whoever scores by a bank scores by a generator as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.errors import ConfigError, CoresetError

__all__ = ["WEIGHT", "GeneratorObjective", "MetricLoss", "orthogonal", "scaled"]

WEIGHT = "generator.weight"
SHORTEST = 1e-12
THEMSELVES = 0.01  # of the largest distance to the memory: nearer patches are rows of it
LOOKED_AT = 4096  # patches, evenly spread, whose distances make the radius


def orthogonal(dimension: int, width: int, seed: int) -> np.ndarray:
    """Float32 ``[dimension, width]`` with orthonormal columns in a direction drawn from ``seed``.

    Uniform over all such (Haar measure): the Q of a Gaussian matrix, signs by the diagonal of R.

    Raises:
        ConfigError: ``width`` is not between 1 and ``dimension``.
    """
    if not 1 <= width <= dimension:
        raise ConfigError(f"a generator of {dimension} features has 1 to {dimension} outputs")
    drawn = np.random.default_rng(seed).standard_normal((dimension, width))
    q, r = np.linalg.qr(drawn)
    return np.ascontiguousarray(q * np.sign(np.diagonal(r)), dtype=np.float32)


def scaled(weight: Tensor) -> Tensor:
    """``weight [D, d]`` brought to Frobenius norm √d, that of d orthonormal columns.

    Distances are only ever measured by the scaled map. So shrinking W gains nothing, and models
    averaged over sites, which are shorter than each of them, measure on the same scale.
    """
    return weight * (weight.shape[1] ** 0.5 / torch.linalg.matrix_norm(weight).clamp_min(SHORTEST))


@dataclass(frozen=True)
class MetricLoss:
    """Coupled hyperspheres: the k nearest memory rows pull, the next ones push.

    With d_1 ≤ d_2 ≤ … the distances of a patch to the memory after the map, and radius r,

        [ Σ_{j ≤ k} max(0, d_j² − r²) + Σ_{k < j ≤ 2k} max(0, (1 + α)² r² − d_j²) ] / (k r²).

    It has no unit, so a learning rate means the same on features of any scale.

    Attributes:
        neighbours: k, at least 1.
        margin: α ≥ 0.
        push: weight of the second sum; 0 leaves it out, which is better on all sets at hand
            (benchmarks/README.md).
    """

    neighbours: int = 1
    margin: float = 0.1
    push: float = 0.0

    def __call__(self, patches: Tensor, memory: Tensor, radius: float) -> Tensor:
        """Mean over ``patches [B, d]`` against ``memory [M, d]``, both after the map; a scalar.

        Which rows are near is looked up without gradient; distances to them carry it on both
        sides, to the patch and to the row. With fewer than 2k rows those that there are count.
        """
        k = min(self.neighbours, len(memory))
        with torch.no_grad():
            seen = min(2 * k if self.push else k, len(memory))
            near = torch.cdist(patches, memory).topk(seen, largest=False).indices
        squares = (patches[:, None] - memory[near]).square().sum(2) / radius**2
        pull = (squares[:, :k] - 1).clamp_min(0).sum(1)
        apart = ((1 + self.margin) ** 2 - squares[:, k:]).clamp_min(0).sum(1)
        return (pull + self.push * apart).mean() / k


class GeneratorObjective:
    """What a site's optimiser minimises: the metric loss of its patches against a memory.

    The memory is *dynamic*: at every step its rows go through the same map as the patches, so it
    stays where they are. Two things keep the map from collapsing: its Frobenius norm is √d, or all
    distances would shrink to nothing (`scaled`); and to the loss comes

        guard · −ln det(WᵀW) / d        (W scaled),

    which is 0 for orthonormal columns, positive for all others and infinite once a direction is
    lost: the LogDet divergence from I (Davis et al., Information-theoretic metric learning, ICML
    2007). Where every row pulls (r → 0, no push) and d = D, the minimum is known: S the mean of
    (z − m)(z − m)ᵀ over patches and the rows that pull them,

        WWᵀ ∝ (S + νI)⁻¹,    ν > −λ_min(S) such that trace WWᵀ = d with factor guard · r² / d,

    the residuals whitened, with a ridge that grows with the guard. Directions in which normal
    patches differ from their memory count less, all others more.

    The radius r is fixed by the data and not by the map: the ``quantile`` of the patches'
    distances to their k-th nearest memory row in backbone space, times √(d / D), by which a random
    orthonormal map shortens distances (of squares: exactly so in the mean). Where that many patches
    are rows of the memory themselves, as at a site of one or two images, these are left out of it:
    r would be 0, and the first step as long as numbers go.

    Args:
        features: float32 ``[N, D]``, patches, an example each; or ``[N, P, D]``, images of P
            patches, an example each, as privacy by image needs it.
        memory: float32 ``[M, D]`` in backbone space.
        width: d, columns of W; default D // 2.
        quantile: in (0, 1].

    Attributes:
        examples: N.
        radius: r, L2.

    Raises:
        CoresetError: features or memory are empty or do not fit.
        ConfigError: the width is out of range.
    """

    def __init__(
        self,
        features: np.ndarray,
        memory: np.ndarray,
        *,
        width: int | None = None,
        loss: MetricLoss | None = None,
        quantile: float = 0.1,
        guard: float = 1.0,
    ) -> None:
        dimension = memory.shape[-1]
        if features.ndim not in (2, 3) or not features.size or features.shape[-1] != dimension:
            raise CoresetError(
                f"a generator learns from [N, {dimension}] patches, got {features.shape}"
            )
        if memory.ndim != 2 or not len(memory):
            raise CoresetError(f"a generator learns by a memory [M, D], got {memory.shape}")
        self.examples = len(features)
        self.shape = (dimension, width or max(1, dimension // 2))
        self._loss = loss or MetricLoss()
        self._guard = guard
        self._features = torch.from_numpy(np.ascontiguousarray(features, np.float32))
        self._memory = torch.from_numpy(np.ascontiguousarray(memory, np.float32))
        self.radius = self._usual(quantile) * (self.shape[1] / dimension) ** 0.5

    def start(self, seed: int) -> dict[str, np.ndarray]:
        """The map at the start: `orthogonal`."""
        return {WEIGHT: orthogonal(*self.shape, seed)}

    def loss(self, parameters: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Mean loss of the examples ``index`` (int64 ``[B]``) by the map in ``parameters``."""
        weight = scaled(parameters[WEIGHT])
        patches = self._features[index].flatten(0, -2) @ weight
        found = self._loss(patches, self._memory @ weight, self.radius)
        if self._guard:
            found = found - self._guard * torch.logdet(weight.T @ weight) / weight.shape[1]
        return found

    @staticmethod
    def metric(parameters: Mapping[str, np.ndarray]) -> np.ndarray:
        """Float32 ``[D, d]``, what a bank's section takes as ``metric``."""
        return scaled(torch.from_numpy(np.array(parameters[WEIGHT], np.float32))).numpy()

    def _usual(self, quantile: float) -> float:
        flat = self._features.flatten(0, -2)
        some = flat[:: -(-len(flat) // LOOKED_AT)]
        k = min(self._loss.neighbours, len(self._memory))
        reach = torch.cdist(some, self._memory).kthvalue(k).values
        least = THEMSELVES * float(reach.max())
        found = float(torch.quantile(reach, quantile))
        if found < least:
            found = float(torch.quantile(reach[reach >= least], quantile))
        return max(found, SHORTEST)
