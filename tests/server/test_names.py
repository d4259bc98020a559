"""Whose name is whose, as `fedpatchcore.server.names` decides it."""

from __future__ import annotations

import pytest

from fedpatchcore.errors import QuorumError
from fedpatchcore.server.names import Key, Names

NORTH, SOUTH = Key.of(b"n", "north"), Key.of(b"s", "south")
REGISTERED = {"north": NORTH, "south": SOUTH}
NEW = Key.of(b"x")


@pytest.mark.parametrize("strict", [True, False])
def test_a_registered_name_is_nobody_elses(strict: bool) -> None:
    names = Names(strict=strict)
    names.check("north", NORTH, REGISTERED)
    for other in (NEW, Key(), Key.of(b"y", "")):
        with pytest.raises(QuorumError, match="'north' is another key's: give this node"):
            names.check("north", other, REGISTERED)
    names.bind("north", NORTH)
    with pytest.raises(QuorumError, match="is another key's"):  # also while its node is away
        names.check("north", NEW, {})


def test_where_sites_vote_a_registered_key_has_one_name() -> None:
    with pytest.raises(QuorumError, match="registered as 'south' and it calls itself 'west'"):
        Names(strict=True).check("west", SOUTH, REGISTERED)
    Names(strict=False).check("west", SOUTH, REGISTERED)


def test_where_sites_vote_a_key_that_spoke_for_one_site_speaks_for_no_other() -> None:
    names = Names(strict=True)
    names.bind("west", NEW)
    names.check("west", NEW, {})
    with pytest.raises(QuorumError, match="key of site 'west' now calls itself 'east'"):
        names.check("east", NEW, {})


def test_the_rightful_key_supersedes_who_took_its_name() -> None:
    names = Names(strict=True)
    assert not names.bind("north", NEW)
    names.check("north", NORTH, REGISTERED)
    assert names.keeps("north", NORTH) and names.bind("north", NORTH)
    assert not names.keeps("north", NEW)
    assert not names.bind("north", Key.of(b"n2", "north"))  # a new key of the same site's


def test_names_outlive_the_process() -> None:
    names = Names(strict=True)
    names.bind("north", NORTH)
    names.bind("west", Key())  # a simulation tells no keys
    again = Names(strict=True)
    again.restore(names.told())
    again.restore({})
    assert again.told() == names.told() == {"north": {"key": NORTH.digest, "name": "north"}}
    with pytest.raises(QuorumError, match="is another key's"):
        again.check("north", NEW, {})
    with pytest.raises(QuorumError, match="registered as 'north' and it calls itself 'east'"):
        again.check("east", NORTH, {})
