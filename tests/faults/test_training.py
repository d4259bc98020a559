"""Faults in the middle of training: what a site keeps from round to round is what it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.conftest import CONFIG, reached
from tests.support.field import Field, until

pytestmark = pytest.mark.timeout(1800)

STEPS = "fedpatchcore.learned.local:train_locally"
TOLD = {  # SCAFFOLD keeps a control variate at each site
    "method": "generator",
    "optimiser": "scaffold",
    "local_batch": 4,
    "learning_rate": 0.05,
    "num_rounds": 3,
}
TRAINING = {**CONFIG, **{name.replace("_", "-"): value for name, value in TOLD.items()}}


def test_killed_in_local_steps(field: Field, inject: Callable, undisturbed, row) -> None:
    """Worker killed in the local steps of round 2; its keeper starts it again."""
    field.start_server()
    field.register()
    slow = inject("south", where=STEPS, do="hang", after=1, times=1, seconds=30)
    field.start_sites("north", "west")
    field.keep_site("south", **slow)
    run = field.submit("run", TRAINING)
    until(reached(slow).exists, 400, "round 2 was not reached")
    field.kill_worker("south")
    assert field.wait(run) == "finished:completed"
    assert len([e for e in field.events("run", "trained") if e["site"] == "south"]) == 3
    assert field.bank("run") == undisturbed(3, **TOLD)
    row("asked again; control variate and bank as undisturbed")


def test_killed_after_its_update(field: Field, undisturbed, row) -> None:
    """SuperNode killed after its update of round 1 was sent, restarted."""
    field.start_server()
    field.register()
    field.start_sites("north", "west")
    field.keep_site("south")
    run = field.submit("run", TRAINING)
    field.until_event("run", "trained", site="south")
    field.kill_supernode("south")
    assert field.wait(run) == "finished:completed"
    assert field.bank("run") == undisturbed(3, **TOLD)
    row("back for round 2 with what it kept; bank as undisturbed")
