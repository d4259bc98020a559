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

__all__ = ["Sketch", "middle_of", "why_not_finite"]

# error of a product of two numbers relative to it, by how torch multiplies
UNIT = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}
SAMPLE = 768
ITERATIONS = 2
OVERSAMPLED = 8
OF_MIDDLE = 64  # rows of the sample that the middle is the median of
NEAR = 2  # rows so many times longer than their spread, or less, are not centred
ROWS_A_BLOCK = 512  # of 768 numbers, 1.5 MB: read from memory once, then worked on in the cache


class Sketch:
    """A rotation into ``width`` dimensions and what is left out as one more.

    Args:
        rows: ``[N, D]``, of which a seeded sample decides the directions.
        width: q, at most D.

    Raises:
        CoresetError: NaN or infinite features.
    """

    def __init__(self, rows: Tensor, width: int, seed: int) -> None:
        # of a sum of that many products, generous, relative to the squared lengths
        unit = UNIT[torch.get_float32_matmul_precision()]
        self.rounding = 4 * UNIT["highest"] * (rows.shape[1] + width + 16) + 10 * unit
        generator = np.random.default_rng(seed)
        some = generator.choice(len(rows), min(len(rows), SAMPLE), replace=False)
        sample = rows[torch.from_numpy(np.sort(some)).to(rows.device)].float()
        self.middle = _middle(sample)
        sample = sample if self.middle is None else sample - self.middle
        if not torch.isfinite(largest := sample.abs().max()):
            raise CoresetError(why_not_finite(rows))
        # squares must not overflow
        sample = sample / largest.clamp(min=torch.finfo(torch.float32).tiny)
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
        """Numbers a row is described by, q + 2."""
        return self.basis.shape[1] + 2

    def __call__(
        self, rows: Tensor, towards: Tensor | None = None
    ) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | None]]:
        """Block by block of rows: which, z ``[n, q + 2]``, low and high ``[n]``, all float32.

        z = (y, r, 1) and low, the squared norm, are such that low_x + low_c − 2 (y_x·y_c + r_x r_c)
        is at most ‖x − c‖² whatever was lost in rounding: norms are lowered by more than that, and
        what V leaves out is overstated. In the same way high is at least the squared distance to
        ``towards [D]``, at the cost of one more direction.
        """
        shape = min(ROWS_A_BLOCK, len(rows)), rows.shape[1]
        plain = self.middle is None and rows.dtype == torch.float32
        spare = None if plain else torch.empty(shape, device=rows.device)
        z = torch.ones(shape[0], self.width, device=rows.device)
        columns, inside, high = self.basis, self.basis.shape[1], None
        if towards is not None:
            towards = towards.float() if self.middle is None else towards - self.middle
            columns = torch.cat([columns, towards[:, None]], 1)
            length = torch.linalg.vector_norm(towards).square_()
        for start in range(0, len(rows), ROWS_A_BLOCK):
            block = rows[start : start + ROWS_A_BLOCK]
            if self.middle is not None:
                block = torch.sub(block, self.middle, out=spare[: len(block)])
            elif not plain:
                block = spare[: len(block)].copy_(block)
            norms = torch.linalg.vector_norm(block, dim=1).square_()
            along = block @ columns
            if towards is not None:
                high = (norms + length).mul_(1 + self.rounding).sub_(along[:, -1], alpha=2)
            y = along[:, :inside]
            rest = norms - torch.linalg.vector_norm(y, dim=1).square_()
            part = z[: len(block)]
            part[:, :-2] = y
            part[:, -2] = rest.clamp_(min=0).add_(norms, alpha=self.rounding).sqrt_()
            which = slice(start, start + len(block))
            yield which, part, norms.mul_(1 - self.rounding), high


def _middle(sample: Tensor) -> Tensor | None:
    """Where a cloud lies, float32 ``[D]``; None if that is not far from the origin."""
    # the median, unlike the mean, stays in the cloud when some rows are enormous
    middle = sample[:: max(1, len(sample) // OF_MIDDLE)].median(0).values
    length, spread = (
        torch.linalg.vector_norm(a, dim=1).median() for a in (sample, sample - middle)
    )
    return None if length <= NEAR * spread else middle


def middle_of(rows: Tensor) -> Tensor | None:
    """`_middle` of a part of rows ``[N, D]`` at even steps."""
    return _middle(rows[:: -(-len(rows) // SAMPLE)].float())


def why_not_finite(rows: Tensor) -> str:
    """What is wrong with rows whose squared norms are not all finite numbers."""
    for block in rows.split(1 << 16):
        if not torch.isfinite(block).all():
            return "features hold NaN or infinite values"
    return "features are too large to be compared in float32 (beyond about 1e18)"
