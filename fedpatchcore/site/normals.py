"""A site's normal images, scored by the global bank as if it had never seen them.

By folds, no further round is needed: the bank keeps the origin of its rows, so a site can take out
its own and put in those that its images outside a fold would have given, as many as it has in the
bank, chosen as the bank chooses them: the farthest from what the others gave, again and again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import MERGED
from fedpatchcore.coreset.greedy import greedy_k_center
from fedpatchcore.detection.calibration import Threshold, calibrate
from fedpatchcore.detection.folds import fold_numbers, out_of_fold
from fedpatchcore.detection.scoring import PatchScores, Scorer
from fedpatchcore.detection.view import clipped
from fedpatchcore.features.tally import Tally
from fedpatchcore.site.measuring import Scored, score_images
from fedpatchcore.site.selection import TrainingImages, own_coreset, selected
from fedpatchcore.site.stopwatch import Stopwatch

if TYPE_CHECKING:
    from fedpatchcore.site.site import Site

__all__ = ["Normals", "by_folds", "by_hold_out", "own_scorer"]


@dataclass(frozen=True)
class Normals:
    """Normal images and what banks without them say.

    Attributes:
        scored: by name of the bank ("global", "local"; "elsewhere": by vote alone); ``nearest``
            are not rows here but origins.
        groups: of each image.
        folds: how many there were; 0: the images were held out.
    """

    scored: Mapping[str, Scored]
    groups: tuple[Hashable, ...]
    folds: int

    def of(self, paths: Sequence[Path]) -> Normals:
        """Those of them that are among these."""
        wanted = set(paths)
        some = next(iter(self.scored.values())).images
        at = np.array([path in wanted for path in some], dtype=bool)
        cut = {name: one.some(at) for name, one in self.scored.items()}
        groups = tuple(g for g, mine in zip(self.groups, at, strict=True) if mine)
        return Normals(cut, groups, self.folds)

    def threshold(self, name: str, target_fpr: float) -> Threshold:
        """Of one bank's scores."""
        scores = self.scored[name].scores
        return calibrate(scores, target_fpr, groups=self.groups, by_folds=self.folds > 0)


def own_scorer(site: Site, section: str, *, clip: float = 0.0, most: int | None = None) -> Scorer:
    """Scores by the site's own bank alone, of ``most`` rows; ``clip`` as in the global one."""
    rows = site.own_rows(section)[:most]
    return Scorer(
        clipped(rows, clip) if clip else rows,
        **site.config.own_scoring,
        clip=clip,
        device=site.backbone.device,
    )


class _Traced:
    """A scorer that names the origin of the nearest row instead of its number."""

    def __init__(self, scorer: Scorer, origin: np.ndarray) -> None:
        self._scorer, self._origin, self.top = scorer, origin, scorer.top

    def __call__(self, features: np.ndarray) -> PatchScores:
        found = self._scorer(features)
        nearest = [self._origin[one].astype(np.int64) for one in found.nearest]
        return replace(found, nearest=nearest)


def by_hold_out(site: Site, bank: MemoryBank, section: str, tally: Tally) -> Normals | None:
    """The section's held-out images; None without any."""
    held = site.training_images(section).held_out
    if not held:
        return None
    origin = bank.sections[section].origin
    scorer = Scorer.of(bank, section, site.name, device=site.backbone.device)
    scorers = {"global": _Traced(scorer, origin)}
    if (elsewhere := scorer.elsewhere()) is not None:
        scorers["elsewhere"] = _Traced(elsewhere, origin)
    if site.config.compare_local:
        scorers["local"] = own_scorer(site, section, clip=scorer.clip)
    scored = score_images(site.extractor, held, scorers, tally)
    images = next(iter(scored.values())).images
    return Normals(scored, tuple(site.group(path) for path in images), 0)


def by_folds(site: Site, bank: MemoryBank, section: str, tally: Tally) -> Normals | None:
    """All training images of the section, each by the bank without its fold.

    None where rows of the section have no origin, or all images belong together.
    """
    images = site.training_images(section)
    if (bank.sections[section].origin == MERGED).any():
        return None
    groups = [site.group(path) for path in images.used]
    numbers = fold_numbers(images.keys, site.config.folds, seed=site.config.seed, groups=groups)
    if not numbers.any():
        return None
    work = _Work(site, bank, section, images, numbers)
    scored = work.streamed(tally) if site.budget else work.at_once(tally)
    kept = next(iter(scored.values())).images
    return Normals(scored, tuple(site.group(path) for path in kept), int(numbers.max()) + 1)


