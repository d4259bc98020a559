"""A student: deep features of a patch, told from shallow ones around it.

Student-teacher detection (Wang et al., STFPM, BMVC 2021; Batzner, Heckler & König, EfficientAD,
WACV 2024): a small network learns, on good parts alone, what the frozen backbone says of them;
where it is wrong, the part is unlike all it has seen. There the student reads pixels. Here sites
keep patch features and not pixels, and a patch holds several layers of the backbone: the student is
given the shallowest of them in the 3×3 patches around and tells the deeper ones. What travels is
its parameters; there are no rows of anybody's patches in them, and no memory.

No batch norm: averages of its statistics over sites are statistics of nobody (Li et al., FedBN,
ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fedpatchcore.errors import ConfigError, CoresetError

__all__ = ["StudentObjective", "student_scores", "student_shapes", "student_start"]

WIDTH = 128
IMAGES_AT_ONCE = 8


def student_shapes(split: int, dimension: int, width: int = WIDTH) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters: 3×3, 1×1 and 1×1 convolutions with ReLUs between.

    Args:
        split: channels of the shallowest layer, the first of the ``dimension`` of a patch.
        width: channels between.

    Raises:
        ConfigError: the split leaves nothing to read or nothing to tell.
    """
    if not 0 < split < dimension:
        raise ConfigError(
            f"a student reads one layer and tells the deeper ones, got {split} of {dimension} "
            "channels: choose a backbone and two layers or more"
        )
    return {
        "student.0.weight": (width, split, 3, 3),
        "student.0.bias": (width,),
        "student.1.weight": (width, width, 1, 1),
        "student.1.bias": (width,),
        "student.2.weight": (dimension - split, width, 1, 1),
        "student.2.bias": (dimension - split,),
    }


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
        self._maps = _maps(features, split)
        self._held_out = None if held_out is None else _maps(held_out, split)
        self._split, self._width = split, width
        self.examples = len(features)

    def start(self, seed: int) -> dict[str, np.ndarray]:
        """`student_start` for these features."""
        return student_start(self._split, self._maps.shape[-1], width=self._width, seed=seed)

    def loss(self, parameters: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Mean loss of the images ``index`` (int64 ``[b]``)."""
        return _squares(parameters, self._maps[index]).mean()

    def held_out_loss(self, parameters: Mapping[str, Tensor]) -> float:
        """Mean loss of the images held out; NaN without any."""
        if self._held_out is None:
            return float("nan")
        with torch.no_grad():
            found = [_squares(parameters, part) for part in _parts(self._held_out)]
        return float(torch.cat(found).mean())


def student_scores(parameters: Mapping[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """How wrong the student is at each patch: ‖t − s‖, 0 to 2, float32 ``[B, h, w]``.

    Args:
        parameters: a student's; its first layer says where ``features`` are split.
        features: float32 ``[B, h, w, D]``.

    Raises:
        CoresetError: features do not fit the student.
    """
    held = {name: torch.from_numpy(np.asarray(one, np.float32)) for name, one in parameters.items()}
    split, told = held["student.0.weight"].shape[1], len(held["student.2.weight"])
    maps = _maps(features, split)
    if maps.shape[-1] != split + told:
        raise CoresetError(f"a student of {split + told} features, got {maps.shape[-1]}")
    with torch.no_grad():
        return torch.cat([_squares(held, part).sqrt() for part in _parts(maps)]).numpy()


def _maps(features: np.ndarray, split: int) -> Tensor:
    if features.ndim != 4 or not features.size:
        raise CoresetError(f"a student learns from maps [B, h, w, D], got {features.shape}")
    student_shapes(split, features.shape[-1])
    return torch.from_numpy(np.ascontiguousarray(features, np.float32))


def _parts(maps: Tensor) -> Sequence[Tensor]:
    return maps.split(IMAGES_AT_ONCE)


def _squares(parameters: Mapping[str, Tensor], maps: Tensor) -> Tensor:
    """‖t − s‖² of maps ``[b, h, w, D]``, float32 ``[b, h, w]``.

    What is read is scaled to root mean square 1, so that a start means the same on any features.
    """
    split = parameters["student.0.weight"].shape[1]
    x = maps.permute(0, 3, 1, 2)
    read, told = x[:, :split], F.normalize(x[:, split:], dim=1)
    hidden = F.pad(F.normalize(read, dim=1) * split**0.5, (1, 1, 1, 1), mode="replicate")
    for at in range(3):
        hidden = F.conv2d(
            hidden if at == 0 else hidden.relu(),
            parameters[f"student.{at}.weight"],
            parameters[f"student.{at}.bias"],
        )
    return (told - F.normalize(hidden, dim=1)).square().sum(1)
