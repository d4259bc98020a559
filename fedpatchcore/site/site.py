"""One site's side of the federation: its images stay here, what its method makes of them leaves.

What that is, a coreset or something learnt, is the method's (`fedpatchcore.site.methods`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED
from fedpatchcore.config import RunConfig
from fedpatchcore.data.check.looks import Looks
from fedpatchcore.data.content import content_hash
from fedpatchcore.data.products import Product
from fedpatchcore.data.value_range import parse_range
from fedpatchcore.detection.calibration import hold_out
from fedpatchcore.errors import DataError, ImageError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.cache import SiteCache
from fedpatchcore.features.extraction import Extractor
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.policy import Policy
from fedpatchcore.privacy.registry import NO_PROTECTION
from fedpatchcore.site.costs import foreseen, tell_cost
from fedpatchcore.site.faults import tell_faults
from fedpatchcore.site.grouping import Grouping
from fedpatchcore.site.membership import Member, nobody
from fedpatchcore.site.methods.registry import Asked, site_method
from fedpatchcore.site.represented import Represented
from fedpatchcore.site.selection import TrainingImages, counted, limited, own_coreset
from fedpatchcore.site.stopwatch import Stopwatch
from fedpatchcore.site.vetting import vet
from fedpatchcore.version import VERSION
from fedpatchcore.wire.messages import SiteFacts, TrainReply

if TYPE_CHECKING:
    from fedpatchcore.detection.scale import Together
    from fedpatchcore.site.normals import Normals

__all__ = ["Site"]


class Site:
    """A facility: its products, its backbone, its cache.

    ``normals`` and ``hybrids`` hold what the last evaluation found of each product.

    Args:
        groups: group of an image (several shots of one part), as a table names them; groups are
            held out, or share a fold, together. Without a table: by ``group-by``.
        excluded: training images by product that a person took out beforehand.
        out: where pictures of this site are kept.
        member: who it is in secure sums; by default it is in none.
        asked: the settings of the run as they were sent, where this site keeps to others.
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
        excluded: Mapping[str, int] | None = None,
        out: Path = Path("results"),
        simulated: bool = False,
        policy: Policy | None = None,
        member: Member | None = None,
        asked: RunConfig | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name, self.config, self.backbone = name, config, backbone
        self.products = dict(sorted(products.items()))
        self.cache, self.out = cache, out
        self.policy = policy or Policy(None)
        self.member = member or nobody(name)
        self.asked = asked or config
        self.simulated, self.say = simulated, say
        self.represented = Represented(name, backbone.fingerprint.digest, cache)
        self.excluded = dict(excluded or {})
        self.normals: dict[str, Normals] = {}
        self.hybrids: dict[str, Together] = {}
        self._labels: dict[Path, str] = {}
        self._split: dict[str, TrainingImages] = {}
        self._own: dict[str, np.ndarray] = {}
        self._taught: dict[str, Sequence[str]] = {}
        self.extractor = Extractor(
            backbone,
            batch_size=config.batch_size,
            workers=config.workers,
            max_bad_images=config.max_bad_images,
            cache=cache,
            on_bad=lambda path, reason: say(f"skipped {path}: {reason}"),
        )
        self.looks = Looks(parse_range(config.value_range), self.extractor.keep)
        self.grouping = Grouping(config, groups or {}, cache=cache, looks=self.looks, say=say)

    @property
    def budget(self) -> int:
        """Bytes that a section's patch features may take; 0: as many as there are."""
        return self.config.budget_bytes(tiled=self.backbone.geometry.tiled)

    def facts(self) -> SiteFacts:
        """Who this is, what it has and what work on it takes; decodes no picture."""
        self.policy.allow(self.config, self.name)
        private = self.config.dp != "off"  # the number of private images is withheld
        summed = self.config.secure_figures  # and that of test images is among the figures
        return SiteFacts(
            self.name,
            tuple(self.products),
            tuple(0 if private else len(p.train) for p in self.products.values()),
            tuple(0 if summed else len(p.test) for p in self.products.values()),
            str(self.backbone.device),
            self.backbone.fingerprint.to_json(),
            VERSION,
            self.simulated,
            **foreseen(self),
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

    def train(
        self,
        bank: MemoryBank | None = None,
        *,
        codebooks: Mapping[str, Codebook] | None = None,
        beside: Mapping[str, np.ndarray] | None = None,
        run: str = "",
        number: int = 1,
    ) -> TrainReply:
        """Answer a train message: what the method gives of this site's normal images.

        With differential privacy, noisy sums over ``codebooks`` or noised rows instead, charged
        to the site's ledger under the name ``run``; ``number`` is that of the round.

        Raises:
            PrivacyError: the site's policy, budget or ledger forbids it.
            DataError: no training images, or too many unreadable ones.
            FingerprintError, BankError: the bank is another extractor's, or none of this run's.
        """
        self.policy.allow(self.config, self.name)
        if self.config.dp != "off":
            from fedpatchcore.site.private import private_reply

            return private_reply(self, codebooks or {}, Asked(bank, beside or {}, run, number))
        if bank is not None:
            self.backbone.fingerprint.require(
                bank.fingerprint, ours=f"site '{self.name}'", theirs="the bank"
            )
            vet(bank, self.config)
        self.note_unprotected(run)
        tell_faults(self.products.values(), self.looks, self.cache, self.say)
        parts: dict[str, Part] = {}
        stats = []
        clock = Stopwatch()
        half, asked = site_method(self.config.method), Asked(bank, beside or {}, run)
        for section in self.sections():
            seen = tell_cost(self, section)
            part, facts = half.part(self, section, asked, clock)
            if part is not None:
                parts[section] = part
            out = sum(self.excluded.get(p.name, 0) for p in self.sections()[section])
            stats.append(replace(facts, excluded=out, seen=seen))
            self.say(
                f"{section}: {counted(facts)}, {facts.patches:,} patches, {facts.rows:,} rows"
                + limited(facts.factor)
            )
        self.looks.forget()
        contribution = Contribution(self.name, self.backbone.fingerprint, parts) if parts else None
        kind = "none" if not parts else "delta" if bank and half.adds else "full"
        return TrainReply(
            self.name,
            kind,
            contribution,
            tuple(stats),
            clock.extract,
            clock.select,
            memory=clock.memory,
        )

    def say_own(self, line: str) -> None:
        """A figure of the site's own, for its log; what a virtual site says is the run's to read,
        which learns none where figures add up under masks."""
        if not (self.simulated and self.config.secure_figures):
            self.say(line)

    def note_unprotected(self, run: str) -> None:
        """A ledger that exists learns of images that leave, or are asked about, without noise."""
        if self.policy.in_use and (self.config.dp == "off" or self.config.dp_share_metrics):
            ledger = self.policy.ledger
            for section in self.sections():
                images = self.training_images(section)  # held-out ones tell by the threshold
                keys = (*images.keys, *images.held_keys)
                ledger.note_unprotected(
                    run=run, site=self.name, section=section, images=keys, label=NO_PROTECTION
                )

    def training_images(self, section: str) -> TrainingImages:
        """The section's training images, those that are held out from teaching apart."""
        if section not in self._split:
            paths = [path for p in self.sections()[section] for path in p.train]
            keys = [self._content(path) for path in paths]
            groups = self.grouping.labels(
                section, self.sections()[section], dict(zip(paths, keys, strict=True))
            )
            self._labels.update(zip(paths, groups, strict=True))
            share = 0.0 if self.config.by_folds else self.config.holdout
            held = hold_out(keys, share, seed=self.config.seed, groups=groups)
            self._split[section] = TrainingImages(
                tuple(p for p, h in zip(paths, held, strict=True) if not h),
                tuple(p for p, h in zip(paths, held, strict=True) if h),
                tuple(k for k, h in zip(keys, held, strict=True) if not h),
                tuple(k for k, h in zip(keys, held, strict=True) if h),
            )
        return self._split[section]

    def teach(self, section: str, images: Sequence[str]) -> None:
        """Note by which images, of these contents, an update was made."""
        self._taught[section] = images

    def taught(self, section: str) -> Sequence[str]:
        """Contents of the images behind the update of a section."""
        return self._taught.get(section, ())

    def group(self, path: Path) -> str:
        """What an image belongs to; its content where nothing is said."""
        return self._labels.get(path) or self._content(path)

    def own_rows(self, section: str) -> np.ndarray:
        """The site's bank if it were alone: at most global-bank-size rows of its own."""
        if section not in self._own:
            images = self.training_images(section)
            self._own[section] = own_coreset(images, self.extractor, self.config, Stopwatch()).rows
        return self._own[section][: self.config.global_bank_size]

    def keep_own(self, section: str, rows: np.ndarray) -> None:
        """What `own_rows` gives, selected already."""
        self._own[section] = rows

    @staticmethod
    def _content(path: Path) -> str:
        try:
            return content_hash(path)
        except ImageError:
            return f"unreadable:{path.name}"
