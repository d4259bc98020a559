"""A site's coreset within a memory budget: patches are selected from as they come.

The setting ``memory-budget`` bounds what the patch features of a section may take. As long as
all fit, the coreset is the same as without a budget; beyond that it is selected block by
block (`fedpatchcore.coreset.blocks`), and the reply says how many times the least possible one its
covering radius can be at most.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np

from fedpatchcore.coreset.blocks import BlockCoreset, BlockSelection
from fedpatchcore.coreset.memory import exact_memory, least_memory
from fedpatchcore.coreset.settings import CoresetSettings
from fedpatchcore.errors import ConfigError, CoresetError

__all__ = ["Streamed", "affordable", "peek"]

T = TypeVar("T")
FIX = "raise memory-budget, in the run-config or for this site alone in its node-config"


def affordable(size: int, wanted: int, rows: int, dimension: int, budget: int) -> int:
    """``wanted`` of ``rows``, or as many as the budget can merge, but no fewer than ``size``."""
    if exact_memory(rows, wanted, dimension) <= budget:
        return wanted
    return max(size, min(wanted, budget // least_memory(1, dimension)))


def peek(given: Iterator[T]) -> tuple[T, Iterator[T]]:
    """The first of several things, and all of them. There must be one."""
    first = next(given)
    return first, chain([first], given)


@dataclass
class Streamed:
    """`BlockCoreset` that keeps the time it takes and names the setting when memory is short.

    Attributes:
        seconds: spent in `add`, which goes on between extracting.
    """

    size: int
    budget: int
    config: CoresetSettings
    device: str
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self._blocks = BlockCoreset(self.size, self.budget, self.config.seed, self.device)

    def add(self, patches: np.ndarray) -> None:
        """Take patches ``[n, D]`` in. Raises ConfigError if the budget is too small."""
        started = time.perf_counter()
        try:
            self._blocks.add(patches)
        except CoresetError as error:
            raise ConfigError(f"memory-budget: {error}: {FIX}") from None
        self.seconds += time.perf_counter() - started

    def result(self) -> BlockSelection:
        """The selection. Raises ConfigError if the budget is too small."""
        try:
            return self._blocks.result()
        except CoresetError as error:
            raise ConfigError(f"memory-budget: {error}: {FIX}") from None
