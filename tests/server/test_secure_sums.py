"""Private runs whose sums open as a whole, through both real apps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.config import NodeConfig, RunConfig
from fedpatchcore.errors import QuorumError
from fedpatchcore.inprocess import federate
from fedpatchcore.privacy.accounting import gaussian_epsilon, gaussian_sigma
from fedpatchcore.privacy.codebook import Codebook
from fedpatchcore.privacy.shared_noise import alone_multiplier
from fedpatchcore.server.federation import Federation
from fedpatchcore.server.private_rounds import PrivateRounds
from fedpatchcore.site.setup import open_site
from tests.support.names import NAMES
from tests.support.private import LOUD, charges, privacy
from tests.support.secure import with_rosters

SECURE = {**LOUD, "secure_sums": True, "dp_alone_epsilon": 200.0}


@pytest.fixture
def members(nodes, tmp_path: Path):
    return with_rosters(nodes, tmp_path / "pki")


@pytest.mark.parametrize("dp", ["cells", "moments", "kernel"])
def test_a_run_whose_sums_open_as_a_whole(run, members, tmp_path: Path, dp: str) -> None:
    words = {"dp_waves": 64} if dp == "kernel" else {}
    folder, metrics, grid = run(told=members, dp=dp, **SECURE, **words)
    bank = MemoryBank.load(folder / "bank.safetensors")
    assert set(bank.sections) == {"plate", "ring"} and bank.sites == NAMES
    (record,) = metrics["rounds"]
    told = record["secure_sum"]
    assert told["masked"] == told["opened"] == told["asked"] == list(NAMES)
    assert (told["openers"], told["colluding"], told["closed"]) == (3, 1, "")
    assert set(record["train"]) == set(NAMES)
    assert {r["kind"] for r in record["train"].values()} == {"masked"}
    assert record["sections"]["ring"]["sites"] == ["west"]
    assert record["sections"]["plate"]["sites"] == list(NAMES)
    # two shares of three are the whole noise, the third is surplus
    assert record["sections"]["plate"]["noise_times"] == pytest.approx((3 / 2) ** 0.5, rel=1e-5)
    assert [kind for _, kind in grid.sent].count("train.sums") == 5 * 3
    assert "train" not in {kind for _, kind in grid.sent}
    sigma = gaussian_sigma(60.0, 1e-5)
    alone = gaussian_epsilon(alone_multiplier(sigma, 3, 1), 1e-5)
    for name in NAMES:
        made = charges(tmp_path / "ledgers" / name)
        assert [c.section for c in made] == (["plate", "ring"] if name == "west" else ["plate"])
        note = record["train"][name]["privacy"]
        assert note["spent"] == pytest.approx(60, rel=1e-6)
        assert note["alone"] == pytest.approx(alone, rel=1e-6) and alone > 60
    report = privacy(folder)
    assert report["epsilon"] == pytest.approx(60, rel=1e-6)
    assert report["epsilon_alone"] == pytest.approx(alone, rel=1e-6)
    assert report["secure_sums"] == {"min_openers": 0, "colluding_sites": 1}
    assert any("collude" in line for line in report["covered"])
    page = " ".join((folder / "report.html").read_text().split())
    assert "opened as a whole" in page and "Secure sums</h3>" in page
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    (summed,) = [e for e in events if e["event"] == "summed"]
    assert summed["masked"] == list(NAMES) and summed["bytes"] > 0


def test_the_opened_sum_is_the_plain_sum(run, members, monkeypatch) -> None:
    """Without noise both kinds of run add up to the same numbers, bit for bit."""
    monkeypatch.setattr(
        "fedpatchcore.site.secure.discrete_gaussian", lambda sigma, size: np.zeros(size, np.int64)
    )
    monkeypatch.setattr(
        "fedpatchcore.privacy.sums.rounded_gaussian",
        lambda sigma, size, randbytes: np.zeros(size, np.int64),
    )
    seen: dict[str, np.ndarray] = {}
    together = PrivateRounds._together

    def spied(self, name, given):
        found = together(self, name, given)
        seen[name] = found[1]
        return found

    monkeypatch.setattr(PrivateRounds, "_together", spied)
    totals = []
    for name, words in (("plain", {**LOUD}), ("secure", SECURE)):
        ledgers = {
            at: {**node, "ledger": f"{node['ledger']}-{name}"} for at, node in members.items()
        }
        run(told=ledgers, run_name=name, **words)
        totals.append(dict(seen))
        seen.clear()
    plain, secure = totals
    assert set(plain) == set(secure) == {"plate", "ring"}
    for name in plain:
        assert plain[name].any() and np.array_equal(plain[name], secure[name])


def test_no_masked_vector_tells_a_sum(run, members) -> None:
    """Of one site's ten thousand numbers none is near zero, as noisy sums are."""
    seen = []

    def alter(node, kind, reply):
        arrays = reply.content.get("arrays") or {}
        if "letter/values" in arrays:
            seen.append(arrays["letter/values"].numpy())
        return reply

    run(alter, told=members, **SECURE)
    assert len(seen) == 3
    for values in seen:
        assert values.dtype == np.uint64
        assert (np.abs(values.view(np.int64)) > 2**40).all()


