"""A few dozen dimensions that say from below how far apart two rows are.

With V orthonormal, y = Vᵀ(x − μ) and r the length of what V leaves out,

    ‖x − c‖² ≥ ‖y_x − y_c‖² + (r_x − r_c)² = ‖x − μ‖² + ‖c − μ‖² − 2 (y_x·y_c + r_x r_c),

since two vectors of lengths r_x and r_c are at least |r_x − r_c| apart. V spans the directions
in which a sample varies most (subspace iteration: Halko, Martinsson & Tropp, SIAM Review 2011,
algorithm 4.4), so the bound is tight where it matters; it holds for any V.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.errors import CoresetError

__all__ = ["Sketch", "why_not_finite"]

# error of a sum of products relative to the squared norms, generous, by how torch multiplies
ROUNDING = {"highest": 1e-5, "high": 4e-3, "medium": 4e-2}
SAMPLE = 768
ITERATIONS = 2
OVERSAMPLED = 8
ROWS_A_BLOCK = 1024  # of 768 numbers, 3 MB: read from memory once, then worked on in the cache


class Sketch:
    """A rotation into ``width`` dimensions and what is left out as one more.

    Args:
        rows: ``[N, D]``, of which a seeded sample decides the directions.
        width: q, at most D.

    Raises:
        CoresetError: NaN or infinite features.
    """

    def __init__(self, rows: Tensor, width: int, seed: int) -> None:
        self.rounding = ROUNDING[torch.get_float32_matmul_precision()]
        generator = np.random.default_rng(seed)
        some = generator.choice(len(rows), min(len(rows), SAMPLE), replace=False)
        sample = rows[torch.from_numpy(np.sort(some)).to(rows.device)].float()
        # the median, unlike the mean, stays in the cloud when some rows are enormous
        self.middle = sample.median(0).values
        sample -= self.middle
        if not torch.isfinite(largest := sample.abs().max()):
            raise CoresetError(why_not_finite(rows))
        sample /= largest.clamp(min=torch.finfo(torch.float32).tiny)  # squares must not overflow
        wanted = min(width + OVERSAMPLED, rows.shape[1])
        start = generator.standard_normal((rows.shape[1], wanted), dtype=np.float32)
        span = torch.from_numpy(start).to(rows.device)
        for _ in range(ITERATIONS):
            span = torch.linalg.qr(sample.T @ (sample @ span))[0]
        inside = sample @ span
        order = torch.linalg.eigh(inside.T @ inside)[1].flip(1)[:, :width]
        self.basis = torch.linalg.qr((span @ order).double())[0].float().contiguous()

    @property
    def width(self) -> int:
        """Numbers a row is described by, q + 1."""
        return self.basis.shape[1] + 1

    def __call__(self, rows: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Block by block of rows: which, sketch ``[n, q + 1]``, lower squared norms ``[n]``.

        All float32. For two rows, low_x + low_c − 2 z_x·z_c ≤ ‖x − c‖² whatever was lost in
        rounding: norms are lowered by more than that, and what V leaves out is overstated.
        """
        spare = torch.empty(min(ROWS_A_BLOCK, len(rows)), rows.shape[1], device=rows.device)
        for start in range(0, len(rows), ROWS_A_BLOCK):
            block = rows[start : start + ROWS_A_BLOCK]
            centred = torch.sub(block, self.middle, out=spare[: len(block)])
            norms = torch.linalg.vector_norm(centred, dim=1).square_()
            inside = centred @ self.basis
            rest = norms - inside.square().sum(1)
            rest = rest.clamp_(min=0).add_(norms, alpha=self.rounding).sqrt_()
            which = slice(start, start + len(block))
            yield which, torch.cat([inside, rest[:, None]], 1), norms.mul_(1 - self.rounding)


def why_not_finite(rows: Tensor) -> str:
    """What is wrong with rows whose squared norms are not all finite numbers."""
    for block in rows.split(1 << 16):
        if not torch.isfinite(block).all():
            return "features hold NaN or infinite values"
    return "features are too large to be compared in float32 (beyond about 1e18)"
