"""Encodings of updates: bytes, expectation, error memory, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedpatchcore.errors import TrainingError
from fedpatchcore.learned.registry import UPDATE_WIRES
from fedpatchcore.learned.updates import BUCKET, Encoded, compress, decode, encode, layout_of

LIKE = {"b": np.zeros((30, 20), np.float32), "a": np.zeros((7,), np.float32)}
SIZE = 607


def change(seed: int = 0, scale: float = 1.0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {k: (scale * draw.standard_normal(v.shape)).astype(np.float32) for k, v in LIKE.items()}


def flat(arrays) -> np.ndarray:
    return np.concatenate([arrays[k].ravel() for k in sorted(arrays)]).astype(np.float64)


@pytest.mark.parametrize(
    ("wire", "nbytes"),
    [("float32", 4 * SIZE), ("float16", 2 * SIZE), ("int8", SIZE + 4 * 3), ("topk", 8 * 61)],
)
def test_bytes_are_what_they_should_be(wire: str, nbytes: int) -> None:
    sent = encode(change(), wire, seed=1, share=0.1)
    assert sent.nbytes == nbytes
    came = decode(sent, LIKE)
    assert list(came) == list(LIKE)
    assert all(came[k].shape == v.shape and came[k].dtype == np.float32 for k, v in LIKE.items())


def test_float32_is_exact_and_float16_to_half_a_thousandth() -> None:
    sent = change()
    assert np.array_equal(flat(decode(encode(sent, "float32", seed=0), LIKE)), flat(sent))
    came = flat(decode(encode(sent, "float16", seed=0), LIKE))
    assert np.all(np.abs(came - flat(sent)) <= np.abs(flat(sent)) / 2048 + 1e-7)
    assert not np.array_equal(came, flat(sent))


@given(st.integers(0, 2**31), st.floats(1e-6, 1e6))
def test_int8_is_within_a_level_and_seeded(seed: int, scale: float) -> None:
    sent = change(seed % 97, scale)
    one, again = (encode(sent, "int8", seed=seed) for _ in range(2))
    assert np.array_equal(one.arrays["codes"], again.arrays["codes"])
    level = np.repeat(one.arrays["scales"] / 127, BUCKET)[:SIZE]
    assert np.all(np.abs(flat(decode(one, LIKE)) - flat(sent)) <= level * (1 + 1e-4))


def test_int8_is_right_on_average() -> None:
    """QSGD's unbiasedness: the mean of many roundings is the number, within its standard error."""
    sent, draws = change(3), 4000
    total, one = np.zeros(SIZE), None
    for seed in range(draws):
        one = encode(sent, "int8", seed=seed)
        total += flat(decode(one, LIKE))
    level = np.repeat(one.arrays["scales"] / 127, BUCKET)[:SIZE].astype(np.float64)
    off = (total / draws - flat(sent)) / (level / 2 / np.sqrt(draws))  # in its largest std errors
    assert np.abs(off).max() < 5
    assert abs(off.mean()) < 5 / np.sqrt(SIZE)
    to_nearest = np.round(flat(sent) / level) * level - flat(sent)  # which the test would not pass
    assert np.abs(to_nearest / (level / 2 / np.sqrt(draws))).max() > 20


def test_int8_of_nothing_is_nothing() -> None:
    zero = {k: np.zeros_like(v) for k, v in LIKE.items()}
    assert not flat(decode(encode(zero, "int8", seed=0), LIKE)).any()


def test_topk_sends_the_largest_and_nothing_else() -> None:
    sent = change(5)
    came = flat(decode(encode(sent, "topk", seed=0, share=0.1), LIKE))
    order = np.argsort(-np.abs(flat(sent)))
    assert np.array_equal(came[order[:61]], flat(sent)[order[:61]])
    assert not came[order[61:]].any()
    least = encode(sent, "topk", seed=0, share=1e-6)
    assert len(least.arrays["positions"]) == 1


