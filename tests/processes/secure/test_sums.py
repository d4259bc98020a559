"""Secure sums among workers and nodes as they are deployed: what they add, and what goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.inprocess import federate
from fedpatchcore.learned.generator import orthogonal
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.first_codebook import first_codebook
from fedpatchcore.site.setup import open_site, use_threads
from server_app.optimisers import rule_of
from tests.support.field import until
from tests.support.names import NAMES
from tests.support.plants import OTHERS, QUESTION, REPLY, Plants
from tests.support.secure import with_rosters

pytestmark = pytest.mark.timeout(1200)


def test_workers_and_nodes_open_a_sum(plants: Plants, table, tmp_path: Path, monkeypatch) -> None:
    """The bank is that of library calls but for the noise."""
    before = [plants.charged(site) for site in NAMES]
    assert plants.wait(plants.submit("plain", table)) == "finished:completed"
    told = plants.told("plain")
    assert told["masked"] == told["opened"] == list(NAMES) and not told["left"]
    assert [plants.charged(site) for site in NAMES] == [n + 1 for n in before]
    bank = MemoryBank.load(plants.out / "plain" / "bank.safetensors")

    monkeypatch.setenv("FEDPATCHCORE_HOME", str(tmp_path / "home"))
    use_threads(1)
    nodes = {at: {"site": s, "data": str(plants.sites[s])} for at, s in enumerate(NAMES)}
    config = RunConfig.parse(table, where="test")
    sites = [
        open_site(config, NodeConfig.from_node(node, {}))
        for node in with_rosters(nodes, tmp_path / "pki").values()
    ]
    book = first_codebook(config)
    again = federate(sites, federation=Federation(config, codebook=book)).bank
    assert bank.sites == again.sites == NAMES
    assert bank.aggregation == again.aggregation == "moment_sums"
    assert bank.fingerprint.digest == again.fingerprint.digest
    spent = ("epsilon", "epsilon_alone")  # in all: these sites may have given before
    for key in spent:
        one, other = bank.privacy.pop(key), again.privacy.pop(key)
        assert one > other if any(before) else one == other
    assert bank.privacy == again.privacy and bank.privacy["secure_sums"]["min_openers"] == 2
    one, other = bank.sections["plate"], again.sections["plate"]
    assert one.metric.shape == other.metric.shape
    far = float(np.linalg.norm(one.features - other.features))
    assert 0 < far < 5 * (one.covers + other.covers)


def test_a_site_killed_between_two_exchanges(plants: Plants, table) -> None:
    """It has dealt its shares and sends no vector: the others open, and the report says so."""
    fault, before = plants.faults["south"], {site: plants.charged(site) for site in NAMES}
    fault.put(where=REPLY, do="hang", after=2)
    run = plants.submit("killed", {**table, "rejoin-seconds": 5.0})
    until(fault.reached, 300, "the exchange was not reached")
    plants.kill_kept("south")
    assert plants.wait(run) == "finished:completed"
    told = plants.told("killed")
    assert told["asked"] == list(NAMES)
    assert told["masked"] == told["opened"] == OTHERS
    assert "offline" in plants.events("killed", "lost")[0]["reason"]
    page = " ".join((plants.out / "killed" / "report.html").read_text().split())
    row = re.search(r"Secure sums</h3>.*?<tbody>(.*?)</tbody>", page).group(1)
    cells = [re.sub(r"<[^>]*>", "", one).strip() for one in re.findall(r"<t[dh].*?</t[dh]>", row)]
    assert cells[:6] == ["1", "2", "1", "2", "2", "0"] and cells[-1] == "open"
    assert MemoryBank.load(plants.out / "killed" / "bank.safetensors").sites == tuple(OTHERS)
    more = {site: plants.charged(site) - before[site] for site in NAMES}
    assert more == {"north": 1, "south": 0, "west": 1}
    fault.clear()
    plants.keep("south")


def test_a_worker_killed_between_two_exchanges_goes_on(plants: Plants, table) -> None:
    """Its keeper starts it again, it reads what it kept, and answers: the sum is of all."""
    fault, before = plants.faults["south"], plants.charged("south")
    fault.put(where=REPLY, do="hang", after=3)
    run = plants.submit("again", table)
    until(fault.reached, 300, "the exchange was not reached")
    plants.kill_worker("south")
    assert plants.wait(run) == "finished:completed"
    told = plants.told("again")
    assert told["masked"] == told["opened"] == list(NAMES) and not told["left"]
    assert plants.charged("south") == before + 1
    fault.clear()


def test_a_site_that_sends_nonsense_at_an_exchange(plants: Plants, table) -> None:
    fault = plants.faults["west"]
    fault.put(where=REPLY, do="nonsense", after=2)
    assert plants.wait(plants.submit("nonsense", table)) == "finished:completed"
    told = plants.told("nonsense")
    assert told["masked"] == told["opened"] == ["north", "south"]
    (rejected,) = plants.events("nonsense", "rejected")
    assert rejected["site"] == "west"
    assert "the answer of site 'west' is float32 (3,), expected uint64" in rejected["reason"]
    fault.clear()


def test_a_server_that_asks_again_in_other_words(plants: Plants, table) -> None:
    """A second question for a masked vector is refused; the sum that was begun opens."""
    fault = plants.faults["executor"]
    fault.put(where=QUESTION, do="repeat", times=1000, site="north")
    assert plants.wait(plants.submit("repeat", table)) == "finished:completed"
    told = plants.told("repeat")
    assert told["masked"] == list(NAMES) and told["opened"] == ["south", "west"]
    (rejected,) = plants.events("repeat", "rejected")
    assert rejected["site"] == "north"
    assert "again and in other words: it is answered once" in rejected["reason"]
    fault.clear()


def test_a_server_that_tells_sites_different_survivors(plants: Plants, table) -> None:
    """Nobody opens: the run ends, and what left stays charged."""
    fault, before = plants.faults["executor"], plants.charged("north")
    words = {"exchange": "agree", "site": "south", "without": "west"}
    fault.put(where=QUESTION, do="fork", times=1000, **words)
    assert plants.wait(plants.submit("fork", table)) == "finished:failed"
    told = plants.told("fork")
    assert told["opened"] == [] and "it stays closed" in told["closed"]
    reasons = {e["site"]: e["reason"] for e in plants.events("fork", "rejected")}
    for site in OTHERS:
        assert "the survivors of site 'south' were not signed by its key" in reasons[site]
    assert not (plants.out / "fork" / "bank.safetensors").exists()
    assert plants.charged("north") == before + 1
    (failed,) = plants.events("fork", "failed")
    assert "survivors of site 'south' were not signed by its key" in failed["reason"]
    fault.clear()


def without_noise(table: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in table.items() if not key.startswith("dp")}


def test_figures_add_up_and_no_sites_is_told(plants: Plants, table) -> None:
    """A run without noise: the server knows all sites' figures together, a site its own."""
    words = {**without_noise(table), "secure-sums": False, "secure-figures": True}
    assert plants.wait(plants.submit("figures", words)) == "finished:completed"
    told = plants.told("figures")
    assert told["about"] == "figures" and told["opened"] == list(NAMES)
    metrics = json.loads((plants.out / "figures" / "metrics.json").read_text())
    record = metrics["rounds"][-1]
    totals = record["figures"]["products"]["plate"]
    assert totals["tested"] == totals["decided"] == 3
    assert (totals["good"], totals["defective"]) == (9, 9)
    assert all(one["products"] == {} for one in record["evaluate"].values())
    own = []
    for site in NAMES:
        (file,) = plants.home_of(site).glob("cache/**/figures/private.json")
        own.append(json.loads(file.read_text())["plate"])
    for name in ("true_positives", "false_positives"):
        assert totals[name] == sum(one[name] for one in own)
    mean = sum(one["image_auroc"] for one in own) / 3
    assert totals["means"]["image_auroc"]["mean"] == pytest.approx(mean, abs=1e-9)
    assert not MemoryBank.load(plants.out / "figures" / "bank.safetensors").thresholds


