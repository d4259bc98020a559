"""Formats of rows: what they promise of the error, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedpatchcore.bank.contribution import Contribution, Part
from fedpatchcore.errors import CoresetError
from fedpatchcore.features.fingerprint import Fingerprint
from fedpatchcore.robustness.validation import limits_of, screen
from fedpatchcore.wire.encoding import (
    Encoded,
    decode,
    encode,
    expands,
    frame,
    read_told,
    squeeze,
    take,
    unsqueeze,
)
from fedpatchcore.wire.messages import SectionStats, TrainReply
from fedpatchcore.wire.packet import Packet
from fedpatchcore.wire.packing import pack
from fedpatchcore.wire.train import unpack_train
from tests.support.names import LOSSY


def features(rows: int, columns: int = 24, seed: int = 0, *, layers: int = 2) -> np.ndarray:
    """Sparse, non-negative, each of the layers scaled to norm 1: as a network gives them."""
    rng = np.random.default_rng(seed)
    made = np.maximum(rng.normal(-0.3, 1, (rows, layers, columns // layers)), 0) + 1e-3
    made /= np.linalg.norm(made, axis=2, keepdims=True)
    return made.reshape(rows, -1).astype(np.float32)


def encodes(rows: np.ndarray) -> bool:
    """Rows all alike go as they are: their few bytes would look like a bomb."""
    return all(encode(rows, kind) is not None for kind in LOSSY)


any_rows = arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 9)),
    elements=st.one_of(
        st.just(0.0), st.floats(-100, 100, width=32), st.floats(-(2.0**40), 2.0**40, width=32)
    ),
).filter(encodes)


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.norm(a.astype(np.float64) - b.astype(np.float64), axis=1)


TINY = np.full((8, 5), 4.3115291e-40, np.float32)
TINY[0, 0], TINY[7, 0] = -1.7147476e07, 1.0


@given(rows=any_rows, kind=st.sampled_from(LOSSY))
@example(rows=TINY, kind="int8")
@example(rows=TINY[1:7], kind="pq")
def test_the_error_stated_is_the_largest_and_no_guess(rows: np.ndarray, kind: str) -> None:
    encoded = encode(rows, kind)
    seen = decode(encoded, columns=rows.shape[1])
    assert seen.shape == rows.shape
    assert seen.dtype == np.float32
    assert np.array_equal(seen, encoded.decoded)
    largest = distance(rows, seen).max()
    assert largest <= encoded.error <= largest * (1 + 1e-9) + 1e-300


@given(rows=any_rows)
def test_half_precision_keeps_eleven_bits_and_a_second_time_loses_nothing(rows) -> None:
    first = encode(rows, "float16")
    tiny = np.abs(rows).max() * 2.0**-38 * np.sqrt(rows.shape[1])
    assert first.error <= np.linalg.norm(rows.astype(float), axis=1).max() * 2.0**-11 + tiny
    second = encode(first.decoded, "float16")
    if second is not None and np.abs(first.decoded).min() > np.abs(rows).max() * 2.0**-20:
        assert second.error == 0


@given(rows=any_rows)
@example(rows=np.array([[1e-45], [0]], np.float32))
def test_int8_stays_within_half_a_step_of_each_column_twice(rows: np.ndarray) -> None:
    """Once for rounding, once for going back to the row's own length."""
    steps = (rows.max(0).astype(np.float64) - rows.min(0)) / 255
    norms = np.linalg.norm(rows.astype(np.float64), axis=1)
    slack = 1e-6 * np.abs(rows).max() + 2 * float(np.finfo(np.float32).smallest_subnormal)
    slack *= np.sqrt(rows.shape[1])
    assert encode(rows, "int8").error <= np.sqrt((steps**2).sum()) + 1.3e-4 * norms.max() + slack


