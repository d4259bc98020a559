"""One SuperLink and three kept sites, each with its key and the roster, serve all tests here.

Nodes are told the SuperLink's own address: what stands before it is `tests/faults`' to try. Runs
without noise come last, in the last module by name: ledgers note that images were used so, and
release no more.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.names import NAMES
from tests.support.plants import Plants
from tests.support.products import picture, write_product


@pytest.fixture(scope="package")
def plants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plants]:
    data = tmp_path_factory.mktemp("data")
    sites = {
        name: write_product(data / name / "plate", seed=1000 * at, train=8).parent
        for at, name in enumerate(NAMES)
    }
    place = tempfile.TemporaryDirectory(prefix="fpc-", ignore_cleanup_errors=True)
    with place as root, Plants(Path(root), sites) as made:  # short: workers' sockets lie in it
        made.start_superlink()
        made.start_executor(**made.faults["executor"].environment)
        made.register()
        made.keep(*NAMES)
        yield made


@pytest.fixture(scope="package")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    public = tmp_path_factory.mktemp("public")
    for at in range(6):
        picture(50_000 + at).save(public / f"{at}.png")
    return {
        "backbone": "filterbank",
        "geometry": "full",
        "image-size": 64,
        "dp": "moments",
        "dp-epsilon": 60,
        "dp-budget-epsilon": 2000,
        "dp-alone-epsilon": 9000,
        "dp-projection": 6,
        "dp-codebook": str(public),
        "secure-sums": True,
        "min-openers": 2,
        "colluding-sites": 0,
        "threads": 1,
        "heatmaps": 0,
        "expected-sites": 3,
        "rejoin-seconds": 20.0,
    }
