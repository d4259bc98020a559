"""Secure sums among sites in one process, with sites that drop out and messages that are bent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedpatchcore.deploy.certs import make_authority, make_site
from fedpatchcore.deploy.rosters import make_roster
from fedpatchcore.securesums.circle import signed_keys
from fedpatchcore.securesums.letters import Letter
from fedpatchcore.securesums.masks import public_of
from fedpatchcore.securesums.roster import Identity, Roster
from fedpatchcore.securesums.server_half import ServerHalf
from fedpatchcore.securesums.site_half import SiteHalf
from fedpatchcore.securesums.terms import Terms

__all__ = ["Party", "invented", "party", "row_swapped", "until", "with_rosters"]

Bend = Callable[[str, str, Letter], Letter | None]  # exchange, site, letter


class Party:
    """Sites with their vectors, and a server; ``rng`` makes roots and vectors, for tests alone."""

    def __init__(self, terms: Terms, names: Sequence[str], rng: np.random.Generator) -> None:
        self.terms, self.names = terms, tuple(names)
        self.identities = {name: Identity(rng.bytes(32)) for name in names}
        self.roster = Roster({name: one.public for name, one in self.identities.items()})
        self.roots = {name: rng.bytes(32) for name in names}
        top = np.iinfo(terms.dtype).max
        self.vectors = {
            name: rng.integers(0, top, terms.length, terms.dtype, endpoint=True) for name in names
        }
        self.begin()

    def begin(self) -> None:
        """Fresh halves with the same secrets."""
        self.sites = {
            name: SiteHalf(
                self.terms, name, self.identities[name], self.roster, root=self.roots[name]
            )
            for name in self.names
        }
        self.server = ServerHalf(self.terms, self.names, self.roster)

    def plain(self, names: Sequence[str]) -> np.ndarray:
        """The sum of these sites' vectors, modulo 2^b."""
        return np.sum([self.vectors[n] for n in names], axis=0, dtype=self.terms.dtype)

    def answer(self, site: str, question: Letter) -> Letter:
        """What an honest site says."""
        return self.sites[site].answer(question, lambda mask, _: self.vectors[site] + mask)

    def exchange(
        self,
        gone: Mapping[str, str] = {},
        asks: Bend = lambda exchange, site, letter: letter,
        answers: Bend = lambda exchange, site, letter: letter,
        refused: dict[str, Exception] | None = None,
    ) -> None:
        """One exchange, its end included.

        Args:
            gone: by site the exchange that it does not answer.
            asks, answers: bend a question or an answer; None loses it.
            refused: takes what sites and server raise, by site; else it passes through.
        """
        now = self.server.exchange
        for site in self.server.asked:
            if gone.get(site) == now:
                continue
            try:
                question = asks(now, site, self.server.question(site))
                if question is None:
                    continue
                answer = answers(now, site, self.answer(site, question))
                if answer is not None:
                    self.server.take(site, answer)
            except Exception as error:
                if refused is None:
                    raise
                refused[site] = error
        self.server.close()

    def run(self, **words) -> np.ndarray:
        """All exchanges that are left; the sum."""
        while self.server.exchange:
            self.exchange(**words)
        return self.server.total


def party(sites: int, *, seed: int = 0, length: int = 7, **terms) -> Party:
    """So many sites named a, b, c …"""
    names = [f"{'abcdefghijklmnopqrstuvwxyz'[i % 26]}{i // 26 or ''}" for i in range(sites)]
    told = {"colluding": 0, "bits": 64, **terms}
    return Party(
        Terms("run", 1, "about", length, **told), sorted(names), np.random.default_rng(seed)
    )


def until(one: Party, exchange: str) -> Party:
    while one.server.exchange != exchange:
        one.exchange()
    return one


def row_swapped(letter: Letter, key: str, at: int, row: bytes) -> Letter:
    array = letter.arrays[key].copy()
    array[at] = np.frombuffer(row, np.uint8)
    return replace(letter, arrays={**letter.arrays, key: array})


def invented(one: Party, name: str, *, signer: Identity | None = None) -> Letter:
    """Keys of a site that the server made up, or that it puts in the place of a real one."""
    secret = np.random.default_rng(5).bytes(32)
    keys = public_of(secret) + public_of(bytes(reversed(secret)))
    return signed_keys(signer or Identity(secret), one.terms.session, name, keys)


def with_rosters(nodes: Mapping[int, Mapping], folder: Path) -> dict[int, dict]:
    """Nodes with keys and a signed roster of all of them, as ``certs`` makes both."""
    make_authority(folder)
    for node in nodes.values():
        make_site(folder, str(node["site"]))
    make_roster(folder)
    return {
        at: {
            **node,
            "roster": str(folder / "sites" / str(node["site"]) / "roster.json"),
            "sums-key": str(folder / "sites" / str(node["site"]) / "sums.key"),
        }
        for at, node in nodes.items()
    }
