"""Which pictures are tried, and what is planted into them: the same for every candidate."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpatchcore.data.content import by_content
from fedpatchcore.errors import DataError
from fedpatchcore.planted.grid import Task, tasks

__all__ = ["EACH", "FEWEST", "Plan", "planned"]

EACH = 3  # defects a picture
# Smaller and fainter marks, which a texture hides from every setting, only add noise to what is
# to be compared.
SIZES = (0.05, 0.08, 0.14)
CONTRASTS = (0.12, 0.25)
FEWEST = 8  # pictures; fewer rank nothing


@dataclass(frozen=True)
class Plan:
    """Pictures of one product in the order in which they are taken, and their defects.

    Attributes:
        keys: contents of the files.
        groups: of pictures that belong together; they share a fold.
        tasks: of every picture.
    """

    product: str
    paths: tuple[Path, ...]
    keys: tuple[str, ...]
    groups: tuple[Hashable, ...]
    tasks: tuple[Task, ...]

    def first(self, count: int) -> Plan:
        """The plan of the first pictures alone, which are the same in every larger one."""
        return Plan(
            self.product,
            self.paths[:count],
            self.keys[:count],
            self.groups[:count],
            tuple(task for task in self.tasks if task.image < count),
        )


def planned(
    product: str,
    paths: Sequence[Path],
    *,
    most: int,
    seed: int,
    groups: Mapping[Path, Hashable] | None = None,
    each: int = EACH,
) -> Plan:
    """Pictures drawn by the seed and their contents, not by their order or names.

    Args:
        most: pictures.
        groups: of paths; others are each their own.

    Raises:
        DataError: fewer than `FEWEST` different pictures can be read.
    """
    by_key = by_content(paths)
    if len(by_key) < FEWEST:
        raise DataError(
            f"product '{product}' has {len(by_key)} different images of good parts: settings are "
            f"compared on {FEWEST} or more"
        )
    keys = sorted(by_key)
    order = np.random.default_rng([seed, 3]).permutation(len(keys))[:most]
    drawn = [keys[at] for at in order]
    belong = groups or {}
    return Plan(
        product,
        tuple(by_key[key] for key in drawn),
        tuple(drawn),
        tuple(belong.get(by_key[key], key) for key in drawn),
        tuple(tasks(len(drawn), each, seed=seed, sizes=SIZES, contrasts=CONTRASTS)),
    )