@pytest.mark.parametrize("exchange", ["keys", "shares", "masked", "agree", "open"])
def test_a_site_that_leaves_before_any_exchange(run, members, exchange: str) -> None:
    def alter(node, kind, reply):
        texts = reply.content.get("texts") or {}
        gone = node == 12 and texts.get("exchange") == exchange
        return None if gone else reply

    folder, metrics, _ = run(
        alter, told=members, min_openers=2, colluding_sites=0, round_timeout=1.0, **SECURE
    )
    (record,) = metrics["rounds"]
    there = list(NAMES) if exchange in ("agree", "open") else ["north", "west"]
    assert record["secure_sum"]["masked"] == there
    assert "no reply within" in record["lost"]["south"]
    assert set(record["train"]) == set(there)
    assert "south" not in record["secure_sum"]["opened"]
    assert (folder / "bank.safetensors").exists()


def test_too_few_left_is_a_refused_round_that_was_charged(run, members, tmp_path: Path) -> None:
    def alter(node, kind, reply):
        texts = reply.content.get("texts") or {}
        return None if node == 12 and texts.get("exchange") == "agree" else reply

    with pytest.raises(QuorumError, match="3 must open it: it stays closed"):
        run(alter, told=members, round_timeout=1.0, **SECURE)
    for name in NAMES:
        assert charges(tmp_path / "ledgers" / name)
    events = [
        json.loads(line)
        for line in (tmp_path / "runs" / "run" / "events.jsonl").read_text().splitlines()
    ]
    (summed,) = [e for e in events if e["event"] == "summed"]
    assert "stays closed" in summed["closed"] and summed["opened"] == []


def test_a_site_without_a_roster_refuses_and_says_how_to_get_one(run, nodes, members) -> None:
    told = {**members, 12: nodes[12]}
    _, metrics, _ = run(told=told, min_openers=2, colluding_sites=0, **SECURE)
    reason = metrics["rounds"][0]["rejected"]["south"]
    assert "site 'south' has no roster" in reason and "certs" in reason
    assert metrics["rounds"][0]["secure_sum"]["masked"] == ["north", "west"]


def test_the_alone_budget_is_the_sites_to_tighten(run, members) -> None:
    told = {**members, 12: {**members[12], "dp-alone-epsilon": 61.0}}
    _, metrics, _ = run(told=told, min_openers=2, colluding_sites=0, **SECURE)
    reason = metrics["rounds"][0]["rejected"]["south"]
    assert "if all other sites collude" in reason and "of 61" in reason
    assert metrics["rounds"][0]["secure_sum"]["masked"] == ["north", "west"]


def test_shares_that_no_site_could_pay_for_are_said_before_any_is_drawn(
    run, members, tmp_path: Path
) -> None:
    """Two sites could have paid; three come, and each would add less of the noise."""
    told = {**SECURE, "dp_alone_epsilon": 61.0, "min_sites": 2}
    with pytest.raises(QuorumError, match="no site could pay for this run") as refused:
        run(told=members, **told)
    assert str(refused.value).count("no site could pay") == 1
    assert "north, south, west: if 3 of 3 sites open" in str(refused.value)
    assert not any(charges(tmp_path / "ledgers" / name) for name in NAMES)
    events = (tmp_path / "runs" / "run" / "events.jsonl").read_text().splitlines()
    (summed,) = [e for e in map(json.loads, events) if e["event"] == "summed"]
    assert summed["masked"] == summed["opened"] == [] and "61" in summed["closed"]


def test_a_server_that_asks_for_plain_sums_in_a_secure_run_is_refused(ask, table, members) -> None:
    packet = ask("train", table(**SECURE), node=members[11])
    assert "leave under masks alone" in packet.texts["failure"]


def test_virtual_sites_need_no_roster(run, sites_folder: Path) -> None:
    """A simulation is one machine and one trust: keys are worked out, and drawn in no file."""
    virtual = {at: {"partition-id": at, "num-partitions": 3} for at in range(3)}
    folder, metrics, _ = run(told=virtual, data=str(sites_folder), **SECURE)
    assert metrics["rounds"][0]["secure_sum"]["opened"] == list(NAMES)
    place = folder / "sites" / "north" / "ledger" / "sums"
    assert {one.stat().st_mode & 0o777 for one in place.iterdir()} == {0o600}
    kept = list(place.glob("*.json"))
    assert len(kept) == 1
    told = json.loads(kept[0].read_text())
    assert told["half"]["root"] == "" and told["vector"] == ""


