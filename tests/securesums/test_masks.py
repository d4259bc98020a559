"""Known answers of the parts, and masked vectors that look like nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.letters import Letter
from fedpatchcore.securesums.masks import (
    agreed,
    derived,
    expanded,
    opened,
    pair_mask,
    public_of,
    sealed,
    sealed_bytes,
    stream,
)
from fedpatchcore.securesums.shamir import COIN_BYTES, PRIME, SHARE_BYTES, Opener, split
from fedpatchcore.securesums.site_half import SiteHalf
from tests.support.secure import party, until

U64, U32 = np.dtype(np.uint64), np.dtype(np.uint32)


def test_the_stream_is_chacha20s() -> None:
    """RFC 8439, appendix A.1, vectors 1 and 2 (blocks 0 and 1 of the zero key)."""
    block0 = (
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
    )
    block1 = (
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )
    assert stream(bytes(32), 128).hex() == block0 + block1
    assert expanded(bytes(32), 2, U64).tolist() == [0x903DF1A0ADE0B876, 0x28BD8653E56A5D40]
    assert expanded(bytes(32), 3, U32).tolist() == [0xADE0B876, 0x903DF1A0, 0xE56A5D40]


def test_keys_agree_as_the_standard_says() -> None:
    """RFC 7748, section 6.1."""
    bob = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
    public = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    shared = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    assert agreed(bob, public, site="alice").hex() == shared
    assert (
        public_of(bob).hex() == "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    )


def test_shares_by_hand() -> None:
    """f(x) = 7 + 3x + 2x² at 1, 2, 3 is 12, 21, 34."""
    secret = (7).to_bytes(32, "big")
    coins = (2).to_bytes(COIN_BYTES, "big") + (3).to_bytes(COIN_BYTES, "big")
    shares = split(secret, 3, 3, coins)
    assert [int.from_bytes(s, "big") for s in shares] == [12, 21, 34]
    assert Opener([1, 2, 3]).secret(dict(enumerate(shares, 1))) == secret


def test_the_prime_is_the_least_above_all_secrets() -> None:
    sympy = pytest.importorskip("sympy")
    assert sympy.nextprime(2**256) == PRIME


@given(st.binary(min_size=32, max_size=32), st.integers(1, 6), st.integers(0, 3), st.integers(0))
def test_any_t_shares_open_and_fewer_tell_another_secret(secret, t, more, seed) -> None:
    shares = split(secret, t + more, t, Random(seed).randbytes(COIN_BYTES * (t - 1)))
    assert all(len(s) == SHARE_BYTES for s in shares)
    by_place = dict(enumerate(shares, 1))
    for places in combinations(by_place, t):
        assert Opener(places).secret({p: by_place[p] for p in places}) == secret
    if t > 1:
        places = tuple(by_place)[: t - 1]
        assert Opener(places).secret({p: by_place[p] for p in places}) != secret


def test_fewer_than_t_shares_fit_every_secret_equally() -> None:
    """With t = 2 one share is s + a: for each secret there is one a, so it tells nothing."""
    share = int.from_bytes(split(bytes(32), 2, 2, b"\x05" * COIN_BYTES)[0], "big")
    for secret in (0, 1, 2**255, 2**256 - 1):
        coin = ((share - secret) % PRIME).to_bytes(COIN_BYTES, "big")
        first = split(secret.to_bytes(32, "big"), 2, 2, coin)[0]
        assert int.from_bytes(first, "big") == share


def test_secrets_at_the_edges_and_shares_of_none() -> None:
    for secret in (bytes(32), b"\xff" * 32):
        shares = split(secret, 2, 2, b"\xff" * COIN_BYTES)
        assert Opener([1, 2]).secret(dict(enumerate(shares, 1))) == secret
    above = (2**256 + 5).to_bytes(33, "big")
    assert Opener([1]).secret({1: above}) is None
    for bad in (lambda: split(b"x", 2, 2, bytes(64)), lambda: split(bytes(32), 2, 3, bytes(128))):
        with pytest.raises(SecureSumError):
            bad()
    with pytest.raises(SecureSumError, match="random bytes"):
        split(bytes(32), 2, 2, b"")
    for places in ([1, 1], [0, 1]):
        with pytest.raises(SecureSumError, match="open nothing"):
            Opener(places)


def test_pairs_cancel_and_differ_by_session_and_pair() -> None:
    rng = np.random.default_rng(2)
    a, b, c = (rng.bytes(32) for _ in range(3))
    salt = rng.bytes(32)
    ab = pair_mask(a, public_of(b), salt, "a", "b", 9, U64)
    ba = pair_mask(b, public_of(a), salt, "b", "a", 9, U64)
    assert not (ab + ba).any()
    others = [
        pair_mask(a, public_of(b), rng.bytes(32), "a", "b", 9, U64),
        pair_mask(a, public_of(c), salt, "a", "c", 9, U64),
        pair_mask(a, public_of(b), salt, "a", "bb", 9, U64),
    ]
    assert all((one != ab).all() for one in others)


def test_what_is_sealed_opens_for_its_receiver_in_its_sum_alone() -> None:
    shared, salt, plain = bytes(32), b"s" * 32, b"p" * 66
    box = sealed(shared, salt, "a", "b", plain)
    assert len(box) == sealed_bytes(66) and opened(shared, salt, "a", "b", box) == plain
    flipped = bytes([box[0] ^ 1]) + box[1:]
    for words in (
        (shared, salt, "b", "a", box),
        (shared, b"t" * 32, "a", "b", box),
        (b"k" * 32, salt, "a", "b", box),
        (shared, salt, "a", "b", flipped),
    ):
        with pytest.raises(SecureSumError, match=f"shares of site '{words[2]}' do not open"):
            opened(*words)


def test_derived_keys_are_framed() -> None:
    """No two lists of words run together into one."""
    assert derived(b"k" * 32, b"s", "ab", "c") != derived(b"k" * 32, b"s", "a", "bc")


# -- uniform ----------------------------------------------------------------------------------


def bytes_of(vectors: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([v.view(np.uint8) for v in vectors])


@pytest.mark.parametrize("gone", [0, 1])
def test_masked_vectors_are_uniform_whatever_they_hide(gone: int) -> None:
    """Constant vectors, 10⁶ bytes: each byte value equally often, also of the differences."""
    sent: dict[str, np.ndarray] = {}
    one = party(4, length=2**15, openers=3)
    one.vectors = {n: np.full(2**15, 7, np.uint64) for n in one.names}

    def answers(exchange, site, letter):
        if exchange == "masked":
            sent[site] = letter.arrays["values"].copy()
        return letter

    total = one.run(answers=answers, gone=dict.fromkeys(one.names[:gone], "agree"))
    assert (total == 7 * 4).all()
    alone = list(sent.values())
    apart = [a - b for a, b in combinations(alone, 2)] + [alone[0] + alone[1] + alone[2]]
    for vectors in (alone, apart):
        assert stats.chisquare(np.bincount(bytes_of(vectors), minlength=256)).pvalue > 1e-3


def test_no_share_of_masks_is_uniform_by_accident() -> None:
    """What is left when one mask is taken off is uniform still: both kinds are needed."""
    one = until(party(3, length=2**15), "masked")
    one.vectors = {n: np.zeros(2**15, np.uint64) for n in one.names}
    half = one.sites["a"]
    masked = one.answer("a", one.server.question("a")).arrays["values"]
    own = expanded(half._secret("self"), 2**15, U64)
    left = masked - own
    assert stats.chisquare(np.bincount(left.view(np.uint8), minlength=256)).pvalue > 1e-3
    circle = half._circle()
    for other in "bc":
        left = left - pair_mask(
            half._secret("masking"), circle.masking(other), circle.salt, "a", other, 2**15, U64
        )
    assert not left.any()


# -- nothing twice ----------------------------------------------------------------------------


def everything_said(one, number: int) -> dict[str, list[Letter]]:
    one.terms = replace(one.terms, number=number)
    one.begin()
    said: dict[str, list[Letter]] = {}

    def answers(exchange, site, letter):
        said.setdefault(exchange, []).append(letter)
        return letter

    one.run(answers=answers)
    return said


def test_no_secret_is_used_again_in_another_round() -> None:
    """Even from one root (which is drawn anew each round) nothing that is said recurs."""
    one = party(4, length=64)
    first, second = (everything_said(one, number) for number in (1, 2))
    for exchange in first:
        for key in first[exchange][0].arrays:
            rows = [
                row.tobytes()
                for said in (first, second)
                for letter in said[exchange]
                for row in np.atleast_2d(letter.arrays[key])
                if row.any()
            ]
            assert len(set(rows)) == len(rows), (exchange, key)


def test_roots_are_drawn_anew() -> None:
    one = party(3)
    roots = {
        SiteHalf(one.terms, "a", one.identities["a"], one.roster).state()["root"] for _ in range(20)
    }
    assert len(roots) == 20 and all(len(r) == 64 for r in roots)
