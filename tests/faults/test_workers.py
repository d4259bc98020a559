"""A site's worker dies, alone or with its node, while ``fedpatchcore node`` keeps both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import CONFIG, EXTRACT, lost, reached
from tests.support.field import Field, until

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def south(field: Field, inject: Callable) -> Callable[..., dict[str, str]]:
    """Start the federation, with a fault in south's worker; south is kept."""

    def start(**fault: object) -> dict[str, str]:
        field.start_server()
        field.register()
        environment = inject("south", **fault) if fault else {}
        field.start_sites("north", "west")
        field.keep_site("south", **environment)
        return environment

    return start


def test_killed_during_extraction(field: Field, south, undisturbed, row) -> None:
    """Worker killed during extraction; its keeper starts it again."""
    slow = south(where=EXTRACT, do="hang", after=2, times=1)
    run = field.submit("run", CONFIG)
    until(reached(slow).exists, 300, "extraction was not reached")
    field.kill_worker("south")
    assert field.wait(run) == "finished:completed"
    assert not lost(field, "run")
    assert not field.events("run", "gone")  # the server noticed nothing
    trained = next(e for e in field.events("run", "trained") if e["site"] == "south")
    assert trained["cached"] == 4  # two batches of two were on disk
    assert field.bank("run") == undisturbed()
    row(f"the node waits; {trained['cached']} images from the cache; bank as undisturbed")


def test_killed_during_evaluation(field: Field, south, undisturbed, row) -> None:
    """Worker killed while it scores test images."""
    # 12 images teach: six batches of two, and the end of the stream; then tests are extracted
    slow = south(where=EXTRACT, do="hang", after=7, times=1)
    run = field.submit("run", CONFIG)
    until(reached(slow).exists, 300, "scoring was not reached")
    south_did = [e["event"] for e in field.events("run") if e.get("site") == "south"]
    assert "trained" in south_did
    field.kill_worker("south")
    assert field.wait(run) == "finished:completed"
    assert not lost(field, "run")
    assert {e["site"] for e in field.events("run", "evaluated")} == {"north", "south", "west"}
    assert field.bank("run") == undisturbed()
    row("the node waits; evaluated when back; bank as undisturbed")


def test_killed_with_its_node(field: Field, south, undisturbed, row) -> None:
    """Worker and SuperNode killed together during extraction."""
    slow = south(where=EXTRACT, do="hang", after=2, times=1)
    run = field.submit("run", CONFIG)
    until(reached(slow).exists, 300, "extraction was not reached")
    field.kill_worker("south")
    field.kill_supernode("south")
    assert field.wait(run) == "finished:completed"
    assert not lost(field, "run")
    trained = next(e for e in field.events("run", "trained") if e["site"] == "south")
    assert trained["cached"] == 4
    assert field.bank("run") == undisturbed()
    row("asked again when both are back; nothing extracted twice; bank as undisturbed")


def test_never_there_again(field: Field, south, undisturbed, row, tmp_path: Path) -> None:
    """Worker dies at every try."""
    south(where=EXTRACT, do="die", times=1000)
    run = field.submit("run", {**CONFIG, "rejoin-seconds": 5.0, "round-timeout": 120.0})
    assert field.wait(run) == "finished:completed"
    reasons = {e["site"]: e["reason"] for e in field.events("run", "rejected")} | lost(field, "run")
    assert list(reasons) == ["south"]
    assert field.bank("run") == undisturbed(sites=("north", "west"))
    row(f"south: {reasons['south'][:120]}; bank of the others")


def test_disk_full(field: Field, south, undisturbed, row) -> None:
    """The worker's disk is full while it keeps features."""
    south(where="fedpatchcore.files:write_atomically", do="full", times=10_000, only="worker")
    run = field.submit("run", CONFIG)
    assert field.wait(run) == "finished:completed"
    assert not lost(field, "run")
    assert "going on without it" in field.log("south")
    assert field.bank("run") == undisturbed()
    row("the site says so and goes on without its cache; bank as undisturbed")
