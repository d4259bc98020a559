"""One site's side of the federation: its images stay here, its coreset leaves.

Round 1 (or no bank yet): every section ships the greedy coreset of its training patches.

Later rounds: the site gets the bank and ships only what the bank does not cover. Images
already represented are covered by the triangle inequality (within the site's own radius plus
the bank's) as long as the bank says that it contains all of them. Patches of *new* images
farther from every bank row than the bank ``covers`` are uncovered; greedy k-center over
these, counting the bank's rows as already chosen, ships as many as it takes to cover them
within that distance (at most the coreset size for so many images). Nothing uncovered: a few bytes
say so.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedpatchcore import __version__
from fedpatchcore.backbones import Backbone
from fedpatchcore.bank import SHARED, MemoryBank, Section
from fedpatchcore.cache import SiteCache
from fedpatchcore.calibration import hold_out
from fedpatchcore.config import RunConfig
from fedpatchcore.contribution import Contribution, Part
from fedpatchcore.coreset import greedy_k_center, random_coreset
from fedpatchcore.data.images import content_hash
from fedpatchcore.data.products import Product
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.extraction import Extractor
from fedpatchcore.messages import SectionStats, SiteFacts, TrainReply
from fedpatchcore.search import NearestNeighbours

__all__ = ["Site", "TrainingImages"]


@dataclass(frozen=True)
class TrainingImages:
    """Training images of one section, split into those that teach and those held out."""

    used: tuple[Path, ...]
    held_out: tuple[Path, ...]
    keys: tuple[str, ...]  # content hashes of ``used``


@dataclass(frozen=True)
class _Selected:
    """A section's own coreset: ``rows[:shipped]`` leaves the site, all rows stay for local use."""

    rows: np.ndarray
    shipped: int
    radius: float
    images: int
    patches: int
    bad: int
    extracted: int = 0
    cached: int = 0