class _Work:
    """Banks without a fold, and the scores of the fold's images by them."""

    def __init__(
        self,
        site: Site,
        bank: MemoryBank,
        section: str,
        images: TrainingImages,
        numbers: np.ndarray,
    ) -> None:
        self.site, self.config, self.images, self.numbers = site, site.config, images, numbers
        self.bank, self.section = bank, section
        self.here = bank.sites.index(site.name) if site.name in bank.sites else None
        rows, origin = bank.sections[section].features, bank.sections[section].origin
        others = origin != self.here if self.here is not None else np.ones(len(rows), dtype=bool)
        self.others, self.their_origin = rows[others], origin[others]
        self.mine = int((~others).sum())
        self.local = len(rows) if self.config.compare_local else 0
        self.none = np.empty((0, rows.shape[1]), rows.dtype)

    def at_once(self, tally: Tally) -> dict[str, Scored]:
        """All features in memory, as they were for the selection."""
        features, kept, found = self.site.extractor.all(self.images.used)
        tally.bad += found.bad
        paths = tuple(self.images.used[at] for at in kept)

        def banks(patches: np.ndarray, fold: int) -> dict[str, Scorer]:
            return self._scorers(*self._cached(patches, fold))

        numbers = self.numbers[kept]
        if len(np.unique(numbers)) < 2:  # all others could not be read
            return {"global": Scored((), np.empty(0), [], [])}
        scores = out_of_fold(features, numbers, banks)
        return {name: Scored.of(paths, one) for name, one in scores.items()}

    def streamed(self, tally: Tally) -> dict[str, Scored]:
        """Within ``memory-budget``: fold by fold, features from the cache."""
        parts: dict[str, list[Scored]] = {}
        self.local = 0  # its bank would take more rows than there is memory for, fold by fold
        alone = self.config.model_copy(update={"compare_local": False})
        for fold in np.unique(self.numbers).tolist():
            mine = self.numbers == fold
            if self.mine:
                rest = _some(self.images, ~mine)
                own = own_coreset(rest, self.site.extractor, alone, Stopwatch())
                scorers = self._scorers(own.rows, own.shipped)
            else:
                scorers = self._scorers(self.none, 0)
            paths = _some(self.images, mine).used
            for name, one in score_images(self.site.extractor, paths, scorers, tally).items():
                parts.setdefault(name, []).append(one)
        return {name: _joined(several) for name, several in parts.items()}

    def _cached(self, patches: np.ndarray, fold: int) -> tuple[np.ndarray, int]:
        """The coreset of the images outside a fold, and how many of its rows would be shipped."""
        if not (self.mine or self.local):  # no row would be put in
            return self.none, 0
        config, cache = self.config, self.site.extractor.cache
        keys = [k for k, n in zip(self.images.keys, self.numbers, strict=True) if n != fold]
        told = (
            "fold",
            self.site.backbone.fingerprint.digest,
            sorted(keys),
            config.coreset,
            config.coreset_size,
            config.coreset_ratio,
            config.seed,
            config.density_filter,
            self.local,
        )
        key = hashlib.sha256(repr(told).encode()).hexdigest()
        if cache and (entry := cache.get(key)) is not None:
            return entry[1]["rows"], entry[0]["shipped"]
        rows, shipped = selected(patches, config, self.site.backbone.device, keep=self.local)
        if cache:
            cache.put(key, {"rows": rows}, {"shipped": shipped})
        return rows, shipped

    def _scorers(self, rows: np.ndarray, shipped: int) -> dict[str, Scorer | _Traced]:
        """Of a bank in which the shipped ones of these rows take the place of the site's own."""
        given = self._as_many(rows[:shipped])
        features = np.concatenate([self.others, given])
        origin = np.concatenate(
            [self.their_origin, np.full(len(given), self.here or 0, self.their_origin.dtype)]
        )
        part = replace(self.bank.sections[self.section], features=features, origin=origin)
        without = replace(self.bank, sections={**self.bank.sections, self.section: part})
        device = self.site.backbone.device
        scorer = Scorer.of(without, self.section, self.site.name, device=device)
        found = {"global": _Traced(scorer, origin)}
        if (elsewhere := scorer.elsewhere()) is not None:
            found["elsewhere"] = _Traced(elsewhere, origin)
        if self.local:
            own = self.config.own_scoring
            found["local"] = Scorer(rows[: self.local], device=device, **own)
        return found

    def _as_many(self, rows: np.ndarray) -> np.ndarray:
        """As many of the rows as the bank has of this site's, the farthest from the others'."""
        if not self.mine or len(rows) <= self.mine or not len(self.others):
            return rows[: self.mine]
        chosen = greedy_k_center(rows, self.mine, seed=self.config.seed, centres=self.others)
        return rows[chosen.indices]


def _some(images: TrainingImages, wanted: np.ndarray) -> TrainingImages:
    at = np.flatnonzero(wanted).tolist()
    used, keys = (tuple(given[i] for i in at) for given in (images.used, images.keys))
    return TrainingImages(used, (), keys, ())


def _joined(parts: Sequence[Scored]) -> Scored:
    images = tuple(path for part in parts for path in part.images)
    return Scored.of(images, PatchScores.joined(part.by_patch for part in parts))
