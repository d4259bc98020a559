"""PatchCore on one machine, without federation: fit on good images, predict any image.

The pooled and the local-only baselines are this; so is a first try at a plant. A detector also
opens a federated bank, which is how verdicts are made at a site after a run.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fedpatchcore.bank.memory_bank import SHARED, MemoryBank, Section
from fedpatchcore.config import RunConfig
from fedpatchcore.coreset.greedy import selector
from fedpatchcore.data.images import content_hash, list_images, to_pil
from fedpatchcore.detection.calibration import calibrate, hold_out
from fedpatchcore.detection.scoring import Scorer, anomaly_map, nearer
from fedpatchcore.errors import BankError, ConfigError, DataError, ImageError
from fedpatchcore.features.extraction import BadImages, gathered
from fedpatchcore.features.extractor import Backbone, build_backbone
from fedpatchcore.features.prefetch import automatic_workers, in_order

__all__ = ["PatchCore", "Prediction"]

SITE = "this-machine"


@dataclass(frozen=True)
class Prediction:
    """Verdict on one image.

    Attributes:
        score: image score, an L2 distance in feature space.
        threshold: a score above it means defective; NaN if the bank has none.
        anomaly_map: float32 ``[H, W]`` on the original picture, in score units; NaN where the
            crop geometry did not look.
        source: file the image came from, None for images given as objects.
    """

    score: float
    threshold: float
    anomaly_map: np.ndarray
    image: Image.Image
    source: Path | None = None

    @property
    def defective(self) -> bool | None:
        """The verdict; None if there is no threshold to decide by."""
        return None if math.isnan(self.threshold) else self.score > self.threshold


class PatchCore:
    """Fit, predict, save, load.

    Example:
        >>> detector = PatchCore(RunConfig(backbone="filterbank"))
        >>> detector.fit({"bolt": Path("images/bolt/train/good")})     # doctest: +SKIP
        >>> detector.predict("images/bolt/test/new.png").defective     # doctest: +SKIP
    """

    def __init__(self, config: RunConfig | None = None, *, backbone: Backbone | None = None):
        self.config = config or RunConfig()
        self.backbone = backbone or build_backbone(self.config)
        self.bank: MemoryBank | None = None
        self._scorers: dict[tuple[str, str, bool], Scorer] = {}
        self._local: MemoryBank | None = None
        self._local_scorers: dict[str, Scorer] = {}

    # -- fit ------------------------------------------------------------------------

    def fit(self, products: Mapping[str, Any]) -> PatchCore:
        """Learn each product from images of good parts.

        Args:
            products: product name → folder, or a sequence of paths, PIL images, uint8 arrays
                ``[H, W, 3]`` or tensors ``[3, H, W]``.

        Raises:
            DataError: a product without readable images.
        """
        sections, thresholds = {}, {}
        for name, given in products.items():
            images = _listed(given)
            if not images:
                raise DataError(f"product '{name}' has no images to learn from")
            held = hold_out(_keys(images), self.config.holdout, seed=self.config.seed)
            teach = [image for image, h in zip(images, held, strict=True) if not h]
            features = gathered(self._features(teach), len(teach))
            patches = features.reshape(-1, features.shape[-1])
            size = self.config.coreset_size or round(self.config.coreset_ratio * len(patches))
            chosen = selector(self.config.coreset)(
                patches,
                max(1, min(size, self.config.global_bank_size)),
                seed=self.config.seed,
                device=str(self.backbone.device),
            )
            rows = patches[chosen.indices]
            origin = np.zeros(len(rows), dtype=np.int32)
            sections[name] = Section(rows, origin, chosen.radius, chosen.radius, {SITE: len(teach)})
            kept = [image for image, h in zip(images, held, strict=True) if h]
            if kept:
                scorer = self._scorer(rows)
                scores = np.concatenate([scorer(f).images for f in self._features(kept)])
                value = calibrate(scores, self.config.target_fpr).value
                thresholds[name] = {SITE: value}
        self.use(
            MemoryBank(
                self.backbone.fingerprint,
                sections,
                (SITE,),
                aggregation="none",
                scoring={"neighbours": self.config.neighbours, "reweight": self.config.reweight},
                thresholds=thresholds,
            )
        )
        return self

    def _scorer(self, rows: np.ndarray) -> Scorer:
        return Scorer(rows, neighbours=self.config.neighbours, reweight=self.config.reweight)

    def _prepared(self, image: Any) -> np.ndarray:
        """What the network sees of a file or of any picture that `to_pil` takes."""
        if isinstance(image, str | os.PathLike):
            return self.backbone.read(Path(image))
        return self.backbone.prepare(to_pil(image))

    def _features(self, images: Sequence) -> Iterator[np.ndarray]:
        """Batches of features ``[B, h, w, D]``; bad images are skipped up to the limit."""
        bad = BadImages(len(images), self.config.max_bad_images)
        batch: list[np.ndarray] = []

        def opened(image: Any) -> np.ndarray | ImageError:
            try:
                return self._prepared(image)
            except ImageError as error:
                return error

        workers = self.config.workers or automatic_workers(self.backbone.device.type == "cuda")
        ahead = max(self.config.batch_size, 2 * workers)
        with closing(in_order(opened, images, workers=workers, ahead=ahead)) as prepared:
            for at, one in enumerate(prepared):
                if isinstance(one, ImageError):
                    bad.add(f"image {at + 1}", str(one))
                else:
                    batch.append(one)
                if len(batch) == self.config.batch_size:
                    yield self.backbone.extract_prepared(batch)
                    batch = []
        if batch:
            yield self.backbone.extract_prepared(batch)
        if len(bad.found) == len(images):
            raise DataError(f"none of {len(images)} images is readable")

    # -- bank -----------------------------------------------------------------------

    def use(self, bank: MemoryBank) -> PatchCore:
        """Predict with this bank. Raises FingerprintError if it is of other features."""
        self.backbone.fingerprint.require(bank.fingerprint, ours="this detector", theirs="the bank")
        self.bank = bank
        self._scorers = {}
        return self

    def save(self, path: Path | str) -> None:
        """Write the bank; it holds all that `load` needs but the weights."""
        self._fitted().save(path)

    @classmethod
    def load(cls, path: Path | str, *, weights: str = "", device: str = "auto") -> PatchCore:
        """A detector for a saved bank, federated or not: its settings come from the bank.

        Raises:
            BankError: the file cannot be used.
            FingerprintError: the weights found here are not those the bank was made with.
        """
        bank = MemoryBank.load(path)
        return cls(config_of(bank, weights=weights, device=device)).use(bank)

    def _fitted(self) -> MemoryBank:
        if self.bank is None:
            raise ConfigError("this detector has no bank yet: call fit() or load() first")
        return self.bank

    def _home(self, site: str) -> str:
        """The site that judges, where it matters. Raises BankError if the bank knows it not."""
        bank = self._fitted()
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
                self._local_scorers[name] = Scorer.of(local, name)
            except BankError as error:
                raise BankError(f"local bank: {error}") from None
        return self._local_scorers[name]

    # -- predict --------------------------------------------------------------------

    def predict(
        self,
        image: Any,
        product: str = "",
        *,
        site: str = "",
        threshold: float | None = None,
        local: MemoryBank | Path | str | None = None,
    ) -> Prediction | list[Prediction]:
        """Judge one image, or each image of a folder or sequence.

        Args:
            image: path, folder, PIL image, array, tensor, or a sequence of these.
            product: section of the bank; may be left out if there is only one.
            site: judge as this site does, by its threshold (otherwise the median over sites)
                and, where the bank is scored by vote, trusting its rows.
            threshold: decide by this score instead.
            local: the site's own bank of the same features, or its file. The distance of a patch
                is then the smaller of those to both banks (hybrid). The bank's thresholds were
                set without it: their promise on false alarms still holds, as no score gets
                larger, but more defects may pass.

        Raises:
            ImageError: an image cannot be read.
            BankError: no such product or site, or the local bank's file cannot be used.
            ConfigError: a local bank beside one whose scores are no distances (dp="kernel").
            FingerprintError: the local bank was made with other features.
        """
        if isinstance(local, str | Path):
            local = MemoryBank.load(local)
        how = {"site": site, "threshold": threshold, "local": local}
        if isinstance(image, str | Path) and Path(image).is_dir():
            image = list(list_images(image))
        if isinstance(image, list | tuple):
            return list(self.stream(image, product, **how))
        (only,) = self.stream([image], product, **how)
        return only

    def stream(
        self,
        images: Iterable,
        product: str = "",
        *,
        site: str = "",
        threshold: float | None = None,
        local: MemoryBank | None = None,
    ) -> Iterator[Prediction]:
        """`predict` for many images, one at a time in memory."""
        bank = self._fitted()
        name = product or (next(iter(bank.sections)) if len(bank.sections) == 1 else "")
        if not name:
            known = ", ".join(sorted(bank.sections))
            raise ConfigError(f"the bank holds several products, name one of: {known}")
        limit = bank.threshold(name, site) if threshold is None else threshold
        if local is not None and bank.section(name).amplitudes is not None:
            raise ConfigError(
                "a bank of dp='kernel' does not score in feature distances: the smaller of its "
                "score and a distance means nothing; judge by one bank, without --local"
            )
        # the smaller of two distances is exact only if both are
        approximate = self.config.search == "approximate" and local is None
        home = self._home(site)
        key = (name, home, approximate)
        if key not in self._scorers:
            self._scorers[key] = Scorer.of(bank, name, home, approximate=approximate)
        scorers = [self._scorers[key]] + ([] if local is None else [self._scorer_of(local, name)])
        for given in images:
            picture = to_pil(given)
            if self.backbone.fingerprint.jpeg_draft:  # a file again, as the bank's files were read
                pixels = self._prepared(given)
            else:
                pixels = self.backbone.prepare(picture)
            features = self.backbone.extract_prepared([pixels])
            scores = reduce(nearer, (scorer(features) for scorer in scorers))
            square = anomaly_map(scores.patches, self.backbone.geometry.size)[0]
            yield Prediction(
                float(scores.images[0]),
                limit,
                self.backbone.geometry.restore(square, *picture.size),
                picture,
                Path(given) if isinstance(given, str | Path) else None,
            )


def config_of(bank: MemoryBank, *, weights: str = "", device: str = "auto") -> RunConfig:
    """Settings that reproduce the features a bank was made of."""
    features = bank.fingerprint
    return RunConfig(
        backbone=features.architecture,
        layers=",".join(features.layers),
        geometry=features.geometry,
        image_size=features.image_size,
        neighbourhood=features.neighbourhood,
        layer_norm=features.layer_norm,
        precision=features.precision,
        jpeg_draft=features.jpeg_draft,
        weights=weights,
        device=device,
        neighbours=bank.scoring.get("neighbours", 1),
        reweight=bank.scoring.get("reweight", 0),
    )


def _listed(given: Any) -> list:
    if isinstance(given, str | Path):
        return list(list_images(given))
    return list(given)


def _keys(images: Sequence) -> list[str]:
    """Stable keys for the hold-out: content for files, position for objects."""
    keys = []
    for at, image in enumerate(images):
        try:
            keys.append(content_hash(image) if isinstance(image, str | Path) else f"{at:08d}")
        except ImageError:
            keys.append(f"unreadable:{at:08d}")
    return keys
