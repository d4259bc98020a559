"""A student at school: the loss that it learns by (`fedpatchcore.detection.student`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedpatchcore.detection.student import WIDTH, maps_of, parts_of, squares, student_shapes
from fedpatchcore.features.maps import FeatureMaps

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
        features: float32 ``[B, h, w, D]`` of good images, an example each; or images of several
            sizes.
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
        features: np.ndarray | FeatureMaps,
        split: int,
        *,
        width: int = WIDTH,
        held_out: np.ndarray | FeatureMaps | None = None,
    ) -> None:
        self._maps = _alike(features, split)
        self._held_out = None if held_out is None else _alike(held_out, split)
        self._split, self._width = split, width
        self.examples = len(features)

    def start(self, seed: int) -> dict[str, np.ndarray]:
        """`student_start` for these features."""
        dimension = self._maps[0].shape[-1]
        return student_start(self._split, dimension, width=self._width, seed=seed)

    def loss(self, parameters: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Mean loss of the images ``index`` (int64 ``[b]``)."""
        if len(self._maps) == 1:
            return squares(parameters, self._maps[0][index]).mean()
        found = [squares(parameters, self._maps[at]).mean() for at in index.tolist()]
        return torch.stack(found).mean()

    of_images = loss  # an image's alone, and nothing else

    def held_out_loss(self, parameters: Mapping[str, Tensor]) -> float:
        """Mean loss of the images held out; NaN without any."""
        if self._held_out is None:
            return float("nan")
        with torch.no_grad():
            if len(self._held_out) > 1:
                return float(
                    np.mean([float(squares(parameters, m).mean()) for m in self._held_out])
                )
            found = [squares(parameters, part) for part in parts_of(self._held_out[0])]
        return float(torch.cat(found).mean())


def _alike(features: np.ndarray | FeatureMaps, split: int) -> list[Tensor]:
    """All images as one tensor ``[B, h, w, D]``; of several sizes one a tensor."""
    if isinstance(features, FeatureMaps) and not features.alike:
        return [maps_of(one[None], split) for one in features]
    if isinstance(features, FeatureMaps):
        features = features.dense()
    return [maps_of(features, split)]
