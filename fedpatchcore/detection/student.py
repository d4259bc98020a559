"""A student's judgement: deep features of a patch, told from shallow ones around it.

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

from fedpatchcore.errors import BankError, ConfigError, CoresetError

__all__ = [
    "WIDTH",
    "flattened",
    "maps_of",
    "parts_of",
    "squares",
    "student_scores",
    "student_shapes",
    "unflattened",
]

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


def flattened(parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """One float32 vector: channels read, channels between, then the parameters in name order."""
    first = parameters["student.0.weight"]
    head = np.array([first.shape[1], first.shape[0]], np.float32)
    return np.concatenate([head, *(np.ravel(parameters[name]) for name in sorted(parameters))])


def unflattened(vector: np.ndarray, dimension: int) -> dict[str, np.ndarray]:
    """Inverse of `flattened` for patches of ``dimension`` features.

    Raises BankError for a vector that is no student of such patches.
    """
    fits = vector.dtype == np.float32 and vector.ndim == 1 and len(vector) > 2
    if not fits or not np.isfinite(vector).all():
        raise BankError("a student is a vector of finite float32")
    split, width = (int(one) for one in vector[:2])
    if not (0 < split < dimension and 0 < width <= len(vector)):
        raise BankError(f"a student of {split} channels by {width} does not fit {dimension}")
    shapes = student_shapes(split, dimension, width)
    sizes = {name: int(np.prod(shapes[name])) for name in sorted(shapes)}
    if sum(sizes.values()) != len(vector) - 2:
        raise BankError(f"a student of {len(vector) - 2:,} numbers does not fit its channels")
    found, at = {}, 2
    for name, size in sizes.items():
        found[name] = vector[at : at + size].reshape(shapes[name])
        at += size
    return found


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
    maps = maps_of(features, split)
    if maps.shape[-1] != split + told:
        raise CoresetError(f"a student of {split + told} features, got {maps.shape[-1]}")
    with torch.no_grad():
        return torch.cat([squares(held, part).sqrt() for part in parts_of(maps)]).numpy()


def maps_of(features: np.ndarray, split: int) -> Tensor:
    """Features ``[B, h, w, D]`` as a student takes them. Raises CoresetError, ConfigError."""
    if features.ndim != 4 or not features.size:
        raise CoresetError(f"a student learns from maps [B, h, w, D], got {features.shape}")
    student_shapes(split, features.shape[-1])
    return torch.from_numpy(np.ascontiguousarray(features, np.float32))


def parts_of(maps: Tensor) -> Sequence[Tensor]:
    """A few images at a time."""
    return maps.split(IMAGES_AT_ONCE)


def squares(parameters: Mapping[str, Tensor], maps: Tensor) -> Tensor:
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
