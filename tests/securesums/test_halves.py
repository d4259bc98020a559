"""A site's half that is kept on disk goes on where it was, and says the same again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.letters import EXCHANGES
from fedpatchcore.securesums.site_half import SiteHalf
from tests.support.secure import Party, party, until


def reborn(one: Party, site: str) -> SiteHalf:
    """As another process finds it: from text."""
    state = json.loads(json.dumps(one.sites[site].state()))
    return SiteHalf.resumed(one.terms, site, one.identities[site], one.roster, state)


def test_a_site_that_is_restarted_before_each_question() -> None:
    one = party(5, openers=4, length=50)
    gone = {"e": "agree"}

    def asks(exchange, site, letter):
        one.sites[site] = reborn(one, site)
        return letter

    assert np.array_equal(one.run(asks=asks, gone=gone), one.plain(one.names))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_the_same_answer_after_a_restart(exchange: str) -> None:
    one = until(party(4, openers=3), exchange)
    question = one.server.question("b")
    first = one.answer("b", question)
    one.sites["b"] = reborn(one, "b")
    assert one.answer("b", question).digest == first.digest
    one.sites["b"] = reborn(one, "b")
    other = replace(question, sites=(*question.sites, "zz"))
    with pytest.raises(SecureSumError, match="again and in other words"):
        one.answer("b", other)


def test_a_refused_question_changes_nothing() -> None:
    one = until(party(4), "shares")
    before = one.sites["b"].state()
    with pytest.raises(SecureSumError):
        one.answer("b", replace(one.server.question("b"), sites=("b",)))
    assert one.sites["b"].state() == before
    assert np.array_equal(one.run(), one.plain(one.names))


def test_once_open_only_the_last_answer_is_kept() -> None:
    one = party(3)
    secrets = {k: one.sites["a"].state()["root"] for k in "a"}
    one.run()
    assert secrets["a"] not in json.dumps(one.sites["a"].state())


def test_states_of_other_terms_and_states_that_are_none() -> None:
    one = party(3)
    state = one.sites["a"].state()
    words = ("a", one.identities["a"], one.roster)
    with pytest.raises(SecureSumError, match="round 1 of this run on other terms"):
        SiteHalf.resumed(replace(one.terms, length=8), *words, state)
    for bad in ({}, {**state, "root": 5}, {**state, "heard": [{}]}, {**state, "root": "zz"}):
        with pytest.raises(SecureSumError, match="cannot be read"):
            SiteHalf.resumed(one.terms, *words, bad)
