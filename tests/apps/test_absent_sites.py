"""Sites that are dead, silent, late or back again, and a SuperLink that stumbles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from flwr.app import Error, Message

from client_app.app import app as client_app
from client_app.records import to_records
from fedpatchcore.bank.memory_bank import MemoryBank
from fedpatchcore.errors import QuorumError, RunError
from fedpatchcore.wire.packet import Packet
from server_app.grid import StreamingGrid
from tests.support.fakegrid import FakeGrid


@pytest.mark.parametrize(
    ("fault", "where", "words"),
    [
        (Error(2, "<class 'ValueError'>:<'boom'>"), "rejected", "raised an error"),
        (Error(8, "died"), "lost", "process died"),
        (Error(5, ""), "lost", "offline"),
        (None, "lost", "no reply within round-timeout"),
        (Error(0, f"<class 'ray.exceptions.OutOfMemoryError'>{' - 0;' * 99}"), "lost", "low on"),
    ],
)
def test_a_dead_or_silent_site_is_named_and_the_round_goes_on(fault, where, words, run) -> None:
    def alter(node, kind, reply):
        return fault if (node, kind) == (12, "train") else reply

    _, metrics, _ = run(alter, round_timeout=2.0)
    record = metrics["rounds"][0]
    assert words in record[where]["south"]
    assert len(record[where]["south"]) < 200
    assert set(record["train"]) == {"north", "west"}


def test_without_quorum_the_run_stops_and_says_who_and_why(run, tmp_path: Path) -> None:
    def alter(node, kind, reply):
        return Error(8, "") if kind == "train" and node != 11 else reply

    with pytest.raises(QuorumError, match=r"1 usable.*min-sites is 2.*south, west: .*died"):
        run(alter)
    events = (tmp_path / "runs" / "run" / "events.jsonl").read_text()
    assert '"failed"' in events


def test_waiting_for_nodes_ends_with_advice(run) -> None:
    with pytest.raises(QuorumError, match=r"1 of 2 sites online after 1 s: start the missing"):
        run(before=lambda grid: grid.online.intersection_update({11}))


def south_offline_in_round_two():
    """Node 12 answers in every round but the second."""
    rounds = {"train": 0}

    def alter(node, kind, reply):
        if node == 11 and kind == "train":
            rounds["train"] += 1
        return Error(5, "") if node == 12 and rounds["train"] == 2 else reply

    return alter


def test_a_site_that_was_absent_keeps_its_place_and_returns(run) -> None:
    """Absent in round 2: its rows stay. Back in round 3: it has nothing new to say."""
    folder, metrics, _ = run(south_offline_in_round_two(), num_rounds=3)
    _, two, three = metrics["rounds"]
    assert two["absent"] == ["south"]
    assert "offline" in two["lost"]["south"]
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "south", "west")
    assert three["train"]["south"]["kind"] == "none"
    assert three["absent"] == []


def test_absent_sites_can_be_let_go(run) -> None:
    folder, _, _ = run(south_offline_in_round_two(), num_rounds=2, keep_absent_sites=False)
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "west")


def absent_in_round_two(back: Callable[[FakeGrid], set[int]]) -> Callable[[FakeGrid], None]:
    """Node 12 is offline in round 2; from round 3 on the nodes that ``back`` names are there."""

    def before(grid: FakeGrid) -> None:
        def ids() -> list[int]:
            done = [kind for node, kind in grid.sent if node == 11].count("evaluate")
            if done and not grid._replies:
                grid.online = {11, 13} if done == 1 else back(grid)
            return sorted(grid.online)

        grid.get_node_ids = ids

    return before


def test_a_node_that_comes_back_under_another_name_does_not_count_twice(run) -> None:
    def back(grid: FakeGrid) -> set[int]:
        grid.nodes[12] = {**grid.nodes[12], "site": "another"}
        return {11, 12, 13}

    folder, metrics, _ = run(before=absent_in_round_two(back), num_rounds=3)
    why = metrics["rounds"][2]["rejected"]["south"]
    assert "the node of site 'south' now calls itself 'another'" in why
    assert MemoryBank.load(folder / "bank.safetensors").sites == ("north", "south", "west")


@pytest.mark.parametrize("robust", [True, False])
def test_where_sites_vote_nobody_takes_the_name_of_an_absent_one(run, robust: bool) -> None:
    def back(grid: FakeGrid) -> set[int]:
        grid.nodes[14] = {**grid.nodes[12]}
        return {11, 13, 14}

    told = {"robustness_enabled": robust, "tolerated_sites": 0} if robust else {}
    _, metrics, grid = run(before=absent_in_round_two(back), num_rounds=3, **told)
    why = " ".join(metrics["rounds"][2]["rejected"].values())
    assert ("another node was site 'south' before" in why) == robust
    assert ((14, "train") in grid.sent) == (not robust)


def test_a_late_site_joins_with_what_the_bank_lacks(run) -> None:
    def before(grid: FakeGrid) -> None:
        grid.online.discard(13)
        send = grid.push_messages

        def push(messages):
            if [k for _, k in grid.sent].count("evaluate") == 2:
                grid.online.add(13)
            return send(messages)

        grid.push_messages = push

    folder, metrics, _ = run(before=before, num_rounds=3)
    assert set(metrics["rounds"][0]["train"]) == {"north", "south"}
    last = metrics["rounds"][2]["train"]
    assert set(last) == {"north", "south", "west"}
    assert set(MemoryBank.load(folder / "bank.safetensors").sections) == {"plate", "ring"}


@pytest.mark.parametrize("kind", ["query", "train", "evaluate"])
def test_a_site_that_died_and_came_back_is_asked_again(kind: str, run) -> None:
    """Its SuperNode went away with the message and returns two polls later."""
    undisturbed, _, _ = run()
    expected = (undisturbed / "bank.safetensors").read_bytes()
    grids: list[FakeGrid] = []
    polls = {"left": 0}

    def alter(node, what, reply):
        if node == 12 and what == kind and not polls["left"]:
            polls["left"] = 3
            grids[0].online.discard(12)
            return Error(5, "node unavailable")
        return reply

    def watch(grid: FakeGrid) -> None:
        grids.append(grid)
        plain = grid.get_node_ids

        def nodes():
            if polls["left"] > 1:
                polls["left"] -= 1
            elif polls["left"] == 1:
                grid.online.add(12)
            return plain()

        grid.get_node_ids = nodes

    folder, metrics, grid = run(alter, before=watch)
    assert (folder / "bank.safetensors").read_bytes() == expected
    assert metrics["rounds"][0]["lost"] == {}
    assert grid.sent.count((12, kind)) == 2
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if e["event"] in ("gone", "back", "lost")][-2:] == [
        "gone",
        "back",
    ]


def test_a_site_that_answers_twice_is_counted_once(run) -> None:
    """The reply that was thought lost arrives as well as the one to the second asking."""
    undisturbed, _, _ = run()
    expected = (undisturbed / "bank.safetensors").read_bytes()
    late: list[Message] = []

    def alter(node, kind, reply):
        if node == 12 and kind == "train" and not late:
            late.append(reply)
            return Error(5, "node unavailable")
        return reply

    def both(grid: FakeGrid) -> None:
        plain = grid.pull_messages

        def pull(ids):
            found = plain(ids)
            return found + late if found and grid.sent.count((12, "train")) == 2 else found

        grid.pull_messages = pull

    folder, metrics, _ = run(alter, before=both)
    assert (folder / "bank.safetensors").read_bytes() == expected
    assert metrics["rounds"][0]["rejected"] == {}


def test_a_superlink_that_stumbles_does_not_cost_the_run(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers of 500 for a while are waited out; for good, they end the run with a clear line."""
    monkeypatch.setattr("server_app.grid.PAUSE_SECONDS", 0.01)
    undisturbed, _, _ = run()
    expected = (undisturbed / "bank.safetensors").read_bytes()
    answer = httpx.Response(500, request=httpx.Request("POST", "https://superlink/pull"))
    left = {"errors": 7}

    def stumble(grid: FakeGrid) -> None:
        plain = grid.pull_messages

        def pull(ids):
            if left["errors"]:
                left["errors"] -= 1
                answer.raise_for_status()
            return plain(ids)

        grid.pull_messages = pull

    folder, metrics, _ = run(before=stumble)
    assert left["errors"] == 0
    assert (folder / "bank.safetensors").read_bytes() == expected
    assert metrics["rounds"][0]["lost"] == {}
    left["errors"] = 10**9
    monkeypatch.setattr("server_app.grid.PATIENCE_SECONDS", 0.2)
    with pytest.raises(RunError, match="the SuperLink has answered 500"):
        run(before=stumble)


