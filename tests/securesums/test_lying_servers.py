"""A server that reorders, repeats, invents, forks or withholds is refused by the sites."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fedpatchcore.errors import QuorumError, SecureSumError
from fedpatchcore.securesums.circle import Circle, signed_keys
from fedpatchcore.securesums.letters import EXCHANGES, Letter
from tests.support.secure import invented, party, row_swapped, until


@pytest.mark.parametrize("first", [e for e in EXCHANGES if e != "keys"])
def test_out_of_turn(first: str) -> None:
    with pytest.raises(SecureSumError, match=f"for '{first}' out of turn, 'keys' is next"):
        party(3).sites["a"].answer(Letter(first))


@pytest.mark.parametrize("exchange", EXCHANGES[1:])
def test_the_same_question_has_the_same_answer_and_another_one_none(exchange: str) -> None:
    one = until(party(4), exchange)
    question = one.server.question("b")
    first = one.answer("b", question)
    assert one.answer("b", question).digest == first.digest
    with pytest.raises(SecureSumError, match=f"asks site 'b' for '{exchange}' again"):
        one.answer("b", replace(question, sites=question.sites[:-1]))


@pytest.mark.parametrize("now", EXCHANGES[1:])
def test_exchanges_in_another_order(now: str) -> None:
    """Whatever stage a sum is at: no later exchange comes early, and no earlier one is new."""
    one = until(party(4, openers=3), now)
    before = one.sites["a"].state()
    for exchange in EXCHANGES[EXCHANGES.index(now) + 1 :]:
        with pytest.raises(SecureSumError, match=f"'{exchange}' out of turn, '{now}' is next"):
            one.answer("a", replace(one.server.question("a"), exchange=exchange))
    for exchange in EXCHANGES[: EXCHANGES.index(now)]:
        with pytest.raises(SecureSumError, match=f"asks site 'a' for '{exchange}' again"):
            one.answer("a", Letter(exchange, ("a", "b", "zz")))
    assert one.sites["a"].state() == before
    assert np.array_equal(one.run(), one.plain(one.names))


ASKED = {
    "shares": ("keys", "signatures"),
    "masked": ("sealed",),
    "open": ("signatures",),
}


@pytest.mark.parametrize(("exchange", "key"), [(e, k) for e, keys in ASKED.items() for k in keys])
@pytest.mark.parametrize("bend", ["absent", "short", "wide", "kind", "text"])
def test_a_question_of_nonsense_is_refused_and_changes_nothing(exchange, key, bend) -> None:
    one = until(party(4), exchange)
    question, before = one.server.question("b"), one.sites["b"].state()
    array = question.arrays[key]
    bent = {
        "absent": None,
        "short": array[:-1],
        "wide": np.concatenate([array, array], axis=1),
        "kind": array.astype(np.float32),
        "text": "nonsense",
    }[bend]
    rest = {k: v for k, v in question.arrays.items() if k != key}
    with pytest.raises(SecureSumError, match=f"the server brings .*'{key}'"):
        one.answer("b", replace(question, arrays=rest | ({} if bent is None else {key: bent})))
    assert one.sites["b"].state() == before
    assert np.array_equal(one.run(), one.plain(one.names))


@pytest.mark.parametrize("key", ["keys", "signatures"])
def test_rows_of_two_sites_that_change_places(key: str) -> None:
    one = until(party(4), "shares")
    question = one.server.question("a")
    turned = question.arrays[key][[0, 2, 1, 3]]
    with pytest.raises(SecureSumError, match="keys of site 'b' were not signed by its key"):
        one.answer("a", replace(question, arrays={**question.arrays, key: turned}))


def test_a_fork_in_who_gave_shares_opens_nothing() -> None:
    """A site that masks with fewer others than they think: signatures are over its set, too."""
    one = until(party(5, openers=3), "masked")
    rows = one.server.question("a").arrays["sealed"]
    told = Letter("masked", tuple("abcd"), {"sealed": rows[:4]})

    def asks(exchange, site, letter):
        return told if (exchange, site) == ("masked", "a") else letter

    one.exchange(asks=asks)
    one.server._roster = None  # a server that lies does not look at signatures
    refused: dict[str, Exception] = {}
    one.exchange(
        refused=refused
    )  # it is asked for survivors among whom is one that it does not know
    assert "invents survivors: e" in str(refused.pop("a")) and not refused
    total = one.run(refused=refused)
    assert (total != one.plain(one.names)).all()  # the mask of a and e is left: no sum


@pytest.mark.parametrize("exchange", EXCHANGES[1:])
def test_a_server_that_asks_some_sites_no_further(exchange: str) -> None:
    """As if they had left: with t others the honest sum, below it none."""
    one = until(party(5, openers=4), exchange)
    one.exchange(asks=lambda now, site, letter: None if site == "e" else letter)
    there = "abcd" if exchange in ("shares", "masked") else "abcde"
    assert np.array_equal(one.run(), one.plain(there))
    one = until(party(5, openers=4), exchange)
    with pytest.raises(QuorumError, match="stays closed"):
        one.exchange(asks=lambda now, site, letter: None if site in "de" else letter)
    assert one.server.total is None


def test_no_exchange_at_all() -> None:
    with pytest.raises(SecureSumError, match="no exchange"):
        party(3).sites["a"].answer(Letter("tell me"))


def test_reordered_names() -> None:
    one = until(party(4), "shares")
    question = one.server.question("a")
    turned = replace(question, sites=question.sites[::-1])
    for bent in (turned, replace(question, sites=("a", "a", "b", "c"))):
        with pytest.raises(SecureSumError, match="twice or out of order"):
            one.answer("a", bent)
    for bent in ((), ("a", "b", "c", "\x1b[2J"), ("a", "b", "c", "\ud800")):
        with pytest.raises(SecureSumError, match="no names"):
            one.answer("a", replace(question, sites=bent))


def with_site(question: Letter, added: Letter) -> Letter:
    rows = {
        site: (question.arrays["keys"][at], question.arrays["signatures"][at])
        for at, site in enumerate(question.sites)
    }
    (name,) = added.sites
    rows[name] = added.arrays["keys"][0], added.arrays["signatures"][0]
    names = tuple(sorted(rows))
    arrays = {
        key: np.stack([rows[n][at] for n in names]) for at, key in enumerate(("keys", "signatures"))
    }
    return Letter("shares", names, arrays)


def test_an_invented_site_is_on_no_roster() -> None:
    one = until(party(4), "shares")
    bent = with_site(one.server.question("a"), invented(one, "zz"))
    with pytest.raises(SecureSumError, match="'zz' is not on the roster"):
        one.answer("a", bent)


def test_a_real_sites_name_with_keys_of_the_servers() -> None:
    one = until(party(4), "shares")
    bent = with_site(one.server.question("a"), invented(one, "b"))
    with pytest.raises(SecureSumError, match="keys of site 'b' were not signed by its key"):
        one.answer("a", bent)


def test_a_sites_own_name_with_other_keys() -> None:
    one = until(party(4), "shares")
    bent = with_site(one.server.question("a"), invented(one, "a", signer=one.identities["a"]))
    with pytest.raises(SecureSumError, match="keys of site 'a' that are not its own"):
        one.answer("a", bent)


def test_keys_of_another_sum_are_signed_for_that_one_alone() -> None:
    one, other = party(4), party(4)
    other.terms = replace(other.terms, number=2)
    other.begin()
    until(one, "shares")
    until(other, "shares")
    old = Circle.read(other.terms, other.server.question("b"), by="")
    added = Letter(
        "keys",
        ("b",),
        {
            "keys": np.frombuffer(old.keys[1], np.uint8)[None],
            "signatures": np.frombuffer(old.signatures[1], np.uint8)[None],
        },
    )
    with pytest.raises(SecureSumError, match="keys of site 'b' were not signed"):
        one.answer("a", with_site(one.server.question("a"), added))


def test_asked_and_left_out() -> None:
    one = until(party(4, openers=3), "shares")
    question = one.server.question("a")
    rest = {k: v[1:] for k, v in question.arrays.items()}
    with pytest.raises(SecureSumError, match="leaves site 'a' out"):
        one.answer("a", Letter("shares", question.sites[1:], rest))
    until(one, "agree")
    with pytest.raises(SecureSumError, match="leaves site 'a' out of survivors"):
        one.answer("a", Letter("agree", ("b", "c", "d")))


def test_a_fork_in_the_list_of_keys_is_found_when_shares_are_opened() -> None:
    """Two sites saw different lists: nothing that one sealed opens for the other."""
    one = party(5, openers=3)
    one.exchange()
    honest = one.server.question("a")
    short = Letter("shares", honest.sites[:-1], {k: v[:-1] for k, v in honest.arrays.items()})

    def asks(exchange, site, letter):
        return short if exchange == "shares" and site == "a" else letter

    def answers(exchange, site, letter):
        if site == "a" and exchange == "shares":  # a server would fill in the row that it lacks
            sealed = np.concatenate([letter.arrays["sealed"], np.zeros((1, 82), np.uint8)])
            return Letter("shares", honest.sites, {**letter.arrays, "sealed": sealed})
        return letter

    one.exchange(asks=asks, answers=answers)
    refused: dict[str, Exception] = {}
    with pytest.raises(QuorumError):
        one.exchange(refused=refused)
    assert "invents sharers: e" in str(refused["a"])
    assert all("shares of site 'a' do not open" in str(refused[s]) for s in "bcde")


def test_shares_of_another_receiver_do_not_open() -> None:
    one = until(party(4), "masked")
    question = one.server.question("a")
    other = one.server.question("b")
    bent = row_swapped(question, "sealed", 2, other.arrays["sealed"][2].tobytes())
    with pytest.raises(SecureSumError, match="shares of site 'c' do not open"):
        one.answer("a", bent)


@pytest.mark.parametrize("exchange", ["masked", "agree"])
def test_a_set_below_the_number_of_openers(exchange: str) -> None:
    one = until(party(5, openers=4), exchange)
    question = one.server.question("a")
    few = Letter(exchange, ("a", "b", "c"), {k: v[:3] for k, v in question.arrays.items()})
    with pytest.raises(SecureSumError, match="only 3 of 5 sites are left"):
        one.answer("a", few)


def test_survivors_that_gave_no_shares() -> None:
    one = party(5, openers=3)
    one.exchange()
    one.exchange(gone={"e": "shares"})
    one.exchange()
    with pytest.raises(SecureSumError, match="invents survivors: e"):
        one.answer("a", Letter("agree", ("a", "b", "e")))


def test_a_fork_in_who_is_left_opens_nothing() -> None:
    """Two sets of survivors: each needs 3 of 5 signatures, and an honest site signs one."""
    one = until(party(5, openers=3), "agree")
    sets = {"a": "abc", "b": "abc", "c": "cde", "d": "cde", "e": "cde"}

    def asks(exchange, site, letter):
        return Letter("agree", tuple(sets[site])) if exchange == "agree" else letter

    signed = {
        s: one.answer(s, asks("agree", s, Letter("agree"))).arrays["signatures"] for s in sets
    }
    for site in "ab":  # with the signatures of its own set, and whatever fills the third place
        for third in "cde":
            rows = np.concatenate([signed[s] for s in ("a", "b")] + [signed[third]])
            names = ("a", "b", third)
            if third != "c":
                with pytest.raises(SecureSumError, match="invents signers"):
                    one.answer(site, Letter("open", names, {"signatures": rows}))
                continue
            with pytest.raises(SecureSumError, match="survivors of site 'c' were not signed"):
                one.answer(site, Letter("open", names, {"signatures": rows}))
    rows = np.concatenate([signed[s] for s in "cde"])
    for site in "cde":  # the other set may open, and it alone
        one.answer(site, Letter("open", tuple("cde"), {"signatures": rows}))


def test_opening_with_too_few_or_false_signatures() -> None:
    one = until(party(5, openers=4), "open")
    question = one.server.question("a")
    few = Letter("open", question.sites[:3], {"signatures": question.arrays["signatures"][:3]})
    with pytest.raises(SecureSumError, match="only 3 of 5 sites are left as signers"):
        one.answer("a", few)
    for bent in (bytes(64), question.arrays["signatures"][0].tobytes()):
        with pytest.raises(SecureSumError, match="survivors of site 'b' were not signed"):
            one.answer("a", row_swapped(question, "signatures", 1, bent))


def test_no_second_opening_and_nothing_more_after_the_first() -> None:
    one = until(party(4, openers=3), "open")
    question = one.server.question("a")
    first = one.answer("a", question)
    assert one.answer("a", question).digest == first.digest
    fewer = Letter("open", question.sites[:3], {"signatures": question.arrays["signatures"][:3]})
    with pytest.raises(SecureSumError, match="again and in other words"):
        one.answer("a", fewer)
    with pytest.raises(SecureSumError, match="the sum is over for site 'a'"):
        one.answer("a", Letter("keys"))
    assert one.sites["a"].finished and one.sites["a"].state()["root"] == ""


def test_a_vector_that_changes_is_not_sent_again() -> None:
    one = until(party(4), "masked")
    question = one.server.question("a")
    one.answer("a", question)
    with pytest.raises(SecureSumError, match="another masked vector"):
        one.sites["a"].answer(question, lambda mask, _: mask + np.uint64(1))


@pytest.mark.parametrize("bad", [None, np.zeros(3, np.uint64), np.zeros(7, np.int64)])
def test_a_site_sends_no_wrong_vector(bad: object) -> None:
    one = until(party(4), "masked")
    with pytest.raises(SecureSumError, match="site 'a' would send"):
        one.sites["a"].answer(one.server.question("a"), lambda mask, _: bad)
    with pytest.raises(SecureSumError, match="no vector to add"):
        one.sites["a"].answer(one.server.question("a"))
    assert np.array_equal(one.run(), one.plain(one.names))  # nothing had changed


def test_a_low_order_key_agrees_on_nothing() -> None:
    one = party(3)
    bad = signed_keys(one.identities["b"], one.terms.session, "b", bytes(64))

    def answers(exchange, site, letter):
        return bad if site == "b" and exchange == "keys" else letter

    one.exchange(answers=answers)
    with pytest.raises(SecureSumError, match="site 'b' sent a key that agrees on nothing"):
        one.answer("a", one.server.question("a"))


def test_a_server_that_withholds_answers_learns_nothing() -> None:
    """Below t signatures, or below t openings, there is no sum; the masks hold."""
    for exchange in ("agree", "open"):
        one = until(party(5, openers=4), exchange)
        with pytest.raises(QuorumError, match="4 must open it: it stays closed"):
            one.exchange(gone={"a": exchange, "b": exchange})
        assert one.server.total is None
