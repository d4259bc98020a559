"""A site that talks nonsense, twice or late is refused by name, and the sum goes on without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpatchcore.errors import QuorumError, SecureSumError
from fedpatchcore.securesums.letters import EXCHANGES, Letter
from fedpatchcore.securesums.roster import Identity, Roster
from fedpatchcore.securesums.server_half import ServerHalf
from fedpatchcore.securesums.site_half import SiteHalf
from tests.support.secure import invented, party, row_swapped, until

NONSENSE = {
    "keys": ("keys", "signatures"),
    "shares": ("sealed", "commitment"),
    "masked": ("values",),
    "agree": ("signatures",),
    "open": ("shares",),
}


@pytest.mark.parametrize(
    ("exchange", "key"), [(e, k) for e, keys in NONSENSE.items() for k in keys]
)
@pytest.mark.parametrize("bend", ["absent", "short", "wide", "kind", "text"])
def test_nonsense_is_refused_by_name_and_the_sum_goes_on(exchange, key, bend) -> None:
    one = party(5, openers=4)

    def answers(now, site, letter):
        if now != exchange or site != "c":
            return letter
        array = letter.arrays[key]
        changed = {
            "short": array[:-1],
            "wide": np.concatenate([array, array]),
            "kind": array.astype(np.float32),
            "text": "nonsense",
        }
        rest = {k: v for k, v in letter.arrays.items() if k != key}
        if bend != "absent":
            rest[key] = changed[bend]
        return replace(letter, arrays=rest)

    refused: dict[str, Exception] = {}
    total = one.run(answers=answers, refused=refused)
    assert set(refused) == {"c"} and isinstance(refused["c"], SecureSumError)
    assert "site 'c'" in str(refused["c"]) and "\n" not in str(refused["c"])
    there = "abde" if exchange in ("keys", "shares", "masked") else "abcde"
    assert np.array_equal(total, one.plain(there))
    assert one.server.left["c"] == str(refused["c"])


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_second_answer_counts_for_nothing(exchange: str) -> None:
    one = until(party(4), exchange)
    answer = one.answer("a", one.server.question("a"))
    one.server.take("a", answer)
    with pytest.raises(SecureSumError, match=f"site 'a' answers '{exchange}' twice"):
        one.server.take("a", answer)
    for site in "bcd":
        one.server.take(site, one.answer(site, one.server.question(site)))
    one.server.close()
    assert "a" not in one.server.left
    if one.server.exchange:
        one.run()
    assert np.array_equal(one.server.total, one.plain(one.names))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_a_late_answer_is_refused(exchange: str) -> None:
    one = party(5, openers=4)
    late: list[Letter] = []

    def answers(now, site, letter):
        if now == exchange and site == "b":
            late.append(letter)
            return None
        return letter

    until(one, exchange).exchange(answers=answers)
    now = f"this is '{one.server.exchange}'" if one.server.exchange else "the sum is over"
    with pytest.raises(SecureSumError, match=f"site 'b' is late: .* '{exchange}', {now}"):
        one.server.take("b", late[0])
    assert one.server.left["b"] == f"no answer in '{exchange}'"
    total = one.run()
    there = "acde" if exchange in ("keys", "shares", "masked") else "abcde"
    assert np.array_equal(total, one.plain(there))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_answer_of_another_exchange_is_refused(exchange: str) -> None:
    """Whatever a site said before, or would say in another sum, is no answer now."""
    one, other = party(5, openers=4), party(5, openers=4)
    wrong = EXCHANGES[EXCHANGES.index(exchange) - 1]
    stale = until(other, wrong).answer("d", other.server.question("d"))

    def answers(now, site, letter):
        return stale if (now, site) == (exchange, "d") else letter

    refused: dict[str, Exception] = {}
    total = one.run(answers=answers, refused=refused)
    assert set(refused) == {"d"} and f"'{wrong}', this is '{exchange}'" in str(refused["d"])
    there = "abce" if exchange in ("keys", "shares", "masked") else "abcde"
    assert np.array_equal(total, one.plain(there))


def test_an_answer_of_nobody_who_was_asked() -> None:
    one = party(4)
    with pytest.raises(SecureSumError, match="site 'x' answers and was not asked"):
        one.server.take("x", one.answer("a", Letter("keys")))
    with pytest.raises(SecureSumError, match="brings keys of other sites"):
        one.server.take("b", one.answer("a", Letter("keys")))


def test_a_server_with_a_roster_turns_false_keys_and_signatures_away() -> None:
    one = party(5, openers=4)
    bad = invented(one, "b")

    def answers(exchange, site, letter):
        if exchange == "keys" and site == "b":
            return bad
        if exchange == "agree" and site == "c":
            return row_swapped(letter, "signatures", 0, bytes(64))
        return letter

    refused: dict[str, Exception] = {}
    with pytest.raises(QuorumError):
        one.run(answers=answers, refused=refused)
    assert "keys of site 'b' were not signed by its key" in str(refused["b"])
    assert "survivors of site 'c' were not signed by its key" in str(refused["c"])


def test_a_site_whose_key_the_roster_does_not_hold_refuses() -> None:
    one = party(3)
    for roster in (
        Roster({k: v for k, v in one.roster.keys.items() if k != "a"}),
        Roster({**one.roster.keys, "a": Identity(bytes(32)).public}),
    ):
        with pytest.raises(SecureSumError, match="does not hold the key of site 'a'"):
            SiteHalf(one.terms, "a", one.identities["a"], roster)


def test_rosters_that_are_none() -> None:
    key = Identity(bytes(32)).public
    for keys, told in (
        ({"a": key, "b": key}, "one key"),
        ({"a\n": key}, "no site"),
        ({"a": b"short"}, "key of site 'a' is none"),
    ):
        with pytest.raises(SecureSumError, match=told):
            Roster(keys)


def test_a_server_without_a_roster_leaves_it_to_the_sites() -> None:
    one = party(3)
    one.server = ServerHalf(one.terms, one.names)
    assert np.array_equal(one.run(), one.plain(one.names))
