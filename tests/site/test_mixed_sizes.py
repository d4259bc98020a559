"""Pictures of several sizes in one product, seen whole or tile by tile, through a federation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedpatchcore.data.layouts.discovery import discover
from fedpatchcore.features.backbone import build_backbone
from fedpatchcore.inprocess import federate
from fedpatchcore.site.evaluation import evaluate_site
from fedpatchcore.site.site import Site
from tests.support.products import picture, write_product

SIZES = [(64, 64), (96, 64), (64, 112)]


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    for name, seed in (("a", 0), ("b", 1000)):
        root = write_product(tmp_path / name / "plate", seed=seed, train=0)
        (root / "train" / "good").mkdir(parents=True)
        for at in range(9):
            width, height = SIZES[at % 3]
            whole = picture(seed + at, size=128).crop((0, 0, width, height))
            whole.save(root / "train" / "good" / f"{at}.png")
        odd = np.asarray(picture(seed + 900, size=128)).copy()[:64, :112]
        odd[20:36, 80:96] = 250
        Image.fromarray(odd).save(root / "test" / "square" / "900.png")
    return [tmp_path / "a", tmp_path / "b"]


@pytest.mark.parametrize(
    "told",
    [
        {"geometry": "whole"},
        {"geometry": "tiles", "tile_overlap": 32},
        {"geometry": "whole", "image_score": "2%", "compare_local": True},
    ],
)
def test_sites_with_pictures_of_several_sizes_share_a_bank(folders, settings, told) -> None:
    config = settings(min_sites=2, **told)
    backbone = build_backbone(config)
    sites = [Site(one.name, discover(one), config, backbone) for one in folders]
    bank = federate(sites).bank
    assert set(bank.thresholds["plate"]) == {"a", "b"}
    reply, scored = evaluate_site(sites[0], bank)
    (result,) = reply.results
    assert result.image_auroc == 1.0 and result.pixel_auroc > 0.8
    found = scored["plate"]
    at = [test.path.name for test in found.images].index("900.png")
    high, wide = found.grids[at]
    assert len(set(found.grids)) == 2
    row, column = np.unravel_index(found.patches[at].argmax(), (high, wide))
    assert 0.25 <= (row + 0.5) / high <= 0.65 and 0.62 <= (column + 0.5) / wide <= 0.92
