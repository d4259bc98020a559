"""Which defect goes into which picture: every kind, size and contrast about equally often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from fedpatchcore.errors import ConfigError
from fedpatchcore.planted.cells import CONTRASTS, SIZES
from fedpatchcore.planted.planting import KINDS, Planted, plant

__all__ = ["Task", "tasks"]


@dataclass(frozen=True)
class Task:
    """One defect to plant.

    Attributes:
        image: number of the picture.
        seed: of this defect alone.
    """

    image: int
    kind: str
    size: float
    contrast: float
    seed: tuple[int, ...]

    def into(self, picture: np.ndarray) -> Planted:
        """See `plant`."""
        return plant(picture, self.kind, self.size, self.contrast, list(self.seed))


def tasks(
    images: int,
    each: int = 3,
    *,
    seed: int = 0,
    kinds: Sequence[str] = tuple(KINDS),
    sizes: Sequence[float] = SIZES,
    contrasts: Sequence[float] = CONTRASTS,
) -> list[Task]:
    """``each`` defects for every picture, one a copy of it, the same for the same seed.

    Cells of the grid are dealt in turns, each turn shuffled: no two differ by more than one in how
    often they are used.

    Args:
        images: number of pictures ≥ 1.
        each: ≥ 1; copies of one picture are no independent trials.

    Raises:
        ConfigError: an empty grid or number.
    """
    cells = list(product(kinds, sizes, contrasts))
    if images < 1 or each < 1 or not cells:
        raise ConfigError("planting needs a picture, a defect for it, and a grid that is not empty")
    rng = np.random.default_rng([seed, 0])
    count = images * each
    turns = [rng.permutation(len(cells)) for _ in range(-(-count // len(cells)))]
    order = np.concatenate(turns)[:count]
    return [Task(at % images, *cells[cell], seed=(seed, 1, at)) for at, cell in enumerate(order)]
