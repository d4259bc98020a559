"""A transformer's positions on another grid than the one they were learnt on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

__all__ = ["spread"]


def spread(
    positions: Tensor, grid: Sequence[int], *, offset: float = 0.0, smooth: bool = False
) -> tuple[Tensor, Tensor]:
    """Positions ``[1, 1 + s², D]`` of a class token and a square grid → those of ``[h, w]``.

    Bicubic, half-pixel centres, as DINOv2 does it (facebookresearch/dinov2,
    ``interpolate_pos_encoding``).

    Args:
        offset: added to the grid's sides where the scale is computed: 0.1 in DINOv2's networks
            without registers, whose features depend on it a little.
        smooth: antialiased, as in DINOv2's networks with registers.

    Returns:
        ``[1, 1, D]`` of the class token, ``[1, h w, D]`` of the patches.
    """
    first, rest = positions[:, :1], positions[:, 1:]
    side = round(rest.shape[1] ** 0.5)
    if tuple(grid) == (side, side):
        return first, rest
    square = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    how = {"mode": "bicubic", "align_corners": False, "antialias": smooth}
    if offset:
        scale = [(one + offset) / side for one in grid]
        square = F.interpolate(square, scale_factor=scale, **how)
    else:
        square = F.interpolate(square, size=tuple(grid), **how)
    return first, square.flatten(2).transpose(1, 2)
