"""The checks of what a site makes features with: the weights, and room for the features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedpatchcore.config import RunConfig
from fedpatchcore.data.products import Product
from fedpatchcore.deploy.doctor.checks import Check, disk, ok, warn
from fedpatchcore.errors import WeightsError
from fedpatchcore.texts import counted

if TYPE_CHECKING:  # a node that only watches the way to the server holds no torch in memory
    from fedpatchcore.features.backbone import Backbone

__all__ = ["FeatureChecks"]


class FeatureChecks:
    """The backbone that a run's settings name, and the folder its features are kept in."""

    def __init__(self, config: RunConfig, cache: Path) -> None:
        self.config = config
        self.cache = cache
        self._backbone: Backbone | None = None

    def weights(self) -> Check:
        """The backbone's weights are here and can be loaded."""
        config = self.config.model_copy(update={"device": "cpu", "download_weights": False})
        from fedpatchcore.features.backbone import build_backbone

        try:
            self._backbone = build_backbone(config)
        except WeightsError as error:
            if self.config.download_weights and str(error).startswith("no weights for"):
                return warn(
                    f"no weights of {config.backbone} here; the run is allowed to download them, "
                    "which needs internet access from this site",
                    f"fedpatchcore weights import FILE --backbone {config.backbone}",
                )
            raise
        digest = self._backbone.fingerprint.digest[:12]
        return ok(f"{config.backbone} from {self._backbone.source}, fingerprint {digest}")

    def disk(self, products: Mapping[str, Product]) -> Check:
        """Room for the features of all images of these products."""
        unknown = self._backbone is None or self._backbone.geometry.tiled  # as pictures are large
        if unknown or not products or not self.config.cache_gb:
            return disk(self.cache)
        from PIL import Image

        side = self.config.image_size
        _, high, wide, long = self._backbone.extract([Image.new("RGB", (side, side))]).shape
        images = sum(len(p.train) + len(p.test) for p in products.values())
        needed = min(images * high * wide * long * 4, self.config.cache_gb * 1e9)
        told = counted(images, "image")
        return disk(self.cache, needed=needed, what=f"features of {told} take about")
