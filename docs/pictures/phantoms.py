"""Draws phantoms.png of docs/healthcare.md: python docs/pictures/phantoms.py

The phantoms of three hospitals, one bank of theirs by the settings that stand there; a normal scan
of each, the first bleed and its map, on the colour scale of every other picture.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from fedpatchcore.config import RunConfig
from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.data.sample.phantoms import HOSPITALS, write_phantoms
from fedpatchcore.detection.detector import PatchCore
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.inprocess import federate
from fedpatchcore.pictures.figures import overlay
from fedpatchcore.pictures.scale import Scale
from fedpatchcore.site.site import Site

SIDE = 200  # pixels of each picture


def main() -> None:
    """Writes the picture beside this file."""
    config = RunConfig(backbone="filterbank", value_range="-20..100", expected_sites=3)
    backbone = build_backbone(config)
    with tempfile.TemporaryDirectory() as told:
        scans = Path(told) / "scans"
        write_phantoms(scans, test_found=12, test_good=12)
        sites = [Site(name, discover(scans / name), config, backbone) for name in HOSPITALS]
        detector = PatchCore(config, backbone=backbone).use(federate(sites).bank)
        shown = [backbone.open(scans / name / "head/test/good/000.dcm") for name in HOSPITALS]
        found = detector.predict(
            scans / HOSPITALS[0] / "head/test/bleed/000.dcm", site=HOSPITALS[0]
        )
    shown += [found.image, Image.fromarray(_map(found.image, found.anomaly_map, found.threshold))]
    picture = Image.new("RGB", (SIDE * len(shown), SIDE))
    for at, one in enumerate(shown):
        picture.paste(one.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (SIDE * at, 0))
    picture.save(Path(__file__).with_suffix(".png"), optimize=True)


def _map(image: Image.Image, scores: np.ndarray, threshold: float) -> np.ndarray:
    return overlay(image, scores, Scale.of(threshold))


if __name__ == "__main__":
    main()
