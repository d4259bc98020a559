"""Judging: a bank and a picture → image score, anomaly map and verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.bank.section import SHARED
from fedpatchcore.data.images import to_pil
from fedpatchcore.detection.mosaic import Mosaic
from fedpatchcore.detection.reading import prepared
from fedpatchcore.detection.regions import Region, find_regions
from fedpatchcore.detection.scale import Together
from fedpatchcore.detection.scoring import PatchScores, Scorer
from fedpatchcore.detection.smoothing import map_of
from fedpatchcore.errors import BankError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.features.tiles import pieces_of

__all__ = ["Judge", "Prediction"]


@dataclass(frozen=True)
class Prediction:
    """Verdict on one image.

    Attributes:
        score: image score, an L2 distance in feature space; by two banks that were brought to one
            scale, 0 is a usual patch and 1 either bank's own threshold.
        threshold: a score above it means defective; NaN if the bank has none.
        anomaly_map: float32 ``[H, W]`` on the original picture, in score units; NaN where the
            crop geometry did not look.
        source: file the image came from, None for images given as objects.
        regions: where the picture is above the threshold, the largest patch score first; at least
            one if it is defective, else none (`find_regions`).
        mask: bool ``[H, W]`` on the original picture, all regions; None if nobody made it.
        patches: float32 ``[h, w]``, the patch scores behind the map; None if nobody kept them.
        given: what the first bank alone says, before a local one is asked: one image's scores and
            the row nearest to each patch.
    """

    score: float
    threshold: float
    anomaly_map: np.ndarray
    image: Image.Image
    source: Path | None = None
    regions: tuple[Region, ...] = ()
    mask: np.ndarray | None = None
    patches: np.ndarray | None = None
    given: PatchScores | None = None

    @property
    def defective(self) -> bool | None:
        """The verdict; None if there is no threshold to decide by."""
        return None if math.isnan(self.threshold) else self.score > self.threshold


class Judge:
    """Verdicts by one bank, and optionally by a site's own beside it; keeps their indices.

    Args:
        approximate: large banks may be searched by an index (``search="approximate"``).

    Raises:
        FingerprintError: the bank is of other features than the backbone's.
    """

    def __init__(self, backbone: Backbone, bank: MemoryBank, *, approximate: bool = False) -> None:
        backbone.fingerprint.require(bank.fingerprint, ours="this detector", theirs="the bank")
        self.backbone = backbone
        self.bank = bank
        self.approximate = approximate
        self._scorers: dict[tuple[str, str, bool], Scorer] = {}
        self._local: MemoryBank | None = None
        self._local_scorers: dict[str, Scorer] = {}

    def stream(
        self,
        images: Iterable,
        product: str = "",
        *,
        site: str = "",
        threshold: float | None = None,
        local: MemoryBank | None = None,
    ) -> Iterator[Prediction]:
        """`PatchCore.predict` for many images, one at a time in memory."""
        bank = self.bank
        name, site, both, limit = self._ways(product, site, threshold, local)
        # the smaller of two distances is exact only if both are
        approximate = self.approximate and local is None
        home = self._home(site)
        key = (name, home, approximate)
        if key not in self._scorers:
            self._scorers[key] = Scorer.of(
                bank, name, home, device=self.backbone.device, approximate=approximate
            )
        given, own = self._scorers[key], None if local is None else self._scorer_of(local, name)
        for image in images:
            picture = to_pil(image, self.backbone.value_range)
            first, *ours = self._scores(image, picture, [given] if own is None else [given, own])
            scores = both(*ours, first) if ours else first
            geometry, score = self.backbone.geometry, float(scores.images[0])
            yield Prediction(
                score,
                limit,
                geometry.restore(map_of(scores.patches[0], geometry), *picture.size),
                picture,
                Path(image) if isinstance(image, str | Path) else None,
                *find_regions(scores.patches[0], score, limit, geometry, picture.size),
                patches=scores.patches[0],
                given=first,
            )

    def limit(self, product: str = "", *, site: str = "", local: MemoryBank | None = None) -> float:
        """The threshold that the banks bring with them, by which `stream` decides; NaN if none."""
        return self._ways(product, site, None, local)[3]

    def _ways(
        self, product: str, site: str, threshold: float | None, local: MemoryBank | None
    ) -> tuple[str, str, Together | None, float]:
        """The section, the site, how two banks come together, and what decides."""
        bank = self.bank
        name = bank.product(product)
        both = None if local is None else Together.of(local, name, bank)
        calibrated = both is not None and not math.isnan(both.threshold)
        if calibrated and not site:
            site = local.sites[0]
        limit = threshold
        if limit is None:
            limit = both.threshold if calibrated else bank.threshold(name, site)
        return name, site, both, limit

    def _scores(
        self, image: Any, picture: Image.Image, scorers: Sequence[Scorer]
    ) -> list[PatchScores]:
        """Of one picture by each scorer; of one that is cut into tiles, tile by tile."""
        if self.backbone.geometry.tiled:
            whole = [Mosaic(one.top) for one in scorers]
            for piece in pieces_of(self.backbone, self.backbone.square(picture)):
                for mosaic, scorer in zip(whole, scorers, strict=True):
                    mosaic.add(piece, scorer(piece.features[None]))
            return [mosaic.done() for mosaic in whole]
        if self.backbone.fingerprint.jpeg_draft:  # a file again, as the bank's files were read
            pixels = prepared(self.backbone, image)
        else:
            pixels = self.backbone.prepare(picture)
        features = self.backbone.extract_prepared([pixels])
        return [scorer(features) for scorer in scorers]

    def _home(self, site: str) -> str:
        """The site that judges, where it matters. Raises BankError if the bank knows it not."""
        bank = self.bank
        if not (site and bank.scoring.get("home")):
            return ""
        if site not in bank.sites and not any(site in own for own in bank.thresholds.values()):
            raise BankError(f"the bank knows no site '{site}' (sites: {', '.join(bank.sites)})")
        return site

    def _scorer_of(self, local: MemoryBank, name: str) -> Scorer:
        """The scorer of a site's own bank, kept while the same bank is given."""
        if local is not self._local:
            self.backbone.fingerprint.require(
                local.fingerprint, ours="this detector", theirs="the local bank"
            )
            self._local, self._local_scorers = local, {}
        if name == SHARED and len(local.sections) == 1:
            name = next(iter(local.sections))
        if name not in self._local_scorers:
            try:
                self._local_scorers[name] = Scorer.of(local, name, device=self.backbone.device)
            except BankError as error:
                raise BankError(f"local bank: {error}") from None
        return self._local_scorers[name]
