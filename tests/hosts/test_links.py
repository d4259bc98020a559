"""Links that are cut, slow or lossy, between a server and three sites on hosts of their own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import CONFIG, TRAIN, lost, reached
from tests.hosts.network import Network, missing
from tests.support.field import Field, until
from tests.support.names import NAMES

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    if why := missing("nginx", "tcpdump"):  # tcpdump is the walk-through's: told at once
        pytest.skip(why)


@pytest.fixture
def far(data: dict[str, Path]) -> Iterator[tuple[Field, Network]]:
    """A server that is started, and the sites' hosts; every key is registered.

    The folder is short: workers' sockets lie in it.
    """
    place = tempfile.TemporaryDirectory(prefix="fpc-", ignore_cleanup_errors=True)
    with place as folder, Network(NAMES, tag="lnk") as network:
        names = [network.gate(site) for site in NAMES]
        with Field(
            Path(folder),
            data,
            server=network.server,
            public="0.0.0.0:8443",
            hosts=network.hosts,
            names=names,
        ) as field:
            field.doors = {site: f"{network.gate(site)}:8443" for site in NAMES}
            field.start_server()
            field.register()
            yield field, network


def test_link_cut_for_thirty_seconds(far, inject: Callable, undisturbed, row) -> None:
    """A site's link cut for 30 s while it works."""
    field, network = far
    slow = inject("south", where=TRAIN, do="hang", seconds=15)
    field.start_sites("north", "west")
    field.keep_site("south", **slow)
    run = field.submit("run", CONFIG)
    until(reached(slow).exists, 300, "the site was not reached")
    network.cut("south")
    time.sleep(30)
    network.heal("south")
    assert field.wait(run) == "finished:completed"
    assert not lost(field, "run")
    assert not field.events("run", "gone")
    assert field.bank("run") == undisturbed()
    row("nothing is noticed; bank as undisturbed")


def test_link_cut_for_good(far, inject: Callable, undisturbed, row) -> None:
    """A site's link cut for good while it works."""
    field, network = far
    slow = inject("south", where=TRAIN, do="hang", seconds=15)
    field.start_sites("north", "west")
    field.keep_site("south", **slow)
    run = field.submit("run", {**CONFIG, "rejoin-seconds": 20.0})
    until(reached(slow).exists, 300, "the site was not reached")
    network.cut("south")
    assert field.wait(run) == "finished:completed"
    assert "offline" in lost(field, "run")["south"]
    assert field.bank("run") == undisturbed(sites=("north", "west"))
    network.heal("south")
    until(lambda: "south" in field.online(), 180, "south did not come back by itself", every=2)
    row("LOST south: its SuperNode is offline; bank of the others; back by itself once healed")


def test_delay_and_loss(far, undisturbed, row) -> None:
    """300 ms delay each way and 2% loss on one site's link."""
    field, network = far
    address, command = network.relay("south", 8443, 0.3)
    field.spawn("relay", network.hosts["south"], command)
    network.lose("south", 0.02)
    field.doors["south"] = address
    field.start_sites()
    run = field.submit("run", CONFIG)
    assert field.wait(run, 900) == "finished:completed"
    assert not lost(field, "run")
    assert field.bank("run") == undisturbed()
    trips = {e["site"]: e["round_trip_seconds"] for e in field.events("run", "trained")}
    row(f"bank as undisturbed; round trip {trips['south']:.0f} s, others {trips['north']:.0f} s")


def test_two_megabits(far, undisturbed, row) -> None:
    """2 Mbit/s on one site's link."""
    field, network = far
    network.slow("south", "2mbit")
    field.start_sites()
    run = field.submit("run", CONFIG)
    assert field.wait(run, 900) == "finished:completed"
    assert field.bank("run") == undisturbed()
    trips = {e["site"]: e["round_trip_seconds"] for e in field.events("run", "trained")}
    row(f"bank as undisturbed; round trip {trips['south']:.0f} s, others {trips['north']:.0f} s")


def test_cut_while_nothing_runs(far, row) -> None:
    """A site's link cut for 100 s between runs."""
    field, network = far
    field.start_sites("north", "west")
    field.keep_site("south")
    until(lambda: "south" in field.online(), 120, "south is not online", every=2)
    network.cut("south")
    until(lambda: "south" not in field.online(), 120, "its absence was not noticed", every=2)
    network.heal("south")
    seconds = until(lambda: "south" in field.online(), 180, "south did not come back", every=2)
    assert field.nodes()["south"]["node-id"] == field.ids["south"]
    row(f"offline after 60 s, the same node again {seconds:.0f} s after healing")
