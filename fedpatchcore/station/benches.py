"""Banks as the station uses them: read, checked, warm; the one in use is changed between images."""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.data.decoding import MAX_PIXELS
from fedpatchcore.data.sizes import image_size
from fedpatchcore.detection.detector import PatchCore, config_of
from fedpatchcore.detection.judging import Prediction
from fedpatchcore.errors import BankError, ConfigError, ImageError, StationError
from fedpatchcore.features.backbone import Backbone
from fedpatchcore.station.looks import Looks, looks_of
from fedpatchcore.station.settings import StationSettings

__all__ = ["Bench", "Judged", "margin_of", "pack_scores", "scores_of"]


@dataclass(frozen=True)
class Judged:
    """What a bench says of one image.

    Attributes:
        uncovered: share of patches farther from the bank than it covers; None where its distances
            are none between patches.
        nearest: int64 ``[h, w]``, the row of the federated (or own) bank nearest to each patch.
        milliseconds: from the file to the verdict with its map.
        geometry: kind and size of what was judged, ``full:224``; ``whole:224:16`` with a stride.
        threshold_by: by whose threshold; empty: the banks'.
    """

    prediction: Prediction
    looks: Looks
    uncovered: float | None
    nearest: np.ndarray
    milliseconds: float
    geometry: str
    threshold_by: str = ""


class Bench:
    """One bank, ready to judge.

    Args:
        digest, own_digest: SHA-256 of the banks' files.
        backbone: of an earlier bench; taken over if the bank is of the same features.

    Raises:
        BankError, FingerprintError, WeightsError, ConfigError: why it cannot be used here.
    """

    def __init__(
        self,
        settings: StationSettings,
        bank: MemoryBank,
        digest: str,
        own: MemoryBank | None = None,
        *,
        own_digest: str = "",
        backbone: Backbone | None = None,
    ) -> None:
        self.settings, self.bank, self.digest, self.own = settings, bank, digest, own
        self.own_digest = own_digest
        if settings.judge_by == "own":
            if own is None:
                raise BankError("judge-by own: there is no own bank")
            bank = own
        self.judging = bank
        if settings.site and not any(settings.site in one for one in bank.thresholds.values()):
            raise BankError(f"the bank has no threshold of site '{settings.site}'")
        features, engine = bank.fingerprint, settings.engine
        if features.precision != "float32" and engine not in ("", features.engine):
            raise ConfigError(
                f"the bank's features are {features.precision} by {features.engine}, and engine "
                f"'{engine}' gives others: write engine = \"{features.engine}\" into the station's "
                "file, or take a bank in float32"
            )
        config = config_of(
            bank, weights=settings.weights, device=settings.device, engine=settings.engine
        )
        known = backbone is not None and backbone.fingerprint == features
        self.detector = PatchCore(config, backbone=backbone if known else None)
        self.detector.use(bank)
        self.beside = own if settings.judge_by == "hybrid" else None

    def warm(self, sizes: Sequence[tuple[int, int]] = ()) -> None:
        """Judge a grey picture by each product, so that the first real one is as quick as any.

        Args:
            sizes: (W, H) of pictures that come; one of each is judged too where the network sees
                them at different sizes, for which an engine is readied one by one.

        Raises:
            ConfigError: the engine cannot take the network, or gives other features than torch.
        """
        geometry = self.detector.backbone.geometry
        shapes = {(256, 256): (256, 256)}
        if geometry.varies and not geometry.tiled:
            shapes = {geometry.field(*one): one for one in sizes} or shapes
        for product in self.judging.sections:
            for size in shapes.values():
                grey = Image.new("RGB", size, (128, 128, 128))
                self.detector.predict(grey, product, site=self.settings.site, local=self.beside)

    def promised(self, product: str) -> float | None:
        """Share of good parts that the threshold in use stops, as the bank promises.

        The median over sites where none is named; None where nothing is promised: of two banks
        together, and of banks that do not tell.
        """
        name = product or next(iter(self.judging.sections))
        if self.beside is not None:
            return None
        sites = [self.settings.site] if self.settings.site else self.judging.thresholds_of(name)
        worth = [self.judging.worth_of(name, one) for one in sites]
        told = [one["promised"] for one in worth if one and "promised" in one]
        return median(told) if told else None

    def limit(self, product: str) -> float:
        """The threshold that the banks bring for a product; NaN if none.

        Raises:
            BankError, ConfigError: the bank does not know the product.
        """
        return self.detector.limit(product, site=self.settings.site, local=self.beside)

    def judge(
        self, path: Path, product: str, limit: float | None = None, limit_by: str = ""
    ) -> Judged:
        """Judge an image file.

        Args:
            limit, limit_by: a threshold that decides in place of the banks', and whose it is.

        Raises:
            ImageError: it cannot be read.
            BankError, ConfigError: the bank does not know the product.
        """
        begin = time.perf_counter()
        self._small_enough(path)
        how = {"site": self.settings.site, "local": self.beside}
        found = self.detector.predict(path, product, threshold=limit, **how)
        assert isinstance(found, Prediction) and found.given is not None
        taken = (time.perf_counter() - begin) * 1000
        section = self.judging.section(product or next(iter(self.judging.sections)))
        uncovered = None
        if not section.lens and section.covers > 0:
            uncovered = float((found.given.patches[0] > section.covers).mean())
        shape = self.detector.backbone.geometry
        seen = f"{shape.kind}:{shape.size}" + (f":{shape.stride}" if shape.varies else "")
        return Judged(
            found,
            looks_of(found.image),
            uncovered,
            found.given.nearest[0],
            taken,
            seen,
            limit_by,
        )

    def _small_enough(self, path: Path) -> None:
        most = min(MAX_PIXELS, round(self.settings.megapixels * 1e6))
        try:
            width, height = image_size(path)
        except ImageError:  # whatever it is, reading it tells
            return
        if width * height > most:
            raise ImageError(
                f"{width}x{height} pixels are more than megapixels = {most / 1e6:g}; scale it down"
            )


def pack_scores(patches: np.ndarray) -> bytes:
    """Patch scores float32 ``[h, w]`` as bytes."""
    height, width = patches.shape
    told = np.array([height, width], "<i4").tobytes()
    return told + zlib.compress(np.ascontiguousarray(patches, "<f4").tobytes(), 1)


def scores_of(data: bytes) -> np.ndarray:
    """What `pack_scores` made. Raises StationError if it is damaged."""
    try:
        height, width = (int(one) for one in np.frombuffer(data[:8], "<i4"))
        told = np.frombuffer(zlib.decompress(data[8:]), "<f4").reshape(height, width)
    except (ValueError, zlib.error) as error:
        raise StationError(f"the scores of an image are damaged ({error})") from None
    return told


def margin_of(score: float, threshold: float) -> float | None:
    """How far the score lies above the threshold, as a share of it; None where undefined."""
    if not (math.isfinite(score) and math.isfinite(threshold)) or threshold == 0:
        return None
    return score / threshold - 1
