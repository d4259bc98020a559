"""How float32 numbers are multiplied on a GPU: as they are, or cut to 10 bits of mantissa (TF32).

torch keeps this in flags of the whole process: they are set for a block and put back. On a CPU
nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["TF32_UNIT", "ieee", "tf32"]

TF32_UNIT = 2.0**-10
"""Largest relative error of a float32 number that is cut, not rounded, to TF32."""


@contextmanager
def _flags(device: torch.device, products: bool, convolutions: bool | None) -> Iterator[None]:
    if device.type != "cuda":
        yield
        return
    wanted = [(torch.backends.cuda.matmul, products)]
    if convolutions is not None:
        wanted.append((torch.backends.cudnn, convolutions))
    before = [_set(*one) for one in wanted]
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def _set(where: Any, allowed: bool) -> tuple[Any, str, Any]:
    """Set one flag; where it stands, its name, and what it was before."""
    try:
        before = where, "allow_tf32", where.allow_tf32
        where.allow_tf32 = allowed
    except RuntimeError:  # somebody has used the newer names, and torch wants these to be kept to
        place = getattr(where, "conv", where)
        before = place, "fp32_precision", place.fp32_precision
        place.fp32_precision = "tf32" if allowed else "ieee"
    return before


def ieee(device: torch.device):
    """Within this block products and convolutions of float32 on a GPU keep all bits."""
    return _flags(device, False, False)


def tf32(device: torch.device):
    """Within this block products of float32 on a GPU may cut their factors to TF32.

    For bounds alone, which give way by `TF32_UNIT`: no distance comes from these.
    """
    return _flags(device, True, None)
