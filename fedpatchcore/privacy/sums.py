"""Which mechanism of noisy sums a run's ``dp`` names."""

from __future__ import annotations

from collections.abc import Mapping

from fedpatchcore.privacy.kernels import KernelSums
from fedpatchcore.privacy.mechanism import CellSums
from fedpatchcore.privacy.moments import MomentSums

__all__ = ["SUMS", "Sums"]

Sums = CellSums | MomentSums | KernelSums
SUMS: Mapping[str, type[Sums]] = {
    "cells": CellSums,
    "moments": MomentSums,
    "kernel": KernelSums,
}
