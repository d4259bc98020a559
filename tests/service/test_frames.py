"""Frames of worker and node: what goes in comes out, and what is no frame is refused cheaply."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from safetensors.numpy import load, save

from fedpatchcore.errors import WorkerAway, WorkerError
from fedpatchcore.service import frames
from fedpatchcore.service.bodies import pack_body, pieces_of, unpack_body
from fedpatchcore.service.frames import Kind, read_frame, write_frame

HEAD = struct.Struct("<4sBBHQ")
KINDS = (
    "?",
    *(f"{order}{kind}" for order in "<>" for kind in ("f2", "f4", "f8", "i2", "i4", "i8")),
    *("<u2", ">u2", "<u4", "<u8", "i1", "u1", "<c8"),
)
SHAPES = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = socket.socketpair()
    with here, there:
        there.settimeout(5)
        yield here, there


def head(
    length: int, *, kind: int = Kind.REQUEST, version: int = 1, magic: bytes = b"FPCW"
) -> bytes:
    return HEAD.pack(magic, version, kind, 0, length)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal kind, shape and bits, whatever the order of bytes and axes in memory."""
    straight = [np.ascontiguousarray(a).astype(a.dtype.newbyteorder("<")) for a in (one, other)]
    bits = [a.tobytes() for a in straight]
    return (
        one.shape == other.shape and straight[0].dtype == straight[1].dtype and bits[0] == bits[1]
    )


@given(array=st.sampled_from(KINDS).flatmap(lambda kind: arrays(np.dtype(kind), SHAPES)))
@example(array=np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)))
@example(array=np.arange(24, dtype=">u2").reshape(2, 3, 4).transpose(2, 0, 1))
@example(array=np.arange(10)[::-3])
@example(array=np.array(7.5, dtype=">f4"))
@example(array=np.zeros((0, 5), np.float16))
@example(array=np.array([np.nan, -0.0, np.inf], np.float32))
def test_an_array_of_any_kind_and_shape_comes_back_to_the_bit(array: np.ndarray) -> None:
    _, found = unpack_body(pack_body({}, {"a": array}))
    assert same(found["a"], array)


plain = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=("Cs",))),
)


@given(told=st.dictionaries(st.text(st.characters(exclude_categories=("Cs",))), st.lists(plain)))
def test_plain_values_come_back_equal_and_of_the_same_type(told: dict) -> None:
    found, _ = unpack_body(pack_body(told, {}))
    assert found == told
    assert repr(found) == repr(told)  # 1, 1.0 and True are equal


def test_numbers_of_numpy_travel_as_pythons_own_of_the_same_value() -> None:
    given = [np.float32(0.1), np.float64(0.1), np.int64(-3), np.uint8(255), np.bool_(True)]
    found, _ = unpack_body(pack_body({"n": given, "pair": (1, 2)}, {}))
    assert found["n"] == [float(np.float32(0.1)), 0.1, -3, 255, True]
    assert [type(one) for one in found["n"]] == [float, float, int, int, bool]
    assert found["pair"] == [1, 2]
    found, _ = unpack_body(pack_body({"n": [math.nan, math.inf, -0.0]}, {}))
    assert repr(found["n"]) == "[nan, inf, -0.0]"


@pytest.mark.parametrize(
    ("told", "arrays_"),
    [
        ({}, {"a": np.array(["text"])}),
        ({}, {"a": np.array([object()])}),
        ({"a": object()}, {}),
        ({"a": b"bytes"}, {}),
        ({"a": {1, 2}}, {}),
    ],
)
def test_what_cannot_travel_is_said(told: dict, arrays_: dict) -> None:
    with pytest.raises(WorkerError, match="cannot travel"):
        pack_body(told, arrays_)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_frame_of_every_kind_comes_through_a_socket(pair: Pair, kind: Kind) -> None:
    here, there = pair
    told, rows = {"phase": "extract", "at": 3}, np.arange(6, dtype=np.float32).reshape(2, 3)
    if kind in frames.WITH_ARRAYS:
        write_frame(here, kind, body=pack_body(told, {"rows": rows}))
    else:
        write_frame(here, kind, told)
    write_frame(here, Kind.CANCEL)
    frame = read_frame(there)
    assert (frame.kind, dict(frame.told)) == (kind, told)
    assert [same(rows, one) for one in frame.arrays.values()] == [True] * len(frame.arrays)
    assert read_frame(there).kind == Kind.CANCEL  # nothing of the first was left over


