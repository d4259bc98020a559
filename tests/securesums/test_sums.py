"""The sum that opens is the plain sum, bit for bit, whoever dropped out when; or none opens."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations, product

import numpy as np
import pytest

from fedpatchcore.errors import QuorumError, SecureSumError
from fedpatchcore.securesums import masks, opening, server_half, shamir, site_half
from fedpatchcore.securesums.letters import EXCHANGES
from fedpatchcore.securesums.terms import Terms, least_openers, openers_among
from tests.support.secure import Party, party


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What depends on its arguments alone is computed once: the same secrets over many patterns."""
    agreed, derived = cache(masks.agreed), cache(masks.derived)
    for module in (masks, site_half):
        monkeypatch.setattr(module, "agreed", agreed)
        monkeypatch.setattr(module, "derived", derived)
    public_of = cache(masks.public_of)
    for module in (site_half, server_half):
        monkeypatch.setattr(module, "public_of", public_of)
    monkeypatch.setattr(site_half, "split", cache(shamir.split))
    yield


def patterns(names: tuple[str, ...], most: int) -> Iterator[dict[str, str]]:
    """Every way in which up to ``most`` sites leave, each before any of the five exchanges."""
    for count in range(most + 1):
        for who in combinations(names, count):
            for when in product(EXCHANGES, repeat=count):
                yield dict(zip(who, when, strict=True))


def summed(names: tuple[str, ...], gone: dict[str, str]) -> list[str]:
    """Sites whose masked vector came."""
    early = ("keys", "shares", "masked")
    return [n for n in names if gone.get(n) not in early]


def opened_as_it_must(one: Party, gone: dict[str, str]) -> bool:
    one.begin()
    there = summed(one.names, gone)
    try:
        total = one.run(gone=gone)
    except QuorumError:
        assert one.server.total is None
        return False
    assert np.array_equal(total, one.plain(there))
    assert one.server.masked == tuple(there)
    assert set(one.server.left) == set(gone)
    return True


@pytest.mark.parametrize(
    ("sites", "most"),
    [(3, 3), *(pytest.param(*one, marks=pytest.mark.long) for one in ((4, 4), (5, 3)))],
)
def test_every_pattern_of_sites_that_leave(quick: None, sites: int, most: int) -> None:
    """With ``most`` = n all 6^n of them: exact while t are left at each step, else closed."""
    openers = least_openers(sites, 0)
    one = party(sites, openers=openers, length=3)
    opened = closed = 0
    for gone in patterns(one.names, most):
        must = sites - len(gone) >= openers
        assert opened_as_it_must(one, gone) == must, gone
        opened, closed = opened + must, closed + (not must)
    assert opened == sum(1 for _ in patterns(one.names, sites - openers))
    assert opened + closed == sum(1 for _ in patterns(one.names, most))


@pytest.mark.parametrize(("sites", "openers"), [(6, 5), (7, 6)])
def test_up_to_as_many_may_leave_as_need_not_open(quick: None, sites: int, openers: int) -> None:
    one = party(sites, openers=openers, length=2, bits=32)
    for gone in patterns(one.names, sites - openers):
        assert opened_as_it_must(one, gone)
    for gone in patterns(one.names[: sites - openers + 1], sites):
        if len(gone) > sites - openers:
            assert not opened_as_it_must(one, gone)


def test_without_a_number_four_fifths_of_those_who_gave_keys_open() -> None:
    one = party(5)
    one.exchange(gone={"e": "keys"})
    assert one.server.openers == 4
    assert np.array_equal(one.run(), one.plain("abcd"))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("length", [1, 1000])
def test_of_many_sites_some_leave_at_each_step(bits: int, length: int) -> None:
    one = party(12, bits=bits, length=length, openers=8)
    gone = {"a": "shares", "b": "masked", "c": "agree", "d": "open"}
    assert np.array_equal(one.run(gone=gone), one.plain(one.names[2:]))
    assert one.server.opened == one.names[4:]


def test_signed_numbers_come_back_by_twos_complement() -> None:
    one = party(3)
    rng = np.random.default_rng(1)
    real = {n: rng.integers(-(2**40), 2**40, one.terms.length) for n in one.names}
    one.vectors = {n: v.view(np.uint64) for n, v in real.items()}
    assert np.array_equal(one.run().view(np.int64), sum(real.values()))