def test_a_hybrid_of_own_bank_and_opened_bank(run, sites_folder: Path) -> None:
    """Each site judges by both, at a threshold of its own, which it is told and nobody else."""
    virtual = {at: {"partition-id": at, "num-partitions": 3} for at in range(3)}
    words = {**SECURE, "dp": "moments", "compare_local": True, "holdout": 0.4, "target_fpr": 0.4}
    folder, metrics, _ = run(told=virtual, data=str(sites_folder), **words)
    for name in NAMES:
        own = folder / "sites" / name
        told = json.loads((own / "private.json").read_text())["plate"]
        assert told["hybrid_threshold"] > 0 and told["threshold"] > 0
        assert 0 <= told["hybrid_image_auroc"] <= 1
        kept = MemoryBank.load(own / "own.safetensors")
        assert kept.hybrid["plate"]["threshold"] == pytest.approx(told["hybrid_threshold"])
        left = metrics["rounds"][0]["evaluate"][name]["products"]["plate"]
        assert left["hybrid_threshold"] is None and left["hybrid_image_auroc"] is None
    assert "as hybrid_threshold in private.json" in (folder / "report.html").read_text()


@pytest.mark.parametrize("dp", ["cells", "moments"])
def test_two_rounds_open_two_sums(run, members, tmp_path: Path, dp: str) -> None:
    words = {**SECURE, "dp_alone_epsilon": 300.0}
    if dp == "moments":
        words |= {"dp": dp, "dp_power": 0.5}
    folder, metrics, _ = run(told=members, num_rounds=2, **words)
    assert [r["secure_sum"]["opened"] for r in metrics["rounds"]] == [list(NAMES)] * 2
    assert [c.mechanism for c in charges(tmp_path / "ledgers" / "north")] == [dp, dp]
    if dp == "moments":
        section = MemoryBank.load(folder / "bank.safetensors").sections["plate"]
        gains = np.linalg.svd(section.metric, compute_uv=False)
        assert gains[0] > 2 and gains[-1] == pytest.approx(1, rel=1e-4)
    note = metrics["rounds"][1]["train"]["north"]["privacy"]
    assert note["spent"] == pytest.approx(60, rel=1e-6)


def test_regions_are_cut_by_one_sum_and_filled_by_the_next(run, members, tmp_path: Path) -> None:
    words = {**SECURE, "dp": "moments", "dp_regions": 4, "dp_alone_epsilon": 300.0}
    folder, metrics, _ = run(told=members, num_rounds=2, **words)
    assert [r["secure_sum"]["opened"] for r in metrics["rounds"]] == [list(NAMES)] * 2
    section = MemoryBank.load(folder / "bank.safetensors").sections["plate"]
    assert section.metric is None and len(section.row_metrics) == len(section.features)
    note = metrics["rounds"][1]["train"]["north"]["privacy"]
    assert note["spent"] == pytest.approx(60, rel=1e-6)
    assert [c.mechanism for c in charges(tmp_path / "ledgers" / "north")] == ["moments"] * 2


def test_everything_that_leaves_in_an_exchange_is_known_by_name(run, members) -> None:
    """A new key in any answer fails here until somebody has decided that it may leave."""
    seen: dict[str, tuple[set, set, set]] = {}

    def alter(node, kind, reply):
        if kind == "train.sums":
            told = reply.content
            keys = tuple(set(told.get(k) or ()) for k in ("arrays", "numbers", "texts"))
            seen[told["texts"]["exchange"]] = keys
        return reply

    run(alter, told=members, **SECURE)
    texts = {"exchange", "sites", "site", "sections"}
    assert seen == {
        "keys": ({"letter/keys", "letter/signatures"}, set(), texts),
        "shares": ({"letter/sealed", "letter/commitment"}, set(), texts),
        "masked": ({"letter/values"}, set(), texts | {"privacy"}),
        "agree": ({"letter/signatures"}, set(), texts),
        "open": ({"letter/shares"}, set(), texts),
    }


def test_library_calls_sum_as_the_apps_do(members, table, book_file, tmp_path: Path) -> None:
    """All add and are charged once; the same again is another run, and their budgets are spent."""
    config = RunConfig.parse(table(**SECURE), where="test")
    sites = [open_site(config, NodeConfig.from_node(node, {})) for node in members.values()]
    federation = Federation(config, codebook=Codebook.load(book_file))
    federate(sites, federation=federation, run="by-hand")
    (record,) = federation.history
    told = record["secure_sum"]
    assert told["asked"] == told["masked"] == told["opened"] == list(NAMES)
    assert set(record["train"]) == set(federation.bank.sites) == set(NAMES)
    assert [len(charges(tmp_path / "ledgers" / name)) for name in NAMES] == [1, 1, 2]
    with pytest.raises(QuorumError, match="is spent on these images"):
        federate(sites, federation=Federation(config, codebook=Codebook.load(book_file)))
    assert len(charges(tmp_path / "ledgers" / "west")) == 2