def test_a_site_that_stays_away_is_lost_after_rejoin_seconds(run) -> None:
    def alter(node, what, reply):
        if node == 12 and what == "train":
            grids[0].online.discard(12)
            return Error(5, "node unavailable")
        return reply

    grids: list[FakeGrid] = []
    folder, metrics, _ = run(alter, before=grids.append, rejoin_seconds=1.5)
    assert "offline" in metrics["rounds"][0]["lost"]["south"]
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    told = [e["event"] for e in events if e.get("site") == "south"]
    assert told[:3] == ["site", "gone", "lost"]


def test_stream_yields_replies_one_at_a_time_and_reports_silence(settings) -> None:
    class Slow(FakeGrid):
        def __init__(self):
            super().__init__(client_app, {1: {}, 2: {}, 3: {}}, settings().table())
            self.pulled = []

        def pull_messages(self, ids):
            (only,) = ids
            self.pulled.append(only)
            return super().pull_messages(ids) if only != "2" else []

    grid = StreamingGrid(Slow(), poll=0.01)
    content = to_records(Packet())
    messages = [Message(content=content, dst_node_id=n, message_type="query") for n in (1, 2, 3)]
    stream = grid.send_and_receive(messages, timeout=0.2)
    reply = next(stream)
    assert grid.grid.pulled == ["1"]  # the second was not touched yet
    assert grid.node_of(reply) == 1
    assert len(list(stream)) == 1
    assert grid.unanswered == [2]
