"""PatchCore on one machine, without federation: fit on good images, predict any image.

The pooled and the local-only baselines are this; so is a first try at a plant. A detector also
opens a federated bank, which is how verdicts are made at a site after a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.data.parts import find_parts
from fedpatchcore.detection.fitting import Learned, fit_bank
from fedpatchcore.detection.judging import Judge, Prediction
from fedpatchcore.detection.settings import DetectorSettings
from fedpatchcore.detection.share import told_share
from fedpatchcore.errors import ConfigError
from fedpatchcore.features.backbone import Backbone, build_backbone

__all__ = ["PatchCore", "config_of"]


class PatchCore:
    """Fit, predict, save, load.

    Example:
        >>> detector = PatchCore(RunConfig(backbone="filterbank"))
        >>> detector.fit({"bolt": Path("images/bolt/train/good")})     # doctest: +SKIP
        >>> detector.predict("images/bolt/test/new.png").defective     # doctest: +SKIP
    """

    def __init__(self, config: DetectorSettings | None = None, *, backbone: Backbone | None = None):
        self.config = config or DetectorSettings()
        self.backbone = backbone or build_backbone(self.config)
        self._judge: Judge | None = None
        self.learned: Mapping[str, Learned] = {}

    def fit(self, products: Mapping[str, Any], **how: Any) -> PatchCore:
        """Learn each product from images of good parts: `fit_bank`, whose errors it raises.

        ``how`` are its further arguments. What it found out of each product, its threshold's
        worth and its odd images, is in ``learned`` afterwards.
        """
        made = fit_bank(self.backbone, products, self.config, **how)
        self.learned = made.learned
        return self.use(made.bank)

    @property
    def bank(self) -> MemoryBank | None:
        """What this detector judges by, None before `fit` or `use`."""
        return self._judge and self._judge.bank

    def use(self, bank: MemoryBank) -> PatchCore:
        """Predict with this bank. Raises FingerprintError if it is of other features."""
        self._judge = Judge(self.backbone, bank, approximate=self.config.search == "approximate")
        return self

    def save(self, path: Path | str) -> None:
        """Write the bank; it holds all that `load` needs but the weights."""
        self._judging().bank.save(path)

    @classmethod
    def load(
        cls, path: Path | str, *, weights: str = "", device: str = "auto", engine: str = ""
    ) -> PatchCore:
        """A detector for a saved bank, federated or not: its settings come from the bank.

        Args:
            engine: what runs the network on a processor; empty: as the bank's features say.

        Raises:
            BankError: the file cannot be used.
            FingerprintError: the weights found here are not those the bank was made with.
        """
        bank = MemoryBank.load(path)
        return cls(config_of(bank, weights=weights, device=device, engine=engine)).use(bank)

    def _judging(self) -> Judge:
        if self._judge is None:
            raise ConfigError("this detector has no bank yet: call fit() or load() first")
        return self._judge

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
            image: path, folder (with those in it, see `find_parts`), PIL image, array, tensor, or a
                sequence of these but folders.
            product: section of the bank; may be left out if there is only one.
            site: judge as this site does, by its threshold (otherwise the median over sites)
                and, where the bank is scored by vote, trusting its rows.
            threshold: decide by this score instead.
            local: the site's own bank of the same features, or its file: a patch that either
                knows is normal (hybrid). The ``own.safetensors`` that a site keeps beside its
                results brings both to one scale and decides by the threshold calibrated on
                both. With any other the score is the smaller distance, and the first bank's
                threshold decides: its promise on false alarms still holds, as no score gets
                larger, but more defects may pass.

        Raises:
            ImageError: an image cannot be read.
            BankError: no such product or site, or the local bank's file cannot be used.
            ConfigError: a local bank that has no scale in common with this one.
            FingerprintError: the local bank was made with other features.
        """
        if isinstance(local, str | Path):
            local = MemoryBank.load(local)
        how = {"site": site, "threshold": threshold, "local": local}
        if isinstance(image, str | Path) and Path(image).is_dir():
            image = list(find_parts([Path(image)]).images)
        if isinstance(image, list | tuple):
            return list(self.stream(image, product, **how))
        (only,) = self.stream([image], product, **how)
        return only

    def limit(self, product: str = "", *, site: str = "", local: MemoryBank | None = None) -> float:
        """The threshold by which `predict` decides if none is told; NaN if the banks have none."""
        return self._judging().limit(product, site=site, local=local)

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
        return self._judging().stream(images, product, site=site, threshold=threshold, local=local)


def config_of(
    bank: MemoryBank, *, weights: str = "", device: str = "auto", engine: str = ""
) -> DetectorSettings:
    """Settings that reproduce the features a bank was made of."""
    features = bank.fingerprint
    return DetectorSettings(
        backbone=features.architecture,
        layers=",".join(features.layers),
        geometry=features.geometry,
        image_size=features.image_size,
        tile_overlap=features.overlap,
        neighbourhood=features.neighbourhood,
        layer_norm=features.layer_norm,
        precision=features.precision,
        jpeg_draft=features.jpeg_draft,
        value_range=features.value_range,
        weights=weights,
        device=device,
        engine=engine or features.engine,
        neighbours=bank.scoring.get("neighbours", 1),
        reweight=bank.scoring.get("reweight", 0),
        image_score=told_share(bank.scoring.get("top", 0)),
    )
