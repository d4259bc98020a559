"""What a site trains: a loss over its own examples, as a function of parameters by name.

An objective holds a site's features and no parameters: the same parameters give the same loss
wherever they come from, and nothing is left behind in a module between rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

__all__ = ["Arrays", "HeldOut", "ImageWise", "Objective", "Regular"]

Arrays = dict[str, np.ndarray]


class Objective(Protocol):
    """A loss that is trained by gradient steps.

    Attributes:
        examples: how many there are at this site, n ≥ 1.
    """

    examples: int

    def start(self, seed: int) -> Arrays:
        """The first model: float32 arrays by name, the same at every site for the same seed."""
        ...

    def loss(self, parameters: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """The mean loss over the examples of an int64 ``[b]``: a scalar with a graph."""
        ...


@runtime_checkable
class HeldOut(Protocol):
    """An objective that set some examples aside before training."""

    def held_out_loss(self, parameters: Mapping[str, Tensor]) -> float:
        """The mean loss over the examples that nobody trains on."""
        ...


@runtime_checkable
class ImageWise(Protocol):
    """An objective whose loss of an image depends on that image and on public things alone."""

    examples: int

    def of_images(self, parameters: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """The mean over the images of an int64 ``[b]``, without what is there whatever they are."""
        ...


@runtime_checkable
class Regular(Protocol):
    """An objective with a term that no image has a part in."""

    def regular(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """That term: a scalar with a graph."""
        ...
