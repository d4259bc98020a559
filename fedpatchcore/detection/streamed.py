"""Fitting within a memory budget: patches are selected from as they come, and scored as they come.

One pass over the pictures makes a coreset of each fold (`fedpatchcore.coreset.blocks`), whatever
their size; the bank, and the banks without a fold, are selected from these few rows. A patch lies
within the fold's radius of a row of its fold, and that within the bank's own of a row of the bank:
the radius told is the sum. A second pass scores each picture by the bank without its fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fedpatchcore.coreset.budgeted import Streamed
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.mosaic import Mosaic
from fedpatchcore.detection.scoring import PatchScores, Scorer
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.tiling import Piece

__all__ = ["FoldRows", "by_pieces", "fold_rows"]


@dataclass(frozen=True)
class FoldRows:
    """Coresets of the folds.

    Attributes:
        rows: by fold, float32 ``[k, D]``.
        radius: every patch lies within this of a row of its fold.
    """

    rows: dict[int, np.ndarray]
    radius: float
    size: int
    seed: int
    device: str

    def bank(self, without: int | None = None) -> tuple[np.ndarray, float]:
        """Rows of all folds, or all but one, and the radius in which they cover the patches."""
        some = np.concatenate([rows for fold, rows in self.rows.items() if fold != without])
        chosen = greedy_k_center(
            some, min(self.size, len(some)), seed=self.seed, device=self.device
        )
        return some[chosen.indices], self.radius + chosen.radius


def fold_rows(
    pieces: Iterable[Piece],
    fold_of: Callable[[int], int],
    folds: int,
    size: int,
    budget: int,
    config: DetectorSettings,
    device: str,
) -> FoldRows:
    """Coresets of ``size`` rows a fold, within ``budget`` bytes for all of them.

    Args:
        fold_of: of an image, by its number.

    Raises:
        ConfigError: the budget is too small for so many rows of so many folds.
    """
    if config.coreset == "random":
        raise ConfigError(
            "coreset='random' needs all patches at once and takes memory-budget=0 only"
        )
    streams: dict[int, Streamed] = {}
    for piece in pieces:
        fold = fold_of(piece.index)
        if fold not in streams:
            streams[fold] = Streamed(size, budget // folds, config, device)
        streams[fold].add(piece.features.reshape(-1, piece.features.shape[-1]))
    found = {fold: stream.result() for fold, stream in sorted(streams.items())}
    return FoldRows(
        {fold: one.rows for fold, one in found.items()},
        max(one.radius for one in found.values()),
        size,
        config.seed,
        device,
    )


def by_pieces(
    pieces: Iterable[Piece], scorer_of: Callable[[int], Scorer]
) -> Iterator[tuple[int, PatchScores]]:
    """Scores of each image, by its number, put together from its pieces."""
    mosaic: Mosaic | None = None
    for piece in pieces:
        scorer = scorer_of(piece.index)
        mosaic = mosaic or Mosaic(scorer.top)
        mosaic.add(piece, scorer(piece.features[None]))
        if piece.last:
            yield piece.index, mosaic.done()
            mosaic = None
