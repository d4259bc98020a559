"""Made-up sites around real patches, as many as wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.version import VERSION
from fedpatchcore.wire.messages import (
    EvaluateReply,
    ProductResult,
    SectionStats,
    SiteFacts,
    TrainReply,
)

NAME, POOL, LAYERS = "tile", 6000, (256, 512)


class Sites:
    """Made-up sites around real patches."""

    def __init__(self, pool: Path, rows: int) -> None:
        self.pool = np.load(pool)
        self.rows = rows
        self.fingerprint = Fingerprint.model_validate_json(pool.with_suffix(".json").read_text())

    def coreset(self, at: int) -> np.ndarray:
        """float32 ``[rows, 768]`` of site number ``at``."""
        rng = np.random.default_rng(at)
        rows = self.pool[rng.integers(len(self.pool), size=self.rows)]
        rows *= np.exp(0.1 * rng.standard_normal(rows.shape[1], dtype=np.float32))
        rows *= np.exp(0.05 * rng.standard_normal(rows.shape, dtype=np.float32))
        for part in np.split(rows, [LAYERS[0]], axis=1):
            part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
        return rows

    def train(self, at: int) -> TrainReply:
        """What site number ``at`` answers to a train message."""
        site, rows = f"site-{at:04d}", self.coreset(at)
        patches = 100 * len(rows)
        contribution = Contribution(site, self.fingerprint, {NAME: Part(rows, 100, patches, 0.5)})
        stats = SectionStats(NAME, 100, 110, 10, patches=patches, rows=len(rows), radius=0.5)
        return TrainReply(site, "full", contribution, (stats,))

    def evaluate(self, at: int, sites: int) -> EvaluateReply:
        """Figures of no meaning in the place of an evaluation."""
        result = ProductResult(
            NAME, 20, 20, 10, image_auroc=0.9, threshold=1.0, coverage=(7,) * sites
        )
        return EvaluateReply(f"site-{at:04d}", (result,))

    def facts(self, at: int) -> SiteFacts:
        """Answer to the roll call."""
        prints = self.fingerprint.to_json()
        return SiteFacts(f"site-{at:04d}", (NAME,), (100,), (40,), "cpu", prints, VERSION)


def write_pool(path: Path) -> None:
    """Real patches for the sites to be made of."""
    from common import extractor, patches, products, squeezenet

    tool = extractor(squeezenet())
    train = products("magnetic_tile")["magnetic_tile"].train
    rows = patches(tool, train[:: max(1, len(train) // 60)])
    np.save(path, rows[np.random.default_rng(0).permutation(len(rows))[:POOL]])
    path.with_suffix(".json").write_text(tool.backbone.fingerprint.to_json())
