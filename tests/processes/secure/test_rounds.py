"""Two secure sums a run, the second over what the first one saw, and a site that is killed between.

Regions are cut by the first round's sum and filled by the second's; cells are moved to the mean
that the first one found.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from tests.support.field import until
from tests.support.names import NAMES
from tests.support.plants import OTHERS, REPLY, Plants
from tests.support.private import charges

pytestmark = pytest.mark.timeout(1200)
EXCHANGES = 5
GONE = {"rejoin-seconds": 5.0, "wait-seconds": 5.0}
REGIONS = {"dp-regions": 4, "num-rounds": 2}
CELLS = {"dp": "cells", "dp-cells": 8, "dp-first-share": 0.25, "num-rounds": 2}


def bank_of(plants: Plants, run: str) -> MemoryBank:
    return MemoryBank.load(plants.out / run / "bank.safetensors")


def rounds(plants: Plants, run: str) -> list[dict]:
    return json.loads((plants.out / run / "metrics.json").read_text())["rounds"]


def multipliers(plants: Plants, site: str, releases: int) -> list[float]:
    """Of the noise of the last releases that a site's ledger has charged."""
    made = charges(plants.ledger_of(site))[-releases:] if releases else ()
    return [charge.multiplier for charge in made]


def test_regions_of_all_sites(plants: Plants, table) -> None:
    before = {site: plants.charged(site) for site in NAMES}
    assert plants.wait(plants.submit("regions", {**table, **REGIONS})) == "finished:completed"
    told = plants.events("regions", "summed")
    assert [one["masked"] for one in told] == [one["opened"] for one in told] == [list(NAMES)] * 2
    assert [plants.charged(site) - before[site] for site in NAMES] == [2, 2, 2]
    bank = bank_of(plants, "regions")
    section = bank.sections["plate"]
    assert bank.round == 2 and bank.sites == NAMES
    assert 1 <= len(section.row_metrics) == len(section.features) <= 4 and section.metric is None
    first, second = multipliers(plants, "north", 2)
    assert first == second
    for record in rounds(plants, "regions"):
        assert record["train"]["north"]["privacy"]["asked"] < 60
        assert record["sections"]["plate"]["sites"] == list(NAMES)


def test_regions_with_a_site_killed_between_two_exchanges_of_the_second_round(
    plants: Plants, table
) -> None:
    """It has helped to cut, and dealt its shares; the others fill the regions and open."""
    fault, before = plants.faults["south"], {site: plants.charged(site) for site in NAMES}
    fault.put(where=REPLY, do="hang", after=EXCHANGES + 2)
    run = plants.submit("cut", {**table, **REGIONS, **GONE})
    until(fault.reached, 300, "the exchange was not reached")
    plants.kill_kept("south")
    assert plants.wait(run) == "finished:completed"
    told = plants.events("cut", "summed")
    assert [one["masked"] for one in told] == [list(NAMES), OTHERS]
    assert [one["opened"] for one in told] == [list(NAMES), OTHERS]
    assert set(told[1]["left"]) == {"south"}
    bank = bank_of(plants, "cut")
    assert bank.round == 2 and bank.sites == tuple(OTHERS)
    assert len(bank.sections["plate"].row_metrics) >= 1
    more = {site: plants.charged(site) - before[site] for site in NAMES}
    assert more == {"north": 2, "south": 1, "west": 2}
    fault.clear()
    plants.keep("south")


def test_cells_that_the_first_round_moved(plants: Plants, table) -> None:
    """A quarter of the budget finds the mean: twice the noise of what it takes for the whole."""
    assert plants.wait(plants.submit("moved", {**table, **CELLS})) == "finished:completed"
    told = plants.events("moved", "summed")
    assert [one["masked"] for one in told] == [one["opened"] for one in told] == [list(NAMES)] * 2
    bank = bank_of(plants, "moved")
    assert bank.round == 2 and bank.sites == NAMES
    assert bank.privacy["shares"] == pytest.approx([0.25, 0.75])
    for site in NAMES:
        first, second = multipliers(plants, site, 2)
        assert first / second == pytest.approx(3**0.5, rel=1e-9)
    one, other = rounds(plants, "moved")
    assert one["sections"]["plate"]["of"] == 1 < other["sections"]["plate"]["of"]
    assert one["train"]["north"]["privacy"]["asked"] < other["train"]["north"]["privacy"]["asked"]


def test_cells_with_a_site_killed_between_the_two_rounds(plants: Plants, table) -> None:
    """Once the first sum is open: it is charged for that one alone, the others fill the cells."""
    before = {site: plants.charged(site) for site in NAMES}
    run = plants.submit("between", {**table, **CELLS, **GONE})
    plants.until_event("between", "summed", round=1)
    plants.kill_kept("south")
    assert plants.wait(run) == "finished:completed"
    told = plants.events("between", "summed")
    assert [one["masked"] for one in told] == [list(NAMES), OTHERS]
    assert [one["opened"] for one in told] == [list(NAMES), OTHERS]
    more = {site: plants.charged(site) - before[site] for site in NAMES}
    assert more == {"north": 2, "south": 1, "west": 2}
    first = multipliers(plants, "south", 1)
    assert first == multipliers(plants, "north", 2)[:1]
    bank = bank_of(plants, "between")
    assert bank.round == 2 and bank.sites == tuple(OTHERS)
    assert np.isfinite(bank.sections["plate"].features).all()
    plants.keep("south")
