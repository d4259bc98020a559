"""A student at school: the loss that it learns by (`fedpatchcore.detection.student`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.detection.student import WIDTH, maps_of, parts_of, squares, student_shapes

__all__ = ["StudentObjective", "student_start"]


def student_start(
    split: int, dimension: int, *, width: int = WIDTH, seed: int = 0
) -> dict[str, np.ndarray]:
    """Parameters at the start, float32: N(0, 2 / fan-in) (He et al., 2015), biases 0."""
    rng = np.random.default_rng(seed)
    return {
        name: np.zeros(shape, np.float32)
        if len(shape) == 1
        else (rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5).astype(np.float32)
        for name, shape in student_shapes(split, dimension, width).items()
    }


class StudentObjective:
    """What a site's optimiser minimises: how wrong the student is about good images.

    The loss of an image is the mean over its patches of ‖t − s‖², t the deep part of the patch and
    s what the student tells, both scaled to L2 norm 1 (STFPM, eq. 1 and 2, without their ½): it
    lies between 0 and 4 and is twice one minus their cosine.

    Args:
        features: float32 ``[B, h, w, D]`` of good images, an example each.
        split: see `student_shapes`.
        held_out: such features that are not learned from, for `held_out_loss`.

    Attributes:
        examples: B.

    Raises:
        ConfigError: see `student_shapes`.
        CoresetError: features are no maps, or empty.
    """

    def __init__(
        self,
        features: np.ndarray,
        split: int,
        *,
        width: int = WIDTH,
        held_out: np.ndarray | None = None,
    ) -> None:
        self._maps = maps_of(features, split)
        self._held_out = None if held_out is None else maps_of(held_out, split)
        self._split, self._width = split, width
        self.examples = len(features)

    def start(self, seed: int) -> dict[str, np.ndarray]:
        """`student_start` for these features."""
        return student_start(self._split, self._maps.shape[-1], width=self._width, seed=seed)

    def loss(self, parameters: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Mean loss of the images ``index`` (int64 ``[b]``)."""
        return squares(parameters, self._maps[index]).mean()

    of_images = loss  # an image's alone, and nothing else

    def held_out_loss(self, parameters: Mapping[str, Tensor]) -> float:
        """Mean loss of the images held out; NaN without any."""
        if self._held_out is None:
            return float("nan")
        with torch.no_grad():
            found = [squares(parameters, part) for part in parts_of(self._held_out)]
        return float(torch.cat(found).mean())
