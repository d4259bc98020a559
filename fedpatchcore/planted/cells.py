"""The grid of planted defects: kinds, sizes, contrasts. Loads nothing that computes."""

from __future__ import annotations

from itertools import product

__all__ = ["CELLS", "CONTRASTS", "NAMES", "SIZES"]

NAMES = ("pasted", "scar", "blob", "blur", "missing")  # of `fedpatchcore.planted.planting.KINDS`
SIZES = (0.02, 0.04, 0.08, 0.14)  # shares of the shorter side
CONTRASTS = (0.06, 0.12, 0.25)  # shares of the full range

CELLS = tuple(product(NAMES, SIZES, CONTRASTS))
"""Every kind, size and contrast, in the order in which counts travel."""