MASKED = ("secure-sums", "min-openers", "colluding-sites")
TRAINS = {
    "method": "generator",
    "learning-rate": 0.05,
    "local-epochs": 1,
    "local-batch": 4,
    "num-rounds": 2,
    "min-sites": 2,
}


def test_updates_of_models_add_up(plants: Plants, table, tmp_path: Path, monkeypatch) -> None:
    """Two rounds among workers and nodes: the bank of library calls with plain updates."""
    words = {**without_noise(table), **TRAINS}
    assert plants.wait(plants.submit("updates", words)) == "finished:completed"
    told = plants.events("updates", "summed")
    assert [one["about"] for one in told] == ["updates", "updates"]
    assert all(one["masked"] == one["opened"] == list(NAMES) for one in told)
    bank = MemoryBank.load(plants.out / "updates" / "bank.safetensors")

    monkeypatch.setenv("FEDPATCHCORE_HOME", str(tmp_path / "home"))
    use_threads(1)
    config = RunConfig.parse({k: v for k, v in words.items() if k not in MASKED}, where="test")
    nodes = [{"site": s, "data": str(plants.sites[s])} for s in NAMES]
    sites = [open_site(config, NodeConfig.from_node(node, {})) for node in nodes]
    plain = federate(sites, rounds=2, federation=Federation(config, rules=rule_of)).bank
    one, other = bank.sections["plate"], plain.sections["plate"]
    assert np.array_equal(one.features, other.features)
    assert np.abs(one.metric - other.metric).max() < 1e-6
    assert np.abs(one.metric - orthogonal(*one.metric.shape, config.seed)).max() > 1e-3


def test_a_site_killed_before_its_masked_update(plants: Plants, table) -> None:
    """Its rows had come and stay; the model is moved by the others', in this round and the next."""
    fault = plants.faults["south"]
    fault.put(where=REPLY, do="hang", after=2)
    words = {**without_noise(table), **TRAINS, "rejoin-seconds": 5.0, "wait-seconds": 5.0}
    run = plants.submit("gone", words)
    until(fault.reached, 300, "the exchange was not reached")
    plants.kill_kept("south")
    assert plants.wait(run) == "finished:completed"
    told = plants.events("gone", "summed")
    assert [one["masked"] for one in told] == [OTHERS, OTHERS]
    assert all(one["opened"] == OTHERS and not one["closed"] for one in told)
    metrics = json.loads((plants.out / "gone" / "metrics.json").read_text())
    for record in metrics["rounds"]:
        facts = record["sections"]["plate"]
        assert facts["masked"] == OTHERS and facts["updates"] == 2 and facts["moved"] > 1e-3
    fault.clear()
    plants.keep("south")