class Site:
    """A facility: its products, its backbone, its cache.

    Args:
        groups: group of an image (several shots of one part); groups are held out together.
        out: where pictures of this site are kept.
        say: progress messages for a person, one line each.
    """

    def __init__(
        self,
        name: str,
        products: Mapping[str, Product],
        config: RunConfig,
        backbone: Backbone,
        *,
        cache: SiteCache | None = None,
        groups: Mapping[Path, str] | None = None,
        out: Path = Path("results"),
        simulated: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name = name
        self.products = dict(sorted(products.items()))
        self.config = config
        self.backbone = backbone
        self.cache = cache
        self.out = out
        self.simulated = simulated
        self.say = say
        self._groups = groups or {}
        self._represented: dict[str, set[str]] = {}
        self._split: dict[str, TrainingImages] = {}
        self._own: dict[str, np.ndarray] = {}
        self.extractor = Extractor(
            backbone,
            batch_size=config.batch_size,
            max_bad_images=config.max_bad_images,
            cache=cache,
            on_bad=lambda path, reason: say(f"skipped {path}: {reason}"),
        )

    def facts(self) -> SiteFacts:
        """Who this is and what it has; counts files, opens none."""
        return SiteFacts(
            self.name,
            tuple(self.products),
            tuple(len(p.train) for p in self.products.values()),
            tuple(len(p.test) for p in self.products.values()),
            str(self.backbone.device),
            self.backbone.fingerprint.to_json(),
            __version__,
            self.simulated,
        )

    def sections(self) -> dict[str, list[Product]]:
        """Section name → products whose training images teach it."""
        teaching = [p for p in self.products.values() if p.train]
        if not teaching:
            raise DataError(
                f"site '{self.name}' has no training images of good parts in any product "
                f"({', '.join(self.products) or 'none found'})"
            )
        if self.config.sections == "shared":
            return {SHARED: teaching}
        return {p.name: [p] for p in teaching}

    def train(self, bank: MemoryBank | None = None) -> TrainReply:
        """Answer a train message: what the bank lacks of this site's normal images.

        Raises:
            DataError: no training images, or too many unreadable ones.
            FingerprintError: the bank was made with another feature extractor.
        """
        if bank is not None:
            self.backbone.fingerprint.require(
                bank.fingerprint, ours=f"site '{self.name}'", theirs="the bank"
            )
        parts: dict[str, Part] = {}
        stats = []
        clock = {"extract": 0.0, "select": 0.0}
        known = set(bank.sections) if bank else set()
        for section in self.sections():
            if section in known:
                part, facts = self._delta(section, bank.sections[section], clock)
            else:
                part, facts = self._full(section, clock)
            if part is not None:
                parts[section] = part
            stats.append(facts)
            self.say(
                f"{section}: {facts.images} images ({facts.cached} cached, {facts.bad} bad, "
                f"{facts.held_out} held out), {facts.patches} patches, {facts.rows} rows"
            )
        contribution = (
            Contribution(self.name, self.backbone.fingerprint, parts) if parts else None
        )
        kind = "none" if not parts else "delta" if known else "full"
        return TrainReply(
            self.name, kind, contribution, tuple(stats), clock["extract"], clock["select"]
        )

    def training_images(self, section: str) -> TrainingImages:
        """The section's training images with the seeded hold-out taken away."""
        if section not in self._split:
            paths = [path for p in self.sections()[section] for path in p.train]
            keys = [self._content(path) for path in paths]
            groups = [self._groups.get(path, key) for path, key in zip(paths, keys, strict=True)]
            held = hold_out(keys, self.config.holdout, seed=self.config.seed, groups=groups)
            self._split[section] = TrainingImages(
                tuple(p for p, h in zip(paths, held, strict=True) if not h),
                tuple(p for p, h in zip(paths, held, strict=True) if h),
                tuple(k for k, h in zip(keys, held, strict=True) if not h),
            )
        return self._split[section]

    def own_rows(self, section: str) -> np.ndarray:
        """The site's bank if it were alone: at most global-bank-size rows of its own."""
        if section not in self._own:
            self._own[section] = self._select(section, {"extract": 0.0, "select": 0.0}).rows
        return self._own[section][: self.config.global_bank_size]

    @staticmethod
    def _content(path: Path) -> str:
        try:
            return content_hash(path)
        except ImageError:
            return f"unreadable:{path.name}"

    def _coreset_size(self, patches: int) -> int:
        return self.config.coreset_size or max(1, round(self.config.coreset_ratio * patches))

    def _full(self, section: str, clock: dict[str, float]) -> tuple[Part, SectionStats]:
        chosen = self._select(section, clock)
        self._own[section] = chosen.rows
        images = self.training_images(section)
        self._remember(section, images.keys, replace_all=True)
        rows = chosen.rows[: chosen.shipped]
        part = Part(rows, chosen.images, chosen.patches, chosen.radius)
        return part, SectionStats(
            section,
            chosen.images,
            len(images.keys),
            len(images.held_out),
            chosen.bad,
            chosen.extracted,
            chosen.cached,
            chosen.patches,
            len(rows),
            chosen.radius,
        )

    def _select(self, section: str, clock: dict[str, float]) -> _Selected:
        """The section's own coreset, from the cache if nothing about it changed."""
        config, images = self.config, self.training_images(section)
        keep = config.global_bank_size if config.compare_local else 0
        recipe = (
            self.backbone.fingerprint.digest,
            images.keys,
            config.coreset,
            config.coreset_size,
            config.coreset_ratio,
            config.seed,
            keep,
            config.max_bad_images,
        )
        key = hashlib.sha256(repr(recipe).encode()).hexdigest()
        if self.cache and (entry := self.cache.get(key)) is not None:
            header, arrays = entry
            return _Selected(arrays["rows"], **header, cached=len(images.used))
        started = time.perf_counter()
        features, _, tally = self.extractor.all(images.used)
        patches = features.reshape(-1, features.shape[-1])
        clock["extract"] += time.perf_counter() - started
        started = time.perf_counter()
        ship = min(self._coreset_size(len(patches)), len(patches))
        rows, radius = self._k_center(patches, ship, max(ship, keep))
        clock["select"] += time.perf_counter() - started
        facts = {
            "shipped": min(ship, len(rows)),
            "radius": radius,
            "images": tally.good,
            "patches": len(patches),
            "bad": len(tally.bad),
        }
        if self.cache:
            self.cache.put(key, {"rows": rows}, facts)
        return _Selected(rows, **facts, extracted=tally.extracted, cached=tally.cached)

    def _k_center(self, patches: np.ndarray, ship: int, keep: int) -> tuple[np.ndarray, float]:
        """``keep`` rows in order of selection, and the radius of the first ``ship``."""
        seed, device = self.config.seed, str(self.backbone.device)
        if self.config.coreset == "random":
            chosen = random_coreset(patches, keep, seed=seed, device=device)
            if keep == ship:
                return patches[chosen.indices], chosen.radius
            first = random_coreset(patches, ship, seed=seed, device=device)  # same first rows
            return patches[chosen.indices], first.radius
        chosen = greedy_k_center(patches, keep, seed=seed, device=device)
        return patches[chosen.indices], float(chosen.radii[min(ship, len(chosen.radii)) - 1])

    def _delta(
        self, section: str, bank: Section, clock: dict[str, float]
    ) -> tuple[Part | None, SectionStats]:
        images = self.training_images(section)
        represented = self._recall(section)
        if bank.images.get(self.name, 0) < len(represented):
            represented = set()  # the bank lacks something of ours: look at everything again
        new = [p for p, k in zip(images.used, images.keys, strict=True) if k not in represented]
        if not new:
            return None, SectionStats(
                section, 0, len(represented), len(images.held_out), cached=len(images.used)
            )
        started = time.perf_counter()
        features, _, tally = self.extractor.all(new)
        patches = features.reshape(-1, features.shape[-1])
        clock["extract"] += time.perf_counter() - started
        started = time.perf_counter()
        distances, _ = NearestNeighbours(bank.features).search(patches)
        uncovered = patches[distances[:, 0] > bank.covers]
        part, radius = None, float(distances.max())
        if len(uncovered):
            chosen = greedy_k_center(
                uncovered,
                self._coreset_size(len(patches)),
                device=str(self.backbone.device),
                centres=bank.features,
                stop_radius=bank.covers,
            )
            radius = max(bank.covers, chosen.radius)
            if len(chosen.indices):
                part = Part(uncovered[chosen.indices], tally.good, len(patches), radius)
        clock["select"] += time.perf_counter() - started
        total = self._remember(section, images.keys, replace_all=False)
        return part, SectionStats(
            section,
            tally.good,
            total,
            len(images.held_out),
            len(tally.bad),
            tally.extracted,
            tally.cached,
            len(patches),
            0 if part is None else len(part.features),
            radius,
        )

    def _state_key(self, section: str) -> str:
        recipe = ("represented", self.backbone.fingerprint.digest, self.name, section)
        return hashlib.sha256(repr(recipe).encode()).hexdigest()

    def _recall(self, section: str) -> set[str]:
        """Content hashes of images that earlier replies represented."""
        if section not in self._represented and self.cache:
            entry = self.cache.get(self._state_key(section))
            self._represented[section] = set(entry[0]["images"]) if entry else set()
        return self._represented.get(section, set())

    def _remember(self, section: str, keys: Sequence[str], *, replace_all: bool) -> int:
        known = set(keys) | (set() if replace_all else self._recall(section))
        self._represented[section] = known
        if self.cache:
            self.cache.put(self._state_key(section), {}, {"images": sorted(known)})
        return len(known)
