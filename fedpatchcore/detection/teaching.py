"""The images of one product taught to a bank, all in memory or within a budget."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from fedpatchcore.coreset.budgeted import peek
from fedpatchcore.coreset.greedy import selector
from fedpatchcore.coreset.memory import exact_memory
from fedpatchcore.detection.folds import fold_numbers, out_of_fold
from fedpatchcore.detection.reading import Source
from fedpatchcore.detection.scoring import PatchScores, Scorer
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.detection.streamed import FoldRows, by_pieces, fold_rows
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.maps import FeatureMaps, Gathering
from fedpatchcore.features.tiles import put_together
from fedpatchcore.features.tiling import Piece

__all__ = ["Progress", "Teaching"]

Progress = Callable[[int, int], None]


class Teaching:
    """One product's images: the bank, and what banks without an image say of it.

    Args:
        source: gives their features.

    Attributes:
        rows, radius: the bank.
        good: numbers of the images that taught.
        folds: how many there were; 0: none.
    """

    rows: np.ndarray
    radius: float

    def __init__(
        self,
        backbone: Backbone,
        images: Sequence,
        config: DetectorSettings,
        keys: Sequence[str],
        groups: Sequence[Hashable],
        progress: Progress | None,
        source: Source,
    ) -> None:
        self._backbone, self._images, self._config = backbone, images, config
        self._keys, self._groups, self._source = keys, groups, source
        self._progress = progress or (lambda done, of: None)
        self._device = str(backbone.device)
        self.good: list[int] = []
        self.folds = 0
        self._features: FeatureMaps | None = None
        self._few: FoldRows | None = None
        self._numbers: dict[int, int] = {}

    def learn(self, teach: list[int], by_folds: bool) -> None:
        """The bank of these images; within the memory budget, if there is one."""
        config = self._config
        budget = config.budget_bytes(tiled=self._backbone.geometry.tiled)
        if budget:
            first, pieces = peek(self._pieces(teach, self.good))
            dimension = first.features.shape[-1]
            patches = first.grid[0] * first.grid[1] * len(teach)
            size = self._size(patches)
            needed = exact_memory(patches, size, dimension)
            if by_folds:  # patches of all folds but one are selected from beside all of them
                needed += patches * dimension * first.features.itemsize
            if needed > budget:
                self._learn_streamed(pieces, teach, size, budget, by_folds)
                return
            whole = ([features] for _, features in put_together(pieces))
        else:
            kept: list[int] = []
            whole = self._source.batches([self._images[at] for at in teach], kept)
        self._features = Gathering(len(teach)).add_all(whole)
        if not budget:
            self.good = [teach[at] for at in kept]
        self.rows, self.radius = self._chosen(self._features.rows)
        self._number(self.good, by_folds)

    def _learn_streamed(
        self, pieces: Iterator[Piece], teach: list[int], size: int, budget: int, by_folds: bool
    ) -> None:
        self._number(teach, by_folds)
        some = self._told(pieces, len(teach), 0)
        how = (max(1, self.folds), size, budget, self._config, self._device)
        self._few = fold_rows(some, lambda at: self._numbers.get(at, 0), *how)
        self.rows, self.radius = self._few.bank()

    def scores(self) -> tuple[list[int], PatchScores | None]:
        """Each image by a bank without its fold; None if all belong together."""
        if not self.folds or len({self._numbers[at] for at in self.good}) < 2:
            self.folds = 0
            return [], None
        if self._features is not None:
            numbers = np.array([self._numbers[at] for at in self.good])

            def banks(patches: np.ndarray, _: int) -> dict[str, Scorer]:
                return {"bank": self._scorer(self._chosen(patches)[0])}

            found = out_of_fold(self._features, numbers, banks, progress=self._progress)
            return self.good, found["bank"]
        banks = {fold: self._scorer(self._few.bank(fold)[0]) for fold in self._few.rows}
        again: list[int] = []
        pieces = self._told(self._pieces(self.good, again), len(self.good), len(self.good))
        parts = dict(by_pieces(pieces, lambda at: banks[self._numbers[at]]))
        return list(parts), PatchScores.joined(parts.values())

    def held(self, held: list[int]) -> tuple[list[int], PatchScores | None]:
        """Images that did not teach, by the bank."""
        if not held:
            return [], None
        scorer = self._scorer(self.rows)
        parts = dict(by_pieces(self._pieces(held, []), lambda _: scorer))
        return list(parts), PatchScores.joined(parts.values())

    def _pieces(self, numbers: list[int], good: list[int]) -> Iterator[Piece]:
        """Of images by their numbers; ``good`` is filled with those that could be read."""
        kept: list[int] = []
        some = [self._images[at] for at in numbers]
        for one in self._source.pieces(some, kept):
            at = numbers[one.index]
            if not good or good[-1] != at:
                good.append(at)
            yield replace(one, index=at)

    def _told(self, pieces: Iterator[Piece], images: int, before: int) -> Iterator[Piece]:
        """The same, with progress: of two passes over so many images."""
        done = before
        for one in pieces:
            yield one
            if one.last:
                done += 1
                self._progress(done, before + images if before else 2 * images)

    def _number(self, images: list[int], by_folds: bool) -> None:
        if not by_folds:
            return
        config = self._config
        numbers = fold_numbers(
            [self._keys[i] for i in images],
            config.folds,
            seed=config.seed,
            groups=[self._groups[i] for i in images],
        )
        self._numbers = dict(zip(images, numbers.tolist(), strict=True))
        self.folds = int(numbers.max()) + 1 if numbers.any() else 0

    def _size(self, patches: int) -> int:
        config = self._config
        size = config.coreset_size or round(config.coreset_ratio * patches)
        return max(1, min(size, config.global_bank_size))

    def _chosen(self, patches: np.ndarray) -> tuple[np.ndarray, float]:
        choose = selector(self._config.coreset)
        size = self._size(len(patches))
        chosen = choose(patches, size, seed=self._config.seed, device=self._device)
        return patches[chosen.indices], chosen.radius

    def _scorer(self, rows: np.ndarray) -> Scorer:
        return Scorer(rows, **self._config.own_scoring, device=self._backbone.device)