@pytest.mark.parametrize(
    ("sites", "colluding", "least"), [(2, 0, 2), (3, 0, 2), (3, 1, 3), (5, 1, 4), (10, 3, 7)]
)
def test_so_many_must_open_that_two_sets_share_an_honest_site(sites, colluding, least) -> None:
    assert least_openers(sites, colluding) == least
    honest = sites - colluding
    # two sets of t, colluding sites in both, honest ones in one: t − c each of the honest
    assert 2 * (least - colluding) > honest >= 2 * (least - 1 - colluding)
    assert openers_among(sites, least, colluding) == least
    with pytest.raises(SecureSumError, match=f"at least {least}"):
        openers_among(sites, least - 1, colluding)


@pytest.mark.parametrize(("sites", "wanted", "colluding"), [(3, 4, 0), (1, 0, 1), (2, 0, 2)])
def test_too_few_sites_for_a_sum(sites: int, wanted: int, colluding: int) -> None:
    with pytest.raises(SecureSumError, match="more sites, or smaller"):
        openers_among(sites, wanted, colluding)
    one = party(sites, openers=wanted, colluding=colluding)
    with pytest.raises(QuorumError, match="more sites, or smaller"):
        one.run()


def test_terms_that_are_none() -> None:
    for bad in ({"bits": 16}, {"length": 0}, {"openers": -1}, {"colluding": -1}):
        with pytest.raises(SecureSumError):
            Terms(**{"run": "r", "number": 1, "about": "", "length": 1, **bad})


def test_every_word_of_the_terms_is_in_the_session() -> None:
    base = {"run": "r", "number": 1, "about": "x", "length": 2, "openers": 3, "colluding": 1}
    other = {"run": "s", "number": 2, "about": "y", "length": 3, "openers": 4, "colluding": 2}
    sessions = {Terms(**base).session, Terms(**base, bits=32).session}
    sessions |= {Terms(**{**base, key: value}).session for key, value in other.items()}
    assert len(sessions) == len(base) + 2


# -- shares that were not dealt, or not handed back, as they should be ----------------------


def bent(row: np.ndarray) -> np.ndarray:
    changed = row.copy()
    changed[-1] ^= 1
    return changed


def lying(*liars: str, about: str):
    """Answers of the last exchange in which liars change their share of one site's secret."""

    def answers(exchange, site, letter):
        if exchange == "open" and site in liars:
            shares = letter.arrays["shares"].copy()
            at = letter.sites.index(about)
            shares[at] = bent(shares[at])
            return type(letter)("open", letter.sites, {"shares": shares})
        return letter

    return answers


@pytest.mark.parametrize("about", ["a", "c"])
@pytest.mark.parametrize("liars", [("b",), ("e",), ("f",)])
def test_lying_openers_are_found_where_enough_others_are_left(liars, about) -> None:
    one = party(6, openers=4)
    gone = {"c": "masked"}  # one secret of each kind
    total = one.run(gone=gone, answers=lying(*liars, about=about))
    assert np.array_equal(total, one.plain([n for n in one.names if n != "c"]))
    named = {site for site, why in one.server.left.items() if "fit nothing" in why}
    assert named == set(liars) - {"f"}  # a, b, d and e are enough: f's shares are not looked at
    assert not set(one.server.opened) & named


def test_too_many_lying_openers_leave_the_sum_closed() -> None:
    one = party(5, openers=4)
    with pytest.raises(SecureSumError, match="shares of site 'c' fit nothing"):
        one.run(answers=lying("a", "b", about="c"))
    assert one.server.total is None


def test_a_site_that_deals_another_secret_than_it_committed_to_closes_the_sum() -> None:
    one = party(4, openers=3)

    def answers(exchange, site, letter):
        if exchange == "shares" and site == "b":
            arrays = {**letter.arrays, "commitment": bent(letter.arrays["commitment"])}
            return type(letter)("shares", letter.sites, arrays)
        return letter

    with pytest.raises(SecureSumError, match="shares of site 'b' fit nothing"):
        one.run(answers=answers)
    assert opening.TRIES >= 1 and one.server.total is None