@pytest.mark.parametrize("wire", UPDATE_WIRES)
def test_what_was_left_out_is_what_the_memory_holds(wire: str) -> None:
    """Over rounds, what came plus the memory is what was meant."""
    memory, came, meant = None, np.zeros(SIZE), np.zeros(SIZE)
    for seed in range(6):
        meant += flat(change(seed))
        sent, memory = compress(change(seed), memory, wire, seed=seed, share=0.05)
        came += flat(decode(sent, LIKE))
        left = flat(memory) if memory else 0
        assert np.allclose(came + left, meant, atol=1e-4)
    assert (memory is None) == (wire == "float32")


@pytest.mark.parametrize("wire", ["float16", "int8", "topk"])
def test_error_memory_makes_descent_go_where_it_should(wire: str) -> None:
    """Gradient descent on Σ ½ d (x − b)²; without memory topk of a few never moves the others."""
    draw = np.random.default_rng(8)
    b, curve = draw.standard_normal(SIZE), draw.uniform(0.5, 1.0, SIZE)

    def descend(remember: bool, share: float) -> float:
        x, memory = np.zeros(SIZE), None
        for seed in range(400):
            step = -0.1 * curve * (x - b) + (0.05 * b if seed % 2 else -0.05 * b)  # and a sway
            parts = {"a": step[:7], "b": step[7:].reshape(30, 20)}
            parts = {k: v.astype(np.float32) for k, v in parts.items()}
            sent, left = compress(parts, memory, wire, seed=seed, share=share)
            memory = left if remember else None
            x = x + flat(decode(sent, LIKE))
        return float(np.linalg.norm(x - b) / np.linalg.norm(b))

    assert descend(True, 0.1) < 0.12
    if wire == "topk":
        assert descend(False, 0.1) > descend(True, 0.1) * 1.2


def spoilt() -> list[tuple[str, Encoded]]:
    whole, eighths, top = (
        encode(change(), w, seed=0, share=0.1) for w in ("float32", "int8", "topk")
    )
    at = top.arrays["positions"]

    def swap(sent: Encoded, **arrays) -> Encoded:
        return replace(sent, arrays={**sent.arrays, **arrays})

    nan = whole.arrays["values"].copy()
    nan[3] = np.nan
    return [
        ("another model", replace(whole, layout="0" * 16)),
        ("unknown encoding", replace(whole, wire="float8")),
        ("not finite", swap(whole, values=nan)),
        ("606 numbers for 607", swap(whole, values=whole.arrays["values"][1:])),
        ("its arrays are others", swap(whole, values=whole.arrays["values"].astype(np.float64))),
        ("its arrays are others", swap(whole, values=whole.arrays["values"].reshape(1, -1))),
        ("its arrays are others", swap(whole, more=np.zeros(1, np.float32))),
        ("606 codes", swap(eighths, codes=eighths.arrays["codes"][1:])),
        ("2 scales", swap(eighths, scales=eighths.arrays["scales"][1:])),
        ("out of range", swap(eighths, scales=-eighths.arrays["scales"])),
        ("out of range", swap(eighths, codes=np.full(SIZE, -128, np.int8))),
        ("positions", swap(top, positions=at[::-1].copy())),
        ("positions", swap(top, positions=at + np.int32(SIZE))),
        ("positions", swap(top, positions=at - np.int32(SIZE))),
        ("positions", swap(top, positions=at[:-1])),
        ("positions", swap(top, positions=at[:0], values=np.zeros(0, np.float32))),
    ]


@pytest.mark.parametrize(("told", "sent"), spoilt(), ids=range(len(spoilt())))
def test_what_no_site_of_ours_sends_is_refused(told: str, sent: Encoded) -> None:
    with pytest.raises(TrainingError, match=told):
        decode(sent, LIKE)


def test_a_model_of_as_many_numbers_is_another_model() -> None:
    turned = {"b": np.zeros((20, 30), np.float32), "a": LIKE["a"]}
    assert layout_of(turned) != layout_of(LIKE)
    with pytest.raises(TrainingError, match="another model"):
        decode(encode(change(), "float32", seed=0), turned)


def test_what_cannot_be_encoded_is_said() -> None:
    with pytest.raises(TrainingError, match="beyond float16"):
        encode(change(0, 1e6), "float16", seed=0)
    with pytest.raises(TrainingError, match="not finite"):
        encode({"a": np.array([np.inf], np.float32)}, "int8", seed=0)
