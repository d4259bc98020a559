"""How a folder becomes the sites of a simulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedpatchcore.config import RunConfig
from fedpatchcore.data.sample import write_sample
from fedpatchcore.errors import DataError
from fedpatchcore.site.virtual import virtual_sites


def test_folders_of_sites_are_not_divided_once_more(tmp_path: Path) -> None:
    write_sample(tmp_path / "sites", sites=2)
    told = {"data": str(tmp_path / "sites"), "partition": "dirichlet"}
    with pytest.raises(
        DataError, match=r"several sites \(plant-a, plant-b\).*give one of them, as"
    ):
        virtual_sites(RunConfig.parse(told, where="test"), 4)
    told["data"] += "/plant-a"
    assert len(virtual_sites(RunConfig.parse(told | {"partition": "iid"}, where="test"), 3)) == 3
