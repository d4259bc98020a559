"""The sites of one sum with their signed keys: what both sides check, and what sets are signed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.letters import Letter, framed, packed_rows
from fedpatchcore.securesums.masks import KEY_BYTES
from fedpatchcore.securesums.roster import SIGNATURE_BYTES, Identity, Roster
from fedpatchcore.securesums.terms import Terms

__all__ = ["Circle", "agreed_parts", "key_parts", "signed_keys"]


def key_parts(session: bytes, site: str, keys: bytes, claim: bytes) -> tuple[bytes | str, ...]:
    """What a site signs with its two public keys."""
    return "keys", session, site, keys, *([claim] if claim else [])


def agreed_parts(
    session: bytes, salt: bytes, sharers: tuple[str, ...], survivors: tuple[str, ...]
) -> tuple[bytes | str | int, ...]:
    """What a site signs to say for whom it is ready to open."""
    return ("agree", session, salt, len(sharers), *sharers, len(survivors), *survivors)


def signed_keys(
    identity: Identity, session: bytes, site: str, keys: bytes, claim: bytes = b""
) -> Letter:
    """A site's answer to the first exchange."""
    signature = identity.signed(*key_parts(session, site, keys, claim))
    arrays = {
        "keys": packed_rows([keys], 2 * KEY_BYTES),
        "signatures": packed_rows([signature], SIGNATURE_BYTES),
    }
    if claim:
        arrays["claims"] = packed_rows([claim], len(claim))
    return Letter("keys", (site,), arrays)


@dataclass(frozen=True)
class Circle:
    """Sites that gave keys, in ascending order; a site's place (from 1) is that of its shares.

    Attributes:
        keys: of each, the public X25519 keys for sealing and for masks, 64 bytes together.
        signatures: of each site's own, over its keys, its claim and the session.
        claims: what each site says it adds to (`Terms.claim` bytes); none without.
    """

    terms: Terms
    sites: tuple[str, ...]
    keys: tuple[bytes, ...]
    signatures: tuple[bytes, ...]
    claims: tuple[bytes, ...] = ()

    @classmethod
    def read(cls, terms: Terms, letter: Letter, *, by: str) -> Circle:
        """From a letter with ``keys`` and ``signatures``, whose form alone is checked here."""
        names = letter.names(by=by)
        keys = letter.rows("keys", len(names), 2 * KEY_BYTES, by=by)
        signatures = letter.rows("signatures", len(names), SIGNATURE_BYTES, by=by)
        claims = letter.rows("claims", len(names), terms.claim, by=by) if terms.claim else ()
        return cls(terms, names, tuple(keys), tuple(signatures), tuple(claims))

    def letter(self) -> Letter:
        """Inverse of `read`: the question of the second exchange."""
        arrays = {
            "keys": packed_rows(self.keys, 2 * KEY_BYTES),
            "signatures": packed_rows(self.signatures, SIGNATURE_BYTES),
        }
        if self.claims:
            arrays["claims"] = packed_rows(self.claims, self.terms.claim)
        return Letter("shares", self.sites, arrays)

    def check(self, roster: Roster) -> None:
        """Raise SecureSumError unless every site is on the roster and signed its keys."""
        for site, keys, signature in zip(self.sites, self.keys, self.signatures, strict=True):
            parts = key_parts(self.terms.session, site, keys, self.claim(site))
            roster.check(site, signature, *parts, what="the keys")

    @cached_property
    def _at(self) -> dict[str, int]:
        return {site: at for at, site in enumerate(self.sites)}

    @cached_property
    def salt(self) -> bytes:
        """SHA-256 of the session and the whole list: with another list no key comes out equal."""
        rows = [part for pair in zip(self.sites, self.keys, strict=True) for part in pair]
        return hashlib.sha256(framed("circle", self.terms.session, *rows)).digest()

    @property
    def openers(self) -> int:
        """How many must open."""
        return self.terms.openers_of(len(self.sites))

    def sealing(self, site: str) -> bytes:
        """Its public key for sealing."""
        return self.keys[self._at[site]][:KEY_BYTES]

    def masking(self, site: str) -> bytes:
        """Its public key for masks."""
        return self.keys[self._at[site]][KEY_BYTES:]

    def claim(self, site: str) -> bytes:
        """What it says it adds to."""
        return self.claims[self._at[site]] if self.claims else b""

    def place(self, site: str) -> int:
        """Where its shares lie, from 1."""
        return self._at[site] + 1

    def subset(
        self, letter: Letter, of: tuple[str, ...], *, by: str, what: str, me: str = ""
    ) -> tuple[str, ...]:
        """The letter's sites: among ``of``, as many as must open at least, with ``me``.

        Raises SecureSumError otherwise.
        """
        names = letter.names(by=by)
        if strange := set(names) - set(of):
            raise SecureSumError(f"{by} invents {what}: {', '.join(sorted(strange))}")
        if me and me not in names:
            raise SecureSumError(f"{by} leaves site '{me}' out of {what} and asks it all the same")
        if len(names) < self.openers:
            raise SecureSumError(
                f"only {len(names)} of {len(self.sites)} sites are left as {what}, "
                f"{self.openers} must open the sum: nothing is opened"
            )
        return names
