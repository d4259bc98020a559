"""Whether a file's tensors are those of a network."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedpatchcore.errors import WeightsError

__all__ = ["fitting"]


def fitting(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    backbone: str,
    *,
    where: str,
    optional: tuple[str, ...] = (),
) -> dict[str, Tensor]:
    """Those tensors of ``state`` that the network with the state ``own`` takes.

    Args:
        optional: beginnings of names that may be missing, for they are not computed with.

    Raises:
        WeightsError: one is missing, of another shape, or holds what is not finite; naming the file
            (``where``) and the first such tensor.
    """
    body = [key for key in own if not key.startswith(optional) and "num_batches" not in key]
    if missing := sorted(set(body) - set(state)):
        raise WeightsError(f"{where} does not fit {backbone}: '{missing[0]}' is missing")
    for key in body:
        if state[key].shape != own[key].shape:
            raise WeightsError(
                f"{where} does not fit {backbone}: '{key}' has shape {tuple(state[key].shape)}, "
                f"expected {tuple(own[key].shape)}"
            )
        if not torch.isfinite(state[key]).all():
            raise WeightsError(f"{where} is damaged: '{key}' holds non-finite values")
    return {key: state[key] for key in body}
