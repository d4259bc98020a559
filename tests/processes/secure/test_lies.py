"""A site that answers late, and servers that lie to one site: refused by name, the others open."""

from __future__ import annotations

import pytest

from tests.support.plants import QUESTION, REPLY, Plants

pytestmark = pytest.mark.timeout(1200)


def test_a_site_that_answers_an_exchange_with_its_last_answer(plants: Plants, table) -> None:
    """Late, and a second time: its shares come again where its vector is due."""
    fault = plants.faults["west"]
    fault.put(where=REPLY, do="late", after=1, times=2)
    assert plants.wait(plants.submit("late", table)) == "finished:completed"
    told = plants.told("late")
    assert told["masked"] == told["opened"] == ["north", "south"]
    (rejected,) = plants.events("late", "rejected")
    assert rejected["site"] == "west"
    assert "a masked sum without a ledger's word" in rejected["reason"]  # shares are no charge
    fault.clear()


@pytest.mark.parametrize(
    ("lie", "said", "masked"),
    [
        ("invent", "site 'zz' is not on the roster", 2),
        ("reorder", "asks site 'north' for 'open' out of turn, 'agree' is next", 3),
        ("withhold", "only 1 of 3 sites are left as survivors, 2 must open the sum", 3),
    ],
)
def test_a_server_that_lies_to_one_site(plants: Plants, table, lie: str, said: str, masked) -> None:
    """It invents a site, asks out of turn, or tells of fewer survivors than must open."""
    fault = plants.faults["executor"]
    fault.put(where=QUESTION, do=lie, times=1000, site="north")
    assert plants.wait(plants.submit(lie, table)) == "finished:completed"
    told = plants.told(lie)
    assert told["opened"] == ["south", "west"] and len(told["masked"]) == masked
    (rejected,) = plants.events(lie, "rejected")
    assert rejected["site"] == "north" and said in rejected["reason"]
    fault.clear()
