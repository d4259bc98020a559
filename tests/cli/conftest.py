"""A bank of a small product, fitted by the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.products import write_product


@pytest.fixture
def quick(weights_file: Path) -> list[str]:
    table = {
        "backbone": "squeezenet1_1",
        "layers": "features.4",
        "geometry": "full",
        "image-size": 64,
        "weights": weights_file,
        "coreset-size": 60,
    }
    return [word for key, value in table.items() for word in ("-c", f"{key}={value}")]


@pytest.fixture
def fitted(cli, quick: list[str], tmp_path: Path) -> tuple[Path, Path]:
    product = write_product(tmp_path / "images" / "plate", train=16)
    bank = tmp_path / "plate.safetensors"
    code, out, _ = cli("fit", product, "-o", bank, *quick)
    assert code == 0
    assert "plate: 16 images → 60 rows" in out
    return product, bank
