"""A picture's scores put together from those of its pieces."""

from __future__ import annotations

import numpy as np

from fedpatchcore.detection.image_score import image_scores
from fedpatchcore.detection.scoring import PatchScores
from fedpatchcore.features.tiling import Piece

__all__ = ["Mosaic"]


class Mosaic:
    """Scores of one picture, whose features are never there at once.

    Args:
        top: as `image_scores`. Without it the score is that of the piece with the largest patch,
            which may have been weighted there.
    """

    def __init__(self, top: int = 0) -> None:
        self._top = top
        self._patches: np.ndarray | None = None
        self._nearest: np.ndarray | None = None
        self._largest, self._score = -np.inf, -np.inf

    def add(self, piece: Piece, scored: PatchScores) -> None:
        """Take the scores of a piece in, as of a picture by itself."""
        if self._patches is None:
            self._patches = np.empty(piece.grid, np.float32)
            self._nearest = np.empty(piece.grid, np.int64)
        self._patches[piece.place] = scored.patches[0]
        self._nearest[piece.place] = scored.nearest[0]
        if (largest := float(scored.patches[0].max())) > self._largest:
            self._largest, self._score = largest, float(scored.images[0])

    def done(self) -> PatchScores:
        """Of the picture, which had a piece."""
        if self._top:
            self._score = float(image_scores(self._patches.reshape(1, -1), self._top)[0])
        return PatchScores([self._patches], np.array([self._score]), [self._nearest])
