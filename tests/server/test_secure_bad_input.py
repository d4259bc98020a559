"""Sites and servers that lie in a secure sum, through both real apps: refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Error

from fedpatchcore.errors import QuorumError
from fedpatchcore.securesums.letters import EXCHANGES
from fedpatchcore.server.secure_round import SecureRound
from tests.support.names import NAMES
from tests.support.private import LOUD, charges
from tests.support.secure import with_rosters

SECURE = {
    **LOUD,
    "secure_sums": True,
    "dp_alone_epsilon": 200.0,
    "min_openers": 2,
    "colluding_sites": 0,
    "round_timeout": 1.0,
}
MASKED_ALONE = [x if x == "masked" else pytest.param(x, marks=pytest.mark.long) for x in EXCHANGES]
BEFORE_IT_ADDED = ("keys", "shares", "masked")


@pytest.fixture
def members(nodes, tmp_path: Path):
    return with_rosters(nodes, tmp_path / "pki")


def of_sums(kind: str, reply) -> str:
    return reply.content["texts"].get("exchange", "") if kind == "train.sums" else ""


def sums_of(folder: Path) -> dict:
    lines = (folder / "events.jsonl").read_text().splitlines()
    (summed,) = [e for e in map(json.loads, lines) if e["event"] == "summed"]
    return summed


@pytest.mark.parametrize("exchange", MASKED_ALONE)
def test_a_site_that_answers_nonsense(run, members, exchange: str) -> None:
    """South's arrays are three floats each; its earlier answers were honest."""

    def alter(node, kind, reply):
        if node == 12 and of_sums(kind, reply) == exchange:
            nothing = Array(np.zeros(3, np.float32))
            names = list(reply.content["arrays"])
            reply.content["arrays"] = ArrayRecord(dict.fromkeys(names, nothing))
        return reply

    folder, metrics, _ = run(alter, told=members, **SECURE)
    (record,) = metrics["rounds"]
    reason = record["rejected"]["south"]
    assert "site 'south'" in reason and "float32 (3,)" in reason and "\n" not in reason
    there = ["north", "west"] if exchange in BEFORE_IT_ADDED else list(NAMES)
    assert record["secure_sum"]["masked"] == there
    assert record["secure_sum"]["left"]["south"] == reason
    assert (folder / "bank.safetensors").exists()


@pytest.mark.long
@pytest.mark.parametrize("exchange", EXCHANGES[1:])
def test_a_site_that_sends_its_last_answer_again(run, members, exchange: str) -> None:
    """Late by one exchange: what came before is no answer now."""
    last = {}

    def alter(node, kind, reply):
        now = of_sums(kind, reply)
        if node == 12 and now:
            honest = reply.content
            if now == exchange:
                reply.content = last["content"]
            last["content"] = honest
        return reply

    _, metrics, _ = run(alter, told=members, **SECURE)
    (record,) = metrics["rounds"]
    before = EXCHANGES[EXCHANGES.index(exchange) - 1]
    said = f"late: it belongs to exchange '{before}', this is '{exchange}'"
    assert said in record["rejected"]["south"]
    there = ["north", "west"] if exchange in BEFORE_IT_ADDED else list(NAMES)
    assert record["secure_sum"]["masked"] == there


def test_a_site_whose_process_dies_in_an_exchange(run, members) -> None:
    def alter(node, kind, reply):
        gone = node == 12 and of_sums(kind, reply) == "masked"
        return Error(8, "killed") if gone else reply

    _, metrics, _ = run(alter, told=members, **SECURE)
    (record,) = metrics["rounds"]
    assert "its ClientApp process died" in record["lost"]["south"]
    assert record["secure_sum"]["masked"] == ["north", "west"]


def lying(monkeypatch, lie) -> None:
    """Questions of the server are changed by ``lie(exchange, site, packet)``."""
    plain = SecureRound.question

    def question(self, site):
        packet = plain(self, site)
        return lie(packet.texts["exchange"], site, packet)

    monkeypatch.setattr(SecureRound, "question", question)


def texts(packet, **words):
    return replace(packet, texts={**packet.texts, **words})


def invents(exchange, site, packet):
    """A fourth site, with keys that nobody signed."""
    if (exchange, site) != ("shares", "north"):
        return packet
    arrays = {k: np.concatenate([a, a[-1:]]) for k, a in packet.arrays.items()}
    return texts(replace(packet, arrays=arrays), sites=[*packet.texts["sites"], "zz"])


def skips(exchange, site, packet):
    """Asks for the opening before anybody has said who is left."""
    if (exchange, site) != ("agree", "north"):
        return packet
    rows = np.zeros((len(packet.texts["sites"]), 64), np.uint8)
    return texts(replace(packet, arrays={"letter/signatures": rows}), exchange="open")


def repeats(exchange, site, packet):
    """Asks for shares a second time, for other sites."""
    if (exchange, site) != ("agree", "north"):
        return packet
    return texts(packet, exchange="shares", sites=["north", "west"])


def withholds(exchange, site, packet):
    """Tells a site of fewer survivors than must open."""
    if (exchange, site) != ("agree", "north"):
        return packet
    return texts(packet, sites=["north"])


def swaps(exchange, site, packet):
    """Gives a site the shares that were sealed for another."""
    if (exchange, site) != ("masked", "north"):
        return packet
    rows = packet.arrays["letter/sealed"]
    return replace(packet, arrays={**packet.arrays, "letter/sealed": rows[::-1].copy()})


@pytest.mark.long
@pytest.mark.parametrize(
    ("lie", "said"),
    [
        (invents, "site 'zz' is not on the roster"),
        (skips, "asks site 'north' for 'open' out of turn, 'agree' is next"),
        (repeats, "for 'shares' again and in other words: it is answered once"),
        (withholds, "only 1 of 3 sites are left as survivors, 2 must open the sum"),
        (swaps, "do not open: it saw another list of keys, or they were changed on the way"),
    ],
)
def test_a_server_that_lies_to_one_site(run, members, monkeypatch, lie, said: str) -> None:
    """North refuses by name; the sum of those who were told the truth opens."""
    lying(monkeypatch, lie)
    folder, metrics, _ = run(told=members, **SECURE)
    (record,) = metrics["rounds"]
    assert said in record["rejected"]["north"]
    there = list(NAMES) if lie in (skips, repeats, withholds) else ["south", "west"]
    assert record["secure_sum"]["masked"] == there
    assert record["secure_sum"]["opened"] == ["south", "west"]
    assert sums_of(folder)["left"]["north"] == record["rejected"]["north"]


def test_a_server_that_tells_sites_different_survivors(
    run, members, monkeypatch, tmp_path: Path
) -> None:
    """Each signs one set, so no set has two signatures: nothing opens, and what left is charged."""

    def forks(exchange, site, packet):
        if exchange != "agree":
            return packet
        others = {"north": ["north", "south"], "south": ["south", "west"]}
        return texts(packet, sites=others.get(site, ["north", "west"]))

    lying(monkeypatch, forks)
    with pytest.raises(QuorumError, match="the server invents signers"):
        run(told=members, **SECURE)
    told = sums_of(tmp_path / "runs" / "run")
    assert told["opened"] == [] and "stays closed" in told["closed"]
    assert all(charges(tmp_path / "ledgers" / name) for name in NAMES)