# -- what is no frame -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "no message of FedPatchCore"),
        (head(0, version=2), r"different protocols \(2, here 1\): install one version"),
        (head(0, kind=77), "unknown kind 77"),
        (head(2) + b"{}", "damaged"),
        (head(5, kind=Kind.HEALTH) + b"[1,2]", "damaged"),
        (head(2, kind=Kind.HEALTH) + b"\xff\xfe", "damaged"),
        (head(200_000, kind=Kind.HEALTH) + b"[" * 200_000, "damaged"),
        (head(1 << 41), r"a message of 2,199,023,255,552 bytes; 1,048,576 is the most"),
        (head(2**64 - 1, kind=Kind.HEALTH), "is the most taken here"),
        (head((1 << 20) + 1, kind=Kind.CANCEL), "is the most taken here"),
    ],
)
def test_what_is_no_frame_is_refused_in_one_line(pair: Pair, sent: bytes, words: str) -> None:
    here, there = pair
    threading.Thread(target=here.sendall, args=(sent,), daemon=True).start()
    with pytest.raises(WorkerError, match=words) as told:
        read_frame(there, largest=1 << 20)
    assert not isinstance(told.value, WorkerAway)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 400


@pytest.mark.parametrize("sent", [b"", b"FPC", head(100), head(100) + b"x" * 99])
def test_a_caller_that_leaves_in_the_middle_is_away(pair: Pair, sent: bytes) -> None:
    here, there = pair
    here.sendall(sent)
    here.close()
    with pytest.raises(WorkerAway, match="closed it"):
        read_frame(there)


def test_a_length_that_is_announced_takes_no_memory(pair: Pair) -> None:
    here, there = pair
    here.sendall(head(1 << 39) + b"x" * 1000)
    here.close()
    tracemalloc.start()
    try:
        with pytest.raises(WorkerAway):
            read_frame(there, largest=1 << 40)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_a_body_is_held_once_while_it_is_sent_and_read(pair: Pair) -> None:
    """64 MB of rows: the sender makes no copy, the receiver holds its buffer and nothing beside.

    The buffer grows as bytes come, by an eighth at a time.
    """
    here, there = pair
    rows = {str(at): np.full((1000, 2000), at, np.float32) for at in range(8)}
    size = sum(one.nbytes for one in rows.values())

    def send() -> None:
        write_frame(here, Kind.REQUEST, body=pieces_of({"verb": "train"}, rows))

    tracemalloc.start()
    try:
        thread = threading.Thread(target=send)
        thread.start()
        frame = read_frame(there, largest=1 << 30)
        thread.join()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size <= peak < 1.2 * size
    assert held < 1.2 * size
    assert all(same(rows[key], frame.arrays[key]) for key in rows)


def test_silence_and_a_trickle_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = pair
    there.settimeout(0.2)
    here.sendall(b"FPCW")
    with pytest.raises(WorkerAway, match="fell silent"):
        read_frame(there)
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.05):
            here.sendall(b"F")  # never silent for as long as the socket's timeout

    monkeypatch.setattr(frames, "MAGIC", b"FFFF")
    monkeypatch.setattr(frames, "SLOWEST", 1e9)
    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        started = time.monotonic()
        with pytest.raises(WorkerAway, match="fell silent"):
            read_frame(there)
        assert time.monotonic() - started < 5
        assert there.gettimeout() == 0.2  # as it was
    finally:
        ended.set()
        thread.join()


# -- bodies that were damaged ---------------------------------------------------------------

BODY = pack_body(
    {"verb": "train", "numbers": {"n": [1, 2.5]}, "texts": {"bank": "x" * 50}},
    {"plate": np.arange(12, dtype=np.float32).reshape(3, 4), "origin": np.arange(3)},
)


def sound(body: bytes) -> None:
    """It is refused with one typed line, or read as a table and arrays."""
    try:
        told, found = unpack_body(body)
    except WorkerError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 400
        return
    assert isinstance(told, dict)
    assert sum(one.nbytes for one in found.values()) <= len(body)


@given(body=st.binary(max_size=200))
@example(body=b"")
@example(body=b"\0" * 7)
@example(body=(2**63).to_bytes(8, "little") + b"{}")
@example(body=(2).to_bytes(8, "little") + b"{}")
@example(body=(2).to_bytes(8, "little") + b"[]")
@example(body=(4).to_bytes(8, "little") + b"null")
def test_random_bytes(body: bytes) -> None:
    sound(body)


