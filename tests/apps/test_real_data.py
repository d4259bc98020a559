"""Real products and real weights, where they are at hand: figures that must not slip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.inprocess import federate
from fedpatchcore.site.setup import open_site

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("backbone", "image", "pixel"),
    [
        pytest.param("squeezenet1_1", 0.95, 0.9, marks=pytest.mark.long),
        ("filterbank", 0.93, 0.9),
    ],
)
def test_three_bakeries_find_cracked_cookies(
    backbone: str, image: float, pixel: float, shared: Path, tmp_path: Path
) -> None:
    """31 good cookies over three sites, every site judges the whole test set."""
    table = tmp_path / "sites.csv"
    lines = ["file,site"]
    for at, path in enumerate(sorted((shared / "data/cookie/train/good").iterdir())):
        lines.append(f"{path.relative_to(shared / 'data')},bakery-{at % 3}")
    for path in sorted((shared / "data/cookie/test").rglob("*.*")):
        lines.append(f"{path.relative_to(shared / 'data')},*")
    table.write_text("\n".join(lines) + "\n")
    weights = shared / "weights" / "squeezenet1_1-imagenet.safetensors"
    config = RunConfig(
        backbone=backbone,
        weights=str(weights) if backbone == "squeezenet1_1" else "",
        geometry="full",
        data=str(shared / "data"),
        products="cookie",
        partition="manifest",
        manifest=str(table),
        coreset_size=500,
        global_bank_size=1000,
        holdout=0.2,
        cache_gb=2.0,
    )
    sites = [open_site(config, NodeConfig(partition_id=i, num_partitions=3)) for i in range(3)]
    federation = federate(sites)
    found = [site["products"]["cookie"] for site in federation.history[0]["evaluate"].values()]
    assert [(f["good"], f["defective"]) for f in found] == [(14, 32)] * 3
    assert {f["image_auroc"] for f in found} == {found[0]["image_auroc"]}  # one bank, one test set
    assert found[0]["image_auroc"] >= image
    assert found[0]["pixel_auroc"] >= pixel
    alone = np.mean([f["local_image_auroc"] for f in found])
    assert found[0]["image_auroc"] >= alone - 0.01