def test_pq_decodes_as_its_codebook_says_and_beats_int8_in_bytes() -> None:
    rows = features(600, 25 * 2, layers=2)[:, :49]  # an odd number of columns
    encoded = encode(rows, "pq")
    exponent, words, norms, codes = unsqueeze(
        encoded.payload,
        [("<i4", (1,)), ("<f2", (25, 2, 16)), ("<f4", (600,)), ("u1", (25, 600))],
    )
    by_hand = np.array(
        [np.concatenate([words[p, :, codes[p, i]] for p in range(25)]) for i in range(600)],
        dtype=np.float64,
    )[:, :49] * 2.0 ** float(exponent[0])
    by_hand *= norms[:, None] / np.linalg.norm(by_hand, axis=1, keepdims=True)
    assert np.allclose(by_hand, decode(encoded, columns=49), atol=1e-5)
    nearest = ((rows[:, None, :2] - by_hand[None, :, :2]) ** 2).sum(2)  # codewords in use
    assert nearest.min(1).mean() < np.var(rows[:, :2])
    assert len(encoded.payload) < 0.7 * len(encode(rows, "int8").payload)
    assert distance(rows, encoded.decoded).mean() < 0.5 * distance(rows, rows[::-1]).mean()


@pytest.mark.parametrize("kind", LOSSY)
def test_what_was_decoded_is_still_what_the_backbone_can_produce(kind: str, backbone) -> None:
    """The server's checks of norms and signs need no slack for the wire."""
    limits = limits_of(backbone.fingerprint)  # one layer, unit norm, ReLU
    assert limits.nonnegative
    assert limits.whole_squares
    screen("a", "s", encode(features(400, layers=1), kind).decoded, limits)
    two = features(400, layers=2)
    off = np.linalg.norm(encode(two, kind).decoded, axis=1) - np.sqrt(2)
    assert np.abs(off).max() < 4e-4


def test_few_rows_go_finer_and_what_no_format_is_made_for_goes_as_it_is() -> None:
    assert encode(features(127), "pq").kind == "int8"
    assert encode(features(128), "pq").kind == "pq"
    assert encode(features(128), "float32") is None
    for strange in (np.nan, np.inf, 1e30):
        rows = features(200)
        rows[7, 3] = strange
        assert all(encode(rows, kind) is None for kind in LOSSY)
    alike = np.repeat(features(1), 4000, axis=0)  # their few bytes would look like a bomb
    assert encode(alike, "int8") is None


@given(rows=any_rows, kind=st.sampled_from(LOSSY), data=st.data())
def test_some_rows_taken_out_decode_to_the_same_bits(rows, kind, data) -> None:
    encoded = encode(rows, kind)
    which = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=50)))
    part = take(encoded, which)
    assert np.array_equal(decode(part, columns=rows.shape[1]), encoded.decoded[which])


@hypothesis_settings(max_examples=20)
@given(st.integers(128, 200), st.integers(0, 2**32 - 1))
def test_equal_rows_and_seed_give_equal_bytes(count: int, seed: int) -> None:
    rows = features(count)
    for kind in LOSSY:
        first, second = (encode(rows, kind, seed=seed) for _ in range(2))
        assert np.array_equal(first.payload, second.payload)


def tampered(kind: str, change) -> np.ndarray:
    """A payload of 130 rows of 24 columns with one of its arrays altered."""
    shapes = {
        "float16": [("<i4", (1,)), ("<f2", (24, 130))],
        "int8": [("<f4", (24,)), ("<f4", (24,)), ("<f4", (130,)), ("u1", (24, 130))],
        "pq": [("<i4", (1,)), ("<f2", (12, 2, 16)), ("<f4", (130,)), ("u1", (12, 130))],
    }[kind]
    inside = [a.copy() for a in unsqueeze(encode(features(130), kind).payload, shapes)]
    change(inside)
    return squeeze(*inside)


def put(at: int, value: float):
    return lambda inside: inside[at].reshape(-1).__setitem__(0, value)


