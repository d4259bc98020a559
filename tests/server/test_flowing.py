"""Runs without rounds, in one process: what counts by how much, who waits for nobody, what ends."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.errors import CoresetError, QuorumError
from fedpatchcore.inprocess import federate
from fedpatchcore.learned.generator import WEIGHT, orthogonal
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.flow import CHANCES, Flow
from fedpatchcore.server.runfolder import RunFolder
from fedpatchcore.site.site import Site
from server_app.optimisers import rule_of
from tests.server.test_trained_federation import configured, opened, spoiled
from tests.support.flowing import arrivals, replayed

pytestmark = pytest.mark.usefixtures("one_thread")
SLOW = {"west": 3.5}


@pytest.fixture
def begun(settings, backbone, sites_folder: Path, tmp_path: Path):
    """Three sites and a federation of theirs; keywords are settings."""

    def make(where: str = "a", **told) -> tuple[list[Site], Federation]:
        base = {"method": "generator", "optimiser": "fedbuff", "buffer": 2, "num_rounds": 4}
        config = configured(settings, **{**base, **told})
        sites = opened(config, backbone, sites_folder, tmp_path / where)
        return sites, Federation(config, rules=rule_of)

    return make


def order(found: Federation) -> list[tuple[str, int, int]]:
    """Site, version that it started from and staleness, in the order in which updates counted."""
    return [(one["site"], one["from"], one["late"]) for one in arrivals(found.history)]


def test_a_bank_comes_of_it_that_judges(begun) -> None:
    sites, federation = begun(method="feddymem", optimiser="fedasync", buffer=3)
    found = federate(sites, rounds=4, federation=federation)
    assert found.bank.round == 4 and found.bank.thresholds["plate"]
    assert [one["round"] for one in found.history] == [1, 2, 3, 4]
    assert [bool(one["evaluate"]) for one in found.history] == [False] * 3 + [True]


def test_a_slow_site_holds_nobody_up_and_counts_by_its_staleness(begun) -> None:
    """North and south answer every unit of time, west after three and a half."""
    sites, federation = begun()
    found = federate(sites, rounds=4, federation=federation, pace=SLOW)
    assert order(found) == [
        ("north", 0, 0),
        ("south", 0, 0),
        ("north", 0, 1),  # asked again before south had answered
        ("south", 1, 0),
        ("north", 1, 1),
        ("south", 2, 0),
        ("west", 0, 3),
        ("north", 2, 1),
    ]


def test_the_model_is_what_the_rule_written_out_gives(begun) -> None:
    sites, federation = begun()
    found = federate(sites, rounds=4, federation=federation, pace=SLOW)
    again, _ = begun("b")
    bank, x = replayed(federation.config, again, arrivals(found.history))
    assert np.allclose(found.bank.sections["plate"].metric, x, atol=1e-6)
    assert np.abs(x - orthogonal(128, 64, 0)).max() > 1e-3
    for name, part in found.bank.sections.items():
        assert part.digest == bank.sections[name].digest


def test_two_answers_to_one_model_differ_and_rows_count_once(begun) -> None:
    """A buffer of four: sites answer the start twice, with other batches and the same rows."""
    sites, federation = begun(buffer=4, num_rounds=1)
    federate(sites, rounds=1, evaluate=False, federation=federation)
    assert [site for site, *_ in order(federation)] == ["north", "south", "west", "north"]
    rows = federation.contributions["north"].parts["plate"].read()
    assert len(rows) == len(np.unique(rows, axis=0)) == 30
    sites, _ = begun("b", buffer=4, num_rounds=1)
    first, second = (
        sites[0].train(beside={"turn": np.array([turn], np.float32)}).contribution.parts["plate"]
        for turn in (0, 3)
    )
    assert np.array_equal(first.read(), second.read())
    assert np.abs(first.beside["update.values"] - second.beside["update.values"]).max() > 0


def test_a_site_that_comes_far_too_late_is_left_out_by_name_and_asked_again(begun) -> None:
    sites, federation = begun(num_rounds=8, staleness_limit=2)
    found = federate(sites, rounds=8, federation=federation, pace={"west": 4.5})
    rejected = [one["rejected"] for one in found.history if one["rejected"]]
    assert "4 or more models behind, of which staleness-limit allows 2" in rejected[0]["west"]
    assert max(late for *_, late in order(found)) <= 2
    later = [at for at, one in enumerate(found.history) if one["rejected"]]
    assert later[0] == 4, "west was asked again at once and is too late again"


def test_so_many_sites_at_a_time(begun) -> None:
    sites, federation = begun(concurrency=1, buffer=3)
    found = federate(sites, rounds=4, federation=federation, pace=SLOW)
    names = [site for site, *_ in order(found)]
    assert names == ["north", "south", "west"] * 4
    assert {late for *_, late in order(found)} == {0}


@pytest.mark.parametrize(("optimiser", "wire"), [("fedasync", "int8"), ("fedbuff", "topk")])
def test_a_resumed_run_ends_as_the_whole_one(begun, tmp_path: Path, optimiser, wire) -> None:
    """One site at a time, so that nothing is on its way when the run is cut."""
    told = {"optimiser": optimiser, "concurrency": 1, "update_wire": wire}
    told |= {"buffer": 2 if optimiser == "fedbuff" else 3}
    sites, whole = begun(**told)
    federate(sites, rounds=4, evaluate=False, federation=whole)
    sites, first = begun("b", **told)
    run = RunFolder.create(tmp_path, "run", first.config.table())
    federate(sites, rounds=3, evaluate=False, federation=first)
    run.checkpoint(3, first)
    _, later = begun("b", **told)
    assert run.restore(later) == 3
    names = [name for name, *_ in order(whole)]
    at = len(order(first))
    flow = Flow(later)
    later.roll_call({site.name: site.facts() for site in sites})
    for name in dict.fromkeys([*names[at:], "north", "south", "west"]):
        flow.joined([name])
    named = {site.name: site for site in sites}
    while flow.version < 4:
        name = flow.due()[0]
        flow.ask(name)
        if flow.answered(named[name].train(later.bank, beside=later.method.beside())):
            later.bank = flow.made()
    for name, part in whole.bank.sections.items():
        assert np.array_equal(part.metric, later.bank.sections[name].metric)


def test_updates_in_a_half_full_buffer_are_kept(begun, tmp_path: Path) -> None:
    """``ring`` is made at one site alone: its buffer is half full when the bank is made."""
    sites, first = begun(buffer=2, num_rounds=1)
    run = RunFolder.create(tmp_path, "run", first.config.table())
    federate(sites, rounds=1, evaluate=False, federation=first, pace={"south": 2.0})
    run.checkpoint(1, first)
    _, later = begun()
    run.restore(later)
    before, after = (f.method.models._model("ring").rule for f in (first, later))
    assert before.waiting == after.waiting == 1
    assert np.array_equal(before.sum[WEIGHT], after.sum[WEIGHT])


@pytest.mark.parametrize("how", ["nan", "shape", "stale", "steps"])
def test_a_bad_update_moves_nothing_and_its_site_waits_for_the_next_model(begun, how: str) -> None:
    sites, federation = begun()
    federate(sites, rounds=1, evaluate=False, federation=federation)
    flow = Flow(federation)
    flow.joined(["north", "south", "west"])
    assert flow.due() == ["north", "south", "west"]
    for name in flow.due():
        flow.ask(name)
    site = next(one for one in sites if one.name == "south")
    reply = site.train(federation.bank, beside=federation.method.beside())
    part = reply.contribution.parts["plate"]
    part.beside.update(spoiled(dict(part.beside), how))
    before = federation.method.models._model("plate").rule.state()
    with pytest.raises(CoresetError, match="'south'"):
        flow.answered(reply)
    flow.failed("south")
    after = federation.method.models._model("plate").rule.state()
    assert before.facts == after.facts and "south" not in flow.due()
    for name in ("north", "west"):
        one = next(one for one in sites if one.name == name)
        due = flow.answered(one.train(federation.bank, beside=federation.method.beside()))
    assert due and flow.made() is not None
    assert "south" in flow.due()


def test_an_answer_that_nobody_asked_for_counts_for_nothing(begun) -> None:
    sites, federation = begun()
    flow = Flow(federation)
    flow.joined(["north", "south"])
    federation.roll_call({site.name: site.facts() for site in sites})
    with pytest.raises(CoresetError, match="'west' answers what it was not asked"):
        flow.answered(sites[2].train(beside=federation.method.beside()))
    assert not federation.contributions


def test_with_too_few_sites_left_those_that_failed_have_some_chances(begun) -> None:
    _, federation = begun()
    flow, asked = Flow(federation), Counter()
    flow.joined(["north", "south", "west"])
    while due := flow.due():
        for name in due:
            flow.ask(name)
            asked[name] += 1
            flow.failed(name)
    assert set(asked.values()) == {CHANCES}
    flow.check(0.0)
    flow.check(federation.config.wait_seconds - 1)
    with pytest.raises(QuorumError, match="stands still"):
        flow.check(federation.config.wait_seconds + 1)


def test_a_late_joiner_is_asked_and_one_that_left_is_not(begun) -> None:
    _, federation = begun()
    flow = Flow(federation)
    flow.joined(["north"])
    assert flow.due() == [], "one site is fewer than min-sites"
    flow.joined(["west", "south", "north"])
    assert flow.due() == ["north", "south", "west"]
    flow.left("south")
    assert flow.due() == ["north", "west"]


def test_who_came_too_late_gets_the_newest_model_and_who_failed_with_it_waits(begun) -> None:
    sites, federation = begun(num_rounds=8)
    flow = Flow(federation)
    flow.joined(["north", "south", "west"])
    flow.ask("west")
    federate(sites[:2], rounds=1, evaluate=False, federation=federation)
    flow.failed("west")
    assert "west" in flow.due(), "there is a newer model than the one that it failed with"
    assert flow.ask("west").version == 1
    flow.failed("west")
    assert "west" not in flow.due()


def test_training_ends_early_by_the_losses_that_came(begun) -> None:
    sites, federation = begun(early_stop=1, num_rounds=9, learning_rate=1e-9)
    found = federate(sites, rounds=9, federation=federation)
    assert 2 <= len(found.history) < 9 and "early-stop=1" in found.method.enough
    assert found.history[-1]["evaluate"]