@given(at=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_one_bit_that_turned(at: int, bit: int) -> None:
    turned = bytearray(BODY)
    turned[at] ^= 1 << bit
    sound(bytes(turned))


@given(cut=st.integers(0, len(BODY) - 1))
def test_a_body_cut_short_is_never_taken(cut: int) -> None:
    with pytest.raises(WorkerError):
        unpack_body(BODY[:cut])


@given(
    told=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3),
    given=st.dictionaries(
        st.text(max_size=5),
        st.sampled_from(KINDS).flatmap(lambda k: arrays(np.dtype(k), SHAPES)),
        max_size=4,
    ),
)
@example(told={}, given={"one": np.arange(3, dtype=np.int8), "other": np.arange(5.0)})
def test_a_body_is_a_safetensors_file_both_ways(told: dict, given: dict) -> None:
    """The library reads what is written here, and what it writes is read here."""
    given = {key: np.ascontiguousarray(one) for key, one in given.items()}
    given = {key: one.astype(one.dtype.newbyteorder("<")) for key, one in given.items()}
    body = pack_body(told, given)
    assert sorted(load(body)) == sorted(given)
    assert all(same(one, given[key]) for key, one in load(body).items())
    back, found = unpack_body(save(given, metadata={"told": json.dumps(told)}))
    assert back == told
    assert all(same(found[key], given[key]) for key in given)
    assert all(one.flags.aligned for one in found.values())


def raw(header: str, data: bytes = b"") -> bytes:
    head = header.encode()
    return len(head).to_bytes(8, "little") + head + data


@pytest.mark.parametrize(
    "body",
    [
        raw('{"__metadata__":{"told":"{}"},"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'),
        raw(
            '{"__metadata__":{"told":"{}"},"a":{"dtype":"F32","shape":[4294967296,4294967296],'
            '"data_offsets":[0,0]}}'
        ),
        raw('{"__metadata__":{"told":"{}"},"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'),
        raw('{"__metadata__":{"told":"{}"},"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}')
        + b"xx",
        raw('{"__metadata__":{"told":"{}"}}', b"left over"),
        raw('{"__metadata__":{"told":"{}"},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}')
        + b"12345678",
        raw(
            '{"__metadata__":{"told":"{}"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
            '"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            b"1234",
        ),
        raw(
            '{"__metadata__":{"told":"{}"},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
            '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
            b"1234",
        ),
        raw(
            '{"__metadata__":{"told":"{}"},"a":{"dtype":"F32","shape":[0,'
            + "9" * 30
            + '],"data_offsets":[0,0]}}'
        ),
        raw(
            '{"__metadata__":{"told":"{}"},"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}'
        )
        + b"1234",
        raw('{"__metadata__":{"told":"{}"},"a":7}'),
        raw('{"__metadata__":{"told":7}}'),
        raw("[]"),
        raw('{"__metadata__":{"told":"[]"}}'),
        raw('{"__metadata__":{"told":"7"}}'),
        raw('{"__metadata__":{"told":"' + "[" * 100_000 + '"}}'),
        raw('{"__metadata__":{"told":"' + "9" * 100_000 + '"}}'),
        raw('{"__metadata__":{"other":"{}"}}'),
        raw('{"a":' + "[" * 100_000),
        raw("{}"),
    ],
)
def test_a_body_that_lies_of_itself_is_refused(body: bytes) -> None:
    with pytest.raises(WorkerError, match="damaged|says nothing"):
        unpack_body(body)


def test_two_values_under_one_name_are_one_value() -> None:
    """Whichever is taken, there is one: nothing is checked on the one and done with the other."""
    body = raw('{"__metadata__":{"told":"{\\"verb\\":\\"facts\\",\\"verb\\":\\"train\\"}"}}')
    told, _ = unpack_body(body)
    assert told == {"verb": "train"}
    twice = raw('{"__metadata__":{"told":"{}"},"__metadata__":{"told":"[]"}}')
    with pytest.raises(WorkerError):
        unpack_body(twice)


def test_arrays_come_in_the_order_of_their_names() -> None:
    names = [f"{at}" for at in range(50)]
    for order in (names, names[::-1]):
        found = unpack_body(pack_body({}, {name: np.zeros(1) for name in order}))[1]
        assert list(found) == sorted(names)


def test_many_arrays_and_long_names() -> None:
    name = "n" * 1_000_000
    _, found = unpack_body(pack_body({}, {name: np.arange(2)}))
    assert list(found) == [name]
    many = {str(at): np.zeros(0, np.float32) for at in range(5000)}
    assert len(unpack_body(pack_body({}, many))[1]) == 5000
