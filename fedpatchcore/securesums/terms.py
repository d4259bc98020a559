"""What a secure sum is about: fixed before the first exchange, and in every signature.

How many must open. With n sites of which c collude with the server, two sets of at least t
openers share an honest site as soon as 2t > n + c, and an honest site opens for one set alone. So
a server that tells one set of survivors to some and another to others gets neither opened, and
never both halves of one site's masks (Bonawitz et al., "Practical secure aggregation for
privacy-preserving machine learning", CCS 2017, section 6.2). t > c follows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from fedpatchcore.errors import SecureSumError
from fedpatchcore.securesums.letters import framed

__all__ = ["Terms", "least_openers", "openers_among"]

KINDS = {32: np.uint32, 64: np.uint64}


def least_openers(sites: int, colluding: int) -> int:
    """The smallest safe t: the least integer with 2t > sites + colluding."""
    return (sites + colluding) // 2 + 1


def openers_among(sites: int, wanted: int, colluding: int) -> int:
    """t for so many sites: ``wanted``, or, for 0, four fifths of them, never below the safe number.

    Raises:
        SecureSumError: fewer sites than must open, or so few openers that a lying server could
            open two sums.

    >>> openers_among(5, 0, 1), openers_among(50, 0, 1), openers_among(2, 0, 1)
    (4, 40, 2)
    """
    least = least_openers(sites, colluding)
    openers = wanted or max(least, -(-4 * sites // 5))
    if openers > sites:
        raise SecureSumError(
            f"a secure sum of {sites} sites, of which {colluding} may collude, needs {openers} "
            "that open it: more sites, or smaller min-openers or colluding-sites"
        )
    if openers < least:
        raise SecureSumError(
            f"min-openers={openers} of {sites} sites, of which {colluding} may collude, would let "
            f"a server open two sums: at least {least}"
        )
    return openers


@dataclass(frozen=True)
class Terms:
    """One sum.

    Attributes:
        run, number: of the run and its round; a site answers each pair once.
        about: digest of what the vector's places mean and of the noise in it.
        length: numbers in a vector.
        openers: sites that must open it; 0 leaves it to `openers_among`.
        colluding: sites that may be in league with the server.
        bits: the sum is modulo 2^bits; 32 or 64.
        claim: bytes that each site signs beside its keys, to say what it adds to.
    """

    run: str
    number: int
    about: str
    length: int
    openers: int = 0
    colluding: int = 1
    bits: int = 64
    claim: int = 0

    def __post_init__(self) -> None:
        if self.bits not in KINDS:
            raise SecureSumError(f"a secure sum is modulo 2^32 or 2^64, not 2^{self.bits}")
        if self.length < 1 or self.openers < 0 or self.colluding < 0:
            raise SecureSumError(
                f"a secure sum of {self.length} numbers with {self.openers} openers and "
                f"{self.colluding} colluding sites"
            )

    @property
    def dtype(self) -> np.dtype:
        """Of vectors: numbers modulo 2^bits."""
        return np.dtype(KINDS[self.bits])

    @property
    def session(self) -> bytes:
        """SHA-256 of it all: what signatures and keys are bound to."""
        return hashlib.sha256(
            framed(
                "fedpatchcore secure sum 1",
                self.run,
                self.number,
                self.about,
                self.length,
                self.openers,
                self.colluding,
                self.bits,
                *([self.claim] if self.claim else []),
            )
        ).digest()

    def openers_of(self, sites: int) -> int:
        """t once it is known how many sites gave keys. Raises SecureSumError."""
        return openers_among(sites, self.openers, self.colluding)

    def wrong_vector(self, vector: object) -> str:
        """Why this is no vector of the sum; "" if it is one."""
        if not isinstance(vector, np.ndarray):
            return "no array"
        if vector.dtype != self.dtype or vector.shape != (self.length,):
            return f"{vector.dtype} {vector.shape}, expected {self.dtype} ({self.length},)"
        return ""
