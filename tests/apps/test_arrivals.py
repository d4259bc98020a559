"""Replies before they are checked: whatever a site uploads costs that site alone, and no memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Message
from flwr.supercore.task_identity import TaskIdentity

from client_app.records import to_records
from fedpatchcore.errors import QuorumError, RunError
from fedpatchcore.server.limit import memory_limited
from fedpatchcore.wire.packet import Packet
from server_app.arrivals import Arrivals
from server_app.grid import StreamingGrid
from server_app.replies import is_gone, packet_of
from tests.hostile.mutation import mutated
from tests.support.superlink import FakeSuperLink
from tests.support.uploads import (
    CHUNK,
    array_body,
    bomb_of,
    named,
    not_protobuf,
    parts_of,
    remade,
    with_array,
    with_body,
)

ROWS = np.arange(30, dtype=np.float32).reshape(5, 6)


def honest(asked: Message) -> dict[str, bytes]:
    return parts_of(answer(asked))


def answer(asked: Message) -> Message:
    packet = Packet({"plate": ROWS}, {"images": [3]}, {"site": "north"})
    return Message(content=to_records(packet), reply_to=asked)


def nested(asked: Message) -> dict[str, bytes]:
    """Arrays of arrays of arrays: each names the one below a hundred times."""
    below, content = named("ArrayChunk", [], bytes(1000))
    parts = {below: content}
    for _ in range(5):
        below, content = named("Array", [below], array_body([0] * 100))
        parts[below] = content
    return with_array(honest(asked), parts)


def of_kind(kind: str, content: bytes) -> Callable[[Message], dict[str, bytes]]:
    def make(asked: Message) -> dict[str, bytes]:
        name, part = named(kind, [], content)
        return {name: part}

    return make


def no_records(asked: Message) -> dict[str, bytes]:
    """A message whose content is an array record, not a table of records."""
    plain = honest(asked)
    names = list(plain)
    record = next(n for n in names if plain[n].startswith(b"ArrayRecord "))
    content = next(n for n in names if plain[n].startswith(b"RecordDict "))
    changed = {n: c.replace(content.encode(), record.encode()) for n, c in plain.items()}
    del changed[content]
    return remade(changed)


HOSTILE = {
    "a head that is no protobuf": (
        lambda asked: not_protobuf(answer(asked)),
        "cannot be read (DecodeError",
    ),
    "figures that are no protobuf": (
        lambda asked: remade(
            honest(asked), "MetricRecord", with_body(lambda _: b"\xff no protobuf")
        ),
        "cannot be read (DecodeError",
    ),
    "an array that is no JSON": (
        lambda asked: remade(honest(asked), "Array", with_body(lambda _: b"{")),
        "cannot be read (JSONDecodeError",
    ),
    "JSON without end": (
        lambda asked: remade(honest(asked), "Array", with_body(lambda _: b"[" * 100_000)),
        "cannot be read (RecursionError",
    ),
    "a chunk named 600 times": (
        lambda asked: bomb_of(answer(asked)),
        "the message would take 3,145,",
    ),
    "arrays of arrays": (nested, "cannot be read (KeyError"),
    "no message": (of_kind("MetricRecord", b""), "no message but of the kind MetricRecord"),
    "an unknown kind": (of_kind("Bomb", b""), "cannot be read (KeyError"),
    "no part at all": (lambda asked: {"0" * 64: b"\0"}, "cannot be read (ValueError"),
    "no records": (no_records, "cannot be read (MessageInitializationError"),
}


class Round:
    """Three nodes are asked; what each uploads is told."""

    def __init__(self, **settings: object) -> None:
        self.link = FakeSuperLink([11, 12, 13])
        self.grid = StreamingGrid(self.link.grid(), poll=0.01, **settings)
        content = to_records(Packet())
        TaskIdentity.node_id = 1
        self.asked = {
            node: Message(
                content=content, dst_node_id=node, message_type="train", group_id=str(node)
            )
            for node in self.link.nodes
        }

    def go(self, uploads: dict[int, Callable], *, timeout: float = 5.0) -> dict[int, object]:
        stream = self.grid.send_and_receive(self.asked.values(), timeout=timeout)
        for node, make in uploads.items():
            self.link.answers(self.asked[node], make(self.asked[node]))
        found = {}
        for reply in stream:
            node = self.grid.node_of(reply)
            assert node not in found
            try:
                found[node] = packet_of(reply)
            except QuorumError as error:
                assert not is_gone(reply)
                found[node] = str(error)
        return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_reply_that_cannot_be_put_together_costs_its_site_alone(name: str) -> None:
    make, words = HOSTILE[name]
    one = Round()
    tracemalloc.start()
    found = one.go({11: honest, 12: make, 13: honest})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found[12].startswith("its reply is refused: ")
    assert words in found[12]
    assert "\n" not in found[12] and len(found[12]) < 500
    for node in (11, 13):
        np.testing.assert_array_equal(found[node].arrays["plate"], ROWS)
    assert peak < 8 * CHUNK
    assert len(one.link.forgotten) == 3  # the SuperLink keeps none of them
    assert one.grid.unanswered == []


def test_arrays_of_equal_chunks_are_put_together_as_they_were_sent() -> None:
    zeros = np.zeros((3 * CHUNK // 16, 4), np.float32)
    one = Round()
    sent = Packet({"plate": zeros})
    found = one.go(
        {11: lambda asked: parts_of(Message(to_records(sent), reply_to=asked))}, timeout=1
    )
    assert found[11].arrays["plate"].shape == zeros.shape
    assert not found[11].arrays["plate"].any()


def test_whoever_uploads_slowly_keeps_nobody_waiting() -> None:
    one = Round()
    parts = honest(one.asked[12])
    stream = one.grid.send_and_receive(one.asked.values(), timeout=5.0)
    one.link.answers(one.asked[12], parts | {list(parts)[-1]: b""})  # its head comes last
    assert one.link.pulled == []
    for node in (11, 13):
        one.link.answers(one.asked[node], honest(one.asked[node]))
    first = [one.grid.node_of(next(stream)) for _ in range(2)]
    assert sorted(first) == [11, 13]
    assert not {*list(parts)[:-1]} & {*one.link.pulled} - {*honest(one.asked[11])}
    one.link.store |= parts
    last = next(stream)
    assert one.grid.node_of(last) == 12
    assert packet_of(last).texts["site"] == "north"
    assert list(stream) == []


def test_a_reply_that_never_ends_is_a_site_without_an_answer() -> None:
    def endless(asked: Message) -> dict[str, bytes]:
        parts = honest(asked)
        head = list(parts)[-1]
        return {name: one for name, one in parts.items() if name != head} | {
            "a" * 64: b"",
            head: parts[head],
        }

    one = Round()
    assert set(one.go({11: honest, 12: endless, 13: honest}, timeout=1.0)) == {11, 13}
    assert one.grid.unanswered == [12]


def test_a_reply_whose_parts_are_gone_is_refused() -> None:
    one = Round()
    name = {}

    def without_rows(asked: Message) -> dict[str, bytes]:
        parts = honest(asked)
        name["lost"] = next(iter(parts))
        return parts

    stream = one.grid.send_and_receive(one.asked.values(), timeout=1.0)
    for node in (11, 12, 13):
        one.link.answers(one.asked[node], without_rows(one.asked[node]))
    del one.link.store[name["lost"]]  # all three sent the same rows
    with pytest.raises(QuorumError, match="its reply is refused: it was not sent to its end"):
        packet_of(next(stream))


def test_a_reply_of_too_many_bytes_parts_or_words_is_refused(monkeypatch) -> None:
    one = Round()
    arrivals = Arrivals(one.link.grid(), most=200_000)

    def pull(make: Callable[[Message], dict[str, bytes]]) -> list[Message]:
        asked = one.asked[11]
        asked.metadata.__dict__["_message_id"] = asked.object_id
        one.link.answers(asked, make(asked))
        return arrivals.pull(asked.metadata.message_id)

    def of(packet: Packet) -> Callable[[Message], dict[str, bytes]]:
        return lambda asked: parts_of(Message(to_records(packet), reply_to=asked))

    assert pull(honest)
    with pytest.raises(Exception, match=r"more than 0\.0002 GB.*coreset-size"):
        pull(of(Packet({"plate": np.random.default_rng(0).normal(size=(9000, 7))})))
    monkeypatch.setattr("server_app.arrivals.HEADS", 50_000)
    with pytest.raises(Exception, match=r"texts and figures are of .* at most 50,000"):
        pull(of(Packet(texts={"site": "x" * 60_000})))
    monkeypatch.setattr("server_app.arrivals.PARTS", 5)
    with pytest.raises(Exception, match=r"of 7 parts, at most 5"):
        pull(honest)


def test_a_reply_speaks_for_the_node_that_was_asked_whatever_it_says() -> None:
    """Its head names another node as its source, and another message as asked."""

    def lying(asked: Message) -> dict[str, bytes]:
        reply = Message(content=to_records(Packet(texts={"site": "south"})), reply_to=asked)
        reply.metadata.__dict__["_src_node_id"] = 11
        reply.metadata.__dict__["_reply_to_message_id"] = "elsewhere"
        return parts_of(reply)

    found = Round().go({11: honest, 12: lying, 13: honest})
    assert found[12].texts["site"] == "south"
    assert found[11].texts["site"] == "north"


def test_a_reply_that_makes_the_superlink_stumble_costs_its_site_alone(monkeypatch) -> None:
    monkeypatch.setattr("server_app.grid.PATIENCE_SECONDS", 0.2)
    one = Round()

    def sick(asked: Message) -> dict[str, bytes]:
        parts = parts_of(Message(to_records(Packet({"x": ROWS + 1})), reply_to=asked))
        one.link.sick.add(list(parts)[-1])
        return parts

    found = one.go({11: honest, 12: sick, 13: honest})
    assert found[12] == "its reply is refused: the SuperLink answers 500 to it"
    assert set(found) == {11, 12, 13}


def test_a_superlink_that_answers_nobody_ends_the_run_with_its_own_name(monkeypatch) -> None:
    monkeypatch.setattr("server_app.grid.PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr("server_app.grid.PAUSE_SECONDS", 0.01)
    one = Round()
    one.link.down = True
    with pytest.raises(RunError, match="the SuperLink has answered 500"):
        one.go({11: honest})


@pytest.mark.parametrize("seed", range(60))
def test_parts_changed_at_random_are_taken_or_refused(seed: int) -> None:
    chance = random.Random(seed)

    def changed(asked: Message) -> dict[str, bytes]:
        parts = honest(asked)
        kind = chance.choice(("Message", "RecordDict", "ArrayRecord", "Array", "MetricRecord"))
        try:
            return remade(parts, kind, with_body(lambda body: mutated(body, chance)))
        except ValueError:  # a divider in the body
            return parts

    found = Round().go({11: honest, 12: changed, 13: honest})
    assert set(found) == {11, 12, 13}
    assert isinstance(found[11], Packet) and isinstance(found[13], Packet)


def test_what_fills_memory_is_an_error_here_and_not_the_systems_choice() -> None:
    with memory_limited(10**6), pytest.raises(MemoryError):  # less than is held already
        np.ones(10**8)
    assert np.ones(10**7).sum() == 10**7