INSIDE = {
    "a scale": ("float16", put(0, 4000), "scale"),
    "a column's lowest": ("int8", put(0, np.nan), "range"),
    "an infinite step": ("int8", put(1, np.inf), "range"),
    "a step backwards": ("int8", put(1, -1.0), "range"),
    "no norm": ("int8", put(2, np.nan), "norm"),
    "a negative norm": ("pq", put(2, -1.0), "norm"),
    "a codeword": ("pq", put(1, np.inf), "codebook"),
    "a code beyond": ("pq", put(3, 16), "codeword"),
    "a scale of words": ("pq", put(0, -(2**31)), "scale"),
    "one row less": ("int8", lambda inside: inside.__setitem__(3, inside[3][:, 1:]), "expected"),
}


def honest(kind: str = "int8") -> tuple[dict, np.ndarray]:
    encoded = encode(features(130), kind)
    return encoded.told(), encoded.payload


def frame_without_size(raw: bytes) -> np.ndarray:
    made = zstandard.ZstdCompressor(write_content_size=False).compress(raw)
    return np.frombuffer(made, np.uint8)


def hostile() -> dict[str, tuple[dict, np.ndarray, str]]:
    told, payload = honest()
    bomb = np.frombuffer(zstandard.ZstdCompressor().compress(bytes(10**8)), np.uint8)
    shaken = payload.copy()
    shaken[len(shaken) // 2 :] ^= 0x5A
    cases = {
        "cut short": (told, payload[:-9], "damaged or cut short"),
        "empty": (told, payload[:0], "damaged or cut short"),
        "something behind it": (told, np.concatenate([payload, payload]), "damaged"),
        "no frame": (told, np.arange(200, dtype=np.uint8), "damaged or cut short"),
        "floats": (told, payload.astype(np.float32), "uint8"),
        "a bomb": (told, bomb, "hold 100,000,000 bytes, expected"),
        "a bomb that says so": (told | {"rows": 10**6, "columns": 1000}, bomb, "claims"),
        "too many rows": (told | {"rows": 10**6}, payload, "claim"),
        "a few rows more": (told | {"rows": 131}, payload, "expected"),
        "size not stated": (told, frame_without_size(bytes(10**5)), "expected"),
        "no rows": (told | {"rows": 0}, payload, "rows"),
        "rows as text": (told | {"rows": "130"}, payload, "rows"),
        "columns": (told | {"columns": 23}, payload, "23 columns, expected 24"),
        "another format": (told | {"kind": "gif"}, payload, "kind"),
        "the wrong format": (told | {"kind": "pq"}, payload, "expected"),
        "negative error": (told | {"error": -1.0}, payload, "error"),
        "no error stated": ({k: v for k, v in told.items() if k != "error"}, payload, "error"),
        "NaN error": (told | {"error": float("nan")}, payload, "error"),
        "more than asked": (told | {"code": "import os"}, payload, "code"),
        "not a table": ([1], payload, ""),
    }
    for name, (kind, change, words) in INSIDE.items():
        cases[name] = (encode(features(130), kind).told(), tampered(kind, change), words)
    return cases


CASES = hostile()


@pytest.fixture(scope="module")
def fingerprint(backbone) -> Fingerprint:
    return backbone.fingerprint.model_copy(update={"dimension": 24})


def reply_with(told: object, payload: np.ndarray, fingerprint: Fingerprint) -> Packet:
    stats = (SectionStats("plate", 4, 4, 1, 0, 4, 0, 900, 130, 0.5),)
    part = Part(features(130), 4, 900, 0.5)
    given = Contribution("south", fingerprint, {"plate": part})
    packet = pack(TrainReply("south", "full", given, stats))
    packet.arrays["plate"] = payload
    packet.texts["wire"] = json.dumps({"plate": told})
    return packet


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_decoded_is_refused_in_one_line(name: str, fingerprint) -> None:
    told, payload, words = CASES[name]
    with pytest.raises(CoresetError, match=f"section 'plate' of site 'south'.*{words}") as found:
        unpack_train(reply_with(told, payload, fingerprint))
    assert "\n" not in str(found.value)


def test_many_parts_together_cannot_claim_what_none_may_alone(monkeypatch, fingerprint) -> None:
    parts = [Encoded("int8", 600_000, 24, 0.0, np.zeros(1000, np.uint8)) for _ in range(2)]
    assert not expands(parts[:1])
    assert expands(parts)
    monkeypatch.setattr(frame, "FREE_BYTES", 20_000)
    monkeypatch.setattr(frame, "EXPANSION", 1)
    encoded = encode(features(130)[:, :1], "int8")  # a little is always allowed
    assert encoded is not None
    packet = reply_with(*honest(), fingerprint)
    unpack_train(packet)
    stats = packet.numbers
    for key, values in stats.items():
        stats[key] = values * 2 if key not in ("seconds", "memory") else values
    packet.texts["sections"] = ["plate", "ring"]
    packet.arrays["ring"] = packet.arrays["plate"]
    packet.texts["wire"] = json.dumps(dict.fromkeys(("plate", "ring"), honest()[0]))
    with pytest.raises(CoresetError, match="far more than came"):
        unpack_train(packet)


@pytest.mark.parametrize("told", ["[1", "[]", '{"other": {}}'])
def test_a_table_of_encodings_that_fits_nothing_is_refused(told: str, fingerprint) -> None:
    packet = reply_with(*honest(), fingerprint)
    packet.texts["wire"] = told
    with pytest.raises(CoresetError, match="cannot be read"):
        unpack_train(packet)


@pytest.mark.parametrize("wire", ["float32", *LOSSY])
def test_a_reply_keeps_its_order_and_its_radius_stays_honest(wire: str, fingerprint) -> None:
    """Row i is still row i: any prefix is the coreset that the selection meant."""
    rows = features(130)
    stats = (SectionStats("plate", 4, 4, 1, 0, 4, 0, 900, 130, 0.5),)
    given = Contribution("south", fingerprint, {"plate": Part(rows, 4, 900, 0.5)})
    packet = pack(TrainReply("south", "full", given, stats), wire=wire)
    seen = unpack_train(packet)
    part, error = seen.contribution.parts["plate"], seen.travelled.errors["plate"]
    off = distance(rows, part.features)
    assert off.max() <= error
    nearest = distance(rows[:, None].repeat(130, 1).reshape(-1, 24), np.tile(rows, (130, 1)))
    apart = (nearest + 1e9 * np.eye(130).reshape(-1)).min()
    assert off.max() < apart / 2 or wire == "pq"  # each is nearest to itself
    assert part.radius == 0.5 + error
    assert seen.wire_bytes == packet.nbytes
    if wire == "float32":
        assert set(packet.texts) == {"site", "kind", "fingerprint", "sections"}
        assert packet.arrays["plate"] is rows
        assert (seen.wire_bytes, error, part.radius) == (rows.nbytes, 0.0, 0.5)
    else:
        assert seen.wire_bytes < seen.nbytes == rows.nbytes
        assert seen.travelled.kinds == {"plate": wire}


def test_rows_that_are_not_finite_reach_the_check_that_refuses_them(fingerprint) -> None:
    rows = features(130)
    rows[3, 4] = np.nan
    stats = (SectionStats("plate", 4, 4, 1, 0, 4, 0, 900, 130, 0.5),)
    given = Contribution("south", fingerprint, {"plate": Part(rows, 4, 900, 0.5)})
    seen = unpack_train(pack(TrainReply("south", "full", given, stats), wire="int8"))
    with pytest.raises(CoresetError, match="NaN or infinite"):
        seen.contribution.check()
    told, payload = honest()
    grown = tampered("int8", lambda inside: inside[1].__setitem__(slice(None), 3e38))
    assert len(grown) and len(payload)
    with pytest.raises(CoresetError, match="NaN or infinite|norm"):
        unpack_train(reply_with(told, grown, fingerprint)).contribution.check()


def test_what_stands_for_too_much_is_not_even_opened() -> None:
    told, payload = honest()
    big = read_told(told | {"rows": 10**6, "columns": 24}, payload)
    with pytest.raises(ValueError, match="claim to be 1,000,000 × 24"):
        decode(big, columns=24)
